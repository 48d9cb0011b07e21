"""What must not change a score, ties, precomputed distances, and how other projects count."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from galleries import RANKS, close, in_parts, line, market_sized, people, sides
from sklearn.metrics import average_precision_score

from reid_lib.metrics import (
    Protocol,
    evaluate,
    evaluate_distances,
    sq_distances,
    viewpoint_grid,
)
from reid_lib.scoring import blocks

# --- what must not matter -----------------------------------------------------------------------


def test_the_order_of_gallery_and_queries_changes_no_score():
    # Rounded to few values, so that much is tied.
    codes, pids, camids, _ = people(dim=2)
    q, g, q_pids, g_pids, q_camids, g_camids = sides(np.round(codes), pids, camids)
    one = evaluate(q, g, q_pids, g_pids, q_camids, g_camids)
    rng = np.random.default_rng(1)
    a, b = rng.permutation(len(q)), rng.permutation(len(g))
    two = evaluate(q[a], g[b], q_pids[a], g_pids[b], q_camids[a], g_camids[b])
    close(one, two)
    np.testing.assert_allclose(one.per_query["AP"].to_numpy()[a], two.per_query["AP"])


@pytest.mark.parametrize(
    "move",
    [
        lambda x: 1000 * x,
        lambda x: 1e-3 * x,
        lambda x: x + 100,
        lambda x: x @ np.linalg.qr(np.random.default_rng(2).normal(size=(16, 16)))[0],
    ],
    ids=["enlarged", "shrunk", "translated", "rotated"],
)
def test_scaling_translation_and_rotation_change_no_score(move):
    codes, pids, camids, _ = people()
    one = evaluate(*sides(codes, pids, camids))
    close(one, evaluate(*sides(move(codes), pids, camids)))


def test_renaming_persons_and_cameras_changes_no_score():
    codes, pids, camids, _ = people()
    names = np.random.default_rng(3).permutation(1000)[:12]
    one = evaluate(*sides(codes, pids, camids))
    q, g, q_pids, g_pids, q_camids, g_camids = sides(codes, pids, camids)
    close(one, evaluate(q, g, names[q_pids], names[g_pids], q_camids + 7, g_camids + 7))


def test_numpy_and_torch_and_lower_precision_agree():
    codes, pids, camids, _ = people()
    ids = sides(codes, pids, camids)[2:]
    q, g = sides(codes, pids, camids)[:2]
    one = evaluate(q, g, *ids)
    close(one, evaluate(torch.tensor(q), torch.tensor(g), *(torch.tensor(i) for i in ids)))
    close(one, evaluate(q.astype(np.float32), torch.tensor(g), *(i.tolist() for i in ids)))
    fixed = g[:, ::-1][:, ::-1]
    fixed.flags.writeable = False
    close(one, evaluate(q.astype(np.float32), fixed, *ids))


def test_parts_and_blocks_add_up_to_the_whole(monkeypatch):
    # Far smaller parts and blocks than a gallery this small would get.
    codes, pids, camids, views = people(persons=9, images=5, cameras=3, dim=8)
    pids[::11] = -1
    args = (codes, codes[::-1].copy(), pids, pids[::-1], camids, camids[::-1])
    protocol = Protocol(unmatched="drop")
    whole = evaluate(*args, protocol)
    grid = viewpoint_grid(*args, views, views[::-1], protocol)
    monkeypatch.setattr("reid_lib.metrics._AT_ONCE", 0)
    for width, block in [(8160, 2**22), (16, 40), (24, 10_000), (8, 1)]:
        monkeypatch.setattr(blocks, "WIDTH", width)
        monkeypatch.setattr(blocks, "BLOCK", block)
        parts = evaluate(*args, protocol)
        close(whole, parts)
        pd.testing.assert_frame_equal(whole.per_query, parts.per_query)
        other = viewpoint_grid(*args, views, views[::-1], protocol)
        pd.testing.assert_frame_equal(grid, other, rtol=1e-6)


@pytest.mark.parametrize("gallery", [300, 520, 2040, 2048, 5000, 9000])
def test_counts_are_exact_at_every_width(gallery):
    # One dimension: the rank of the only match is known from the numbers themselves.
    rng = np.random.default_rng(gallery)
    places = rng.permutation(gallery).astype(float)
    g_pids = np.arange(gallery) + 1
    result = evaluate(
        np.full((5, 1), -1.0), places[:, None], g_pids[:5], g_pids, [0] * 5, [1] * gallery
    )
    np.testing.assert_array_equal(result.per_query["first_match"], places[:5] + 1)


@pytest.mark.gpu
def test_cuda_scores_as_the_cpu_does():
    codes, pids, camids, _ = people(persons=200)
    args = sides(codes.astype(np.float32), pids, camids)
    close(
        evaluate(*args),
        evaluate(torch.tensor(args[0]).cuda(), torch.tensor(args[1]).cuda(), *args[2:]),
        abs=1e-6,
    )


def test_sq_distances_are_accurate_far_from_the_origin_and_never_negative():
    rng = np.random.default_rng(6)
    q, g = rng.normal(size=(20, 64)) + 100, rng.normal(size=(30, 64)) + 100
    exact = ((q[:, None] - g[None]) ** 2).sum(-1)
    single = sq_distances(q.astype(np.float32), g.astype(np.float32))
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single, exact, rtol=1e-4)
    np.testing.assert_allclose(sq_distances(q, g), exact, rtol=1e-10)
    same = sq_distances(g.astype(np.float32), g.astype(np.float32))
    assert same.min() >= 0 and same.diagonal().max() < 1e-3


# --- ties and collapse --------------------------------------------------------------------------


def test_a_collapsed_network_scores_as_chance_and_is_warned_of():
    codes, pids, camids, _ = people(persons=10, images=1)
    for noise in (0, 1e-8):
        flat = np.ones_like(codes) + noise * codes
        with pytest.warns(RuntimeWarning, match="collapsed"):
            result = evaluate(*sides(flat, pids, camids))
        assert result.rank[1] == pytest.approx(1 / 10) and result.rank[5] == pytest.approx(5 / 10)
        assert result.mAP == pytest.approx(np.mean(1 / np.arange(1, 11)))
        assert result.mINP == pytest.approx(1 / 10)
        with pytest.warns(RuntimeWarning, match="collapsed"):
            single = evaluate(*sides(flat, pids, camids), Protocol(match="single"))
        assert single.scores() == pytest.approx(result.scores())


def test_good_codes_raise_no_warning():
    codes, pids, camids, _ = people()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(*sides(codes, pids, camids))


def test_distances_that_differ_by_rounding_alone_are_tied():
    near = [(1.0, 2, 1), (1.0 + 1e-8, 1, 1), (2.0, 3, 1)]
    assert line(near).rank[1] == 0.5
    assert line(near, protocol=Protocol(tolerance=0, ranks=RANKS)).rank[1] == 0.0
    assert line([(1.0, 2, 1), (1.001, 1, 1), (2.0, 3, 1)]).rank[1] == 0.0


def test_equal_single_precision_codes_are_tied_wherever_they_stand():
    # A copy of every match under another person's name: each query is half right at rank 1.
    rng = np.random.default_rng(4)
    g = rng.normal(size=(3000, 129)).astype(np.float32) + 3
    q = g[:50] + 0.1 * rng.normal(size=(50, 129)).astype(np.float32)
    g_pids = np.arange(3000)
    twice = np.concatenate([g, g])
    pids = np.concatenate([g_pids, g_pids + 5000])
    result = evaluate(q, twice, g_pids[:50], pids, np.zeros(50, int), np.ones(6000, int))
    assert result.rank[1] == 0.5


# --- precomputed distances ----------------------------------------------------------------------


@pytest.mark.parametrize("match", ["any", "single"])
@pytest.mark.parametrize("seed", range(5))
def test_precomputed_distances_score_as_the_codes_they_come_from(seed, match):
    rng = np.random.default_rng(seed)
    q, g = (rng.integers(-2, 3, (n, 3)).astype(np.float32) for n in (17, 60))  # with many ties
    ids = [rng.integers(0, high, n) for high, n in ((6, 17), (6, 60), (3, 17), (3, 60))]
    ids[1][:5] = -1  # junk
    protocol = Protocol(unmatched="zero", match=match, ranks=(1, 5), tolerance=1e-5)
    with in_parts():
        wanted = evaluate(q, g, *ids, protocol)
    result = evaluate_distances(sq_distances(q, g), *ids, protocol)
    assert result.scores() == pytest.approx(wanted.scores(), abs=1e-12)
    ours, theirs = (r.per_query.drop(columns="nearest_wrong") for r in (result, wanted))
    pd.testing.assert_frame_equal(ours, theirs)  # of tied wrong images either may be the nearest


def test_only_the_order_of_precomputed_distances_counts():
    rng = np.random.default_rng(0)
    distances = rng.random((30, 90))
    ids = [rng.integers(0, high, n) for high, n in ((9, 30), (9, 90), (2, 30), (2, 90))]
    protocol = Protocol(unmatched="drop")
    one = evaluate_distances(distances, *ids, protocol).scores()
    assert (
        one
        == evaluate_distances(torch.from_numpy(7 + 2 * np.sqrt(distances)), *ids, protocol).scores()
    )


@pytest.mark.parametrize(
    "distances, message",
    [
        (np.zeros(4), r"distances has shape \(4,\)"),
        (np.array([[0.0, 1], [np.nan, 2]]), "distances contain NaN or infinity, first in row 1"),
        (np.zeros((2, 3)), r"g_pids has shape \(2,\); expected \(3,\)"),
    ],
)
def test_distances_that_cannot_be_ranked_are_refused(distances, message):
    with pytest.raises(ValueError, match=message):
        evaluate_distances(distances, [0, 1], [0, 1], [0, 0], [1, 1])


def test_negated_similarities_are_distances_below_zero():
    rng = np.random.default_rng(0)
    q, g = (rng.normal(size=(n, 5)) for n in (30, 90))
    ids = [rng.integers(0, high, n) for high, n in ((9, 30), (9, 90), (2, 30), (2, 90))]
    protocol = Protocol(unmatched="drop", codes="unit")
    unit = [codes / np.linalg.norm(codes, axis=1, keepdims=True) for codes in (q, g)]
    wanted = evaluate(q, g, *ids, protocol).scores()
    assert evaluate_distances(-unit[0] @ unit[1].T, *ids, protocol).scores() == pytest.approx(
        wanted
    )


def test_a_rank_that_was_not_computed_is_named_with_those_that_were():
    result = evaluate(*(np.eye(4) for _ in range(2)), *[np.arange(4)] * 2, [0] * 4, [1] * 4)
    assert result.rank[5] == 1
    with pytest.raises(KeyError, match=r"rank 7 was not computed; .* \(1, 5, 10, 20\)"):
        result.rank[7]
    assert 7 not in result.rank and result.rank.get(7) is None


# --- how others count ---------------------------------------------------------------------------


def test_plain_ap_is_scikit_learns_where_nothing_is_tied():
    codes, pids, camids, _ = people(spread=2)
    q, g, q_pids, g_pids, q_camids, g_camids = sides(codes, pids, camids)
    result = evaluate(q, g, q_pids, g_pids, q_camids, g_camids)
    sq = sq_distances(q, g).numpy()
    theirs = [
        average_precision_score(g_pids == pid, -row) for pid, row in zip(q_pids, sq, strict=True)
    ]
    np.testing.assert_allclose(result.per_query["AP"], theirs, atol=1e-12)


def test_scikit_learn_takes_tied_images_at_once_where_plain_ap_takes_their_expectation():
    result = line([(1, 2, 1), (1, 1, 1)])
    assert average_precision_score([0, 1], [-1, -1]) == 0.5
    assert result.mAP == 0.75


def torchreid_rule(sq, q_pids, g_pids, q_camids, g_camids, max_rank=20):
    """torchreid 1.4 `eval_market1501` and fast-reid 1.3, restated: CMC, AP and INP by argsort.

    Same person and camera removed; a query without a match skipped; the tied in the order that
    argsort leaves them in.
    """
    cmc, ap, inp = [], [], []
    for i, row in enumerate(sq):
        order = np.argsort(row, kind="stable")
        order = order[(g_pids[order] != q_pids[i]) | (g_camids[order] != q_camids[i])]
        right = g_pids[order] == q_pids[i]
        if right.any():
            places = np.flatnonzero(right) + 1
            cmc.append([places[0] <= k for k in range(1, max_rank + 1)])
            ap.append(np.mean(np.arange(1, len(places) + 1) / places))
            inp.append(len(places) / places[-1])
    return np.mean(cmc, axis=0), np.mean(ap), np.mean(inp)


def torchreid_agrees(args):
    result = evaluate(*args, Protocol(unmatched="drop", tolerance=0))
    q, g = map(torch.tensor, args[:2])
    cmc, mean_ap, mean_inp = torchreid_rule(torch.cdist(q, g).numpy() ** 2, *args[2:])
    assert [result.rank[k] for k in (1, 5, 10, 20)] == pytest.approx(cmc[[0, 4, 9, 19]], abs=1e-6)
    assert result.mAP == pytest.approx(mean_ap, abs=1e-6)
    assert result.mINP == pytest.approx(mean_inp, abs=1e-6)
    assert 0.2 < result.mAP < 0.9


def test_torchreid_and_fast_reid_agree_where_nothing_is_tied():
    torchreid_agrees(market_sized(300, 3000, 150))


@pytest.mark.slow
def test_torchreid_and_fast_reid_agree_at_market_size():
    torchreid_agrees(market_sized(3368, 15913, 751, dim=64))


def test_torchreid_drops_unmatched_queries_silently():
    args = market_sized(60, 60, 40)
    with pytest.raises(ValueError, match="of 60 queries have no match"):
        evaluate(*args)
    q, g = map(torch.tensor, args[:2])
    theirs = torchreid_rule(torch.cdist(q, g).numpy() ** 2, *args[2:])[1]
    assert evaluate(*args, Protocol(unmatched="drop")).mAP == pytest.approx(theirs)


def test_torchreid_rewards_a_collapsed_network_whose_matches_come_first():
    g_pids = np.arange(5)
    ids = (g_pids[:1], g_pids, np.zeros(1, int), np.ones(5, int))
    cmc, mean_ap, _ = torchreid_rule(np.zeros((1, 5)), *ids)
    assert (cmc[0], mean_ap) == (1.0, 1.0)
    with pytest.warns(RuntimeWarning, match="collapsed"):
        result = evaluate(np.ones((1, 3)), np.ones((5, 3)), *ids)
    assert result.rank[1] == pytest.approx(1 / 5)
    assert result.mAP == pytest.approx(np.mean(1 / np.arange(1, 6)))


def layumi_rule(sq, q_pids, g_pids, q_camids, g_camids):
    """layumi's Person_reID_baseline `compute_mAP`, restated: trapezoids; no match is 0."""
    ap = []
    for i, row in enumerate(sq):
        order = np.argsort(row, kind="stable")
        junk = (g_pids == -1) | ((g_pids == q_pids[i]) & (g_camids == q_camids[i]))
        order = order[~junk[order]]
        places = np.flatnonzero(g_pids[order] == q_pids[i])  # from 0
        total = 0.0
        for n, place in enumerate(places):
            before = n / place if place else 1.0
            total += (before + (n + 1) / (place + 1)) / 2 / len(places)
        ap.append(total)
    return np.mean(ap)


def test_layumi_scores_by_trapezoids_and_counts_an_unmatched_query_as_zero():
    q, g, q_pids, g_pids, q_camids, g_camids = market_sized(80, 100, 40)
    g_pids[::7] = -1
    args = (q, g, q_pids, g_pids, q_camids, g_camids)
    theirs = layumi_rule(torch.cdist(torch.tensor(q), torch.tensor(g)).numpy(), *args[2:])
    zero = evaluate(*args, Protocol(unmatched="zero", ap="market"))
    assert zero.mAP == pytest.approx(theirs) and zero.mAP == zero.mAP_market
    assert evaluate(*args, Protocol(unmatched="drop")).mAP_market > theirs


def test_trapezoids_score_lower_than_the_plain_sum():
    codes, pids, camids, _ = people(persons=57, images=8, spread=3, dim=64)
    result = evaluate(*sides(codes, pids, camids))
    assert 0.01 < result.mAP - result.mAP_market < 0.05


def test_torchreids_cuhk03_draws_approach_the_exact_single_shot_cmc():
    """torchreid's `eval_cuhk03` averages CMC over 10 draws of one image a person; AP it does not
    draw. Here 2,000 draws stand beside the expectation, and AP is drawn as CMC is."""
    args = market_sized(20, 300, 15, cameras=2, dim=6)
    q, g, q_pids, g_pids, q_camids, g_camids = args
    exact = evaluate(*args, Protocol(match="single", ranks=(1, 5)))
    rng = np.random.default_rng(5)
    sq = torch.cdist(torch.tensor(q), torch.tensor(g)).numpy()
    places = []
    for i, row in enumerate(sq):
        valid = np.flatnonzero((g_pids != q_pids[i]) | (g_camids != q_camids[i]))
        persons = [valid[g_pids[valid] == pid] for pid in range(15)]
        draws = np.stack([rng.choice(images, 2000) for images in persons if len(images)], axis=1)
        right = g_pids[draws[0]] == q_pids[i]
        places.append(1 + (row[draws] < row[draws][:, right]).sum(1))
    assert exact.rank[1] == pytest.approx(np.mean(np.array(places) == 1), abs=0.01)
    assert exact.rank[5] == pytest.approx(np.mean(np.array(places) <= 5), abs=0.01)
    assert exact.mAP == pytest.approx(np.mean(1 / np.array(places)), abs=0.01)
    assert abs(exact.mAP - evaluate(*args).mAP) > 0.05


def test_the_counting_does_not_import_its_public_face():
    for path in sorted(Path(blocks.__file__).parent.glob("*.py")):
        imports = [line for line in path.read_text("utf-8").splitlines() if "import" in line]
        assert not any("reid_lib.metrics" in line for line in imports), path.name
