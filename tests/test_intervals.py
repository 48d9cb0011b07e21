"""Intervals over persons, and a test between two runs."""

import numpy as np
import pandas as pd
import pytest
from galleries import people, sides

from reid_lib.metrics import bootstrap, evaluate, paired_test


def test_the_interval_is_that_of_a_slow_bootstrap_over_persons():
    codes, pids, camids, _ = people(spread=2.5)
    frame = evaluate(*sides(codes, pids, camids)).per_query
    table = bootstrap(frame, ["AP", "rank-1"], draws=4000, seed=1)
    rng = np.random.default_rng(2)
    groups = [g[["AP", "rank-1"]].to_numpy() for _, g in frame.groupby("pid")]
    slow = [
        np.concatenate([groups[i] for i in rng.integers(0, 12, 12)]).mean(0) for _ in range(4000)
    ]
    low, high = np.quantile(slow, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(table["low"], low, atol=0.01)
    np.testing.assert_allclose(table["high"], high, atol=0.01)
    assert table["estimate"].to_dict() == pytest.approx(frame[["AP", "rank-1"]].mean().to_dict())
    pd.testing.assert_frame_equal(table, bootstrap(frame, ["AP", "rank-1"], draws=4000, seed=1))


def test_drawing_persons_widens_the_interval_over_drawing_images():
    codes, pids, camids, _ = people(persons=20, images=8, spread=2.5)
    frame = evaluate(*sides(codes, pids, camids)).per_query
    persons = bootstrap(frame, ["AP"]).loc["AP"]
    images = bootstrap(frame.assign(pid=np.arange(len(frame))), ["AP"]).loc["AP"]
    assert persons["high"] - persons["low"] > 1.2 * (images["high"] - images["low"])


def test_both_directions_weigh_the_same_in_the_interval():
    frame = pd.DataFrame(
        {"pid": [0, 1, 0, 1, 1, 1], "direction": list("aabbbb"), "AP": [1.0, 1, 0, 0, 0, 0]}
    )
    assert bootstrap(frame, ["AP"]).loc["AP", "estimate"] == 0.5


def test_intervals_need_two_persons_and_known_columns():
    frame = pd.DataFrame({"pid": [3, 3], "AP": [0.5, 1.0]})
    with pytest.raises(ValueError, match=r"1 person\(s\)"):
        bootstrap(frame)
    with pytest.raises(ValueError, match="mAP"):
        bootstrap(frame, ["mAP"])


def test_the_paired_test_finds_a_shift_and_no_more_in_noise_than_its_level():
    rng = np.random.default_rng(7)
    pids = np.repeat(np.arange(30), 4)
    base = pd.DataFrame({"pid": pids, "camid": 0, "AP": rng.uniform(0.3, 0.7, 120)})
    better = base.assign(AP=base["AP"] + 0.05 + 0.05 * rng.normal(size=30)[pids])
    table = paired_test(base, better, draws=2000)
    assert table.loc["AP", "p"] < 0.01 and table.loc["AP", "low"] > 0
    assert paired_test(base, base, draws=200).loc["AP", "p"] == 1.0
    false = 0
    for seed in range(100):  # a whole person shifts together: a test by query would find too much
        shift = np.random.default_rng(seed).normal(size=30)[pids]
        p = paired_test(base, base.assign(AP=base["AP"] + shift), draws=200, seed=seed)
        false += p.loc["AP", "p"] <= 0.05
    assert false <= 12


def test_runs_over_other_queries_are_not_paired():
    frame = pd.DataFrame({"pid": [0, 1, 2], "camid": 0, "AP": [0.1, 0.2, 0.3]})
    with pytest.raises(ValueError, match="not of the same queries"):
        paired_test(frame, frame.iloc[::-1])
    with pytest.raises(ValueError, match=r"3 rows\) and per_query_b \(2 rows"):
        paired_test(frame, frame.iloc[:2])
