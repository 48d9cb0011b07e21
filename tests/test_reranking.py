"""Re-ranked distances from the paper's definitions, image by image, and as torchreid has them."""

import importlib.util
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_lib.metrics import rerank
from reid_lib.scoring import reranking

# --- the oracle: sets and dense rows ------------------------------------------------------------


def squared(x, y):
    return ((x[:, None].astype(np.float64) - y[None].astype(np.float64)) ** 2).sum(2)


def oracle(q, g, k1=20, k2=6, lambda_value=0.3):
    x = np.concatenate([q, g])
    images = range(len(x))
    sq = squared(x, x)
    if not sq.any():
        return np.zeros((len(q), len(g)))
    d = sq**2 / (sq**2).max(1, keepdims=True)
    ranked = [sorted(images, key=lambda j, i=i: (j != i, sq[i, j], j)) for i in images]

    def reciprocal(i, k):
        return {j for j in ranked[i][: k + 1] if i in ranked[j][: k + 1]}

    v = np.zeros_like(d)
    for i in images:
        own = reciprocal(i, k1)
        support = set(own)
        for j in own:
            others = reciprocal(j, round(k1 / 2))
            if 3 * len(own & others) > 2 * len(others):
                support |= others
        for j in support:
            v[i, j] = math.exp(-d[i, j])
        v[i] /= v[i].sum()
    u = np.array([v[ranked[i][:k2]].mean(0) for i in images])
    shared = np.minimum(u[: len(q), None], u[None, len(q) :]).sum(2)
    return (1 - lambda_value) * (1 - shared / (2 - shared)) + lambda_value * d[: len(q), len(q) :]


def people(queries, gallery, persons=8, dim=16, signal=1.0, seed=0):
    rng = np.random.default_rng(seed)
    centres = signal * rng.standard_normal((persons, dim))
    pids = rng.integers(0, persons, queries), rng.integers(0, persons, gallery)
    codes = (centres[p] + rng.standard_normal((len(p), dim)) for p in pids)
    return *(x.astype(np.float32) for x in codes), *pids


# --- values -------------------------------------------------------------------------------------


def test_three_images_worked_by_hand():
    # The query at 0 and the image at 1 are each other's nearest; the image at 3 is no one's.
    q, g = np.zeros((1, 1)), np.array([[1.0], [3.0]])
    a, b = math.exp(-1 / 81), math.exp(-1 / 16)  # farthest are 3 from the query, 2 from the image
    shared = b / (1 + b) + a / (1 + a)
    expected = [0.7 * (1 - shared / (2 - shared)) + 0.3 / 81, 0.7 + 0.3]
    np.testing.assert_allclose(rerank(q, g, k1=1, k2=1), [expected], atol=1e-7)


@pytest.mark.parametrize("k1, k2", [(20, 6), (1, 1), (5, 2), (7, 3), (6, 12), (30, 1)])
@pytest.mark.parametrize("lambda_value", [0.0, 0.3])
def test_distances_are_the_papers(k1, k2, lambda_value):
    q, g, *_ = people(20, 80)
    expected = oracle(q, g, k1, k2, lambda_value)
    np.testing.assert_allclose(rerank(q, g, k1, k2, lambda_value), expected, atol=1e-6)


coordinates = st.integers(-3, 3)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(coordinates, coordinates), min_size=2, max_size=14),
    st.integers(1, 13),
    st.integers(1, 16),
    st.integers(1, 16),
    st.floats(0, 1),
)
def test_ties_duplicates_and_a_k_beyond_the_set_are_as_defined(codes, cut, k1, k2, lambda_value):
    codes = np.array(codes, np.float32)
    q, g = np.split(codes, [min(cut, len(codes) - 1)])
    expected = oracle(q, g, k1, k2, lambda_value)
    np.testing.assert_allclose(rerank(q, g, k1, k2, lambda_value), expected, atol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_more_ties_than_neighbours_rank_by_row(offset):
    rng = np.random.default_rng(0)
    q, g = (rng.integers(0, 3, (n, 3)).astype(np.float32) / 3 + offset for n in (20, 130))
    g[30:70] = g[0]
    np.testing.assert_allclose(rerank(q, g, 10, 4), oracle(q, g, 10, 4), atol=1e-6)


def test_equal_codes_have_nothing_to_rank_by():
    q, g = np.full((3, 4), 0.1, np.float32), np.full((50, 4), 0.1, np.float32)
    assert torch.equal(rerank(q, g), torch.zeros(3, 50))


def test_codes_so_close_that_their_squares_vanish_give_numbers():
    codes = 1e-30 * torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(rerank(codes[:5], codes[5:])).all()


# --- torchreid ----------------------------------------------------------------------------------


def published(name):
    root = os.environ.get("TORCHREID")
    if not root:
        pytest.skip("TORCHREID names no checkout of deep-person-reid")
    path = Path(root) / "torchreid" / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("k1, k2", [(20, 6), (1, 1), (5, 2), (7, 3), (6, 12), (90, 80)])
@pytest.mark.parametrize("lambda_value", [0.0, 0.3, 1.0])
def test_torchreids_function_gives_the_same_distances(k1, k2, lambda_value):
    peer = published("utils/rerank.py")
    q, g, *_ = people(20, 50 if k1 > 70 else 200)
    distances = squared(q, g), squared(q, q), squared(g, g)
    expected = peer.re_ranking(*distances, k1, k2, lambda_value)
    np.testing.assert_allclose(rerank(q, g, k1, k2, lambda_value), expected, atol=1e-6)


def test_torchreids_engine_gives_the_same_distances():
    peer, distance = published("utils/rerank.py"), published("metrics/distance.py")
    q, g = (torch.from_numpy(x) for x in people(100, 500, dim=64)[:2])
    pairs = ((q, g), (q, q), (g, g))
    expected = peer.re_ranking(*(distance.compute_distance_matrix(*p).numpy() for p in pairs))
    np.testing.assert_allclose(rerank(q, g), expected, atol=1e-6)


# --- properties ---------------------------------------------------------------------------------


def test_the_original_distance_alone_gives_the_original_ranking():
    q, g, *_ = people(10, 100)
    ranked = rerank(q, g, lambda_value=1).numpy().argsort(1)
    np.testing.assert_array_equal(ranked, squared(q, g).argsort(1))


def test_the_order_of_queries_and_gallery_is_that_of_rows_and_columns():
    q, g, *_ = people(15, 90)
    rng = np.random.default_rng(1)
    rows, columns = rng.permutation(15), rng.permutation(90)
    permuted = rerank(q[rows], g[columns])
    np.testing.assert_allclose(permuted, rerank(q, g)[rows][:, columns], atol=1e-6)


def test_moving_turning_and_scaling_the_codes_changes_nothing():
    q, g, *_ = people(15, 90)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((16, 16)))[0]
    moved = [3 * x.astype(np.float64) @ turn + 5 for x in (q, g)]
    np.testing.assert_allclose(rerank(*moved), rerank(q, g), atol=1e-6)


def test_a_far_common_offset_costs_no_precision():
    q, g = (np.round(x * 64) / 64 for x in people(15, 90)[:2])
    np.testing.assert_allclose(rerank(q + 4096, g + 4096), rerank(q, g), atol=1e-6)


def test_neither_blocks_nor_threads_change_the_result(monkeypatch):
    q, g, *_ = people(60, 400)
    expected = rerank(q, g)
    monkeypatch.setattr(reranking, "_BLOCK", 7 * 460)
    monkeypatch.setattr(reranking, "_STEPS", 3000)
    np.testing.assert_allclose(rerank(q, g), expected, atol=1e-6)
    monkeypatch.setattr(reranking, "_STEPS", 1)  # a query at a time, a pair at a time
    np.testing.assert_allclose(rerank(q, g), expected, atol=1e-6)
    monkeypatch.undo()
    threads = torch.get_num_threads()
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            np.testing.assert_allclose(rerank(q, g), expected, atol=1e-6)
    finally:
        torch.set_num_threads(threads)


def test_the_same_call_gives_the_same_bits():
    q, g, *_ = people(20, 100)
    assert torch.equal(rerank(q, g), rerank(q, g))


def test_shared_neighbours_bring_a_persons_images_nearer():
    q, g, q_pids, g_pids = people(60, 300, persons=20, dim=32, signal=0.6)

    def mean_ap(distances):
        hits = (g_pids[np.asarray(distances).argsort(1)] == q_pids[:, None]).astype(float)
        precision = hits.cumsum(1) / np.arange(1, len(g) + 1)
        return ((precision * hits).sum(1) / hits.sum(1)).mean()

    assert mean_ap(rerank(q, g, k1=15, k2=4)) > mean_ap(squared(q, g)) + 0.05


# --- what goes in and out -----------------------------------------------------------------------


def test_arrays_tensors_and_types_give_the_same_float32_and_are_left_as_they_were():
    q, g, *_ = people(10, 60)
    q_before, g_before = q.copy(), g.copy()
    expected = rerank(q, g)
    assert expected.dtype == torch.float32 and expected.shape == (10, 60)
    assert expected.min() >= -1e-6 and expected.max() <= 1 + 1e-6
    tensors = [torch.from_numpy(x.copy()).requires_grad_() for x in (q, g)]
    strided = [np.repeat(x, 2, axis=1)[:, ::2] for x in (q, g)]
    doubled = q.astype(np.float64), g
    for pair in (tensors, strided, doubled):
        result = rerank(*pair)
        assert result.dtype == torch.float32 and not result.requires_grad
        np.testing.assert_allclose(result, expected, atol=1e-6)
    np.testing.assert_array_equal(q, q_before)
    np.testing.assert_array_equal(g, g_before)


def with_value(value):
    codes = np.ones((4, 3), np.float32)
    codes[2, 1] = value
    return codes


Q, G = np.zeros((2, 3), np.float32), np.ones((4, 3), np.float32)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((Q[0], G), r"q_codes has shape \(3,\); expected \(images, dimensions\)"),
        ((Q, G[None]), r"g_codes has shape \(1, 4, 3\)"),
        ((Q, G[:, :2]), "q_codes has 3 dimensions and g_codes 2"),
        ((Q[:0], G), r"q_codes is empty, of shape \(0, 3\)"),
        ((Q, G[:, :0]), r"g_codes is empty, of shape \(4, 0\)"),
        ((Q, with_value(np.nan)), r"g_codes: 1 of 4 codes .* first in row 2 \(nan\)"),
        ((with_value(-np.inf), G), r"q_codes: 1 of 4 codes .* first in row 2 \(-inf\)"),
        ((Q, with_value(-1e19)), r"g_codes reaches 1e\+19, too large .*float32"),
        ((Q.astype(complex), G), "q_codes is of type torch.complex128; expected real"),
        ((Q, G, 0), "k1 is 0; expected .* 1 or more"),
        ((Q, G, 2.5), "k1 is 2.5; expected a whole number"),
        ((Q, G, 20, -1), "k2 is -1"),
        ((Q, G, 20, True), "k2 is True"),
        ((Q, G, 20, 6, 1.2), r"lambda_value is 1.2; expected .* in \[0, 1\]"),
        ((Q, G, 20, 6, -0.1), "lambda_value is -0.1"),
        ((Q, G, 20, 6, float("nan")), "lambda_value is nan"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        rerank(*arguments)


def test_codes_too_large_for_float32_are_ranked_in_float64():
    q, g, *_ = people(10, 60)
    far = rerank(1e25 * q.astype(np.float64), 1e25 * g.astype(np.float64))
    np.testing.assert_allclose(far, rerank(q, g), atol=1e-6)
