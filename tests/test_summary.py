"""The report of a preset, its folders and tolerances, and the README's generated parts."""

import pytest
from study_runs import a_run, frame_of, kept, likely, several

from reid_lib.study.claims import claims_text
from reid_lib.study.records import NOT_LISTED
from reid_lib.study.summary import (
    expected_scores,
    report,
    unchanged,
    write_report,
)


def test_a_tolerance_is_three_deviations_but_at_least_five_points():
    seeds = [[a_run("set1", rank1=r), a_run("set2", rank1=0.5)] for r in (0.4, 0.5, 0.6)]
    expected = expected_scores(seeds)
    assert expected["set1"]["rank-1"] == [50.0, 30.0]
    assert expected["set2"]["mAP"] == [50.0, 5.0]


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
    found = unchanged(tmp_path / "a")
    assert len(found) == 6 and found.backbone.tolist().count("resnet50") == 1
    assert "claims.md" in {path.name for path in write_report(tmp_path / "a")}
    assert claims_text(unchanged(tmp_path / "a" / "varied")) == ""
