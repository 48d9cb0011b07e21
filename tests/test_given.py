"""Records and tables of data that define their split, and scores across data sets."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, small_backbone, write_images
from test_own_images import market

from reid_lib import model
from reid_lib.cli import main
from reid_lib.config import load_preset
from reid_lib.dataset import fingerprint, load_pixels, read_pku, split_pids
from reid_lib.engine.prepare import open_data, resolve
from reid_lib.engine.runs import read_run
from reid_lib.engine.scores import UNIT
from reid_lib.metrics import bootstrap, paired_test
from reid_lib.retrieval.encoders import open_encoder
from reid_lib.retrieval.evaluate import encode_data, evaluate_data, own_test_images
from reid_lib.study import domains
from reid_lib.study.claims import compare, query_scores
from reid_lib.study.given import given_report, table_text
from reid_lib.study.records import SIDES, collect_records, read_records, record
from reid_lib.study.summary import write_report
from reid_lib.training import fit

COMMITTED = REPOSITORY / "figures" / "market"
HEAD = (
    "title: own\ndata: {data}\nrecipe: {{start: random, epochs: 2, batch_size: 8, precision: fp32, "
    "image_size: [64, 32]}}\nrows:\n"
)
ROWS = ("set1", "set2", "set3", "htri")


def train(root):
    """Train `ROWS` on a small data set with Market-1501's names."""
    file = root / "own.yaml"
    rows = "".join(f"  - {{row: {name}, setting: {name}}}\n" for name in ROWS)
    file.write_text(HEAD.format(data=market(root / "market")[0]) + rows)
    preset = load_preset(file)
    index = open_data(preset, root)
    for row, split in preset.runs:
        config, _ = resolve(preset, row, split, index)
        pixels = load_pixels(index, config.image_size)
        fit(config, index, pixels, root / "results" / row, progress="none")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the runs of four settings, and the folder of their records."""
    root = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "_headless", lambda _: small_backbone())
        train(root)
    collect_records([root / "results"], root / "records" / "runs")
    return root


@pytest.fixture
def records(trained, tmp_path):
    """A copy of these records."""
    return Path(shutil.copytree(trained / "records", tmp_path / "records"))


def test_a_record_counts_queries_gallery_and_junk(trained, records):
    frame = read_records(records / "runs")
    assert frame.setting.tolist() == ["htri", "set1", "set2", "set3"]
    assert set(frame.direction) == {"query->gallery"}
    assert frame[list(SIDES)].drop_duplicates().to_numpy().tolist() == [[8, 51, 1]]
    run = read_run(trained / "results" / "set2")
    line = frame.set_index("setting").loc["set2"]
    wanted = run.metrics["unit"]["test"]["query->gallery"]
    for column, score in (("unit mAP", "mAP"), ("unit mAP_market", "mAP_market")):
        assert line[column] == pytest.approx(100 * wanted[score])
    pids = run.codes["pids"]
    run.codes["pids"] = np.where(pids == 0, -1, pids)  # the distractor is now junk too
    assert record(run)["sides"] == {"queries": 8, "gallery": 51, "junk": 2}
    assert line["both mAP"] != line["both mAP"] and line["found_all"] != line["found_all"]  # NaN


def test_tables_show_scores_and_paired_differences_with_intervals_over_persons(records):
    frame = read_records(records / "runs").set_index("setting")
    queries = {k: query_scores(records / "runs", frame.loc[[k]]) for k in frame.index}
    assert queries["set2"].pid.nunique() == 4 and len(queries["set2"]) == 7  # one has no match
    assert queries["set2"].mAP.mean() == pytest.approx(frame["unit mAP"]["set2"], abs=1e-3)
    texts = given_report(read_records(records / "runs"), records / "runs")
    low, high = bootstrap(queries["set2"], ["mAP"]).loc["mAP", ["low", "high"]]
    (line,) = [line for line in texts["table.md"].splitlines() if line.startswith("| set2")]
    assert f"{frame['unit mAP']['set2']:.1f} [{low:.1f}, {high:.1f}]" in line
    assert "8 queries of 4 test persons" in texts["table.md"]
    names = ["rank-1", "mAP", "rank-10", "mAP_market", "train rank-1"]
    names = [f"unit {name}" for name in names] + ["rank-1", "rank-10", "mAP", "mAP_market"]
    numbered = frame.reset_index().assign(**dict(zip(names, range(10, 19), strict=True)))
    text = table_text(numbered, dict(zip(frame.record, queries.values(), strict=True)))
    (other,) = [line for line in text.splitlines() if line.startswith("| set2")]
    shown = [cell.split(" ")[0] for cell in other.strip("| ").split(" | ")[-9:]]
    assert shown == [f"{number}.0" for number in range(10, 19)]
    change = paired_test(queries["set1"], queries["set2"], ["mAP"]).loc["mAP"]
    (line,) = [line for line in texts["differences.md"].splitlines() if "set2 - set1" in line]
    assert f"{change.difference:+.1f} [{change.low:+.1f}, {change.high:+.1f}]" in line
    said = compare(records / "runs", "set2", "set1", "unit").splitlines()
    words = f"mAP     {change.difference:+.1f} [{change.low:+.1f}, {change.high:+.1f}] over persons"
    assert any(words in line for line in said)
    assert texts["differences.md"].count("\n| ") == 5
    fitted = frame.reset_index().assign(**{"unit train rank-1": [95.0, 90.0, 89.9, 95.0]})
    text = given_report(fitted, records / "runs")["table.md"]
    assert "below 90 % for set2: " in text
    several = read_records(records / "runs")
    several = pd.concat([several, several.assign(seed=1)], ignore_index=True)
    again = given_report(several, records / "runs")
    assert again["differences.md"] == texts["differences.md"]
    assert "| seed |" in again["table.md"] and "| seed |" not in texts["table.md"]
    chosen = read_records(records / "runs").query("setting == 'set2'")
    chosen = chosen.assign(changed="beta=0.005, " + chosen.changed, setting="set3")
    shown = pd.concat([read_records(records / "runs").query("setting != 'set3'"), chosen])
    texts = given_report(shown, records / "runs")
    assert "beta=0.005" in texts["table.md"] and "set3" not in texts["differences.md"]


@pytest.mark.parametrize("better, signs", [(1, "both rise"), (9, "both fall")])
def test_the_signs_are_those_of_both_differences(records, better, signs):
    frame = read_records(records / "runs")
    for name, setting in zip(frame.record, frame.setting, strict=True):
        file = records / "runs" / f"{name}.csv"
        lines = pd.read_csv(file)
        rank = better if setting == "set2" else 10 - better
        lines.assign(unit_first_match=rank, unit_AP=1 / rank).to_csv(file, index=False)
    text = given_report(frame, records / "runs")["differences.md"]
    assert f"| {signs} |" in next(line for line in text.splitlines() if "set2 - set1" in line)


def test_weights_are_chosen_by_held_out_map_within_their_setting(records):
    frame = read_records(records / "runs").set_index("setting", drop=False)
    frame = frame.loc[["set2", "set2", "set3"]].reset_index(drop=True)
    frame = frame.assign(
        validation=True, beta=[0.005, 5e-5, 5e-5], changed=["b=1, epochs=4", "epochs=4", "epochs=4"]
    )
    for scores, chosen in (([60, 50, 70], ["0.005"]), ([50, 50, 70], ["5e-05"])):
        shown = frame.assign(**{"unit mAP": scores})
        texts = given_report(shown, records / "runs")
        assert list(texts) == ["weights.md"]
        lines = [line for line in texts["weights.md"].splitlines() if line.endswith("| chosen |")]
        assert [line.split(" | ")[1] for line in lines] == ["beta", *chosen, "5e-05"]


@pytest.fixture
def network(trained, small):
    """The run folder of a small network."""
    return trained / "results" / "set2"


def test_a_network_is_scored_on_a_splits_test_persons_of_other_data(network, tmp_path, capsys):
    images = write_images(tmp_path / "pku", 8)
    listed = tmp_path / "six.json"
    listed.write_text(json.dumps({"persons": [1, 2, 3, 4, 5, 6]}))
    scored = encode_data(open_encoder(network), images, split=1, persons=listed)
    assert sorted(scored.index.pid.unique()) == split_pids(range(1, 7), 1)[1]
    everyone = encode_data(open_encoder(network), images)
    assert everyone.index.pid.nunique() == 8
    assert everyone.data_sha256 == fingerprint(read_pku(images)) != scored.data_sha256

    words = [
        "evaluate",
        str(network),
        "--data",
        str(images),
        "--split",
        "1",
        "--persons",
        str(listed),
    ]
    assert main([*words, "--record", str(tmp_path / "domains")]) == 0
    file = capsys.readouterr().out.splitlines()[-1]
    content = json.loads((tmp_path / "domains" / file.rpartition("/")[2]).read_text())
    wanted = evaluate_data(scored, UNIT)["A->B"]
    assert content["unit"] == pytest.approx(wanted.scores())
    limits = bootstrap(wanted.per_query, ["AP"]).loc["AP", ["low", "high"]]
    assert content["interval"]["mAP"] == pytest.approx(limits.tolist(), abs=1e-6)
    assert content["scored"] == {"persons": 3, "queries": 24, "gallery": 24, "junk": 0}


def test_without_data_a_run_is_scored_on_its_own_test_images(network, tmp_path, capsys):
    assert main(["evaluate", str(network), "--record", str(tmp_path / "domains")]) == 0
    test = read_run(network).metrics["unit"]["test"]["query->gallery"]
    found = evaluate_data(own_test_images(read_run(network)), UNIT)["query->gallery"].scores()
    assert found == pytest.approx(test)
    (line,) = domains.read_domains(tmp_path / "domains").itertuples()
    assert line.own and line.mAP == pytest.approx(100 * test["mAP"])
    assert line.scored["junk"] == 1
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "none"), "--record", str(tmp_path)]) == 2
    assert "contains no completed run" in capsys.readouterr().err


def test_the_table_across_data_sets_marks_a_networks_own_persons(network, tmp_path, monkeypatch):
    images = write_images(tmp_path / "pku", 8)
    for more in ([], ["--data", str(images)]):
        assert main(["evaluate", str(network), *more, "--record", str(tmp_path / "domains")]) == 0
    own = read_run(network).config.data_sha256
    monkeypatch.setattr(domains, "DATA", {own: "Market", fingerprint(read_pku(images)): "PKU"})
    text = domains.domains_text(tmp_path / "domains")
    (line,) = [line for line in text.splitlines() if line.startswith("| Market |")]
    assert line.count("*") == 4  # rank-1 and mAP on Market alone
    frame = domains.read_domains(tmp_path / "domains").set_index("on")
    assert f"On PKU, rank-1 / mAP is {frame['rank-1']['PKU']:.1f} / " in text
    assert "after training on Market." in text and "its own training persons." in text
    assert "Market: 4 persons, 8 queries, 51 gallery images of which 1 are junk" in text


@pytest.mark.skipif(not (COMMITTED / "domains").is_dir(), reason="no scores across data sets yet")
def test_the_committed_scores_across_data_sets_are_those_of_the_committed_records():
    text = (COMMITTED / "domains.md").read_text()
    assert domains.domains_text(COMMITTED / "domains") == text  # else: reid records --out FOLDER
    assert set(domains.read_domains(COMMITTED / "domains").on) == set(domains.DATA.values())


def test_the_committed_report_is_the_folders(records):
    written = {path.name for path in write_report(records)}
    assert written == {"table.md", "differences.md"}
