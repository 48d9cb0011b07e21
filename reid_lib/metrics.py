"""Scores of a ranked gallery: protocol, distances, CMC, AP, and how sure they are.

A query's gallery is ranked by ascending Euclidean distance between codes. Everything that such a
score leaves unsaid (junk, ties, unmatched queries, which AP) is a field of `Protocol`.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations
from string import ascii_uppercase
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

Codes = np.ndarray | Tensor
Ids = np.ndarray | Tensor | Sequence[int]

_CHOICES = {
    "ap": Literal["plain", "market"],
    "match": Literal["any", "single"],
    "gallery_cameras": Literal["all", "other"],
    "unmatched": Literal["drop", "zero", "raise"],
    "ties": Literal["expected", "worst", "best"],
}


@dataclass(frozen=True)
class Protocol:
    """What a score means. Two numbers compare only if their protocols are equal.

    Attributes:
        ranks: the k of rank-k, ascending. A k beyond the gallery counts the whole gallery.
        ap: which average precision `mAP` averages. With a match at rank n_j as the j-th of M,
            "plain" is 1/M sum_j j / n_j; "market" is Market-1501's own trapezoid,
            1/M sum_j (j / n_j + (j - 1) / (n_j - 1)) / 2, where the second term is 1 at n_j = 1.
        match: "any" asks whether any of a person's images is among the first k. "single" keeps
            one image of each gallery person, drawn at random (the single-shot gallery), and
            scores the exact expectation over all draws; no draw is made.
        gallery_cameras: "all" keeps other persons' images from the query's camera as wrong
            answers (Market-1501); "other" leaves the query's camera out of its gallery.
        same_camera_junk: images of the query's person from the query's camera are neither match
            nor wrong: they are taken out of the ranking.
        junk_pids: gallery images with these ids are taken out of every ranking. -1 is
            Market-1501's junk; its distractors, id 0, stay and are wrong answers.
        unmatched: what a query without a match left counts as. "raise" is the default because
            such a query mostly is a mistake in the split or in the camera ids, and because the
            ids alone decide it, so the error comes before any result does. "drop" leaves the
            query out of rank-k, mAP and mINP alike; "zero" counts it as 0 in each of them. CMC
            and mAP always share one denominator. With no match for any query it is an error
            under every choice.
        ties: "expected" takes the expectation over a random order of the tied for rank-k and
            plain AP, and the worst order for market AP, INP and the rank of the first match, so
            that a network whose codes are all equal scores as chance. "worst" and "best" take
            one order for all of them.
        tolerance: distances that differ only by rounding count as tied. Squared distances of a
            query are tied with a match's when they differ by at most `tolerance` times the
            query's mean squared distance to its gallery (or by (tolerance times the codes' root
            mean square length)^2, if that is more: codes so close are equal up to rounding).
            Matches whose tied ranges overlap are tied with each other.
    """

    ranks: tuple[int, ...] = (1, 5, 10, 20)
    ap: Literal["plain", "market"] = "plain"
    match: Literal["any", "single"] = "any"
    gallery_cameras: Literal["all", "other"] = "all"
    same_camera_junk: bool = True
    junk_pids: tuple[int, ...] = (-1,)
    unmatched: Literal["drop", "zero", "raise"] = "raise"
    ties: Literal["expected", "worst", "best"] = "expected"
    tolerance: float = 1e-6

    def __post_init__(self):
        object.__setattr__(self, "ranks", tuple(int(k) for k in self.ranks))
        object.__setattr__(self, "junk_pids", tuple(int(pid) for pid in self.junk_pids))
        for name, literal in _CHOICES.items():
            value, choices = getattr(self, name), get_args(literal)
            if value not in choices:
                raise ValueError(f"Protocol.{name} is {value!r}; choose one of {choices}.")
        increasing = all(a < b for a, b in zip(self.ranks, self.ranks[1:], strict=False))
        if not self.ranks or self.ranks[0] < 1 or not increasing:
            raise ValueError(
                f"Protocol.ranks is {self.ranks}; give ascending ranks from 1 up, as (1, 5, 10)."
            )
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"Protocol.tolerance is {self.tolerance}; it must be in [0, 1).")

    def __str__(self) -> str:
        match = {
            "any": "any match of the person among the first k",
            "single": "one image of each gallery person, expectation over the draw",
        }[self.match]
        cameras = {
            "all": "images of all cameras",
            "other": "images of cameras other than the query's",
        }[self.gallery_cameras]
        junk = ["same person and same camera"] if self.same_camera_junk else []
        junk += [f"person ids {', '.join(map(str, self.junk_pids))}"] if self.junk_pids else []
        ap = {"plain": "plain sum", "market": "Market-1501's trapezoids"}[self.ap]
        ties = {
            "expected": "expectation over random order (rank-k, plain AP), worst order (the rest)",
            "worst": "worst order",
            "best": "best order",
        }[self.ties]
        unmatched = {
            "drop": "left out of every score",
            "zero": "counted as 0 in every score",
            "raise": "an error",
        }[self.unmatched]
        return "\n".join(
            [
                f"rank-k: {match}, k = {', '.join(map(str, self.ranks))}; AP: {ap}",
                f"gallery: {cameras}; junk, out of the ranking: {'; '.join(junk) or 'none'}",
                f"ties within {self.tolerance:g} of the mean squared distance: {ties}",
                f"query without a match: {unmatched}",
            ]
        )


@dataclass(frozen=True)
class Result:
    """The scores of one evaluation, as fractions in [0, 1].

    Attributes:
        rank: k -> the fraction of queries answered among the first k.
        mAP: mean of the protocol's average precision.
        mAP_market: mean of Market-1501's trapezoid average precision.
        mINP: mean inverse negative penalty (Ye et al. 2021): matches / rank of the last match.
        per_query: a row a query in the given order: name (if given), pid, camid, AP, AP_market,
            INP, first_match (rank of the first match, from 1), matches (their number),
            nearest_wrong (row of the gallery, -1 without one), and rank-k, a column a k (the
            probability of success, so a fraction where ties make it one). An unmatched query
            has matches = 0, first_match NaN and the rest NaN ("drop") or 0 ("zero").
        protocol: what the scores mean.
    """

    rank: dict[int, float]
    mAP: float
    mAP_market: float
    mINP: float
    per_query: pd.DataFrame = field(repr=False)
    protocol: Protocol

    def scores(self) -> dict[str, float]:
        """The scores as a flat dict of plain floats: rank-1, ..., mAP, mAP_market, mINP."""
        ranks = {f"rank-{k}": value for k, value in self.rank.items()}
        return ranks | {"mAP": self.mAP, "mAP_market": self.mAP_market, "mINP": self.mINP}


def sq_distances(q_codes: Codes, g_codes: Codes) -> Tensor:
    """Squared Euclidean distances, ||q||^2 + ||g||^2 - 2 q.g, about the gallery's mean.

    Distances do not change when both sides are moved; about the mean the three terms are as
    small as they can be, and so is what their difference loses to rounding.

    Args:
        q_codes: (Q, D) float.
        g_codes: (G, D) float.
    Returns:
        (Q, G), in float32 (float64 if either side is), on the codes' device, never negative.
    Raises:
        ValueError: not two-dimensional, empty, not finite, or of unequal D.
    """
    q, g = _codes(q_codes, g_codes)
    mean = g.mean(0)
    q, g = q - mean, g - mean
    sq = torch.addmm(_sq_norms(g)[None, :], q, g.T, alpha=-2)
    return sq.add_(_sq_norms(q)[:, None]).clamp_(min=0)


def evaluate(
    q_codes: Codes,
    g_codes: Codes,
    q_pids: Ids,
    g_pids: Ids,
    q_camids: Ids,
    g_camids: Ids,
    protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
    q_names: Sequence[str] | None = None,
) -> Result:
    """Rank the gallery for each query and score the rankings.

    Args:
        q_codes, g_codes: (Q, D) and (G, D) float, as NumPy arrays or tensors on one device.
        q_pids, g_pids: (Q,) and (G,) int, the persons.
        q_camids, g_camids: (Q,) and (G,) int, the cameras.
        protocol: what counts, and how.
        q_names: (Q,) names of the queries, for `per_query` and for messages.
    Returns:
        A `Result`. The order of the gallery changes no score.
    Raises:
        ValueError: codes empty, not (N, D), not finite or of unequal D; ids of another length or
            not whole numbers; no query with a match left; or an unmatched query where the
            protocol says "raise".
    """
    q, g = _codes(q_codes, g_codes)
    ids = _Ids.read(q, g, q_pids, g_pids, q_camids, g_camids, q_names)
    return _evaluate(q, g, ids, protocol)


def evaluate_cameras(
    codes: Codes,
    pids: Ids,
    camids: Ids,
    protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
) -> dict[str, Result]:
    """Let every camera query every other one.

    Args:
        codes: (N, D) float.
        pids: (N,) int.
        camids: (N,) int, two cameras or more. In the keys they are letters, ascending.
        protocol: what counts, and how.
    Returns:
        A `Result` a direction, as "A->B" (queries from A, gallery of B), and under "both" the
        mean over the directions of each score, with all queries in `per_query` and their
        direction beside them.
    Raises:
        ValueError: as `evaluate`; fewer than 2 cameras or more than 26.
    """
    x = _code(codes, "codes")
    pids, camids = _ids(pids, len(x), "pids"), _ids(camids, len(x), "camids")
    cameras = np.unique(camids)
    if not 2 <= len(cameras) <= len(ascii_uppercase):
        raise ValueError(
            f"{len(cameras)} camera(s) in camids: {cameras.tolist()[:10]}; directions need from 2 "
            f"to {len(ascii_uppercase)}."
        )
    results = {}
    for (a, q_camera), (b, g_camera) in permutations(zip(ascii_uppercase, cameras), 2):  # noqa: B905
        q, g = np.flatnonzero(camids == q_camera), np.flatnonzero(camids == g_camera)
        results[f"{a}->{b}"] = evaluate(
            x[torch.from_numpy(q)],
            x[torch.from_numpy(g)],
            pids[q],
            pids[g],
            camids[q],
            camids[g],
            protocol,
        )
    frames = [r.per_query.assign(direction=name) for name, r in results.items()]
    mean = pd.DataFrame([r.scores() for r in results.values()]).mean()
    results["both"] = Result(
        rank={k: float(mean[f"rank-{k}"]) for k in protocol.ranks},
        mAP=float(mean["mAP"]),
        mAP_market=float(mean["mAP_market"]),
        mINP=float(mean["mINP"]),
        per_query=pd.concat(frames, ignore_index=True),
        protocol=protocol,
    )
    return results


def viewpoint_grid(
    q_codes: Codes,
    g_codes: Codes,
    q_pids: Ids,
    g_pids: Ids,
    q_camids: Ids,
    g_camids: Ids,
    q_orientations: Ids,
    g_orientations: Ids,
    protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
) -> pd.DataFrame:
    """Score each pair of views: queries of one orientation, gallery images of another alone.

    All else is by the protocol, except that a query is asked only where its person has a match
    of that orientation; a missing view is no mistake of the split.

    Args:
        q_codes, ..., g_camids: as `evaluate`.
        q_orientations, g_orientations: (Q,) and (G,) int.
        protocol: what counts, and how.
    Returns:
        A row a pair of orientations, sorted: query_orientation, gallery_orientation, queries
        (how many were asked), rank1, mAP, same_distance and other_distance: the mean Euclidean
        distance to the matches and to the other persons' images of that orientation. NaN where
        no query was asked.
    Raises:
        ValueError: as `evaluate`, or orientations of another length.
    """
    q, g = _codes(q_codes, g_codes)
    ids = _Ids.read(q, g, q_pids, g_pids, q_camids, g_camids, None)
    q_views = _ids(q_orientations, len(q), "q_orientations")
    g_views = _ids(g_orientations, len(g), "g_orientations")
    _matched(_pairs(ids, protocol), ids, protocol)
    protocol = Protocol(**{**vars(protocol), "ranks": (1,), "unmatched": "drop"})

    rows = []
    for g_view in np.unique(g_views):
        keep = np.flatnonzero(g_views == g_view)
        part = ids.gallery(keep)
        frame = _per_query(q, g[torch.from_numpy(keep).to(g.device)], part, protocol, True)
        frame["query_orientation"] = q_views
        for q_view, cell in frame.groupby("query_orientation"):
            asked = cell[cell["matches"] > 0]
            rows.append(
                {
                    "query_orientation": q_view,
                    "gallery_orientation": g_view,
                    "queries": len(asked),
                    "rank1": asked["rank-1"].mean(),
                    "mAP": asked["AP"].mean(),
                    "same_distance": asked["same_sum"].sum() / max(asked["matches"].sum(), 1),
                    "other_distance": asked["other_sum"].sum() / max(asked["others"].sum(), 1),
                }
            )
    grid = pd.DataFrame(rows).sort_values(["query_orientation", "gallery_orientation"])
    empty = grid["queries"] == 0
    grid.loc[empty, ["same_distance", "other_distance"]] = np.nan
    return grid.reset_index(drop=True)


def rank_gallery(
    q_code: Codes,
    g_codes: Codes,
    q_pid: int,
    g_pids: Ids,
    q_camid: int,
    g_camids: Ids,
    protocol: Protocol = Protocol(),  # noqa: B008 (frozen)
) -> pd.DataFrame:
    """One query's gallery, nearest first; the tied stand in the gallery's order.

    Args:
        q_code: (D,) or (1, D) float.
        g_codes: (G, D) float.
        q_pid, q_camid: the query's person and camera.
        g_pids, g_camids: (G,) int.
        protocol: says what is junk and what is tied.
    Returns:
        A row a gallery image: row (of the gallery), distance (Euclidean), match, junk, and
        rank (from 1, junk not counted and itself 0).
    Raises:
        ValueError: as `evaluate`; a query without a match is no error here.
    """
    q_code = torch.as_tensor(q_code)
    q, g = _codes(q_code[None] if q_code.ndim == 1 else q_code, g_codes)
    if len(q) != 1:
        raise ValueError(f"q_code holds {len(q)} codes; rank_gallery takes one.")
    ids = _Ids.read(q, g, [q_pid], g_pids, [q_camid], g_camids, None)
    sq = sq_distances(q, g)[0].double().cpu().numpy()
    same = ids.g_pids == ids.q_pids[0]
    junk = np.isin(ids.g_pids, protocol.junk_pids)
    same_camera = ids.g_camids == ids.q_camids[0]
    if protocol.gallery_cameras == "other":
        junk |= same_camera
    if protocol.same_camera_junk:
        junk |= same & same_camera
    # A new group of the tied starts where the gap to the one before exceeds the tolerance.
    scale = sq[~junk].mean() if not junk.all() else 0.0
    floor = float(protocol.tolerance**2 * _sq_norms(g).mean())
    order = np.argsort(sq, kind="stable")
    gaps = np.diff(sq[order], prepend=sq[order[0]]) > max(protocol.tolerance * scale, floor)
    order = order[np.lexsort((order, np.cumsum(gaps)))]
    return pd.DataFrame(
        {
            "row": order,
            "distance": np.sqrt(sq[order]),
            "match": (same & ~junk)[order],
            "junk": junk[order],
            "rank": np.where(junk[order], 0, np.cumsum(~junk[order])),
        }
    )


# --- what goes in ---------------------------------------------------------------------------


def _code(codes: Codes, name: str) -> Tensor:
    codes = torch.as_tensor(codes).detach()
    if codes.ndim != 2:
        raise ValueError(f"{name} has shape {tuple(codes.shape)}; expected (images, dimensions).")
    if not all(codes.shape):
        raise ValueError(f"{name} is empty, of shape {tuple(codes.shape)}.")
    if codes.is_complex():
        raise ValueError(f"{name} is of type {codes.dtype}; expected real numbers.")
    if codes.dtype != torch.float64:
        codes = codes.float()
    # One sum shows whether anything is wrong; the search for where costs more and comes after.
    if not torch.isfinite(codes.sum()):
        bad = torch.nonzero(~torch.isfinite(codes).all(1)).flatten().tolist()
        if bad:
            row = codes[bad[0]]
            value = row[~torch.isfinite(row)][0].item()
            raise ValueError(
                f"{name}: {len(bad)} of {len(codes)} codes are not finite, the first in row "
                f"{bad[0]} ({value}); such a code has no distance to anything."
            )
    return codes


def _codes(q_codes: Codes, g_codes: Codes) -> tuple[Tensor, Tensor]:
    q, g = _code(q_codes, "q_codes"), _code(g_codes, "g_codes")
    if q.shape[1] != g.shape[1]:
        raise ValueError(
            f"q_codes has {q.shape[1]} dimensions and g_codes {g.shape[1]}; both must come from "
            "one network."
        )
    if q.device != g.device:
        raise ValueError(f"q_codes is on {q.device} and g_codes on {g.device}; move one of them.")
    dtype = torch.promote_types(q.dtype, g.dtype)
    return q.to(dtype), g.to(dtype)


def _ids(ids: Ids, length: int, name: str) -> np.ndarray:
    ids = ids.detach().cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if ids.shape != (length,):
        raise ValueError(f"{name} has shape {ids.shape}; expected ({length},), one a code.")
    if ids.dtype.kind not in "iu":
        raise ValueError(f"{name} is of type {ids.dtype}; expected whole numbers.")
    return ids.astype(np.int64)


@dataclass(frozen=True)
class _Ids:
    q_pids: np.ndarray
    g_pids: np.ndarray
    q_camids: np.ndarray
    g_camids: np.ndarray
    q_names: list[str] | None

    @classmethod
    def read(cls, q, g, q_pids, g_pids, q_camids, g_camids, q_names) -> "_Ids":
        names = None if q_names is None else [str(name) for name in q_names]
        if names is not None and len(names) != len(q):
            raise ValueError(f"q_names has {len(names)} names for {len(q)} queries.")
        return cls(
            _ids(q_pids, len(q), "q_pids"),
            _ids(g_pids, len(g), "g_pids"),
            _ids(q_camids, len(q), "q_camids"),
            _ids(g_camids, len(g), "g_camids"),
            names,
        )

    def gallery(self, rows: np.ndarray) -> "_Ids":
        return _Ids(
            self.q_pids, self.g_pids[rows], self.q_camids, self.g_camids[rows], self.q_names
        )


def _sq_norms(x: Tensor) -> Tensor:
    return torch.einsum("nd,nd->n", x, x)


# --- from codes to counts -------------------------------------------------------------------


@dataclass(frozen=True)
class _Pairs:
    """Query and gallery image of one person, by query: what can be right or junk, never wrong."""

    query: np.ndarray
    row: np.ndarray
    junk: np.ndarray

    @property
    def matches(self) -> tuple[np.ndarray, np.ndarray]:
        return self.query[~self.junk], self.row[~self.junk]


def _pairs(ids: _Ids, protocol: Protocol) -> _Pairs:
    # With the gallery in the order of its persons, a query's own person is one slice.
    order = np.argsort(ids.g_pids, kind="stable")
    sorted_pids = ids.g_pids[order]
    start = np.searchsorted(sorted_pids, ids.q_pids, "left")
    count = np.searchsorted(sorted_pids, ids.q_pids, "right") - start
    query = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(query)) - np.repeat(np.cumsum(count) - count, count)
    row = order[np.repeat(start, count) + within]
    junk = np.isin(ids.g_pids[row], protocol.junk_pids)
    if protocol.same_camera_junk or protocol.gallery_cameras == "other":
        junk |= ids.q_camids[query] == ids.g_camids[row]
    return _Pairs(query, row, junk)


def _matched(pairs: _Pairs, ids: _Ids, protocol: Protocol) -> np.ndarray:
    """The number of matches of each query, or the error that says why there are none."""
    matches = np.bincount(pairs.query[~pairs.junk], minlength=len(ids.q_pids))
    unmatched = np.flatnonzero(matches == 0)
    if not len(unmatched) or (len(unmatched) < len(matches) and protocol.unmatched != "raise"):
        return matches

    own = np.bincount(pairs.query, minlength=len(matches))[unmatched]
    junk_pid = np.isin(ids.q_pids[unmatched], protocol.junk_pids)
    causes = []
    if (n := int(junk_pid.sum())) > 0:
        causes.append(f"{n} are of a person id that counts as junk {protocol.junk_pids}")
    if (n := int(((own == 0) & ~junk_pid).sum())) > 0:
        causes.append(f"{n} are of persons who are not in the gallery")
    if (n := int(((own > 0) & ~junk_pid).sum())) > 0:
        causes.append(
            f"{n} are of persons whose gallery images all come from the query's own camera, "
            "which makes them junk"
        )
    hints = []
    cameras = np.union1d(ids.q_camids, ids.g_camids)
    if len(cameras) == 1:
        hints.append(
            f"There is one camera id, {cameras[0]}, on both sides: check q_camids and g_camids, "
            "or set same_camera_junk=False."
        )
    common = np.intersect1d(ids.q_pids, ids.g_pids)
    if not len(common):
        hints.append(
            f"No person is on both sides: q_pids holds {_some(np.unique(ids.q_pids))}, "
            f"g_pids {_some(np.unique(ids.g_pids))}."
        )
    if len(unmatched) < len(matches):
        hints.append("Mend the split, or set unmatched='drop' or 'zero' in the protocol.")
    listed = [
        (f"{ids.q_names[i]} " if ids.q_names else f"row {i} ")
        + f"(pid {ids.q_pids[i]}, camid {ids.q_camids[i]})"
        for i in unmatched
    ]
    raise ValueError(
        f"{len(unmatched)} of {len(matches)} queries have no match left in the gallery: "
        f"{', '.join(causes)}. {' '.join(hints)} Queries: {_some(listed)}."
    )


def _some(values: Sequence, most: int = 10) -> str:
    shown = ", ".join(map(str, values[:most]))
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"


@dataclass(frozen=True)
class _Counts:
    """For each match, in the order of queries and then of distance: where it stands."""

    query: np.ndarray
    low: np.ndarray  # the tied range
    high: np.ndarray
    nearer: np.ndarray  # wrong images below the range
    not_farther: np.ndarray  # wrong images below or inside it


def _search(q: Tensor, g: Tensor, ids: _Ids, pairs: _Pairs, protocol: Protocol, distances: bool):
    sq = sq_distances(q, g).double().cpu().numpy()
    wrong = np.tile(~np.isin(ids.g_pids, protocol.junk_pids), (len(q), 1))
    wrong[pairs.query, pairs.row] = False
    if protocol.gallery_cameras == "other":
        wrong &= ids.q_camids[:, None] != ids.g_camids[None, :]
    query, row = pairs.matches
    value = sq[query, row]
    norm = float(_sq_norms(g).double().mean())
    tolerance = np.maximum(protocol.tolerance * sq.mean(1), protocol.tolerance**2 * norm)
    low, high = value - tolerance[query], value + tolerance[query]
    order = np.lexsort((value, query))
    query, low, high = query[order], low[order], high[order]
    sq = np.where(wrong, sq, np.inf)
    ranked = np.sort(sq, axis=1)
    bounds = np.searchsorted(query, np.arange(len(q) + 1))
    nearer, not_farther = np.zeros(len(query), int), np.zeros(len(query), int)
    for i, (a, b) in enumerate(zip(bounds, bounds[1:], strict=False)):
        nearer[a:b] = np.searchsorted(ranked[i], low[a:b], "left")
        not_farther[a:b] = np.searchsorted(ranked[i], high[a:b], "right")
    nearest = np.where(wrong.any(1), sq.argmin(1), -1)
    sums = {}
    if distances:
        same = np.bincount(*(query, None), minlength=len(q)) * 0.0
        np.add.at(same, query, np.sqrt(value[order]))
        sums = {
            "same_sum": same,
            "other_sum": np.sqrt(np.where(wrong, sq, 0)).sum(1),
            "others": wrong.sum(1),
        }
    return _Counts(query, low, high, nearer, not_farther), nearest, sums


# --- from counts to scores ------------------------------------------------------------------


def _per_query(
    q: Tensor, g: Tensor, ids: _Ids, protocol: Protocol, distances: bool = False
) -> pd.DataFrame:
    pairs = _pairs(ids, protocol)
    matches = np.bincount(pairs.query[~pairs.junk], minlength=len(q))
    counts, nearest, sums = _search(q, g, ids, pairs, protocol, distances)
    if protocol.match == "single":
        raise NotImplementedError("match='single' comes next")
    scored = _score(counts, matches, protocol)
    names = {} if ids.q_names is None else {"name": ids.q_names}
    columns = names | {"pid": ids.q_pids, "camid": ids.q_camids}
    ranks = {f"rank-{k}": scored.pop(f"rank-{k}") for k in protocol.ranks}
    columns |= scored | {"matches": matches, "nearest_wrong": nearest} | ranks | sums
    return pd.DataFrame(columns)


def _score(counts: _Counts, matches: np.ndarray, protocol: Protocol) -> dict[str, np.ndarray]:
    asked = matches > 0
    query = counts.query
    count = matches[asked]
    first = np.cumsum(count) - count
    last = first + count - 1
    j = np.arange(len(query)) - np.repeat(first, count) + 1

    # Matches whose tied ranges overlap form one group with all that lies inside.
    opens = np.ones(len(query), bool)
    opens[1:] = (query[1:] != query[:-1]) | (counts.low[1:] > counts.high[:-1])
    group = np.cumsum(opens) - 1
    head = np.flatnonzero(opens)
    tail = np.append(head[1:], len(query)) - 1
    nearer, not_farther = counts.nearer[head], counts.not_farther[tail]
    tied = not_farther - nearer
    best, worst = nearer[group] + j, not_farther[group] + j
    rank = best if protocol.ties == "best" else worst

    def mean(values):  # over each query's matches
        return np.add.reduceat(values, first) / count

    precision = j / rank
    hits = {k: (rank[first] <= k).astype(float) for k in protocol.ranks}
    if protocol.ties == "expected" and tied.any():
        # McSherry and Najork 2008: of the R + W tied, R are right; n images and r matches come
        # before them. Place i of the group is right with probability R / (R + W), and then
        # (i - 1)(R - 1)/(R + W - 1) of the places before it are expected to be right too.
        right = tail - head + 1
        size = right + tied
        before_matches = j[head] - 1
        before = nearer + before_matches
        share = np.where(size > 1, (right - 1) / np.maximum(size - 1, 1), 0.0)
        harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, (before + size).max() + 1))])
        total = share * size + (before_matches + 1 - share * (before + 1)) * (
            harmonic[before + size] - harmonic[before]
        )
        each = right / size * total / right
        precision = np.where(tied[group] > 0, each[group], precision)
        # No match among the first k: all of its k - n draws from the group are wrong.
        lead = group[first]
        for k in protocol.ranks:
            draws = np.clip(k - nearer[lead], 0, None)
            miss = np.ones(len(lead))
            for i in range(1, right[lead].max() + 1):
                factor = np.clip(tied[lead] - draws + i, 0, None) / (tied[lead] + i)
                miss *= np.where((i <= right[lead]) & (draws > 0), np.minimum(factor, 1), 1.0)
            miss = np.where(draws > tied[lead], 0.0, miss)
            hits[k] = np.where(tied[lead] > 0, 1 - miss, hits[k])
    trapezoid = (j / rank + np.where(rank > 1, (j - 1) / np.maximum(rank - 1, 1), 1.0)) / 2
    market = mean(trapezoid)

    blank = np.full(len(matches), 0.0 if protocol.unmatched == "zero" else np.nan)

    def spread(values, fill=blank):
        out = fill.copy()
        out[asked] = values
        return out

    return {
        "AP": spread(market if protocol.ap == "market" else mean(precision)),
        "AP_market": spread(market),
        "INP": spread(count / rank[last]),
        "first_match": spread(rank[first], np.full(len(matches), np.nan)),
    } | {f"rank-{k}": spread(hits[k]) for k in protocol.ranks}


def _evaluate(q: Tensor, g: Tensor, ids: _Ids, protocol: Protocol) -> Result:
    _matched(_pairs(ids, protocol), ids, protocol)
    frame = _per_query(q, g, ids, protocol)
    return Result(
        rank={k: float(frame[f"rank-{k}"].mean()) for k in protocol.ranks},
        mAP=float(frame["AP"].mean()),
        mAP_market=float(frame["AP_market"].mean()),
        mINP=float(frame["INP"].mean()),
        per_query=frame,
        protocol=protocol,
    )


# --- how sure -------------------------------------------------------------------------------

_ID_COLUMNS = ("name", "pid", "camid", "direction", "matches", "nearest_wrong", "first_match")


def bootstrap(
    per_query: pd.DataFrame,
    columns: Sequence[str] | None = None,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Percentile intervals of the mean scores, by drawing persons (not images) anew.

    A person's queries stand or fall together, so intervals that draw images are too narrow.

    Args:
        per_query: a `Result`'s frame. With a `direction` column the statistic is the mean over
            directions, as in `evaluate_cameras`.
        columns: the scores to bound; all by default.
        draws: how many times the persons are drawn with replacement.
        seed: of the generator.
        level: the share of the draws inside the interval.
    Returns:
        A row a column: estimate, low, high.
    Raises:
        ValueError: fewer than 2 persons with a score, or no such column.
    """
    columns = _score_columns(per_query, columns)
    frame = per_query.dropna(subset=columns)
    people = frame["pid"].nunique()
    if people < 2:
        raise ValueError(f"{people} person(s) with a score; an interval over persons needs 2.")
    times = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), draws)
    directions = frame["direction"] if "direction" in frame else pd.Series(0, frame.index)
    totals = np.zeros((draws, len(columns)))
    for _, part in frame.groupby(directions):
        by_person = part.groupby("pid")[columns]
        index = np.unique(frame["pid"])
        sums = by_person.sum().reindex(index, fill_value=0).to_numpy()
        sizes = by_person.size().reindex(index, fill_value=0).to_numpy()
        drawn = times @ sizes
        with np.errstate(invalid="ignore"):
            totals += times @ sums / drawn[:, None]
    totals /= directions.nunique()
    low, high = np.nanquantile(totals, [(1 - level) / 2, (1 + level) / 2], axis=0)
    estimate = frame.groupby(directions)[columns].mean().mean()
    return pd.DataFrame({"estimate": estimate, "low": low, "high": high}, index=columns)


def _score_columns(per_query: pd.DataFrame, columns: Sequence[str] | None) -> list[str]:
    known = [c for c in per_query.columns if c not in _ID_COLUMNS]
    columns = known if columns is None else list(columns)
    missing = [c for c in columns if c not in per_query.columns]
    if missing or not columns:
        raise ValueError(f"no column {missing} in per_query; it has {known}.")
    return columns


def paired_test(
    per_query_a: pd.DataFrame,
    per_query_b: pd.DataFrame,
    columns: Sequence[str] | None = None,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Does b score higher than a on the same queries? Flip the persons' differences by sign.

    Args:
        per_query_a, per_query_b: frames of two runs over the same queries in the same order.
        columns, draws, seed, level: as `bootstrap`.
    Returns:
        A row a column: difference (b - a), low, high (bootstrap over persons), p (two-sided, by
        random sign flips of whole persons).
    Raises:
        ValueError: the frames hold other queries, or as `bootstrap`.
    """
    columns = _score_columns(per_query_a, columns)
    keys = [k for k in ("name", "pid", "camid", "direction") if k in per_query_a]
    if len(per_query_a) != len(per_query_b) or any(
        k not in per_query_b or (per_query_a[k].to_numpy() != per_query_b[k].to_numpy()).any()
        for k in keys
    ):
        raise ValueError(
            f"per_query_a ({len(per_query_a)} rows) and per_query_b ({len(per_query_b)} rows) are "
            f"not of the same queries in the same order (compared: {keys})."
        )
    frame = per_query_a[keys].copy()
    frame[columns] = per_query_b[columns].to_numpy() - per_query_a[columns].to_numpy()
    table = bootstrap(frame, columns, draws, seed, level).rename(columns={"estimate": "difference"})
    sums = frame.dropna(subset=columns).groupby("pid")[columns].sum().to_numpy()
    signs = np.random.default_rng(seed).integers(0, 2, (draws, len(sums)), np.int8) * 2.0 - 1
    extreme = np.abs(signs @ sums) >= np.abs(sums.sum(0)) - 1e-12
    return table.assign(p=(extreme.sum(0) + 1) / (draws + 1))


_ = (math, warnings, stats)
