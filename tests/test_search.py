"""The nearest codes of a large gallery equal those of a sorted distance matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from reid_lib.scoring import search as module
from reid_lib.scoring.search import build_index, search


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 60), st.integers(0, 2**16))
def test_search_equals_sorting_all_distances(gallery, k, block, seed):
    rng = np.random.default_rng(seed)
    q, g = (rng.standard_normal((n, 8)).astype(np.float32) for n in (5, gallery))
    g[rng.integers(gallery, size=gallery // 4)] = g[0]  # equal distances: the lower row first
    distances, rows = search(q, g, k, block)
    expected = cdist(q.astype(float), g.astype(float))
    order = np.argsort(expected, 1, kind="stable")[:, :k]
    np.testing.assert_array_equal(rows, order)
    np.testing.assert_allclose(distances, np.take_along_axis(expected, order, 1), atol=1e-12)


def test_more_queries_than_fit_at_once_and_a_mapped_file(tmp_path):
    rng = np.random.default_rng(1)
    q, g = (rng.standard_normal((n, 4)).astype(np.float32) for n in (600, 900))
    np.save(tmp_path / "g.npy", g)
    mapped = np.load(tmp_path / "g.npy", mmap_mode="r")
    for one, two in zip(search(q, g, 3), search(q, mapped, 3, block=128), strict=True):
        np.testing.assert_array_equal(one, two)


def test_near_duplicates_far_from_zero_keep_their_order():
    g = 1000 + np.arange(6)[:, None] * 1e-3 * np.ones((1, 32))
    assert search(g[:1], g, 6)[1].tolist() == [[0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize(
    "q, g, k, words",
    [
        ((2, 3), (4, 5), 1, r"\(2, 3\) and \(4, 5\)"),
        ((2, 3), (0, 3), 1, "0 gallery codes"),
        ((2, 3), (4, 3), 0, "found k = 0"),
    ],
)
def test_search_refuses_what_it_cannot_rank(q, g, k, words):
    with pytest.raises(ValueError, match=words):
        search(np.zeros(q), np.zeros(g), k)


@pytest.fixture(scope="module")
def large():
    """Ten queries, a gallery of half-precision codes whose axes differ in spread, its index."""
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    q, g = (rng.standard_normal((n, 4)) / np.arange(1, 5) for n in (10, 10_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PROBES", 3)
        return q, g.astype(np.float16), build_index(g.astype(np.float16), block=3000)


def test_what_an_index_proposes_is_ranked_by_exact_distances(large):
    import faiss

    q, g, index = large
    lists, exact = faiss.extract_index_ivf(index), search(q, g, 20)
    assert lists.nprobe == 3 and (search(q, g, 20, index=index)[1] != exact[1]).any()
    lists.nprobe = lists.nlist
    distances, rows = search(q, g, 20, index=index, candidates=2000)
    np.testing.assert_array_equal(rows, exact[1])
    np.testing.assert_allclose(distances, exact[0], rtol=1e-6)


def test_few_candidates_miss_neighbours_and_few_proposals_leave_rows_empty(large):
    q, g, index = large
    assert (search(q, g, 20, index=index, candidates=20)[1] != search(q, g, 20)[1]).any()

    class Poor:
        ntotal = len(g)

        def search(self, codes, wanted):
            return None, np.array([[7, -1, 3]] * len(codes))

    distances, rows = search(q, g, 4, index=Poor())
    assert np.isin(rows[:, :2], (3, 7)).all() and (rows[:, 2:] == -1).all()
    assert np.isinf(distances[:, 2:]).all() and (np.diff(distances[:, :2]) >= 0).all()


def test_an_index_of_another_gallery_and_a_small_gallery_are_refused(large):
    q, g, index = large
    with pytest.raises(ValueError, match="the index holds 10000 codes, the gallery 9999"):
        search(q, g[1:], 3, index=index)
    with pytest.raises(ValueError, match=r"codes are \(9999, 4\); an index needs at least 10,000"):
        build_index(g[1:])
