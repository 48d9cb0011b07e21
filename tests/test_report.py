"""Tables from runs, the README's generated parts, and agreement across views."""

import numpy as np
import pandas as pd
import pytest
from reid_lib.report import (
    SCORES,
    agreement_by_angle,
    caption,
    expected_scores,
    figure_folders,
    refresh_readme,
    table1,
    table_texts,
    viewpoint_table,
)

from reid_lib.config import PAPER_TABLE, RunConfig, load_preset
from reid_lib.runs import Run


def a_run(row="set3", split=0, rank1=0.5, persons=(24, 24), **config) -> Run:
    """A run that exists only in memory, all scores alike."""
    run = Run(None)
    scores = dict.fromkeys((*SCORES, "mAP_market", "mINP"), rank1)
    directions = dict.fromkeys(("A->B", "B->A", "both"), scores)
    setting = row if row.startswith("set") else "htri"
    run.__dict__["config"] = RunConfig(row=row, setting=setting, split=split, epochs=15, **config)
    run.__dict__["metrics"] = {
        "protocol": "words",
        "test": directions,
        "train": directions,
        "last_epochs": {"epochs": 1, "A->B": scores},
    }
    run.__dict__["manifest"] = {"persons": dict(zip(("train", "test"), persons, strict=True))}
    return run


def test_the_paper_stands_beside_but_is_compared_only_on_its_own_114_persons():
    table = table1([a_run("set1", rank1=0.6), a_run("set3", rank1=0.7)])
    assert list(table.columns.levels[0]) == ["measured", "paper"]
    assert table.loc["set3", ("measured", "rank-1")] == pytest.approx(70)
    assert table.loc["set3", ("paper", "rank-1")] == PAPER_TABLE["set3"]["rank-1"]
    whole = table1([a_run("set3", rank1=0.7, persons=(57, 57))])
    assert whole.loc["set3", ("difference", "rank-1")] == pytest.approx(70 - 71.5)


def test_several_splits_give_mean_and_standard_deviation():
    table = table1([a_run(split=k, rank1=r) for k, r in enumerate((0.5, 0.6, 0.7))])
    assert table.loc["set3", ("measured", "mAP")] == pytest.approx(60)
    assert table.loc["set3", ("sd", "mAP")] == pytest.approx(10)


def test_rows_that_the_paper_lacks_have_no_paper_column():
    assert "paper" not in table1([a_run("mine_htri")]).columns.levels[0]


def test_every_format_holds_every_number_and_the_best_is_bold():
    table = table1([a_run("set1", rank1=0.612), a_run("set3", rank1=0.734)])
    texts = table_texts(table, "a note")
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
    assert all("a note" in texts[kind] for kind in ("md", "tex", "html"))


def test_names_from_outside_stay_text_in_every_format():
    table = table1([a_run("set3")]).rename(index={"set3": "<img onerror=x>_"})
    texts = table_texts(table, "<b>note</b>")
    assert "<img" not in texts["html"] and "<b>note" not in texts["html"]
    assert r"x>\_" in texts["tex"]


def test_the_caption_says_what_was_run():
    text = caption([a_run(start="random"), a_run("resnet50_htri", backbone="resnet50")])
    assert "24 persons to train, 24 to test" in text
    assert "resnet18 from random weights, 15 epochs" in text
    assert "resnet50 from ImageNet weights" in text
    assert "split 0; camera A to B" in text
    assert "a random order of the gallery has rank-1 4.2" in text
    assert "mean and standard deviation of 2 splits 0, 1" in caption([a_run(), a_run(split=1)])


def test_pixels_of_real_people_stay_under_results(tmp_path):
    embedded, real = load_preset("demo"), load_preset("pku", data=tmp_path)
    assert figure_folders(embedded, "r")[1].parts[1] == "figures"
    plain, pixels = figure_folders(real, "r")
    assert plain.parts == ("r", "figures", "pku")
    assert pixels.parts == ("r", "results", "pku", "figures")


def test_a_tolerance_is_three_deviations_but_at_least_five_points():
    seeds = [[a_run("set1", rank1=r), a_run("set2", rank1=0.5)] for r in (0.4, 0.5, 0.6)]
    expected = expected_scores(seeds)
    assert expected["set1"]["rank-1"] == [50.0, 30.0]
    assert expected["set2"]["mAP"] == [50.0, 5.0]


def test_the_readme_takes_over_each_named_file(tmp_path):
    readme = tmp_path / "README.md"
    (tmp_path / "t.md").write_text("| new |\n")
    (tmp_path / "out.txt").write_text("done\n")
    marks = "a\n<!-- from t.md -->\nold\n<!-- end -->\nb\n<!-- from out.txt -->\n<!-- end -->\nc\n"
    readme.write_text(marks)
    assert refresh_readme(readme)
    assert readme.read_text() == (
        "a\n<!-- from t.md -->\n| new |\n<!-- end -->\nb\n"
        "<!-- from out.txt -->\n```text\ndone\n```\n<!-- end -->\nc\n"
    )
    assert not refresh_readme(readme)
    readme.write_text("<!-- from none.md -->\n<!-- end -->")
    with pytest.raises(ValueError, match=r"none\.md"):
        refresh_readme(readme)


def test_agreement_by_angle_equals_a_slow_loop():
    rng = np.random.default_rng(0)
    views = [(p, c, o) for p in range(4) for c in (1, 2) for o in range(1, 9)]
    pids, camids, orientations = map(np.array, zip(*views, strict=True))
    codes = rng.normal(size=(64, 3)) + pids[:, None]
    run = Run(None)
    run.__dict__["codes"] = {
        "codes": codes, "pids": pids, "camids": camids, "orientations": orientations
    }  # fmt: skip
    pairs = []
    for a in range(64):
        for b in range(64):
            if camids[a] == 1 and camids[b] == 2:
                turn = abs(orientations[a] - orientations[b])
                angle = 45 * min(turn, 8 - turn)
                pairs.append((pids[a] == pids[b], angle, np.linalg.norm(codes[a] - codes[b])))
    pairs = pd.DataFrame(pairs, columns=["same", "angle", "distance"])
    expected = (
        pairs[pairs.same].groupby("angle").distance.mean() / pairs[~pairs.same].distance.mean()
    )
    found = agreement_by_angle(run)
    assert found.value.to_numpy() == pytest.approx(expected.to_numpy())
    assert ((found.low < found.value) & (found.value < found.high)).all()


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
    assert "b: 3 to 7 (0.0), " in lines[-1]
