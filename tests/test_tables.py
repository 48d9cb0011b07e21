"""Table 1 in four formats, and the Markdown tables of many runs."""

import numpy as np
import pandas as pd
import pytest
from study_runs import a_run, frame_of, kept, likely, several

from reid_lib.config import PAPER_TABLE
from reid_lib.engine.runs import Run
from reid_lib.metrics import Protocol
from reid_lib.study.records import QUANTISED, read_records, record, view_angle
from reid_lib.study.statistics import contrasts, primary_family
from reid_lib.study.table1 import caption, table1, table_texts
from reid_lib.study.tables import (
    change,
    primary_text,
    signed,
    simple_text,
    table_text,
    verdicts_text,
    viewpoint_table,
    viewpoint_text,
)


def of_row(row="set3", split=0, rank1=0.5, persons=(24, 24), **config) -> Run:
    """A run of this row of Table 1."""
    setting = row if row.startswith("set") else "htri"
    run = a_run(setting, split, rank1, persons[1], row=row, **config)
    run.manifest["persons"] = dict(zip(("train", "test"), persons, strict=True))
    return run


def test_the_paper_stands_beside_but_is_compared_only_on_its_own_114_persons():
    table = table1([of_row("set1", rank1=0.6), of_row("set3", rank1=0.7)])
    assert list(table.columns.levels[0]) == ["measured", "paper"]
    assert table.loc["set3", ("measured", "rank-1")] == pytest.approx(70)
    assert table.loc["set3", ("paper", "rank-1")] == PAPER_TABLE["set3"]["rank-1"]
    whole = table1([of_row("set3", rank1=0.7, persons=(57, 57))])
    assert whole.loc["set3", ("difference", "rank-1")] == pytest.approx(70 - 71.5)


def test_several_splits_give_mean_and_standard_deviation():
    table = table1([of_row(split=k, rank1=r) for k, r in enumerate((0.5, 0.6, 0.7))])
    assert table.loc["set3", ("measured", "mAP")] == pytest.approx(60)
    assert table.loc["set3", ("sd", "mAP")] == pytest.approx(10)


def test_rows_that_the_paper_lacks_have_no_paper_column():
    assert "paper" not in table1([of_row("mine_htri")]).columns.levels[0]


def test_every_format_holds_every_number_and_the_best_is_bold():
    runs = [of_row("set1", rank1=0.612), of_row("set3", rank1=0.734)]
    texts = table_texts(table1(runs), "a note", runs)
    assert set(texts) == {"csv", "md", "tex", "html"}
    for text in texts.values():
        assert "61.2" in text and "73.4" in text and "71.5" in text
    assert "**73.4**" in texts["md"] and "**61.2**" not in texts["md"]
    assert r"\textbf{73.4}" in texts["tex"] and r"\toprule" in texts["tex"]
    assert "<b>73.4</b>" in texts["html"]
    assert [
        f'<th colspan="5" scope="colgroup">{head}</th>' in texts["html"]
        for head in ("measured", "paper")
    ] == [True, True]
    assert r"\multicolumn{5}{c}{measured} & \multicolumn{5}{c}{paper}" in texts["tex"]
    assert "| mAP | paper rank-1 |" in texts["md"]
    assert '<table class="table1">' in texts["html"] and "<td>67.3</td>" in texts["html"]
    assert all("a note" in texts[kind] for kind in ("md", "tex", "html"))


def test_names_from_outside_stay_text_in_every_format():
    runs = [of_row("set3")]
    table = table1(runs).rename(index={"set3": "<img onerror=x>_"})
    texts = table_texts(table, "<b>note</b>", runs)
    assert "<img" not in texts["html"] and "<b>note" not in texts["html"]
    assert r"x>\_" in texts["tex"]


def test_underfitted_rows_are_marked_and_the_chance_level_is_a_row():
    runs = [of_row("set1"), of_row("resnet50_htri", train=0.03), of_row("resnet50_htri", 1)]
    texts = table_texts(table1(runs), "a note.", runs)
    assert "| resnet50_htri † |" in texts["md"] and "| set1 |" in texts["md"]
    assert "| chance level | 4.2 |  |" in texts["md"]
    words = "†: rank-1 on its own training persons is below 90 % (resnet50_htri 3.0 %)."
    for kind in ("md", "tex", "html"):
        assert "resnet50" in texts[kind] and words.replace("%", "%") in texts[kind]
    assert "†" not in texts["csv"]
    fitted = [of_row("set1")]
    assert "†" not in "".join(table_texts(table1(fitted), "a note", fitted).values())


def test_the_caption_says_what_was_run():
    text = caption([of_row(start="random"), of_row("resnet50_htri", backbone="resnet50")])
    assert "24 training and 24 test persons" in text
    assert "resnet18 from random weights, 15 epochs" in text
    assert "resnet50 from ImageNet weights" in text
    assert "Split 0. Direction: camera A to B." in text
    assert "the chance level of rank-1 is 4.2 %" in text
    assert "Mean and standard deviation of 2 splits: 0, 1" in caption([of_row(), of_row(split=1)])


def test_the_viewpoint_table_turns_pairs_into_angles_and_names_the_worst():
    pairs = pd.MultiIndex.from_product([range(1, 9)] * 2).to_frame(index=False)
    grid = pairs.set_axis(["query_orientation", "gallery_orientation"], axis=1)
    turn = (grid.gallery_orientation - grid.query_orientation) % 8
    grid["rank1"] = turn.map({0: 0.9, 1: 0.8, 7: 0.6, 2: 0.5, 6: 0.5, 3: 0.4, 5: 0.4, 4: 0.2})
    grid.loc[(grid.query_orientation == 3) & (grid.gallery_orientation == 7), "rank1"] = 0.0
    text = viewpoint_table(pd.concat([grid.assign(row="b"), grid.assign(row="a")]))
    lines = text.splitlines()
    assert lines[0] == (
        "| row | all pairs | 0 degrees | 45 degrees | 90 degrees | 135 degrees | 180 degrees |"
    )
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| b", "| a"]
    assert lines[2].endswith("| 90.0 | 70.0 | 50.0 | 40.0 | 17.5 |")
    assert lines[-2].startswith("- b: 3 to 7 (0.0), ")


def test_the_tables_of_many_runs_show_both_intervals_and_what_they_are_for(tmp_path):
    frame = frame_of(tmp_path, [*several("set2", [0.5, 0.6, 0.7]), a_run("set1")])
    text = table_text(frame)
    these, new = (4.302653 * 10 * np.sqrt(1 / 3 + ratio) for ratio in (0, 1))
    head = "resnet18, ImageNet weights, 15 epochs; 6 training and 6 test persons"
    assert f"{head} (chance level of rank-1: 16.7 %):" in text
    cell = f"60.0 [{60 - these:.1f}, {60 + these:.1f}] [{60 - new:.1f}, 100.0]"
    assert 60 + new > 100 and f"| set2 | 3 (0 to 2) | {cell} |" in text
    assert "| set1 | 1 (0) | 50.0 | 50.0 |" in text
    assert (
        "The first is for these 12 persons" in text
        and "approximately, for new persons like these" in text
    )
    assert "does not shrink to zero" in text


def test_no_interval_of_a_score_leaves_0_to_100(tmp_path):
    text = table_text(frame_of(tmp_path, several("set2", [0.0, 0.5, 1.0])))
    (line,) = (line for line in text.splitlines() if line.startswith("| set2 |"))
    assert "[0.0, 100.0]" in line and "-" not in line


def test_the_likely_reading_has_a_table_of_each_kind_of_codes(tmp_path):
    text = table_text(frame_of(tmp_path, likely("set2", [0.5, 0.6]) + likely("set3", [0.5, 0.7])))
    raw, unit = text.split("codes divided by their L2 norm")
    assert "codes as they are:" in raw
    assert raw.count("| set2 | 2 (0, 1) | 10.0 [") == 1
    assert unit.count("| set2 | 2 (0, 1) | 55.0 [") == 1
    assert "product-quantised ImageNet weights" in raw
    assert "uber-research/permute-quantize-finetune" in text and "66.7 %" in text


OLD_WORDS = """rank-k: any match of the person among the first k, k = 1, 5, 10, 20; AP: plain sum
gallery: images of all cameras that it holds; junk, out of the ranking: same person and same camera; person ids -1
ties within 5e-07 of the mean squared distance: expectation over random order (rank-k, plain AP), worst order (the rest)
query without a match: an error"""  # noqa: E501


def test_records_of_several_protocols_are_averaged_with_a_notice(tmp_path):
    runs = several("set2", [0.5, 0.6])
    assert "protocols" not in table_text(frame_of(tmp_path / "same", runs))
    for run, protocol in zip(runs, (OLD_WORDS, str(Protocol())), strict=True):
        run.metrics["protocol"] = protocol
    assert "protocols" not in table_text(frame_of(tmp_path / "reworded", runs))
    runs[0].metrics["protocol"] = "words"
    runs[1].metrics["protocol"] = "words\nties: worst order"
    text = table_text(frame_of(tmp_path / "other", runs))
    assert "these means combine records whose protocols differ in: ties: worst order." in text
    other = a_run("set1")
    other.metrics["protocol"] = "others"  # never averaged with set 2
    assert "protocols" not in table_text(frame_of(tmp_path / "apart", [runs[0], other]))


def test_a_table_says_that_seeds_were_averaged(tmp_path):
    runs = several("set2", [0.5, 0.6])
    assert "Seeds" not in table_text(frame_of(tmp_path / "one", runs))
    text = table_text(frame_of(tmp_path / "two", [*runs, a_run(seed=1)]))
    assert "Seeds of one split are averaged first." in text
    assert simple_text("seeds", read_records(tmp_path / "one" / "runs")) == ""


def test_seeds_are_shown_as_standard_deviations(tmp_path):
    runs = several("set2", [0.5, 0.6]) + several("set2", [0.54, 0.64], seed=1)
    text = simple_text("seeds", frame_of(tmp_path, runs))
    assert f"| set2 | mAP | 4 | 2 | {8**0.5:.1f} | {46**0.5:.1f} |" in text


def test_the_caption_names_quantised_weights_and_their_licence():
    run = of_row(weights_sha256=QUANTISED["resnet18"])
    text = caption([run])
    assert "resnet18 from product-quantised ImageNet weights, 15 epochs" in text
    assert "non-commercial licence" in text and "resnet18 from ImageNet" not in text


def test_every_verdict_stands_for_both_estimands_and_names_what_did_not_fit(tmp_path):
    runs = several("set1", [0.5] * 10, train=0.99)
    runs += several("set2", [0.51, 0.53] * 5, train=0.95)
    runs += several("set3", [0.51, 0.53] * 5, train=0.5)
    frame = frame_of(tmp_path, runs)
    text = verdicts_text(frame)
    row, ended = contrasts(frame).iloc[0], contrasts(frame).iloc[2]
    cells = ["1", "resnet18", "set2 - set1", "holds", "inconclusive", "10 (0 to 9)"]
    assert f"| {' | '.join(cells)} | {change(row)} | {change(row)} |" in text
    words = "resnet18 set3, splits 0 to 9, training rank-1 50.0 %"
    assert f"{change(row)} |  |" in text and f"{change(ended)} | {words} |" in text
    assert "| set3 - set2 | no verdict † | no verdict † |" in text
    assert change(row).endswith(", 10 of 10") and change(row).count("[") == 2
    assert "not corrected for multiple comparisons" in text
    assert "Not measured: claim 2, 4." in text
    assert "Compactness, not claim 3" in text and "Claim 3, viewpoint gap" in text


def test_a_claim_without_runs_is_reported_as_not_measured(tmp_path):
    text = verdicts_text(frame_of(tmp_path, [a_run()]))
    assert text == "Not measured: claim 1, 2, 3, 4.\n"


def test_the_planned_tests_are_shown_one_by_one_with_their_verdicts(tmp_path):
    rng = np.random.default_rng(0)
    runs = []
    for setting, mean in {"set1": 0.5, "set2": 0.6, "set3": 0.61, "htri": 0.4}.items():
        runs += likely(setting, mean + 0.02 * rng.normal(size=10))
    frame = frame_of(tmp_path, runs)
    text = primary_text(frame)
    family = primary_family(frame)
    for _, row in family.iterrows():
        assert f"| {row.contrast} | {row.over} | {row.score} | {change(row)} |" in text
        assert f"| {row.these_holm:.4f} |" in text or row.these_holm < 1e-4
    first = family.drop_duplicates(["over", "contrast"]).set_index("contrast")
    for contrast, part in first.groupby(level=0):
        shown = [part[name].iloc[at] for at in (0, 1) for name in ("these persons", "new persons")]
        assert f"| {contrast} | {' | '.join(shown)} |" in text
    assert primary_text(frame_of(tmp_path / "ours", [a_run()])) == ""


def test_one_split_differences_stand_beside_the_papers_gap(tmp_path):
    runs = several("set1", [0.5, 0.5]) + several("set2", [0.52, 0.56])
    runs += several("set1", [0.5], backbone="mobilenet_v2")
    runs += several("set2", [0.5], backbone="mobilenet_v2")
    text = simple_text("one-split", frame_of(tmp_path, runs))
    deviation = 2 * 2**0.5
    assert f"| resnet18 | set2 - set1 | rank-1 | 2 | +4.0 | {deviation:.1f} | +2.9 |  |" in text
    assert "| mobilenet_v2 | set2 - set1 | mAP | 1 | +0.0 |  |  |  |  |" in text


def test_a_number_that_rounds_to_zero_has_one_digit_more_where_it_has_a_sign():
    shown = [signed(x) for x in (-0.04, 0.04, -0.06, 0.0, -1e-12, 1.25, -0.001)]
    assert shown == ["-0.04", "+0.04", "-0.1", "+0.0", "+0.0", "+1.2", "-0.00"]
    assert signed(0.0004, 3) == "+0.0004"
    row = pd.Series({"difference": 0.19, "these_low": -0.01, "these_high": 0.4, "low": -0.5})
    row = pd.concat([row, pd.Series({"high": 0.8, "splits_above_zero": 7, "splits": 10})])
    assert change(row) == "+0.2 [-0.01, +0.4] [-0.5, +0.8], 7 of 10"


def test_the_planned_contrasts_are_judged_in_one_table_only(tmp_path):
    frame = frame_of(tmp_path, likely("set1", [0.5] * 10) + likely("set2", [0.6] * 10))
    text = verdicts_text(frame)
    assert "| 1 | resnet18" not in text and "primary.md" in text and "| 3 | resnet18" in text
    assert "Not measured: claim 2, 4." in text
    ours = verdicts_text(
        frame_of(tmp_path / "ours", several("set1", [0.5] * 2) + several("set2", [0.6] * 2))
    )
    assert "| 1 | resnet18" in ours and "primary.md" not in ours


def test_views_are_means_over_the_splits(tmp_path):
    runs = [a_run("set1"), a_run("set1", 1)]
    text = viewpoint_text(read_records(kept(tmp_path, runs) / "runs"))
    (line,) = (line for line in text.splitlines() if "| set1 |" in line)
    angles = []
    for run in runs:
        grid = pd.DataFrame(record(run)["viewpoint"])
        turn = view_angle(grid.query_orientation, grid.gallery_orientation)
        angles.append([grid.rank1.mean(), *grid.groupby(turn).rank1.mean()])
    shown = " | ".join(f"{100 * score:.1f}" for score in np.mean(angles, axis=0))
    assert line == f"| resnet18 | set1 | 2 (0, 1) | {shown} |"
