"""Scores from their definitions, from hand-ranked galleries, and from how peers count."""

import itertools
import warnings
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from reid_lib.metrics import (
    Protocol,
    bootstrap,
    evaluate,
    evaluate_cameras,
    evaluate_distances,
    paired_test,
    rank_gallery,
    split_test,
    sq_distances,
    viewpoint_grid,
)

RANKS = (1, 2, 3, 5, 10)


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


def oracle_query(items, ties):
    worst = scores_of_order([right for _, right in sorted(items)])
    best = scores_of_order([right for _, right in sorted(items, key=lambda x: (x[0], -x[1]))])
    if ties != "expected":
        return worst if ties == "worst" else best
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
        junk |= protocol.gallery_cameras == "other" and camid == q_camid
        if not junk:
            sq = sum((a - b) ** 2 for a, b in zip(q_code, code, strict=True))
            kept.append((pid, (sq, int(pid == q_pid))))
    if not any(right for _, (_, right) in kept):
        return None
    if protocol.match == "any":
        return oracle_query([item for _, item in kept], protocol.ties)
    persons = [[item for p, item in kept if p == pid] for pid in sorted({p for p, _ in kept})]
    draws = list(itertools.product(*persons))
    return np.mean([oracle_query(list(draw), protocol.ties) for draw in draws], axis=0)


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
    gallery_cameras=st.sampled_from(["all", "other"]),
    same_camera_junk=st.booleans(),
    junk_pids=st.sampled_from([(-1,), (), (2, -1)]),
    unmatched=st.sampled_from(["drop", "zero", "raise"]),
    ties=st.sampled_from(["expected", "expected", "worst", "best"]),
)


def arrays(images):
    pids, camids, codes = zip(*images, strict=True)
    return np.array(codes, float), np.array(pids), np.array(camids)


def in_parts():
    """Galleries this small would be scored from one product; take the large ones' way."""
    return mock.patch("reid_lib.metrics._AT_ONCE", 0)


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


def line(gallery, q_pid=1, q_camid=0, protocol=None):
    """One query at 0 and a gallery of (distance, pid, camid) on a line."""
    distances, pids, camids = map(np.array, zip(*gallery, strict=True))
    return evaluate(
        np.zeros((1, 1)),
        distances[:, None].astype(float),
        [q_pid],
        pids,
        [q_camid],
        camids,
        protocol or Protocol(ranks=RANKS),
    )


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
    assert line([(1, 2, 1), (1, 1, 1)], protocol=Protocol(ties="worst")).rank[1] == 0.0
    assert line([(1, 2, 1), (1, 1, 1)], protocol=Protocol(ties="best")).rank[1] == 1.0


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


# --- what must not matter -----------------------------------------------------------------------


def people(persons=12, images=4, cameras=2, spread=1.2, dim=16, seed=0):
    rng = np.random.default_rng(seed)
    pids = np.repeat(np.arange(persons), images * cameras)
    camids = np.tile(np.repeat(np.arange(cameras), images), persons)
    views = np.tile(np.arange(images), persons * cameras)
    centres = rng.normal(size=(persons, dim))
    codes = centres[pids] + spread * rng.normal(size=(len(pids), dim))
    return codes, pids, camids, views


def sides(codes, pids, camids):
    q = camids == 0
    return codes[q], codes[~q], pids[q], pids[~q], camids[q], camids[~q]


def close(a, b, **tolerance):
    assert a.scores() == pytest.approx(b.scores(), **({"abs": 1e-9} | tolerance))


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
    ids=["enlarged", "shrunk", "moved", "turned"],
)
def test_similar_figures_score_the_same(move):
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
        monkeypatch.setattr("reid_lib.metrics._WIDTH", width)
        monkeypatch.setattr("reid_lib.metrics._BLOCK", block)
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
        with pytest.raises(ValueError, match=r"48 of 48 .* one camera on both sides, camid 3"):
            evaluate(*args, Protocol(unmatched=unmatched))
    evaluate(*args, Protocol(same_camera_junk=False))


def test_no_common_person_is_named_and_queries_are_listed_by_name():
    codes, pids, camids, _ = people(persons=2, images=1)
    q, g, q_pids, g_pids, q_camids, g_camids = sides(codes, pids, camids)
    with pytest.raises(ValueError, match=r"No person is on both sides.*a\.png .*b\.png"):
        evaluate(q, g, q_pids, g_pids + 50, q_camids, g_camids, q_names=["a.png", "b.png"])


def test_a_query_of_a_junk_id_is_named():
    with pytest.raises(ValueError, match=r"bear an id that counts as junk \(-1,\)"):
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
        ({"g_pids": [1.5, 2.5]}, "g_pids is of type float64"),
        ({"q_names": ["a", "b"]}, "q_names has 2 names for 1"),
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
        "q_names": None,
    }
    bad = good | change
    with pytest.raises(ValueError, match=message):
        evaluate(*list(bad.values())[:6], q_names=bad["q_names"])


@pytest.mark.parametrize(
    "field",
    [
        {"ranks": ()},
        {"ranks": (0, 1)},
        {"ranks": (5, 1)},
        {"ap": "voc"},
        {"match": "first"},
        {"unmatched": "skip"},
        {"ties": "random"},
        {"gallery_cameras": "same"},
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
    assert all(word in text for word in ("1, 7", "-5", "left out", "plain", "5e-07", "camera"))
    assert 2 <= text.count("\n") + 1 <= 6
    assert str(protocol) != str(Protocol()) and hash(protocol) != hash(Protocol())


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


def market_sized(queries, gallery, persons, cameras=6, dim=32, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(persons, dim))
    q_pids, g_pids = rng.integers(0, persons, queries), rng.integers(0, persons, gallery)
    q = centres[q_pids] + 1.3 * rng.normal(size=(queries, dim))
    g = centres[g_pids] + 1.3 * rng.normal(size=(gallery, dim))
    return (
        q,
        g,
        q_pids,
        g_pids,
        rng.integers(0, cameras, queries),
        rng.integers(0, cameras, gallery),
    )


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


def test_torchreid_drops_unmatched_queries_unasked():
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


# --- directions, viewpoints, pictures -----------------------------------------------------------


def test_each_direction_is_its_own_evaluation_and_both_is_their_mean():
    codes, pids, camids, _ = people(spread=2)
    files = [f"{i}.png" for i in range(len(codes))]
    results = evaluate_cameras(codes, pids, camids + 4, names=files)
    assert results["B->A"].per_query["name"][0] == files[np.flatnonzero(camids == 1)[0]]
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


def test_a_view_that_is_missing_asks_no_query():
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


def test_a_ranked_gallery_is_what_the_scores_were_drawn_from():
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


def test_the_tied_stand_in_the_gallerys_order():
    g = np.array([[2.0], [1.0], [-1.0], [1.0], [0.5]])
    ranked = rank_gallery(np.array([0.0]), g, 1, [1, 1, 2, 3, 4], 0, [1, 1, 1, 1, 1])
    assert ranked["row"].tolist() == [4, 1, 2, 3, 0]


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


# --- how sure -----------------------------------------------------------------------------------


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


def test_over_splits_the_corrected_t_test_is_more_careful_than_the_plain_one():
    rng = np.random.default_rng(8)
    a = [{"mAP": x} for x in rng.normal(0.5, 0.02, 10)]
    b = [{"mAP": s["mAP"] + x} for s, x in zip(a, rng.normal(0.02, 0.02, 10), strict=True)]
    gains = np.array([y["mAP"] - x["mAP"] for x, y in zip(a, b, strict=True)])
    row = split_test(a, b).loc["mAP"]
    t = gains.mean() / (gains.std(ddof=1) * np.sqrt(1 / 10 + 1))
    # Student's t with 9 degrees of freedom, by integrating its density.
    x = np.linspace(-abs(t), abs(t), 100_001)
    density = (1 + x**2 / 9) ** -5
    whole = np.linspace(-1000, 1000, 2_000_001)
    inside = np.trapezoid(density, x) / np.trapezoid((1 + whole**2 / 9) ** -5, whole)
    assert row["difference"] == pytest.approx(gains.mean())
    assert row["p"] == pytest.approx(1 - inside, abs=1e-5)
    assert row["low"] < gains.mean() - 2 * gains.std(ddof=1) / np.sqrt(10)
    assert split_test(a, a).loc["mAP", "p"] == 1.0
    with pytest.raises(ValueError, match="holds 10 splits and scores_b 9"):
        split_test(a, b[:9])


# --- distances of any kind ------------------------------------------------------------------


@pytest.mark.parametrize("match", ["any", "single"])
@pytest.mark.parametrize("gallery_cameras", ["all", "other"])
@pytest.mark.parametrize("seed", range(5))
def test_given_distances_score_as_the_codes_do_that_they_come_from(seed, gallery_cameras, match):
    rng = np.random.default_rng(seed)
    q, g = (rng.integers(-2, 3, (n, 3)).astype(np.float32) for n in (17, 60))  # with many ties
    ids = [rng.integers(0, high, n) for high, n in ((6, 17), (6, 60), (3, 17), (3, 60))]
    ids[1][:5] = -1  # junk
    protocol = Protocol(
        unmatched="zero", gallery_cameras=gallery_cameras, match=match, ranks=(1, 5), tolerance=1e-5
    )
    with in_parts():
        wanted = evaluate(q, g, *ids, protocol)
    result = evaluate_distances(sq_distances(q, g), *ids, protocol)
    assert result.scores() == pytest.approx(wanted.scores(), abs=1e-12)
    ours, theirs = (r.per_query.drop(columns="nearest_wrong") for r in (result, wanted))
    pd.testing.assert_frame_equal(ours, theirs)  # of tied wrong images either may be the nearest


def test_only_the_order_of_given_distances_counts():
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
        (np.array([[0.0, 1], [np.nan, 2]]), "distances are not finite, first in row 1"),
        (np.zeros((2, 3)), r"g_pids has shape \(2,\); expected \(3,\)"),
    ],
)
def test_distances_that_cannot_be_ranked_are_refused(distances, message):
    with pytest.raises(ValueError, match=message):
        evaluate_distances(distances, [0, 1], [0, 1], [0, 0], [1, 1])


def test_a_protocol_by_its_name_is_refused_with_the_way_out():
    codes, ids = np.eye(2), np.arange(2)
    with pytest.raises(ValueError, match=r"protocol is 'market'; expected a Protocol"):
        evaluate(codes, codes, ids, ids, ids, ids, protocol="market")
