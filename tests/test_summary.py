"""The report of a preset, its folders and tolerances, and the README's generated parts."""

import json

import numpy as np
import pytest
import scipy.stats
from study_runs import a_run, frame_of, kept, likely, several

from reid_lib.cli import main
from reid_lib.config import load_preset
from reid_lib.study import summary as summaries
from reid_lib.study.claims import claims_text
from reid_lib.study.records import NOT_LISTED, collect_records
from reid_lib.study.summary import (
    default_choice_records,
    expected_scores,
    recorded_scores,
    report,
    write_report,
)


def test_a_tolerance_is_three_deviations_but_at_least_five_points():
    seeds = [[a_run("set1", rank1=r), a_run("set2", rank1=0.5)] for r in (0.4, 0.5, 0.6)]
    expected = expected_scores(seeds)
    assert expected["set1"]["rank-1"] == [50.0, 30.0]
    assert expected["set2"]["mAP"] == [50.0, 5.0]


def test_records_of_equal_runs_give_a_prediction_interval_for_the_mean(tmp_path):
    values = [0.4, 0.5, 0.6, 0.5, 0.5]
    kept(tmp_path / "a" / "b", several("set2", values) + several("set1", values[:4]))
    runs = several("set2", [0.1, 0.1], row="mine", seed=7, precision="fp32")
    found = recorded_scores([*runs, a_run("set1")], tmp_path)
    quantile = scipy.stats.t(df=4).ppf(0.995)
    half = quantile * np.std([40, 50, 60, 50, 50], ddof=1) * np.sqrt(1 / 5 + 1 / 2)
    assert found == {"mine": {s: [50.0, round(half, 1)] for s in summaries.NAMES}}
    for other in ({"lr": 0.1}, {"data_sha256": "a"}, {"weights_sha256": "a"}, {"validation": True}):
        assert recorded_scores([a_run("set2", **other)], tmp_path) == {}


def test_a_run_that_strays_from_the_committed_records_is_outside(
    tmp_path, preset_file, small, monkeypatch
):
    asked = [str(preset_file), "--splits", "0,1,2,3,4", "--root", str(tmp_path)]
    for row in ("htri", "set3"):
        for split in "01234":
            assert main(["train", *asked, "--row", row, "--split", split]) == 0
    monkeypatch.setattr(summaries, "COMMITTED", tmp_path)
    file = tmp_path / "figures/tiny/summary.txt"
    assert main(["summary", *asked]) == 0
    assert "expected" in file.read_text() and "tolerance" not in file.read_text()
    records = collect_records([tmp_path / "results"], tmp_path / "study/runs")
    assert main(["summary", *asked]) == 0
    assert (
        "\n0 of 4 scores lie outside their tolerance.\nExpected: the mean of the committed records"
        in file.read_text()
    )
    for path in records:
        content = json.loads(path.read_text())
        if content["config"]["row"] == "htri":
            content["metrics"]["test"]["A->B"]["mAP"] -= 0.5
            path.write_text(json.dumps(content))
    assert main(["summary", *asked]) == 0
    assert "\n1 of 4 scores" in file.read_text() and "OUTSIDE" in file.read_text()


def test_presets_on_real_persons_find_their_committed_records():
    """As runs on the persons and weights of the records would."""
    frame = summaries.default_choice_records(summaries.COMMITTED)
    frame = frame[frame.train_persons.isna() & (frame.network.str.contains("random weights, 60"))]
    made = frame.iloc[0]
    rows = [row for row in load_preset("pku_scratch").rows if row.backbone == "resnet18"]
    runs = []
    for row in rows:
        runs.append(a_run())
        runs[-1].__dict__["config"] = row.model_copy(update={"data_sha256": made.data_sha256})
    found = recorded_scores(runs, summaries.COMMITTED)
    assert list(found) and set(found) == {row.row for row in rows}


def test_a_study_of_the_likely_reading_gives_its_tables_and_figures(tmp_path):
    runs = [r for s in ("htri", "set1", "set2", "set3") for r in likely(s, [0.5, 0.6])]
    texts, pictures = report(frame_of(tmp_path, runs + likely("set2", [0.4], seed=1)))
    wanted = "runs.csv table.md verdicts.md viewpoint.md one-split.md primary.md seeds.md"
    assert set(texts) == set(wanted.split())
    names = {"splits", "one-split", "agreement-resnet18"}
    assert set(pictures) == names
    head = texts["runs.csv"].splitlines()[0].split(",")
    assert not set(head) & set(NOT_LISTED) and {"network", "seed", "unit mAP"} <= set(head)


def test_the_one_split_figure_marks_the_papers_gaps_and_every_split(tmp_path):
    runs = several("set1", [0.5, 0.5]) + several("set2", [0.52, 0.56])
    _, pictures = report(frame_of(tmp_path, runs))
    figure, alt = pictures["one-split"]
    rank1, mean_ap = figure.axes
    for axes, gap in ((rank1, 2.9), (mean_ap, 2.0)):
        (diamond,) = (line for line in axes.lines if line.get_gid() == "reported by the paper")
        assert diamond.get_xdata() == pytest.approx([gap])
        ticks = next(line for line in axes.lines if line.get_marker() == "|")
        assert ticks.get_xdata() == pytest.approx([2, 6])
    assert (
        "set2 - set1, rank-1: +2.9" in alt.split("Differences that the paper reports: ")[1]
        and "+4.0" in alt
    )


def test_two_networks_of_one_backbone_do_not_overwrite_each_others_figures(tmp_path):
    runs = several("set1", [0.5, 0.5]) + several("set1", [0.6, 0.6], epochs=20)
    _, pictures = report(frame_of(tmp_path, runs))
    assert sum(name.startswith("agreement-") for name in pictures) == 2


def test_claims_are_those_of_every_unchanged_study_below_a_folder(tmp_path):
    runs = several("set1", [0.5, 0.5]) + several("set2", [0.6, 0.6])
    kept(tmp_path / "a", runs)
    kept(tmp_path / "a" / "b", likely("set1", [0.5]))
    varied = several("set2", [0.6]) + several("set2", [0.5], lr=0.1)
    kept(tmp_path / "a" / "varied", varied + several("set1", [0.5], backbone="resnet50"))
    kept(tmp_path / "a" / "held_out", several("set2", [0.6], validation=True))
    found = default_choice_records(tmp_path / "a")
    assert len(found) == 6 and found.backbone.tolist().count("resnet50") == 1
    assert "claims.md" in {path.name for path in write_report(tmp_path / "a")}
    assert claims_text(default_choice_records(tmp_path / "a" / "varied")) == ""
