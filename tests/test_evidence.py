"""Records of runs, and what is said of them: means, paired differences, verdicts."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from reid_lib.evidence import (
    LAST,
    choices_text,
    collect_records,
    difference,
    effects,
    means,
    orders,
    read_records,
    recipes_text,
    record,
    scatter_study,
    scoring_text,
    table_text,
    verdict,
    verdicts,
    verdicts_text,
    viewpoint_text,
    write_report,
)
from reid_lib.report import SCORES, agreement_by_angle

from reid_lib.config import RunConfig
from reid_lib.metrics import split_test
from reid_lib.runs import FILES, RESULTS, Run, read_run

REPOSITORY = Path(__file__).parent.parent


def a_run(setting="set2", split=0, rank1=0.5, persons=6, **config) -> Run:
    """A run that exists only in memory: random codes, all scores alike."""
    run = Run(None)
    scores = dict.fromkeys((*SCORES, "mAP_market", "mINP"), rank1)
    directions = dict.fromkeys(("A->B", "B->A", "both"), scores)
    given = {"row": setting, "setting": setting, "epochs": 15} | config
    run.__dict__["config"] = RunConfig(split=split, **given)
    run.__dict__["metrics"] = {
        "protocol": "words",
        "test": directions,
        "train": directions,
        "last_epochs": {"epochs": 1, "A->B": scores},
    }
    run.__dict__["manifest"] = {
        "persons": {"train": persons, "test": persons},
        "seconds": 1.0,
        "device": "CPU",
        "threads": 1,
    }
    run.__dict__["history"] = pd.DataFrame(
        {
            "epoch": [1, 2],
            "seconds": [1.0, 1.0],
            "code_norm": [5.0, 7.0],
            **{
                f"{codes}_{score}": [np.nan, 0.5]
                for codes in ("test", "unit")
                for score in ("rank-1", "mAP")
            },
            "grad_sr": [0.1, 0.01],
            "grad_sl": [0.02, 0.03],
        }
    )
    rng = np.random.default_rng(split)
    pids, camids, orientations = (
        x.ravel() for x in np.meshgrid(range(persons), (1, 2), range(1, 9), indexing="ij")
    )
    codes = rng.standard_normal((len(pids), 4)) + 2 * rng.standard_normal((persons, 4))[pids]
    run.__dict__["codes"] = {
        "codes": codes,
        "pids": pids,
        "camids": camids,
        "orientations": orientations,
    }
    return run


def kept(folder: Path, runs: list[Run]) -> Path:
    (folder / "runs").mkdir(parents=True)
    for number, run in enumerate(runs):
        (folder / "runs" / f"{number:03d}.json").write_text(json.dumps(record(run)))
    return folder


def several(setting, rank1s, **config):
    return [a_run(setting, k, r, **config) for k, r in enumerate(rank1s)]


def test_finished_runs_leave_records_and_failed_ones_none(tmp_path):
    for split, failed in ((0, ""), (1, "it ran away")):
        run = a_run("set2", split)
        folder = tmp_path / "results" / f"split-{split}"
        folder.mkdir(parents=True)
        for name in (*FILES, *RESULTS):
            (folder / name).touch()
        manifest = run.manifest | ({"failed": failed} if failed else {})
        (folder / "config.json").write_text(run.config.model_dump_json())
        (folder / "metrics.json").write_text(json.dumps(run.metrics))
        (folder / "manifest.json").write_text(json.dumps(manifest))
        run.history.to_csv(folder / "history.csv", index=False)
        np.savez(folder / "codes.npz", **run.codes)
        line = "1_1_1.png,A->B,0.5,2,0.25,4"
        head = "name,direction,AP,first_match,unit_AP,unit_first_match"
        (folder / "queries.csv").write_text(f"{head}\n{line}\n")
    assert not read_run(tmp_path / "results" / "split-0").failed
    (written,) = collect_records([tmp_path / "results"], tmp_path / "records")
    content = json.loads(written.read_text())
    assert content["config"]["setting"] == "set2"
    last = content["history"]["last"]
    assert last["code_norm"] == 7.0 and last["test_mAP"] == 0.5 and "seconds" not in last
    assert len(content["viewpoint"]["rank1"]) == 64
    with pytest.raises(ValueError, match="no finished run"):
        collect_records([tmp_path / "none"], tmp_path / "records")
    with pytest.raises(ValueError, match="no record"):
        read_records(tmp_path / "none")


def test_a_record_keeps_how_near_a_persons_views_are(tmp_path):
    run = a_run()
    frame = read_records(kept(tmp_path, [run]) / "runs")
    curve = agreement_by_angle(run).set_index("angle").value
    for angle in (0, 45, 90, 135, 180):
        assert frame[f"near_{angle}"][0] == pytest.approx(curve[angle], rel=1e-5)


def test_a_record_names_the_choices_in_which_it_is_not_the_papers(tmp_path):
    runs = [a_run(), a_run("set3", gamma=1e-7), a_run(centres="batch", seed=3, score_last=4)]
    frame = read_records(kept(tmp_path, runs) / "runs").set_index("setting")
    assert frame.loc["set3", "changed"] == "gamma=1e-07"
    assert frame.loc["set2", "changed"].tolist() == ["", "centres=batch"]


def test_means_have_the_interval_of_overlapping_splits(tmp_path):
    values = [0.5, 0.6, 0.7]
    frame = read_records(kept(tmp_path, [*several("set2", values), a_run("set1")]) / "runs")
    table = means(frame, ["mAP"]).set_index("setting")
    assert table.loc["set2", "mean"] == pytest.approx(60)
    # Student's t of two degrees of freedom, s = 10, and sqrt(1/3 + 1) where tests halve the data.
    half = 4.302653 * 10 * np.sqrt(1 / 3 + 1)
    assert table.loc["set2", "low"] == pytest.approx(60 - half, abs=1e-3)
    assert table.loc["set2", "high"] == pytest.approx(60 + half, abs=1e-3)
    assert table.loc["set1", "splits"] == "1 (0)" and np.isnan(table.loc["set1", "low"])
    text = table_text(frame)
    head = "resnet18, ImageNet weights, 15 epochs; 6 persons to train, 6 to test"
    assert f"{head} (by chance: rank-1 16.7):" in text
    assert f"| set2 | 3 (0 to 2) | 60.0 [{60 - half:.1f}, {60 + half:.1f}] |" in text
    assert "| set1 | 1 (0) | 50.0 | 50.0 |" in text


def test_an_interval_is_narrower_where_fewer_persons_are_tested_than_trained(tmp_path):
    runs = several("set2", [0.5, 0.6, 0.7])
    for run in runs:
        run.manifest["persons"] = {"train": 25, "test": 12}
    table = means(read_records(kept(tmp_path, runs) / "runs"), ["mAP"]).iloc[0]
    half = 4.302653 * 10 * np.sqrt(1 / 3 + 12 / 25)
    assert table.high == pytest.approx(60 + half, abs=1e-3)


def test_differences_are_paired_by_split(tmp_path):
    runs = several("set2", [0.5, 0.7, 0.9]) + several("set1", [0.4, 0.65, 0.92, 0.1])
    frame = read_records(kept(tmp_path, runs) / "runs")
    better, worse = (frame[frame.setting == name] for name in ("set2", "set1"))
    (line,) = difference(better, worse, ["mAP"]).to_dict("records")
    assert (line["splits"], line["agree"]) == (3, 2)  # the fourth split has no partner
    a, b = ([{"mAP": 100 * x} for x in values] for values in ([0.4, 0.65, 0.92], [0.5, 0.7, 0.9]))
    wanted = split_test(a, b).loc["mAP"]
    for name in ("difference", "low", "high", "p"):
        assert line[name] == pytest.approx(wanted[name], abs=1e-6)


@pytest.mark.parametrize(
    "bounds, words",
    [
        ([(1, 2), (0.5, 3)], "holds"),
        ([(1, 2), (-0.5, 3)], "cannot be told"),
        ([(1, 2), (-3, -0.5)], "cannot be told"),
        ([(-2, -1), (-3, -0.5)], "does not hold"),
        ([(-2, -1), (-3, 0.5)], "cannot be told"),
        ([(np.nan, np.nan)], "cannot be told"),
    ],
)
def test_a_verdict_needs_every_interval_on_one_side_of_zero(bounds, words):
    assert verdict(pd.DataFrame(bounds, columns=["low", "high"])) == words


def test_each_claim_is_judged_on_the_network_that_it_speaks_of(tmp_path):
    runs = several("set1", [0.5, 0.51, 0.49]) + several("set2", [0.6, 0.61, 0.59])
    runs += several("set3", [0.3, 0.31, 0.29]) + several("htri", [0.55, 0.2, 0.9])
    runs += several("htri", [0.1, 0.1, 0.1], backbone="resnet50")
    runs += several("set1", [0.7, 0.71, 0.69], backbone="resnet50")
    runs += several("set1", [0.5, 0.5, 0.5], backbone="mobilenet_v2")
    runs += several("set2", [0.5, 0.5, 0.5], backbone="mobilenet_v2")
    table = verdicts(read_records(kept(tmp_path, runs) / "runs"))
    said = {(line.claim, line.contrast): line.verdict for line in table.itertuples()}
    assert said["1", "set2 over set1"] == "holds"
    assert said["1", "set3 over set2"] == "does not hold"
    assert said["1", "set3 over htri"] == "cannot be told"
    assert said["2", "resnet18 over resnet50, htri"] == "cannot be told"
    assert said["2", "resnet18 over resnet50, set1"] == "does not hold"
    assert said["4", "set2 over set1"] == "cannot be told"  # a difference of nothing at all
    # The same codes throughout: no setting is nearer than another.
    assert said["3", "set2 nearer than set1"] == "cannot be told"
    scores = table.set_index(["claim", "contrast"])[f"{LAST} rank-1"]
    assert scores["1", "set2 over set1"] == "+10.0 [+10.0, +10.0], 3 of 3"


def test_a_claim_without_runs_is_told_as_not_measured(tmp_path):
    text = verdicts_text(read_records(kept(tmp_path, [a_run()]) / "runs"))
    assert text == "Not measured: claim 1, 2, 3, 4.\n"


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"data_sha256": "another"}, "several data sets"),
        ({"seed": 1}, "several records of one split"),
    ],
)
def test_runs_that_must_not_be_averaged_are_refused_by_name(tmp_path, changes, words):
    folder = kept(tmp_path, [a_run(), a_run(**changes)]) / "runs"
    with pytest.raises(ValueError, match=f"{words}.*000 and 001"):
        read_records(folder)


def test_views_are_means_over_the_splits(tmp_path):
    runs = [a_run("set1"), a_run("set1", 1)]
    text = viewpoint_text(read_records(kept(tmp_path, runs) / "runs"))
    same = []
    for run in runs:
        grid = pd.DataFrame(record(run)["viewpoint"])
        same.append(100 * grid.rank1[grid.query_orientation == grid.gallery_orientation].mean())
    (line,) = (line for line in text.splitlines() if line.startswith("| set1 |"))
    assert line.split(" | ")[2] == f"{np.mean(same):.1f}"
    assert "set1 2 (0, 1)" in text


def test_an_effect_is_paired_with_the_default_reading_of_its_setting(tmp_path):
    runs = several("set2", [0.5, 0.6]) + several("set2", [0.4, 0.45], centres="batch")
    runs += several("set3", [0.45, 0.45]) + several("set3", [0.65, 0.65], gamma=1e-7)
    table = effects(read_records(kept(tmp_path, runs) / "runs"), ["mAP"])
    assert table.setting.tolist() == ["set3", "set2"]  # the larger effect first
    assert table.choice.tolist() == ["gamma=1e-07", "centres=batch"]
    assert table.difference.tolist() == pytest.approx([20, -12.5])
    assert table.agree.tolist() == [2, 0]
    text = choices_text(read_records(tmp_path / "runs"))
    assert "| centres=batch | -12.5 [-" in text
    with pytest.raises(ValueError, match="default reading"):
        effects(read_records(kept(tmp_path / "plain", [a_run()]) / "runs"), ["mAP"])


def test_settings_are_compared_under_each_choice_that_they_have_in_common(tmp_path):
    together = {"centres": "batch", "batches": "pk"}
    runs = several("set1", [0.5, 0.5]) + several("set1", [0.7, 0.7], batches="pk")
    runs += several("set1", [0.1, 0.1], crop="enlarge")  # set 2 was not run with it
    runs += several("set2", [0.6, 0.6]) + several("set2", [0.65, 0.66], **together)
    runs += several("set2", [0.55, 0.55], memory_update="after")
    frame = read_records(kept(tmp_path, runs) / "runs")
    table = orders(frame, ["mAP"]).set_index("choice")
    assert set(table.setting) == {"set2"} and set(table.over) == {"set1"}
    assert table.difference.to_dict() == pytest.approx(
        {
            "": 10,
            "memory_update=after": 5,  # set 1 has no centres
            "centres=batch, batches=pk": -4.5,
        }
    )
    text = choices_text(frame)
    assert "| default | +10.0 [+10.0, +10.0], 2 of 2 |" in text
    assert "set2 over set1: mAP" in text


def test_the_scatter_loss_is_judged_beside_set_2_by_its_share_in_the_gradient(tmp_path):
    runs = several("set2", [0.5, 0.6]) + several("set3", [0.4, 0.45])
    runs += several("set3", [0.55, 0.68], gamma=0.1, scatter="log")
    runs += several("set3", [0.1, 0.1], crop="none")  # of another choice
    table = scatter_study(read_records(kept(tmp_path, runs) / "runs")).set_index("scatter")
    assert table.index.tolist() == ["sum", "log"]  # the paper's form first
    assert table.difference.tolist() == pytest.approx([-12.5, 6.5])
    assert table.loc["log", "agree"] == 2
    assert table["first ratio"].tolist() == pytest.approx([0.2, 0.2])
    assert table["last ratio"].tolist() == pytest.approx([3, 3])
    assert table.growth.tolist() == pytest.approx([1.4, 1.4])
    assert table.default.tolist() == [True, False]
    with pytest.raises(ValueError, match="set 2"):
        scatter_study(read_records(kept(tmp_path / "alone", several("set3", [0.5])) / "runs"))


def test_set_3_is_compared_with_set_2_at_the_same_weight_decay(tmp_path):
    runs = several("set2", [0.5, 0.5]) + several("set3", [0.4, 0.4])
    runs += several("set2", [0.8, 0.8], weight_decay=0) + several(
        "set3", [0.5, 0.5], weight_decay=0
    )
    runs += several("set3", [0.9, 0.9], weight_decay=0.1)  # beside no set 2
    table = scatter_study(read_records(kept(tmp_path, runs) / "runs")).set_index("weight_decay")
    assert table.difference.to_dict() == pytest.approx({0: -30, 5e-4: -10})


def test_recipes_are_compared_on_held_out_persons_and_the_test_apart(tmp_path):
    runs = several("set1", [0.4, 0.5], validation=True)
    runs += several("set2", [0.5, 0.7], validation=True, neck="batchnorm")
    runs += several("set1", [0.7, 0.7], validation=True, start="file")
    runs += several("set1", [0.3, 0.3]) + several("set2", [0.6, 0.6], neck="batchnorm")
    text = recipes_text(read_records(kept(tmp_path, runs) / "runs"))
    held_out, test = text.split("Test persons")
    best = next(line for line in held_out.splitlines() if "neck=batchnorm" in line)
    assert held_out.splitlines()[4].startswith("| resnet18, weights from a file")  # the best first
    assert "| 60.0 |" in best and "+15.0 [" in best and "2 of 2" in best
    assert "+30.0 [+30.0, +30.0]" in test
    assert "settings from one start" not in text  # no set 2 stands as it is by default
    more = several("set2", [0.7, 0.8], validation=True)
    text = recipes_text(read_records(kept(tmp_path / "more", runs + more) / "runs"))
    pair = text.split("settings from one start")[1].split("Test persons")[0]
    assert "set2 over set1: rank-1 | set2 over set1: mAP" in pair and "+30.0 [" in pair
    more += several("set2", [0.7, 0.8], validation=True, start="file")
    more += several("set3", [0.7, 0.8], validation=True, start="file")
    text = recipes_text(read_records(kept(tmp_path / "three", runs + more) / "runs"))
    assert "nan" not in text  # set 3 from one start alone
    assert write_report(tmp_path)[1].name == "recipes.md"


def test_other_ways_of_scoring_are_differences_within_a_run(tmp_path):
    run = a_run("set1")
    worse = dict.fromkeys(run.metrics["test"]["A->B"], 0.4)
    run.metrics["test"] = {**run.metrics["test"], "B->A": worse}
    frame = read_records(kept(tmp_path, [run]) / "runs")
    (line,) = (line for line in scoring_text(frame).splitlines() if "| set1 |" in line)
    assert line.count("-10.0, 0 of 1") == 2 and line.count("+0.0, 0 of 1") == 3


def test_runs_that_differ_in_the_name_of_their_row_alone_count_once(tmp_path):
    runs = [a_run("set2"), a_run("set2", row="plain"), a_run("set2", 1)]
    assert len(read_records(kept(tmp_path, runs) / "runs")) == 2


STUDIES = sorted(path.parent for path in (REPOSITORY / "figures").rglob("runs"))


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_the_committed_tables_are_those_of_the_committed_records(folder, tmp_path):
    (tmp_path / "runs").symlink_to(folder / "runs")
    for path in write_report(tmp_path):  # else: reid records --out FOLDER
        if path.suffix in (".md", ".csv", ".txt"):
            assert path.read_text() == (folder / path.name).read_text()
