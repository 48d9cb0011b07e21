"""What open choices, the scatter loss, recipes and other ways of scoring change."""

import pytest
from study_runs import a_run, frame_of, kept, likely, several

from reid_lib.study.choices import (
    choices_text,
    effects,
    orders,
    recipes_text,
    scatter_study,
    scatter_text,
    scoring_text,
)
from reid_lib.study.records import read_records
from reid_lib.study.summary import write_report


def test_an_effect_is_paired_with_the_default_reading_of_its_setting(tmp_path):
    runs = several("set2", [0.5, 0.6]) + several("set2", [0.4, 0.45], centres="batch")
    runs += several("set3", [0.45, 0.45]) + several("set3", [0.65, 0.65], gamma=1e-7)
    table = effects(read_records(kept(tmp_path, runs) / "runs"), ["mAP"])
    assert table.setting.tolist() == ["set3", "set2"]  # the larger effect first
    assert table.choice.tolist() == ["gamma=1e-07", "centres=batch"]
    assert table.difference.tolist() == pytest.approx([20, -12.5])
    assert table.splits_above_zero.tolist() == [2, 0]
    text = choices_text(read_records(tmp_path / "runs"))
    assert "| centres=batch | -12.5 [-" in text
    with pytest.raises(ValueError, match="unchanged reading"):
        effects(read_records(kept(tmp_path / "plain", [a_run()]) / "runs"), ["mAP"])


def test_settings_are_compared_under_each_choice_that_they_have_in_common(tmp_path):
    together = {"centres": "batch", "batches": "pk"}
    runs = several("set1", [0.5, 0.5]) + several("set1", [0.7, 0.7], batches="pk")
    runs += several("set1", [0.1, 0.1], crop="enlarge")  # set 2 was not run with it
    runs += several("set2", [0.6, 0.6]) + several("set2", [0.65, 0.66], **together)
    runs += several("set2", [0.55, 0.55], memory_update="after")
    frame = read_records(kept(tmp_path, runs) / "runs")
    table = orders(frame, ["mAP"]).set_index("choice")
    assert set(table.contrast) == {"set2 - set1"}
    assert table.difference.to_dict() == pytest.approx(
        {
            "": 10,
            "memory_update=after": 5,  # set 1 has no centres
            "centres=batch, batches=pk": -4.5,
        }
    )
    text = choices_text(frame)
    assert "| unchanged | +10.0 [+10.0, +10.0], 2 of 2 |" in text
    assert "set2 - set1: mAP" in text


def test_the_scatter_loss_is_judged_beside_set_2_by_its_share_in_the_gradient(tmp_path):
    runs = several("set2", [0.5, 0.6]) + several("set3", [0.4, 0.45])
    runs += several("set3", [0.55, 0.68], gamma=0.1, scatter="log")
    runs += several("set3", [0.1, 0.1], crop="none")  # of another choice
    table = scatter_study(read_records(kept(tmp_path, runs) / "runs")).set_index("scatter")
    assert table.index.tolist() == ["sum", "log"]  # the paper's form first
    assert table.difference.tolist() == pytest.approx([-12.5, 6.5])
    assert table.loc["log", "splits_above_zero"] == 2
    assert table["first ratio"].tolist() == pytest.approx([0.2, 0.2])
    assert table["last ratio"].tolist() == pytest.approx([3, 3])
    assert table.growth.tolist() == pytest.approx([1.4, 1.4])
    assert table.default.tolist() == [True, False]
    frame = read_records(tmp_path / "runs")
    assert "underfitted" not in scatter_text(frame)
    frame.loc[frame.scatter == "log", "deciding train rank-1"] = [50.0, 95.0]
    lines = scatter_text(frame).splitlines()
    assert lines[0].endswith("| underfitted runs |") and lines[2].endswith("|  |")
    assert lines[3].endswith("| resnet18 set3, split 0, training rank-1 50.0 % |")
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
    assert (
        "settings with the same initial weights" not in text
    )  # no set 2 stands as it is by default
    more = several("set2", [0.7, 0.8], validation=True)
    text = recipes_text(read_records(kept(tmp_path / "more", runs + more) / "runs"))
    pair = text.split("settings with the same initial weights")[1].split("Test persons")[0]
    assert "set2 - set1: rank-1 | set2 - set1: mAP" in pair and "+30.0 [" in pair
    more += several("set2", [0.7, 0.8], validation=True, start="file")
    more += several("set3", [0.7, 0.8], validation=True, start="file")
    text = recipes_text(read_records(kept(tmp_path / "three", runs + more) / "runs"))
    assert "nan" not in text  # set 3 from one start alone
    # Set 1 has 70, sets 2 and 3 have 75 on average.
    assert "the 3 recipes from weights from a file lie within 5.0 and 5.0 points" in text
    assert "minus set 2" not in text  # on test persons it was trained from neither start
    more += several("set2", [0.6, 0.7]) + several("set2", [0.75, 0.8], start="file")
    text = recipes_text(read_records(kept(tmp_path / "test", runs + more) / "runs"))
    assert "from ImageNet weights is +12.5 [" in text and ", 2 of 2, in rank-1 and mAP." in text
    assert write_report(tmp_path)[1].name == "recipes.md"


def test_other_ways_of_scoring_are_differences_within_a_run(tmp_path):
    run = a_run("set1")
    worse = dict.fromkeys(run.metrics["test"]["A->B"], 0.4)
    run.metrics["test"] = {**run.metrics["test"], "B->A": worse}
    frame = read_records(kept(tmp_path, [run]) / "runs")
    (line,) = (line for line in scoring_text(frame).splitlines() if "| set1 |" in line)
    assert line.count("-10.0, 0 of 1") == 2 and line.count("+0.0, 0 of 1") == 3


def test_choices_of_the_likely_reading_are_compared_with_the_likely_reading(tmp_path):
    runs = likely("set2", [0.5, 0.6]) + likely("set2", [0.4, 0.45], schedule="constant")
    runs += likely("set3", [0.5, 0.6]) + likely("set3", [0.7, 0.75], schedule="constant")
    frame = frame_of(tmp_path, runs)
    table = effects(frame, ["deciding mAP"]).set_index("setting")
    assert set(table.choice) == {"schedule=constant"}
    assert table.difference.to_dict() == pytest.approx({"set2": -12.5, "set3": 17.5})
    order = orders(frame, ["deciding mAP"]).set_index("choice")
    assert order.difference.to_dict() == pytest.approx({"": 0, "schedule=constant": 30})


def test_seeds_of_one_split_count_once_in_a_recipe_and_in_an_effect(tmp_path):
    runs = several("set2", [0.5, 0.6]) + several("set2", [0.6, 0.7], centres="batch")
    runs += several("set2", [0.9], centres="batch", seed=1)
    table = effects(frame_of(tmp_path, runs), ["mAP"])
    assert table.difference.tolist() == pytest.approx([(25 + 10) / 2])
    assert table.splits.tolist() == [2]
