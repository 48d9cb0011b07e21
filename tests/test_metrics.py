"""Scores from their definitions and from hand-ranked galleries; what the inputs must be."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from galleries import RANKS, close, in_parts, line, people, sides
from hypothesis import given, settings
from hypothesis import strategies as st

from reid_lib.metrics import (
    Protocol,
    evaluate,
    evaluate_cameras,
    rank_gallery,
    viewpoint_grid,
)

# --- the oracle: every order that the distances allow, one after the other ----------------------


def orders(items):
    """All orders of (sq distance, right) pairs in which no farther item precedes a nearer one."""
    groups = [list(group) for _, group in itertools.groupby(sorted(items), key=lambda x: x[0])]
    for parts in itertools.product(*(itertools.permutations(group) for group in groups)):
        yield [right for part in parts for _, right in part]


def scores_of_order(rights):
    """Rank-k, plain AP, trapezoid AP, INP and first rank of one ranked list of rights and wrongs.

    The trapezoids are those of Market-1501's compute_AP, walked step by step.
    """
    total, seen, plain, market, places = sum(rights), 0, 0.0, 0.0, []
    recall_before, precision_before = 0.0, 1.0
    for place, right in enumerate(rights, start=1):
        seen += right
        recall, precision = seen / total, seen / place
        if right:
            places.append(place)
            plain += precision / total
        market += (recall - recall_before) * (precision_before + precision) / 2
        recall_before, precision_before = recall, precision
    hits = [float(places[0] <= k) for k in RANKS]
    return np.array([*hits, plain, market, total / places[-1], places[0]])


def oracle_query(items):
    worst = scores_of_order([right for _, right in sorted(items)])
    mean = np.mean([scores_of_order(rights) for rights in orders(items)], axis=0)
    plain = len(RANKS) + 1
    return np.concatenate([mean[:plain], worst[plain:]])


def oracle(query, gallery, protocol):
    """Scores of one query, each image (pid, camid, code), or None without a match."""
    q_pid, q_camid, q_code = query
    kept = []
    for pid, camid, code in gallery:
        junk = pid in protocol.junk_pids
        junk |= protocol.same_camera_junk and pid == q_pid and camid == q_camid
        if not junk:
            sq = sum((a - b) ** 2 for a, b in zip(q_code, code, strict=True))
            kept.append((pid, (sq, int(pid == q_pid))))
    if not any(right for _, (_, right) in kept):
        return None
    if protocol.match == "any":
        return oracle_query([item for _, item in kept])
    persons = [[item for p, item in kept if p == pid] for pid in sorted({p for p, _ in kept})]
    draws = list(itertools.product(*persons))
    return np.mean([oracle_query(list(draw)) for draw in draws], axis=0)


# Few persons, cameras and places, so that ties, junk and unmatched queries are common.
image = st.tuples(
    st.sampled_from([0, 0, 1, 1, 2, -1]),
    st.integers(0, 1),
    st.tuples(st.integers(0, 3), st.integers(0, 1)),
)
protocols = st.builds(
    Protocol,
    ranks=st.just(RANKS),
    ap=st.sampled_from(["plain", "market"]),
    same_camera_junk=st.booleans(),
    junk_pids=st.sampled_from([(-1,), (), (2, -1)]),
    unmatched=st.sampled_from(["drop", "zero", "raise"]),
)


def arrays(images):
    pids, camids, codes = zip(*images, strict=True)
    return np.array(codes, float), np.array(pids), np.array(camids)


def agrees_with_the_oracle(queries, gallery, protocol):
    wanted = [oracle(query, gallery, protocol) for query in queries]
    q, q_pids, q_camids = arrays(queries)
    g, g_pids, g_camids = arrays(gallery)
    blank = {"drop": np.nan, "zero": 0.0}.get(protocol.unmatched)
    unmatched = [i for i, scores in enumerate(wanted) if scores is None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # some of these galleries have collapsed
        if len(unmatched) == len(queries) or (unmatched and blank is None):
            with pytest.raises(ValueError, match=f"{len(unmatched)} of {len(queries)} queries"):
                evaluate(q, g, q_pids, g_pids, q_camids, g_camids, protocol)
            return
        result = evaluate(q, g, q_pids, g_pids, q_camids, g_camids, protocol)
        with in_parts():
            close(result, evaluate(q, g, q_pids, g_pids, q_camids, g_camids, protocol))
    names = [f"rank-{k}" for k in RANKS] + ["AP", "AP_market", "INP", "first_match"]
    frame = result.per_query[names].to_numpy()
    if protocol.ap == "market":
        wanted = [w if w is None else np.where(np.arange(9) == 5, w[6], w) for w in wanted]
    for row, scores in zip(frame, wanted, strict=True):
        expected = np.array([blank] * 8 + [np.nan], float) if scores is None else scores
        np.testing.assert_allclose(row, expected, rtol=1e-9, atol=1e-12)
    counted = [s[:8] if s is not None else np.zeros(8) for s in wanted]
    if blank != 0.0:
        counted = [s[:8] for s in wanted if s is not None]
    scores = result.scores()
    wanted_means = [*(f"rank-{k}" for k in RANKS), "mAP", "mAP_market", "mINP"]
    np.testing.assert_allclose(
        [scores[name] for name in wanted_means], np.mean(counted, axis=0), rtol=1e-9, atol=1e-12
    )


@settings(max_examples=600, deadline=None, derandomize=True)
@given(st.lists(image, min_size=1, max_size=4), st.lists(image, min_size=1, max_size=6), protocols)
def test_scores_equal_those_of_every_allowed_order(queries, gallery, protocol):
    agrees_with_the_oracle(queries, gallery, protocol)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(st.lists(image, min_size=1, max_size=3), st.lists(image, min_size=1, max_size=6), protocols)
def test_single_shot_scores_equal_those_of_every_draw(queries, gallery, protocol):
    single = Protocol(**{**vars(protocol), "match": "single"})
    agrees_with_the_oracle(queries, gallery, single)


@pytest.mark.slow
@settings(max_examples=5_000, deadline=None, derandomize=True)
@given(st.lists(image, min_size=1, max_size=4), st.lists(image, min_size=1, max_size=7), protocols)
def test_scores_equal_those_of_every_allowed_order_many_times(queries, gallery, protocol):
    agrees_with_the_oracle(queries, gallery, protocol)


# --- galleries ranked by hand -------------------------------------------------------------------


def test_a_hand_ranked_gallery_of_four():
    # wrong, right, wrong, right: AP = (1/2 + 2/4) / 2.
    result = line([(4, 1, 1), (1, 2, 1), (2, 1, 1), (3, 3, 0)])
    assert result.rank == {1: 0.0, 2: 1.0, 3: 1.0, 5: 1.0, 10: 1.0}
    assert result.mAP == pytest.approx(1 / 2)
    # Trapezoids: ((1/2 + 0/1) / 2 + (2/4 + 1/3) / 2) / 2.
    assert result.mAP_market == pytest.approx((1 / 4 + 5 / 12) / 2)
    assert result.mINP == pytest.approx(2 / 4)
    row = result.per_query.iloc[0]
    assert (row["first_match"], row["matches"], row["nearest_wrong"]) == (2, 2, 1)


def test_junk_takes_no_place_in_the_ranking():
    # The nearest is the query's person in the query's camera, the next Market-1501's junk.
    junk = [(1, 1, 0), (2, -1, 1)]
    rest = [(3, 1, 1), (4, 2, 1), (5, 1, 2)]
    with_junk, without = line(junk + rest), line(rest)
    assert with_junk.scores() == without.scores()
    assert with_junk.rank[1] == 1.0 and with_junk.mAP == pytest.approx((1 + 2 / 3) / 2)
    assert with_junk.per_query["nearest_wrong"][0] == 3


def test_distractors_are_wrong_answers_and_not_junk():
    assert line([(1, 0, 1), (2, 1, 1)]).rank[1] == 0.0
    assert line([(1, 0, 1), (2, 1, 1)], protocol=Protocol(junk_pids=(-1, 0))).rank[1] == 1.0


def test_a_perfect_gallery_scores_one_and_a_reversed_one_its_least():
    perfect = line([(1, 1, 1), (2, 1, 1), (3, 2, 1), (4, 3, 1)])
    assert set(perfect.scores().values()) == {1.0}
    reverse = line([(4, 1, 1), (3, 1, 1), (2, 2, 1), (1, 3, 1)])
    assert reverse.mAP == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert reverse.mINP == pytest.approx(1 / 2)


def test_two_tied_images_share_the_first_place():
    result = line([(1, 2, 1), (1, 1, 1), (2, 3, 1)])
    assert result.rank[1] == 0.5 and result.rank[2] == 1.0
    assert result.mAP == pytest.approx((1 + 1 / 2) / 2)
    assert result.mINP == pytest.approx(1 / 2) and result.per_query["first_match"][0] == 2


def test_a_gallery_without_a_wrong_image_scores_one():
    result = line([(5, 1, 1)])
    assert set(result.scores().values()) == {1.0}
    assert result.per_query["nearest_wrong"][0] == -1


def test_ranks_beyond_the_gallery_count_all_of_it():
    assert line([(1, 2, 1), (2, 1, 1)], protocol=Protocol(ranks=(1, 50))).rank == {1: 0.0, 50: 1.0}


def test_single_shot_by_hand():
    # Person 1 (right) at 1 and 4; person 2 at 2 and 5; person 3 at 3. The match at 1 is first for
    # sure; the match at 4 is beaten by person 3 always and by person 2 in half of the draws.
    gallery = [(1, 1, 1), (4, 1, 1), (2, 2, 1), (5, 2, 1), (3, 3, 1)]
    result = line(gallery, protocol=Protocol(ranks=(1, 2, 3), match="single"))
    assert result.rank == pytest.approx({1: 1 / 2, 2: 3 / 4, 3: 1.0})
    assert result.mAP == pytest.approx(1 / 2 + (1 / 2 + 1 / 3) / 4)
    assert result.per_query["first_match"][0] == pytest.approx((1 + 2.5) / 2)


# --- unmatched queries and other errors ---------------------------------------------------------


def test_dropped_queries_leave_every_denominator_and_zeros_stay_in_it():
    q, g = np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]])
    ids = ([1, 9], [1, 2], [0, 0], [1, 1])
    dropped = evaluate(q, g, *ids, Protocol(unmatched="drop"))
    zero = evaluate(q, g, *ids, Protocol(unmatched="zero"))
    assert set(dropped.scores().values()) == {1.0} and set(zero.scores().values()) == {0.5}
    assert np.isnan(dropped.per_query["AP"][1]) and zero.per_query["AP"][1] == 0
    assert dropped.per_query["matches"].tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"1 of 2 .* 1 show a person who is not .* row 1 \(pid 9"):
        evaluate(q, g, *ids)


def test_one_camera_on_both_sides_is_named():
    codes, pids, camids, _ = people()
    args = (*sides(codes, pids, camids)[:4], np.full(48, 3), np.full(48, 3))
    for unmatched in ("raise", "drop", "zero"):
        with pytest.raises(ValueError, match=r"48 of 48 .* come from one camera, camid 3"):
            evaluate(*args, Protocol(unmatched=unmatched))
    evaluate(*args, Protocol(same_camera_junk=False))


def test_no_common_person_is_named_and_queries_are_listed():
    codes, pids, camids, _ = people(persons=2, images=1)
    q, g, q_pids, g_pids, q_camids, g_camids = sides(codes, pids, camids)
    with pytest.raises(ValueError, match=r"share no person.*row 0 \(pid 0, .*row 1 \(pid 1"):
        evaluate(q, g, q_pids, g_pids + 50, q_camids, g_camids)


def test_a_query_of_a_junk_id_is_named():
    with pytest.raises(ValueError, match=r"have an id that counts as junk \(-1,\)"):
        line([(1, -1, 1)], q_pid=-1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q": np.zeros((0, 3))}, r"q_codes is empty, of shape \(0, 3\)"),
        ({"g": np.zeros(3)}, r"g_codes has shape \(3,\)"),
        ({"g": np.zeros((2, 4))}, "q_codes has 3 dimensions and g_codes 4"),
        ({"q": np.array([[1, np.nan, 0.0]])}, r"q_codes: 1 of 1 codes .* row 0 \(nan\)"),
        ({"g": np.array([[1.0, 0, 0], [np.inf, 0, 0]])}, r"g_codes: 1 of 2 .* row 1 \(inf\)"),
        ({"g": np.full((2, 3), 1e30, np.float32), "q": np.zeros((1, 3), np.float32)}, "too large"),
        ({"q_pids": [1, 2]}, r"q_pids has shape \(2,\); expected \(1,\)"),
        ({"g_camids": [1]}, r"g_camids has shape \(1,\); expected \(2,\)"),
        (
            {"g_pids": [1.5, 2.5]},
            r"g_pids is of type float64; .* np.asarray\(g_pids\).astype\(int\)",
        ),
        ({"g_pids": torch.ones(2)}, r"g_pids is of type float32; .* g_pids.long\(\)"),
        (
            {"q_pids": ["anna"]},
            r"q_pids is of type <U4; .* number the persons, e.g. "
            r"np.unique\(\[\*q_pids, \*g_pids\], return_inverse=True\)\[1\]",
        ),
        ({"g_camids": np.array(["c1", None])}, "g_camids is of type object; .*number the cameras"),
    ],
)
def test_bad_input_is_named(change, message):
    good = {
        "q": np.ones((1, 3)),
        "g": np.eye(3)[:2],
        "q_pids": [1],
        "g_pids": [1, 2],
        "q_camids": [0],
        "g_camids": [1, 1],
    }
    bad = good | change
    with pytest.raises(ValueError, match=message):
        evaluate(*bad.values())


@pytest.mark.parametrize(
    "field",
    [
        {"ranks": ()},
        {"ranks": (0, 1)},
        {"ranks": (5, 1)},
        {"ap": "voc"},
        {"match": "first"},
        {"unmatched": "skip"},
        {"codes": "cosine"},
        {"tolerance": -1.0},
    ],
)
def test_a_protocol_refuses_what_it_does_not_know(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        Protocol(**field)


def test_a_protocol_is_frozen_and_prints_all_that_decides():
    protocol = Protocol(ranks=[1, 7], junk_pids=(-5,), unmatched="drop")
    with pytest.raises(AttributeError):
        protocol.ap = "market"
    text = str(protocol)
    assert all(
        word in text for word in ("1, 7", "-5", "left out", "non-interpolated", "5e-07", "camera")
    )
    assert 2 <= text.count("\n") + 1 <= 6
    assert str(protocol) != str(Protocol()) and hash(protocol) != hash(Protocol())


def test_numbers_for_string_ids_are_what_the_message_says():
    q_pids, g_pids = ["anna", "ben"], ["ben", "anna", "cleo"]
    codes = np.arange(5.0)[:, None]
    with pytest.raises(ValueError, match="number the persons"):
        evaluate(codes[:2], codes[2:], q_pids, g_pids, [0, 0], [1, 1, 1])
    numbers = np.unique([*q_pids, *g_pids], return_inverse=True)[1]
    result = evaluate(codes[:2], codes[2:], numbers[:2], numbers[2:], [0, 0], [1, 1, 1])
    assert result.rank[1] == 0.5
    with pytest.raises(ValueError, match=r"np.unique\(pids, return_inverse=True\)\[1\]"):
        evaluate_cameras(codes, [*q_pids, *g_pids], [0, 0, 1, 1, 1])


def test_a_protocol_by_its_name_is_refused_with_the_way_out():
    codes, ids = np.eye(2), np.arange(2)
    with pytest.raises(ValueError, match=r"protocol is 'market'; expected a Protocol"):
        evaluate(codes, codes, ids, ids, ids, ids, protocol="market")


# --- directions, viewpoints, pictures -----------------------------------------------------------


def test_each_direction_is_its_own_evaluation_and_both_is_their_mean():
    codes, pids, camids, _ = people(spread=2)
    results = evaluate_cameras(codes, pids, camids + 4)
    assert results["B->A"].per_query["pid"].tolist() == pids[camids == 1].tolist()
    assert list(results) == ["A->B", "B->A", "both"]
    close(results["A->B"], evaluate(*sides(codes, pids, camids)))
    close(results["B->A"], evaluate(*sides(codes, pids, 1 - camids)))
    for name, value in results["both"].scores().items():
        mean = (results["A->B"].scores()[name] + results["B->A"].scores()[name]) / 2
        assert value == pytest.approx(mean)
    assert results["A->B"].scores() != results["B->A"].scores()
    assert results["both"].per_query["direction"].value_counts().to_dict() == {
        "A->B": 48,
        "B->A": 48,
    }


def test_three_cameras_make_six_directions_and_one_camera_none():
    codes, pids, camids, _ = people(cameras=3)
    assert set(evaluate_cameras(codes, pids, camids)) == {
        *("A->B", "A->C", "B->A", "B->C", "C->A", "C->B"),
        "both",
    }
    with pytest.raises(ValueError, match=r"1 camera\(s\) in camids: \[7\]"):
        evaluate_cameras(codes, pids, np.full_like(camids, 7))


def test_each_cell_of_the_grid_is_an_evaluation_of_those_views_alone():
    codes, pids, camids, views = people(images=3, spread=1.5)
    q, g, q_pids, g_pids, q_camids, g_camids = args = sides(codes, pids, camids)
    q_views, g_views = views[camids == 0] + 1, views[camids == 1] + 1
    grid = viewpoint_grid(*args, q_views, g_views)
    assert list(grid.columns) == [
        *("query_orientation", "gallery_orientation", "queries", "rank1", "mAP"),
        *("same_distance", "other_distance"),
    ]
    assert len(grid) == 9
    for row in grid.itertuples():
        a, b = q_views == row.query_orientation, g_views == row.gallery_orientation
        alone = evaluate(q[a], g[b], q_pids[a], g_pids[b], q_camids[a], g_camids[b])
        assert row.queries == 12
        assert (row.rank1, row.mAP) == pytest.approx((alone.rank[1], alone.mAP))
        distance = torch.cdist(torch.tensor(q[a]), torch.tensor(g[b])).numpy()
        same = q_pids[a][:, None] == g_pids[b]
        assert row.same_distance == pytest.approx(distance[same].mean())
        assert row.other_distance == pytest.approx(distance[~same].mean())


def test_a_query_counts_only_if_its_person_has_the_gallerys_view():
    codes, pids, camids, views = people(persons=6, images=2)
    camera = camids == 0
    keep = camera | (views == 0) | (pids > 2)  # three persons lack view 1 in the gallery
    args = sides(codes[keep], pids[keep], camids[keep])
    q_views, g_views = views[camera], views[keep][camids[keep] == 1]
    grid = viewpoint_grid(*args, q_views, g_views).set_index(
        ["query_orientation", "gallery_orientation"]
    )
    assert grid["queries"].to_dict() == {(0, 0): 6, (0, 1): 3, (1, 0): 6, (1, 1): 3}
    junk = args[3].copy()
    junk[g_views == 1] = -1
    empty = viewpoint_grid(*args[:3], junk, *args[4:], q_views, g_views)
    empty = empty[empty["gallery_orientation"] == 1]
    assert empty["queries"].sum() == 0 and empty[["rank1", "mAP", "same_distance"]].isna().all(
        axis=None
    )


def test_a_ranked_gallery_agrees_with_the_scores():
    codes, pids, camids, _ = people(cameras=3, spread=2)
    pids[5::9] = -1
    protocol = Protocol(unmatched="drop")
    result = evaluate(codes, codes, pids, pids, camids, camids, protocol)
    for i in (0, 17, 40, 88):
        ranked = rank_gallery(codes[i], codes, pids[i], pids, camids[i], camids, protocol)
        assert sorted(ranked["row"]) == list(range(len(codes)))
        assert ranked["distance"].is_monotonic_increasing
        assert not (ranked["match"] & ranked["junk"]).any()
        assert (ranked["rank"] > 0).tolist() == (~ranked["junk"]).tolist()
        row = result.per_query.iloc[i]
        assert ranked["match"].sum() == row["matches"]
        if row["matches"]:
            assert ranked[ranked["match"]]["rank"].min() == row["first_match"]
        wrong = ranked[~ranked["match"] & ~ranked["junk"]]
        assert wrong["row"].iloc[0] == row["nearest_wrong"]


def test_tied_images_keep_the_gallerys_order():
    g = np.array([[2.0], [1.0], [-1.0], [1.0], [0.5]])
    ranked = rank_gallery(np.array([0.0]), g, 1, [1, 1, 2, 3, 4], 0, [1, 1, 1, 1, 1])
    assert ranked["row"].tolist() == [4, 1, 2, 3, 0]
