"""Means, paired differences, two estimands, verdicts, Holm's correction, noise between seeds."""

import doctest
import functools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from study_runs import a_run, frame_of, likely, several

from reid_lib.config import PAPER_TABLE
from reid_lib.study import records, statistics
from reid_lib.study.noise import detectable, one_split_differences, seed_noise
from reid_lib.study.records import DECIDING, read_records
from reid_lib.study.statistics import (
    CONTRASTS,
    contrasts,
    differences,
    gain,
    holm,
    judge_family,
    judged,
    means,
    not_fitted,
    prediction,
    primary_family,
    t_interval,
    verdict,
)
from reid_lib.study.tables import simple_text


def verdicts(frame):
    """(claim, contrast, score) or (claim, contrast) -> verdicts."""
    table = contrasts(frame)
    return {key: judged(part) for key, part in table.groupby(["claim", "contrast"], sort=False)}


def split_test(gains, test_over_train=1.0):
    """The corrected resampled t-test (Nadeau and Bengio 2003) of gains over splits, from its text.

    The p-value is that of Student's t by integrating its density.
    """
    n, mean, s = len(gains), np.mean(gains), np.std(gains, ddof=1)
    error = s * np.sqrt(1 / n + test_over_train)
    x = np.linspace(-1000, 1000, 2_000_001)
    density = (1 + x**2 / (n - 1)) ** (-n / 2)
    inside = density[abs(x) <= abs(mean) / error].sum() / density.sum()
    half = stats.t.ppf(0.975, n - 1) * error
    return {"difference": mean, "low": mean - half, "high": mean + half, "p": 1 - inside}


# --- intervals ------------------------------------------------------------------------------------


def test_for_these_persons_the_interval_is_student_s_t_as_scipy_has_it():
    values = np.random.default_rng(0).normal(1, 2, (7, 2))
    table = t_interval(pd.DataFrame(values, columns=["a", "b"]))
    for name, column in zip("ab", values.T, strict=True):
        test = stats.ttest_1samp(column, 0)
        low, high = test.confidence_interval()
        wanted = [column.mean(), low, high, test.pvalue]
        assert table.loc[name].tolist() == pytest.approx(wanted)


def test_two_splits_have_student_s_t_of_one_degree_of_freedom():
    row, test = t_interval(pd.DataFrame({"x": [1.0, 4.0]})).loc["x"], stats.ttest_1samp([1, 4], 0)
    assert [row.low, row.high] == pytest.approx(list(test.confidence_interval()))
    assert row.p == pytest.approx(test.pvalue)


def test_for_new_persons_the_interval_is_that_of_overlapping_splits(tmp_path):
    rng = np.random.default_rng(1)
    gains = pd.DataFrame(rng.normal(0, 1, (6, 2)), columns=["x", "y"])
    table = t_interval(gains, 17 / 57).rename(columns={"mean": "difference"})
    for name in gains:
        wanted = split_test(gains[name], 17 / 57)
        assert table.loc[name].to_dict() == pytest.approx(wanted, abs=1e-3)
    plain = t_interval(gains)
    assert (table.low < plain.low).all() and (table.p > plain.p).all()  # it is more careful


def test_only_the_interval_for_these_persons_shrinks_to_zero_with_more_splits():
    few, many = (pd.DataFrame({"x": [0.0, 2.0] * n}) for n in (5, 5000))
    width = [
        [t_interval(values, ratio).eval("high - low").x for values in (few, many)]
        for ratio in (0, 1)
    ]
    assert width[0][1] < width[0][0] / 20
    assert width[1][1] > 2 * 1.959  # that of one further split, whose s is 1


def test_one_split_has_a_mean_and_no_interval():
    row = t_interval(pd.DataFrame({"x": [0.0]}), 1.0).loc["x"]
    assert row["mean"] == 0 and row[["low", "high", "p"]].isna().all()


def test_splits_without_any_spread_have_an_interval_of_no_width():
    table = t_interval(pd.DataFrame({"x": [2.0, 2.0], "zero": [0.0, 0.0]}))
    assert table.low.tolist() == table.high.tolist() == [2, 0]
    assert table.p.tolist() == [0, 1]


def test_means_have_an_interval_for_each_estimand(tmp_path):
    values = [0.5, 0.6, 0.7]
    table = means(frame_of(tmp_path, [*several("set2", values), a_run("set1")]), ["mAP"])
    table = table.set_index("setting")
    assert table.loc["set2", "mean"] == pytest.approx(60)
    # Student's t of two degrees of freedom and s = 10; sqrt(1/3 + 1) where tests halve the data.
    for prefix, factor in (("these_", np.sqrt(1 / 3)), ("", np.sqrt(1 / 3 + 1))):
        half = 4.302653 * 10 * factor
        assert table.loc["set2", f"{prefix}low"] == pytest.approx(60 - half, abs=1e-3)
        assert table.loc["set2", f"{prefix}high"] == pytest.approx(60 + half, abs=1e-3)
    assert table.loc["set1", "splits"] == "1 (0)" and np.isnan(table.loc["set1", "low"])


def test_an_interval_is_narrower_where_fewer_persons_are_tested_than_trained(tmp_path):
    runs = several("set2", [0.5, 0.6, 0.7])
    for run in runs:
        run.manifest["persons"] = {"train": 25, "test": 12}
    table = means(frame_of(tmp_path, runs), ["mAP"]).iloc[0]
    half = 4.302653 * 10 * np.sqrt(1 / 3 + 12 / 25)
    assert table.high == pytest.approx(60 + half, abs=1e-3)


def test_differences_are_paired_by_split(tmp_path):
    runs = several("set2", [0.5, 0.7, 0.9]) + several("set1", [0.4, 0.65, 0.92, 0.1])
    frame = frame_of(tmp_path, runs)
    better, worse = (frame[frame.setting == name] for name in ("set2", "set1"))
    (line,) = differences([({}, better, worse)], ["mAP"]).to_dict("records")
    assert (line["splits"], line["splits_above_zero"]) == (3, 2)  # the fourth split has no partner
    wanted = split_test([10, 5, -2])
    for name in ("difference", "low", "high", "p"):
        assert line[name] == pytest.approx(wanted[name], abs=1e-3)
    test = stats.ttest_1samp([10, 5, -2], 0)
    assert line["these_p"] == pytest.approx(test.pvalue)
    assert line["split_list"] == "3 (0 to 2)" and line["values"] == pytest.approx([10, 5, -2])
    assert differences([({}, better, worse[worse.split == 3])], ["mAP"]).empty


def test_equal_scores_count_as_no_gain_and_means_keep_the_values_of_the_splits(tmp_path):
    runs = several("set2", [0.5, 0.6, 0.7]) + several("set1", [0.5, 0.5, 0.8])
    frame = frame_of(tmp_path, runs)
    pair = (frame[frame.setting == name] for name in ("set2", "set1"))
    assert differences([({}, *pair)], ["mAP"]).splits_above_zero.tolist() == [1]
    table = means(frame, ["rank-1", "mAP"])
    assert table.index.tolist() == [0, 1, 2, 3]
    (values,) = table["values"][(table.setting == "set2") & (table.score == "mAP")]
    assert values == pytest.approx([50, 60, 70])


def test_a_gain_is_a_score_from_which_differences_of_differences_are_taken(tmp_path):
    runs = several("set2", [0.5, 0.7, 0.9]) + several("set1", [0.4, 0.65])
    runs += several("set3", [0.6, 0.9], seed=1) + several("set3", [0.8, 0.9])
    part = dict(list(frame_of(tmp_path, runs).groupby("setting")))
    one = gain(part["set3"], part["set2"], ["mAP"])  # 70 - 50 and 90 - 70
    assert one["mAP"].tolist() == pytest.approx([20, 20]) and one.split.tolist() == [0, 1]
    other = gain(part["set2"], part["set1"], ["mAP"])  # 50 - 40 and 70 - 65
    (line,) = differences([({"name": "x"}, one, other)], ["mAP"]).to_dict("records")
    assert line["difference"] == pytest.approx((10 + 15) / 2) and line["name"] == "x"


def test_seeds_of_one_split_are_averaged_first(tmp_path):
    runs = [*several("set2", [0.5, 0.7]), *several("set2", [0.9, 0.9, 0.9], seed=1)[:1]]
    runs += several("set1", [0.4, 0.4])
    frame = frame_of(tmp_path, runs)
    assert means(frame[frame.setting == "set2"], ["mAP"])["mean"][0] == pytest.approx(70)
    better, worse = (frame[frame.setting == name] for name in ("set2", "set1"))
    line = differences([({}, better, worse)], ["mAP"]).iloc[0]
    assert line.splits == 2 and line.difference == pytest.approx(30)


# --- verdicts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bounds, words",
    [
        ([(1, 2), (0.5, 3)], "holds"),
        ([(1, 2), (-0.5, 3)], "inconclusive"),
        ([(1, 2), (-3, -0.5)], "inconclusive"),
        ([(-2, -1), (-3, -0.5)], "does not hold"),
        ([(-2, -1), (-3, 0.5)], "inconclusive"),
        ([(np.nan, np.nan)], "inconclusive"),
    ],
)
def test_a_verdict_needs_every_interval_on_one_side_of_zero(bounds, words):
    table = pd.DataFrame(bounds, columns=["low", "high"])
    assert verdict(table.low, table.high) == words


def test_each_claim_is_judged_on_the_network_that_it_speaks_of(tmp_path):
    runs = several("set1", [0.5, 0.51, 0.49]) + several("set2", [0.6, 0.61, 0.59])
    runs += several("set3", [0.3, 0.31, 0.29]) + several("htri", [0.55, 0.2, 0.9])
    runs += several("htri", [0.1, 0.1, 0.1], backbone="resnet50")
    runs += several("set1", [0.7, 0.71, 0.69], backbone="resnet50")
    runs += several("set1", [0.5, 0.5, 0.5], backbone="mobilenet_v2")
    runs += several("set2", [0.5, 0.5, 0.5], backbone="mobilenet_v2")
    frame = frame_of(tmp_path, runs)
    said = {key: both["new persons"] for key, both in verdicts(frame).items()}
    assert said["1", "set2 - set1"] == "holds"
    assert said["1", "set3 - set2"] == "does not hold"
    assert said["1", "set3 - htri"] == "inconclusive"
    assert said["2", "resnet18 - resnet50, htri"] == "inconclusive"
    assert said["2", "resnet18 - resnet50, set1"] == "does not hold"
    assert said["4", "set2 - set1"] == "inconclusive"  # a difference of exactly zero
    # The same codes throughout: no setting is nearer than another.
    assert said["3", "set2 - set1"] == "inconclusive"
    table = contrasts(frame).set_index(["claim", "contrast", "score"])
    row = table.loc["1", "set2 - set1", "deciding rank-1"]
    assert row[["difference", "low", "high"]].tolist() == pytest.approx([10, 10, 10])
    assert (row.splits_above_zero, row.splits) == (3, 3)


def test_contrasts_leave_out_changed_readings_and_other_numbers_of_training_persons(tmp_path):
    runs = several("set1", [0.5, 0.52, 0.51]) + several("set2", [0.6, 0.61, 0.63])
    wanted = contrasts(frame_of(tmp_path / "plain", runs))
    more = several("set2", [0.1] * 3, flip=False) + several("set2", [0.1] * 3, train_persons=57)
    more += several("set1", [0.9] * 3, flip=False) + several("set1", [0.9] * 3, train_persons=57)
    found = contrasts(frame_of(tmp_path / "more", runs + more))
    pd.testing.assert_frame_equal(found, wanted)
    assert set(wanted.better) == {1, -1} and wanted.index.tolist() == list(range(len(wanted)))


def test_a_score_without_an_interval_gives_no_verdict(tmp_path):
    part = pd.DataFrame({"better": [1, 1], "low": [1, np.nan], "high": [2, np.nan]})
    part = part.assign(these_low=part.low, these_high=part.high)
    assert set(judged(part).values()) == {"inconclusive"}


def test_the_two_estimands_can_give_two_verdicts(tmp_path):
    runs = several("set1", [0.5] * 10) + several("set2", [0.51, 0.53] * 5)
    both = verdicts(frame_of(tmp_path, runs))["1", "set2 - set1"]
    assert both == {"these persons": "holds", "new persons": "inconclusive"}


def with_angles(frame, curves):
    """The frame, with each setting's relative distances and rank-1 from 0 to 180 degrees."""
    frame = frame.copy()
    for setting, (gaps, at_zero, fall) in curves.items():
        rows = frame.setting == setting
        for column in ("near_0", "near_45", "near_90", "near_135", "near_180"):
            frame.loc[rows, column] = at_zero
        frame.loc[rows, "gap"] = gaps
        frame.loc[rows, "near_180"] += gaps
        frame.loc[rows, "rank1_drop"] = fall
    return frame


def test_claim_3_is_the_gap_between_opposite_and_equal_views_not_compactness(tmp_path):
    runs = [a_run(name, k) for name in ("set1", "set2", "htri") for k in range(3)]
    frame = frame_of(tmp_path, runs)
    # Nearer than set 1 at every angle, but by a wider gap; further than htri by a smaller one.
    curves = {"set1": (0.10, 0.6, 20.0), "set2": (0.12, 0.4, 18.0), "htri": (0.2, 0.1, 18.0)}
    table = contrasts(with_angles(frame, curves)).set_index(["claim", "contrast", "score"])
    said = {
        (claim, contrast, score): judged(table.loc[[(claim, contrast, score)]])["new persons"]
        for claim, contrast, score in table.index
    }
    assert said["3", "set2 - set1", "gap"] == "does not hold"
    assert said["3", "set2 - htri", "gap"] == "holds"
    assert said["3", "set2 - set1", "rank1_drop"] == "holds"
    assert said["3", "set2 - htri", "rank1_drop"] == "inconclusive"
    assert said["compactness", "set2 - set1", "near_0"] == "holds"
    assert said["compactness", "set2 - htri", "near_0"] == "does not hold"
    assert table.loc["3", "set2 - set1", "gap"].difference == pytest.approx(0.02)


def test_the_same_shift_at_every_angle_does_not_move_claim_3(tmp_path):
    runs = [a_run(name, k) for name in ("set1", "set2") for k in range(3)]
    frame = frame_of(tmp_path, runs)
    for shift in (-0.3, 0.0, 0.3):
        moved = with_angles(frame, {"set1": (0.1, 0.5, 9.0), "set2": (0.1, 0.5 + shift, 9.0)})
        table = contrasts(moved)
        gap = table[table.score == "gap"].iloc[0]
        assert gap.difference == pytest.approx(0, abs=1e-12)


def test_runs_that_did_not_fit_their_training_persons_are_named_where_they_are_used(tmp_path):
    runs = several("set1", [0.5, 0.5], train=0.99) + several("set2", [0.6, 0.6], train=0.99)
    runs += [a_run("set3", 0, 0.4, train=0.899), a_run("set3", 1, 0.4, train=0.9)]
    table = contrasts(frame_of(tmp_path, runs)).set_index(["contrast", "score"]).unfitted
    assert table["set2 - set1", "deciding mAP"] == ""
    words = "resnet18 set3, split 0, training rank-1 89.9 %"
    assert table["set3 - set2", "deciding mAP"] == words
    frame = read_records(tmp_path / "runs")
    assert not_fitted(frame) == words
    frame.loc[frame.setting == "set3", "deciding train rank-1"] = [12.34, 56.78]
    ends = "resnet18 set3, splits 0, 1, training rank-1 12.3 % to 56.8 %"
    assert not_fitted(frame) == ends


def test_a_contrast_with_an_underfitted_run_has_no_verdict(tmp_path):
    runs = several("set1", [0.5, 0.51, 0.5], train=0.99)
    runs += several("set2", [0.6, 0.6, 0.61], train=0.99) + several(
        "set3", [0.7, 0.7, 0.71], train=0.5
    )
    table = contrasts(frame_of(tmp_path, runs)).set_index("contrast")
    assert set(table.loc["set2 - set1", "these persons"]) >= {"holds"}
    for estimand in statistics.ESTIMANDS:
        assert set(table.loc[["set3 - set2", "set3 - set1"], estimand]) == {"no verdict †"}


# --- the planned tests ----------------------------------------------------------------------------


def test_holm_equals_a_worked_example_and_bounds():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1; the last is raised to the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1, 1]
    assert holm([0.02, np.nan])[0] == pytest.approx(0.04)  # what is missing counts as a test


def test_holm_rejects_what_its_step_down_procedure_rejects():
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = rng.uniform(0, 0.1, rng.integers(1, 9))
        rejected, order = set(), np.argsort(p)
        for step, which in enumerate(order):
            if p[which] > 0.05 / (len(p) - step):
                break
            rejected.add(which)
        assert set(np.flatnonzero(holm(p) <= 0.05)) == rejected
        assert (holm(p) >= p).all() and (holm(p) <= len(p) * p + 1e-12).all()


def planned_runs(tmp_path, **scores):
    rng = np.random.default_rng(0)
    runs = []
    for setting, mean in scores.items():
        runs += likely(setting, mean + 0.01 * rng.standard_normal(10))
    return frame_of(tmp_path, runs)


def test_the_planned_tests_are_eight_over_all_splits_and_over_splits_2_to_9(tmp_path):
    frame = planned_runs(tmp_path, htri=0.5, set1=0.6, set2=0.7, set3=0.65)
    family = primary_family(frame)
    assert len(family) == 16 and set(family.splits) == {10, 8}
    first = family[family.over == "all splits"]
    assert first.contrast.tolist() == [f"{a} - {b}" for a, b in CONTRASTS for _ in range(2)]
    assert first.these_holm.to_numpy() == pytest.approx(holm(first.these_p))
    assert first.holm.to_numpy() == pytest.approx(holm(first.p))
    said = first.drop_duplicates("contrast").set_index("contrast")
    assert said["these persons"].to_dict() == {
        "set2 - set1": "holds",
        "set3 - set2": "does not hold",
        "set3 - set1": "holds",
        "set3 - htri": "holds",
    }
    rest = family[family.over == "splits 2 to 9"].set_index(["contrast", "score"])
    row = frame[(frame.split > 1) & frame.setting.isin(["set2", "set1"])]
    gains = row.pivot(index="split", columns="setting", values="unit last epochs mAP")
    wanted = stats.ttest_1samp(gains.set2 - gains.set1, 0).pvalue
    assert rest.loc[("set2 - set1", "mAP"), "these_p"] == pytest.approx(wanted)


def test_other_seeds_readings_weights_and_choices_are_not_in_the_planned_tests(tmp_path):
    runs = likely("set1", [0.5, 0.52, 0.51]) + likely("set2", [0.6, 0.61, 0.63])
    wanted = primary_family(frame_of(tmp_path / "plain", runs))
    more = likely("set2", [0.1, 0.1, 0.1], seed=1) + several("set2", [0.1] * 3, unit=0.1)
    more += likely("set2", [0.1, 0.1, 0.1], weights_sha256="torchvision")
    more += likely("set2", [0.1, 0.1, 0.1], schedule="constant")
    more += likely("set2", [0.1, 0.1, 0.1], train_persons=57)
    more += likely("set2", [0.1, 0.1, 0.1], backbone="resnet50")
    found = primary_family(frame_of(tmp_path / "more", runs + more))
    pd.testing.assert_frame_equal(found, wanted)
    assert primary_family(frame_of(tmp_path / "ours", several("set2", [0.5, 0.6]))).empty


def test_a_planned_contrast_has_no_verdict_before_all_its_splits_and_still_counts(tmp_path):
    rng = np.random.default_rng(0)
    runs = [r for s in ("set1", "set2") for r in likely(s, 0.5 + 0.01 * rng.normal(size=3))]
    family = primary_family(frame_of(tmp_path, runs))
    family = family[family.over == "all splits"].set_index(["contrast", "score"])
    said = family["new persons"]
    assert set(said.loc["set3 - htri"]) == {"not yet measured (0 of 10 splits)"}
    assert set(said.loc["set2 - set1"]) == {"not yet measured (3 of 10 splits)"}
    row = family.loc["set2 - set1"].sort_values("p").iloc[0]
    assert row.holm == pytest.approx(min(1, 8 * row.p))


def test_no_contrast_of_the_planned_runs_has_a_verdict_before_all_its_splits(tmp_path):
    rng = np.random.default_rng(0)
    runs = [r for s in ("set1", "set2") for r in likely(s, 0.5 + 0.01 * rng.normal(size=9))]
    runs += several("set1", [0.5] * 3) + several("set2", [0.6] * 3)
    table = contrasts(frame_of(tmp_path, runs))
    ours = table.network.str.contains("likely")
    for estimand in statistics.ESTIMANDS:
        assert set(table[estimand][ours]) == {"not yet measured (9 of 10 splits)"}
        assert not table[estimand][~ours].str.contains("measured").any()
    assert {"1", "3", "compactness"} == set(table.claim[ours])


def test_all_planned_splits_are_enough_for_a_verdict_of_every_contrast(tmp_path):
    frame = planned_runs(tmp_path, set1=0.5, set2=0.6)
    table = contrasts(frame)
    assert set(table.splits) == {10}
    for estimand in statistics.ESTIMANDS:
        assert not table[estimand].str.contains("not yet").any()


@pytest.mark.parametrize(
    "gains, p, said",
    [
        ([1, 2], [0.001, 0.02], "holds"),
        ([1, 2], [0.001, 0.05], "inconclusive"),  # corrected, 0.05 is not below 0.05
        ([-1, -2], [0.001, 0.02], "does not hold"),
        ([-1, -2], [0.001, 0.5], "inconclusive"),
        ([1, -2], [0.001, 0.001], "inconclusive"),
        ([1, 2], [0.5, 0.6], "inconclusive"),
    ],
)
def test_a_family_is_judged_by_its_signs_where_both_corrected_p_values_are_small(gains, p, said):
    scores = {"1": "rank-1", "2": "mAP"}
    tests = {"contrast": "c", "score": list(scores), "difference": gains, "p": p, "these_p": p}
    table = pd.DataFrame(tests | {"splits": 3, "unfitted": ""})
    judge = functools.partial(judge_family, table, scores=scores, words=("holds", "does not hold"))
    family = judge(contrast={"contrast": ["c"]}, wanted={"c": 3})
    assert family.score.tolist() == ["rank-1", "mAP"]
    assert set(family["these persons"]) == set(family["new persons"]) == {said}
    family = judge(contrast={"contrast": ["c"]}, wanted={"c": 4})
    assert set(family["new persons"]) == {"not yet measured (3 of 4 splits)"}
    family = judge(contrast={"contrast": ["c", "d"]}, wanted={"c": 3, "d": 2}).set_index("contrast")
    assert set(family.loc["d", "new persons"]) == {"not yet measured (0 of 2 splits)"}
    assert family.holm["c"].min() == pytest.approx(min(4 * min(p), 1))  # unmeasured count


def test_one_score_alone_does_not_make_a_planned_contrast_hold(tmp_path):
    frame = planned_runs(tmp_path, set1=0.5, set2=0.6)
    frame.loc[frame.setting == "set2", "unit last epochs mAP"] -= 10
    family = primary_family(frame).set_index("contrast")
    assert set(family.loc["set2 - set1", "these persons"]) == {"inconclusive"}


@pytest.mark.parametrize(
    "make, shift, said",
    [
        (several, -0.2, "confirmed"),
        (several, 0.2, "refuted"),
        (several, 0.0, "inconclusive"),
        (likely, -0.2, "refuted"),
        (likely, 0.2, "not refuted"),
        (likely, 0.0, "not refuted"),
    ],
)
def test_the_planned_prediction_is_judged_by_its_rule(tmp_path, make, shift, said):
    noise = np.array([0.01, -0.01, 0.0, 0.02, -0.02, 0.3])  # split 5 is not of the plan
    runs = make("set2", [0.5] * 6) + make("set3", [0.6] * 6)
    runs += make("set2", [0.5] * 6, train_persons=57)
    runs += make("set3", 0.6 + shift + noise, train_persons=57)
    frame = frame_of(tmp_path, runs)
    table = prediction(frame)
    assert set(table.said) == {said} and set(table.splits) == {5}
    test = stats.ttest_1samp(100 * (shift + noise[:5]), 0)
    low, high = test.confidence_interval()
    assert table.these_low.to_numpy() == pytest.approx([low, low])
    assert table.these_high.to_numpy() == pytest.approx([high, high])
    assert f" | {said} |" in simple_text("prediction", frame)
    assert prediction(frame[frame.train_persons.isna()]).empty
    few = prediction(frame[frame.split < 4])
    assert set(few.said) == {"not yet measured (4 of 5 splits)"}


def test_the_prediction_asks_for_intervals_that_exclude_zero(tmp_path):
    noise = np.array([0.01, -0.01, 0.0, 0.02, -0.02])
    runs = several("set2", [0.5] * 5) + several("set3", [0.6] * 5)
    runs += several("set2", [0.5] * 5, train_persons=57)
    runs += several("set3", 0.6 - 0.0148 + noise, train_persons=57)
    table = prediction(frame_of(tmp_path, runs))
    assert (table.these_high > 0).all() and (table.these_high < 1).all()  # in points
    assert set(table.said) == {"inconclusive"}
    runs[-5:] = several("set3", 0.6 + 0.0248 + noise, train_persons=57)
    table = prediction(frame_of(tmp_path / "up", runs))
    assert (table.these_low > 0).all() and (table.these_low < 1).all()
    assert set(table.said) == {"refuted"}


# --- noise ----------------------------------------------------------------------------------------


def test_seed_noise_is_the_analysis_of_variance_by_hand(tmp_path):
    # Splits (50, 54), (60, 64): within 8 = (4 + 4 + 4 + 4) / 2; between square 2 x 2 x 25 = 100.
    runs = several("set2", [0.5, 0.6]) + several("set2", [0.54, 0.64], seed=1)
    runs += several("set1", [0.5, 0.6])  # one seed
    (line,) = seed_noise(frame_of(tmp_path, runs), ["mAP"]).to_dict("records")
    assert (line["setting"], line["runs"], line["splits"]) == ("set2", 4, 2)
    assert line["within"] ** 2 == pytest.approx(8)
    assert line["between"] ** 2 == pytest.approx((100 - 8) / 2)


def test_seed_noise_finds_the_variances_that_made_the_data_also_where_seeds_are_missing():
    rng = np.random.default_rng(0)
    lines = []
    for split in range(400):
        own = rng.normal(0, 3)
        lines += [{"split": split, "mAP": own + rng.normal(0, 2)} for _ in range(split % 3 + 1)]
    frame = pd.DataFrame(lines).assign(network="n", setting="set2", changed="")
    line = seed_noise(frame, ["mAP"]).iloc[0]
    assert line["within"] ** 2 == pytest.approx(4, rel=0.15)
    assert line["between"] ** 2 == pytest.approx(9, rel=0.15)


def test_splits_that_differ_less_than_seeds_have_no_variance_of_their_own(tmp_path):
    runs = several("set2", [0.5, 0.5]) + several("set2", [0.6, 0.6], seed=1)
    (line,) = seed_noise(frame_of(tmp_path, runs), ["mAP"]).to_dict("records")
    assert line["between"] == 0


def test_three_seeds_on_one_split_of_two_weigh_as_the_analysis_of_variance_says(tmp_path):
    runs = several("set2", [0.5, 0.6]) + [
        a_run("set2", 0, r, seed=s) for s, r in ((1, 0.52), (2, 0.54))
    ]
    (line,) = seed_noise(frame_of(tmp_path, runs), ["mAP"]).to_dict("records")
    # Seeds 50, 52, 54 of one split, 60 of the other: grand mean 54; n0 = (4 - 10 / 4) / 1.
    within, square = 8 / 2, 3 * 2**2 + 6**2
    assert line["within"] ** 2 == pytest.approx(within)
    assert line["between"] ** 2 == pytest.approx((square - within) / 1.5)


def test_the_power_counts_both_tails():
    for splits, power in ((3, 0.06), (5, 0.1), (10, 0.8)):
        noncentrality = splits * detectable(1.0, splits, power) ** 2  # of the F test, t squared
        bound = stats.f.ppf(0.95, 1, splits - 1)
        assert stats.ncf.sf(bound, 1, splits - 1, noncentrality) == pytest.approx(power, abs=1e-5)


def test_a_difference_of_the_detectable_size_is_found_with_the_wanted_power():
    rng = np.random.default_rng(0)
    for splits, power in ((5, 0.8), (10, 0.8), (10, 0.5)):
        shift = detectable(2.0, splits, power)
        draws = rng.normal(shift, 2.0, (20_000, splits))
        found = stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05
        assert found.mean() == pytest.approx(power, abs=0.01)


def test_the_detectable_difference_scales_with_the_deviation_and_shrinks_with_splits():
    assert detectable(4.0, 6) == pytest.approx(2 * detectable(2.0, 6))
    sizes = [detectable(1.0, n) for n in (2, 3, 5, 10, 100)]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] == pytest.approx(0.28, abs=0.01)
    with pytest.raises(ValueError, match="1 split"):
        detectable(1.0, 1)


def test_one_split_differences_take_one_training_each_beside_the_papers_gap(tmp_path):
    runs = several("set1", [0.5, 0.5, 0.5]) + several("set2", [0.51, 0.54, 0.53])
    runs += several("set2", [0.9, 0.9, 0.9], seed=1)  # not the paper's one training
    runs += several("set1", [0.5, 0.5], backbone="mobilenet_v2")
    runs += several("set2", [0.5, 0.6], backbone="mobilenet_v2")
    table = one_split_differences(frame_of(tmp_path, runs))
    ours = table[table.network.str.startswith("resnet18")].set_index("score")
    assert ours.loc["mAP", "values"] == pytest.approx([1, 4, 3])
    assert ours.loc["mAP", "sd"] == pytest.approx(np.std([1, 4, 3], ddof=1))
    gap = PAPER_TABLE["set2"]["mAP"] - PAPER_TABLE["set1"]["mAP"]
    assert ours.loc["mAP", "paper"] == pytest.approx(gap) == pytest.approx(2.0)
    assert ours.loc["mAP", "detectable"] == pytest.approx(detectable(ours.loc["mAP", "sd"], 3))
    assert ours.than_paper.tolist() == ["", ""]  # the interval for these persons is wide
    near = several("set1", [0.5] * 3) + several("set2", [0.51, 0.5101, 0.5102])
    near += several("set3", [0.6, 0.6001, 0.6002])
    near = one_split_differences(frame_of(tmp_path / "near", near)).set_index("contrast")
    assert set(near.than_paper["set2 - set1"]) == {"smaller"}  # 1.0 against 2.9 and 2.0
    assert set(near.than_paper["set3 - set2"]) == {"larger"}  # 9.0 against 1.3 and 3.3
    others = table[table.network.str.startswith("mobilenet")]
    assert others.paper.isna().all() and set(others.than_paper) == {""}
    assert others.paper.isna().all() and len(others) == len(DECIDING)
    assert others.detectable.notna().all()  # two splits are enough
    one = one_split_differences(frame_of(tmp_path / "one", runs[:1] + runs[3:4]))
    assert one.detectable.isna().all() and len(one) == len(DECIDING)


@pytest.mark.parametrize("module", [records, statistics])
def test_the_examples_in_docstrings_run(module):
    done = doctest.testmod(module)
    assert done.attempted and not done.failed
