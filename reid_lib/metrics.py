"""Scores of a ranked gallery: protocol, distances, CMC, AP, and how sure they are.

A query's gallery is ranked by ascending Euclidean distance between codes. Everything that such a
score leaves unsaid (junk, ties, unmatched queries, which AP) is a field of `Protocol`.
"""

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, permutations
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
    "codes": Literal["raw", "unit"],
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
        codes: "raw" compares codes as they are; "unit" divides each by its L2 norm first, so that
            only directions count (a code of zeros stays as it is).
        tolerance: distances that differ only by rounding count as tied. Whatever lies within
            +- t of a match's squared distance is tied with it, where t is `tolerance` times the
            query's mean squared distance to the gallery (or (`tolerance` times the codes' root
            mean square length)^2 if that is more: so close, codes are equal up to rounding).
            Matches whose ranges overlap are tied with each other. In single precision the
            squared distances err by up to 2.4e-7 of their mean, so two of them by twice that.
    """

    ranks: tuple[int, ...] = (1, 5, 10, 20)
    ap: Literal["plain", "market"] = "plain"
    match: Literal["any", "single"] = "any"
    gallery_cameras: Literal["all", "other"] = "all"
    same_camera_junk: bool = True
    junk_pids: tuple[int, ...] = (-1,)
    unmatched: Literal["drop", "zero", "raise"] = "raise"
    ties: Literal["expected", "worst", "best"] = "expected"
    codes: Literal["raw", "unit"] = "raw"
    tolerance: float = 5e-7

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
            "all": "images of all cameras that it holds",
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
            + ["codes: divided by their L2 norm"] * (self.codes == "unit")
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
            has matches = 0, first_match NaN and the rest NaN ("drop") or 0 ("zero"). Made
            when it is first asked for.
        protocol: what the scores mean.
    """

    rank: dict[int, float]
    mAP: float
    mAP_market: float
    mINP: float
    columns: dict[str, Sequence] = field(repr=False)  # of per_query
    protocol: Protocol

    @functools.cached_property
    def per_query(self) -> pd.DataFrame:
        return pd.DataFrame(self.columns)

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
    q, g = read_codes(q_codes, g_codes)
    mean = g.mean(0)
    q, q_sq, g_sq = _about(mean, q, g)
    sq = torch.addmm(g_sq, q, (g - mean).T, alpha=-2)
    return sq.add_(q_sq[:, None]).clamp_(min=0)


def evaluate(
    q_codes: Codes,
    g_codes: Codes,
    q_pids: Ids,
    g_pids: Ids,
    q_camids: Ids,
    g_camids: Ids,
    protocol: Protocol = Protocol(),
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
    q, g = read_codes(q_codes, g_codes)
    ids = _Ids.read(q, g, q_pids, g_pids, q_camids, g_camids, q_names)
    pairs = _matched(_pairs(ids, protocol), ids, protocol)
    q, g = _by_protocol(q, g, protocol)
    codes = _Centred.of(q, g, ids, protocol)
    if len(q) * len(g) <= _AT_ONCE:  # small enough that a second product would show
        codes = codes.given()
    return _evaluate(codes, ids, pairs, protocol)


def evaluate_distances(
    distances: np.ndarray | Tensor,
    q_pids: Ids,
    g_pids: Ids,
    q_camids: Ids,
    g_camids: Ids,
    protocol: Protocol = Protocol(),
    q_names: Sequence[str] | None = None,
) -> Result:
    """Score a ranking by distances of any kind, such as re-ranked ones.

    Args:
        distances: (Q, G) float; the nearest image has the least (of similarities give the
            negatives). Only their order counts, but for ties: the protocol's tolerance is relative
            to the mean of a query's distances.
        q_pids, ..., q_names: as `evaluate`.
    Returns:
        A `Result`, by the same rules as `evaluate`'s.
    Raises:
        ValueError: distances not (Q, G) or not finite, or as `evaluate` says of ids.
    """
    distances = _code(distances, "distances")
    if not torch.isfinite(distances).all():
        row = int(torch.nonzero(~torch.isfinite(distances).all(1))[0])
        raise ValueError(f"distances are not finite, first in row {row}; give junk a large one.")
    ids = _Ids.read(distances, distances.T, q_pids, g_pids, q_camids, g_camids, q_names)
    pairs = _matched(_pairs(ids, protocol), ids, protocol)
    return _evaluate(_Given.of(distances, ids, protocol), ids, pairs, protocol)


def evaluate_cameras(
    codes: Codes,
    pids: Ids,
    camids: Ids,
    protocol: Protocol = Protocol(),
    names: Sequence[str] | None = None,
) -> dict[str, Result]:
    """Let every camera query every other one.

    Args:
        codes: (N, D) float.
        pids: (N,) int.
        camids: (N,) int, two cameras or more. In the keys they are letters, ascending.
        protocol: what counts, and how.
        names: (N,) names of the images, as `q_names` of `evaluate`.
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
            None if names is None else [names[i] for i in q],
        )
    parts = [
        r.columns | {"direction": [name] * len(r.columns["pid"])} for name, r in results.items()
    ]
    mean = pd.DataFrame([r.scores() for r in results.values()]).mean()
    results["both"] = Result(
        rank={k: float(mean[f"rank-{k}"]) for k in protocol.ranks},
        mAP=float(mean["mAP"]),
        mAP_market=float(mean["mAP_market"]),
        mINP=float(mean["mINP"]),
        columns={name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
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
    protocol: Protocol = Protocol(),
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
    q, g = read_codes(q_codes, g_codes)
    ids = _Ids.read(q, g, q_pids, g_pids, q_camids, g_camids, None)
    q_views = _ids(q_orientations, len(q), "q_orientations")
    g_views = _ids(g_orientations, len(g), "g_orientations")
    _matched(_pairs(ids, protocol), ids, protocol)
    q, g = _by_protocol(q, g, protocol)
    protocol = Protocol(**{**vars(protocol), "ranks": (1,), "unmatched": "drop"})

    rows = []
    for g_view in np.unique(g_views):
        keep = np.flatnonzero(g_views == g_view)
        part = ids.gallery(keep)
        centred = _Centred.of(q, g[torch.from_numpy(keep)], part, protocol)
        found = _search(centred, part, _pairs(part, protocol), protocol, distances=True)
        scores = _scores(found, centred, part, protocol)
        frame = pd.DataFrame(_columns(found, scores, part, protocol) | found.sums)
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
    protocol: Protocol = Protocol(),
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
    q, g = read_codes(q_code[None] if q_code.ndim == 1 else q_code, g_codes)
    if len(q) != 1:
        raise ValueError(f"q_code holds {len(q)} codes; rank_gallery takes one.")
    q, g = _by_protocol(q, g, protocol)
    ids = _Ids.read(q, g, [q_pid], g_pids, [q_camid], g_camids, None)
    sq = sq_distances(q, g)[0].cpu().double().numpy()
    same = ids.g_pids == ids.q_pids[0]
    junk = _is_any(ids.g_pids, protocol.junk_pids)
    same_camera = ids.g_camids == ids.q_camids[0]
    if protocol.gallery_cameras == "other":
        junk |= same_camera
    if protocol.same_camera_junk:
        junk |= same & same_camera
    # A new group of the tied starts where the gap to the one before exceeds the tolerance.
    codes = _Centred.of(q, g, ids, protocol)
    order = np.argsort(sq, kind="stable")
    gaps = np.diff(sq[order], prepend=sq[order[0]]) > codes.tolerance[0]
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
    if not isinstance(codes, Tensor):
        codes = torch.from_numpy(np.require(codes, requirements=("C", "W")))
    codes = codes.detach()
    if codes.ndim != 2:
        raise ValueError(f"{name} has shape {tuple(codes.shape)}; expected (images, dimensions).")
    if not all(codes.shape):
        raise ValueError(f"{name} is empty, of shape {tuple(codes.shape)}.")
    if codes.is_complex():
        raise ValueError(f"{name} is of type {codes.dtype}; expected real numbers.")
    if codes.dtype != torch.float64:
        codes = codes.float()
    return codes


def read_codes(q_codes: Codes, g_codes: Codes) -> tuple[Tensor, Tensor]:
    """Both sides as real (N, D) tensors of one type and device; ValueError where they are not."""
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


def _by_protocol(q: Tensor, g: Tensor, protocol: Protocol) -> tuple[Tensor, Tensor]:
    """Codes as the protocol compares them."""
    if protocol.codes == "raw":
        return q, g
    refuse_unusable(q, "q_codes")
    refuse_unusable(g, "g_codes")
    return torch.nn.functional.normalize(q), torch.nn.functional.normalize(g)


def refuse_unusable(codes: Tensor, name: str) -> None:
    """ValueError if squared distances of these codes may not be finite; it says which and why."""
    rows = torch.nonzero(~torch.isfinite(codes).all(1)).flatten().tolist()
    if rows:
        value = codes[rows[0]][~torch.isfinite(codes[rows[0]])][0].item()
        raise ValueError(
            f"{name}: {len(rows)} of {len(codes)} codes are not finite, the first in row {rows[0]} "
            f"({value}); such a code has no distance to anything."
        )
    largest = codes.abs().max().item()
    if largest**2 * codes.shape[1] * 16 > torch.finfo(codes.dtype).max:
        raise ValueError(
            f"{name} reaches {largest:.3g}, too large to be squared in {codes.dtype}; scale the "
            "codes down or pass float64."
        )


def _about(mean: Tensor, q: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries about the mean, and the squared lengths of both sides' codes about it."""
    centred = q - mean
    q_sq = torch.linalg.vector_norm(centred, dim=1).square_()
    g_sq = torch.cat([torch.linalg.vector_norm(part - mean, dim=1) for part in g.split(_WIDTH)])
    g_sq.square_()
    if not torch.isfinite(q_sq.sum() + g_sq.sum()):
        refuse_unusable(q, "q_codes")
        refuse_unusable(g, "g_codes")
    return centred, q_sq, g_sq


def _ids(ids: Ids, length: int, name: str) -> np.ndarray:
    ids = ids.detach().cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if ids.shape != (length,):
        raise ValueError(f"{name} has shape {ids.shape}; expected ({length},), one a code.")
    if ids.dtype.kind not in "iu":
        raise ValueError(f"{name} is of type {ids.dtype}; expected whole numbers: {name}.long()")
    return ids.astype(np.int64)


def _is_any(ids: np.ndarray, few: tuple[int, ...]) -> np.ndarray:
    """np.isin for a few values, ten times as fast."""
    return (ids[:, None] == np.array(few, int)).any(1)


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


# --- from codes to counts -------------------------------------------------------------------

_WIDTH = 8160  # gallery images in one part
_BLOCK = 2**22  # distances held at once
_CACHED = 2**19  # of these, as many as stay in the processor's cache while they are counted
_AT_ONCE = 2**19  # up to here all distances are made in one product

_EQUAL = 1e-6  # codes whose spread is this small beside their length have collapsed


@dataclass(frozen=True)
class _Pairs:
    """Every query with every gallery image of its person: right or junk, but never wrong."""

    persons: list[tuple[np.ndarray, np.ndarray]]  # (n, q) queries and (n, g) images of n persons
    query: np.ndarray
    row: np.ndarray
    junk: np.ndarray


def _pairs(ids: _Ids, protocol: Protocol) -> _Pairs:
    if not isinstance(protocol, Protocol):
        raise ValueError(
            f"protocol is {protocol!r}; expected a Protocol, as Protocol(ap='market')."
        )
    # With both sides in the order of their persons, a person is a slice of each.
    common = np.intersect1d(ids.q_pids, ids.g_pids)
    sides = []
    for pids in (ids.q_pids, ids.g_pids):
        order = np.argsort(pids, kind="stable")
        start = np.searchsorted(pids[order], common, "left")
        sides.append((order, start, np.searchsorted(pids[order], common, "right") - start))
    (q_order, q_start, q_count), (g_order, g_start, g_count) = sides
    # Persons with equally many images on both sides go through one product.
    persons = []
    shape = q_count * (len(g_order) + 1) + g_count
    by_shape = np.argsort(shape, kind="stable")
    for same in np.split(by_shape, np.flatnonzero(np.diff(shape[by_shape])) + 1):
        if len(same):
            q_rows = q_order[q_start[same, None] + np.arange(q_count[same[0]])]
            g_rows = g_order[g_start[same, None] + np.arange(g_count[same[0]])]
            few = max(1, _WIDTH // g_rows.shape[1])
            persons += [
                (q_rows[i : i + few], g_rows[i : i + few]) for i in range(0, len(same), few)
            ]
    none = np.zeros(0, np.int64)
    query = [np.repeat(q.ravel(), g.shape[1]) for q, g in persons]
    row = [np.repeat(g, q.shape[1], axis=0).ravel() for q, g in persons]
    query, row = np.concatenate([none, *query]), np.concatenate([none, *row])
    junk = _is_any(ids.g_pids, protocol.junk_pids)[row]
    if protocol.same_camera_junk or protocol.gallery_cameras == "other":
        junk |= ids.q_camids[query] == ids.g_camids[row]
    return _Pairs(persons, query, row, junk)


def _matched(pairs: _Pairs, ids: _Ids, protocol: Protocol) -> _Pairs:
    """The pairs; raise if queries are without a match where the protocol forbids it, and why."""
    matches = np.bincount(pairs.query[~pairs.junk], minlength=len(ids.q_pids))
    unmatched = np.flatnonzero(matches == 0)
    if not len(unmatched) or (len(unmatched) < len(matches) and protocol.unmatched != "raise"):
        return pairs

    own = np.bincount(pairs.query, minlength=len(matches))[unmatched]
    junk_pid = _is_any(ids.q_pids[unmatched], protocol.junk_pids)
    causes = [
        (junk_pid, f"bear an id that counts as junk {protocol.junk_pids}"),
        ((own == 0) & ~junk_pid, "show a person who is not in the gallery"),
        (
            (own > 0) & ~junk_pid,
            "show a person whose gallery images all come from the query's own camera, which "
            "makes them junk",
        ),
    ]
    why = ", ".join(f"{mask.sum()} {cause}" for mask, cause in causes if mask.any())
    hints = []
    cameras = np.union1d(ids.q_camids, ids.g_camids)
    if len(cameras) == 1:
        hints.append(
            f"There is one camera on both sides, camid {cameras[0]}: check q_camids and g_camids, "
            "or set same_camera_junk=False."
        )
    if not len(np.intersect1d(ids.q_pids, ids.g_pids)):
        hints.append(
            f"No person is on both sides: q_pids holds {_some(np.unique(ids.q_pids))}; "
            f"g_pids holds {_some(np.unique(ids.g_pids))}."
        )
    if len(unmatched) < len(matches):
        hints.append("Mend the split, or choose unmatched='drop' or 'zero' in the protocol.")
    listed = [
        f"{ids.q_names[i] if ids.q_names else f'row {i}'} "
        f"(pid {ids.q_pids[i]}, camid {ids.q_camids[i]})"
        for i in unmatched
    ]
    raise ValueError(
        " ".join(
            [
                f"{len(unmatched)} of {len(matches)} queries have no match left in the gallery:",
                f"{why}.",
                *hints,
                f"These are: {_some(listed)}.",
            ]
        )
    )


def _some(values: Sequence, most: int = 10) -> str:
    shown = ", ".join(map(str, values[:most]))
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"


@dataclass(frozen=True)
class _Centred:
    """Codes about the gallery's mean, where rounding costs least, and their squared lengths.

    A query ranks its gallery by ||g||^2 - 2 q.g: the squared distance less its own ||q||^2.
    """

    q: Tensor
    g: Tensor  # as given: parts of it are centred as they are needed, to hold no second copy
    mean: Tensor
    q_sq: Tensor
    g_sq: Tensor
    keep: np.ndarray  # gallery rows that are not junk for every query
    tolerance: np.ndarray  # (Q,), in squared distance

    @classmethod
    def of(cls, q: Tensor, g: Tensor, ids: _Ids, protocol: Protocol) -> "_Centred":
        keep = ~_is_any(ids.g_pids, protocol.junk_pids)
        if keep.all():
            mean_over = functools.partial(torch.mean, dim=0)
        else:
            weights = torch.from_numpy(keep).to(g).div_(max(keep.sum(), 1))
            mean_over = weights.matmul
        mean = mean_over(g)
        q, q_sq, g_sq = _about(mean, q, g)
        spread = float(mean_over(g_sq))
        # About the mean this is the mean squared distance to the gallery.
        sq_mean = q_sq.cpu().double().numpy() + spread
        sq_length = float(mean @ mean) + spread
        if sq_mean.mean() <= _EQUAL**2 * sq_length:
            warnings.warn(
                f"the codes have collapsed: their mean distance, {sq_mean.mean() ** 0.5:.3g}, is "
                f"rounding beside their length, {sq_length**0.5:.3g}. The ranking is by chance.",
                RuntimeWarning,
                stacklevel=3,
            )
        tolerance = np.maximum(protocol.tolerance * sq_mean, protocol.tolerance**2 * sq_length)
        return cls(q, g, mean, q_sq, g_sq, keep, tolerance)

    @property
    def queries(self) -> Tensor:
        """One row a query."""
        return self.q

    def given(self) -> "_Given":
        """All values at once, from which those of pairs are read."""
        values = self.q.new_empty(len(self.q), len(self.g))
        _add_products(self.g_sq, self.q, (self.g - self.mean).mul_(-2), out=values)
        return _Given(values, self.keep, self.tolerance)

    def parts(self, width: int) -> Iterator[tuple[slice, Callable]]:
        """The gallery in parts: which images, and what writes the values of queries to them.

        (queries, out): out is (queries, width), infinite where junk and beyond the gallery.
        """
        part = self.g.new_zeros(width, self.g.shape[1])
        for start in range(0, len(self.g), width):
            images = slice(start, min(start + width, len(self.g)))
            size = images.stop - start
            torch.sub(self.g[images], self.mean, out=part[:size]).mul_(-2)
            # What is infinitely long is never near.
            part_sq = part.new_full((width,), torch.inf)
            kept = torch.from_numpy(self.keep[images]).to(part.device)
            part_sq[:size] = self.g_sq[images].where(kept, torch.inf)
            yield images, functools.partial(self._fill, part, part_sq)

    def _fill(self, part, part_sq, queries: np.ndarray, out: Tensor) -> None:
        _add_products(part_sq, self.q[torch.from_numpy(queries)], part, out=out)

    def to(self, order: np.ndarray) -> Callable[[int], np.ndarray]:
        """Query to its values to the gallery images in `order`."""
        gallery = self.g[torch.from_numpy(order)] - self.mean
        gallery_sq = self.g_sq[torch.from_numpy(order)]
        return lambda i: (gallery_sq - 2 * gallery @ self.q[i]).cpu().numpy()

    def values(self, pairs: _Pairs) -> np.ndarray:
        """||g||^2 - 2 q.g of each pair."""
        values = [self.q_sq[:0]]
        for q_rows, g_rows in pairs.persons:
            q_rows, g_rows = torch.from_numpy(q_rows), torch.from_numpy(g_rows)
            g, g_sq = self.g[g_rows].sub_(self.mean), self.g_sq[g_rows][:, None]
            block = torch.baddbmm(g_sq, self.q[q_rows], g.transpose(1, 2), alpha=-2)
            values.append(block.flatten())
        return torch.cat(values).cpu().numpy()


@dataclass(frozen=True)
class _Given:
    """Distances that somebody else made, behind the same four methods as `_Centred`."""

    queries: Tensor  # (Q, G)
    keep: np.ndarray
    tolerance: np.ndarray

    @classmethod
    def of(cls, distances: Tensor, ids: _Ids, protocol: Protocol) -> "_Given":
        keep = ~_is_any(ids.g_pids, protocol.junk_pids)
        mean = distances[:, torch.from_numpy(keep)].abs().mean(1).cpu().double().numpy()
        return cls(distances, keep, protocol.tolerance * mean)

    def parts(self, width: int) -> Iterator[tuple[slice, Callable]]:
        for start in range(0, self.queries.shape[1], width):
            images = slice(start, min(start + width, self.queries.shape[1]))
            yield images, functools.partial(self._fill, images)

    def _fill(self, images: slice, queries: np.ndarray, out: Tensor) -> None:
        given = out[:, : images.stop - images.start]
        rows = torch.from_numpy(queries).to(out.device)
        torch.index_select(self.queries[:, images], 0, rows, out=given)
        if not self.keep[images].all():
            given[:, torch.from_numpy(~self.keep[images])] = torch.inf
        out[:, given.shape[1] :] = torch.inf

    def to(self, order: np.ndarray) -> Callable[[int], np.ndarray]:
        return lambda i: self.queries[i, torch.from_numpy(order)].cpu().numpy()

    def values(self, pairs: _Pairs) -> np.ndarray:
        at = torch.from_numpy(pairs.query), torch.from_numpy(pairs.row)
        return self.queries[at].cpu().numpy()


@dataclass(frozen=True)
class _Search:
    """Where each match stands, by query and then by distance, and what else the pass saw."""

    query: np.ndarray
    low: np.ndarray  # the range in which others are tied with the match
    high: np.ndarray
    nearer: np.ndarray  # wrong images below the range
    reached: np.ndarray  # wrong images below or inside it
    matches: np.ndarray  # (Q,)
    nearest_wrong: np.ndarray  # (Q,)
    sums: dict[str, np.ndarray]  # of distances, a row a query, where asked for


def _search(
    codes: _Centred | _Given,
    ids: _Ids,
    pairs: _Pairs,
    protocol: Protocol,
    distances: bool = False,
) -> _Search:
    """Count, for each match, the wrong images that are nearer; the ranking itself is never made."""
    values = codes.values(pairs)
    right = np.flatnonzero(~pairs.junk)
    right = right[np.argsort(values[right])]
    right = right[np.argsort(pairs.query[right], kind="stable")]
    query, value = pairs.query[right], values[right]
    low = (value - codes.tolerance[query]).astype(value.dtype)
    high = (value + codes.tolerance[query]).astype(value.dtype)
    above = np.nextafter(high, value.dtype.type(np.inf))  # x <= high is x < above
    matches = np.bincount(query, minlength=len(codes.queries))
    first = np.cumsum(matches) - matches

    # A match's thresholds stand side by side: below the first it is beaten, below the second it
    # is beaten or tied. Queries with equally many matches share a block, so that few are idle.
    thresholds = np.stack([low, above], axis=1)
    counts = np.zeros(thresholds.shape, np.int64)
    by_matches = np.argsort(-matches, kind="stable")
    place = np.argsort(by_matches)
    width = _part_width(len(codes.keep))
    rows = min(max(_BLOCK // width, 1), len(place))
    blocks = [by_matches[start : start + rows] for start in range(0, len(place), rows)]
    own_block = place[pairs.query] // rows
    own_order = np.argsort(own_block, kind="stable")
    cuts = np.searchsorted(own_block[own_order], np.arange(len(blocks) + 1))
    own = [own_order[a:b] for a, b in pairwise(cuts)]

    nearest_wrong = np.full(len(place), -1)
    nearest = np.full(len(place), np.inf, value.dtype)
    sums = {}
    if distances:
        same = np.sqrt(np.maximum(value + codes.q_sq.cpu().numpy()[query], 0))
        sums["same_sum"] = np.bincount(query, same, minlength=len(place))
        sums["other_sum"] = np.zeros(len(place))
        sums["others"] = np.zeros(len(place), np.int64)

    buffer = codes.queries.new_empty(rows, width)
    cached = min(rows, max(_CACHED // width, 1))
    flags = np.empty((cached, width), bool)
    for images, fill in codes.parts(width):
        start, size = images.start, images.stop - images.start
        for queries, pair in zip(blocks, own, strict=True):
            block = buffer[: len(queries)]
            fill(queries, block)
            pair = pair[(pairs.row[pair] >= start) & (pairs.row[pair] < images.stop)]
            at = place[pairs.query[pair]] % rows, pairs.row[pair] - start
            block.view(-1)[torch.from_numpy(at[0] * width + at[1])] = torch.inf
            if protocol.gallery_cameras == "other":
                same = ids.q_camids[queries][:, None] == ids.g_camids[images]
                block[:, :size].masked_fill_(torch.from_numpy(same).to(block.device), torch.inf)
            column, least = _least(block)
            better = least < nearest[queries]
            nearest[queries[better]] = least[better]
            nearest_wrong[queries[better]] = start + column[better]
            if distances:
                wrong = torch.isfinite(block)
                sq = block + codes.q_sq[torch.from_numpy(queries)][:, None]
                total = sq.clamp_(min=0).where(wrong, 0.0).sqrt_().sum(1)
                sums["other_sum"][queries] += total.cpu().numpy()
                sums["others"][queries] += wrong.sum(1).cpu().numpy()
            for i in range(0, len(queries), cached):
                few = queries[i : i + cached]
                nth = np.arange(matches[few[0]])
                used = nth < matches[few][:, None]
                index = (first[few][:, None] + nth)[used]
                bounds = np.full((len(few), len(nth), 2), -np.inf, value.dtype)
                bounds[used] = thresholds[index]
                below = _count_below(
                    block[i : i + cached], bounds.reshape(len(few), 2 * len(nth)), flags
                )
                counts[index] += below.reshape(bounds.shape)[used]
    return _Search(query, low, high, counts[:, 0], counts[:, 1], matches, nearest_wrong, sums)


def _part_width(images: int) -> int:
    """Parts of one width, a multiple of what _count_below adds up at once."""
    words = -(-images // -(-images // _WIDTH) // 8)
    lanes = -(-words // 255)
    return 8 * lanes * -(-words // lanes)


def _add_products(addend: Tensor, a: Tensor, b: Tensor, out: Tensor) -> None:
    """addend + a @ b.T"""
    if out.device.type != "cpu":
        torch.addmm(addend, a, b.T, out=out)
    else:  # NumPy's product was up to 1.2 times as fast as torch's on AMD processors
        np.matmul(a.numpy(), b.numpy().T, out=out.numpy())
        out += addend


def _least(block: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Where each row has its least value, and that value."""
    if block.device.type != "cpu":
        least, column = block.min(1)
        return column.cpu().numpy(), least.cpu().numpy()
    column = block.numpy().argmin(1)  # ten times as fast as torch's
    return column, block.numpy()[np.arange(len(column)), column]


def _count_below(block: Tensor, bounds: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """How many values in a row of the (B, W) block are below each of its (B, T) bounds.

    The block may come back sorted.
    """
    if block.device.type != "cpu":
        on_device = torch.from_numpy(bounds).to(block.device)
        below = [(block < bound[:, None]).sum(1) for bound in on_device.T]
        return torch.stack(below, 1).cpu().numpy() if below else np.zeros(bounds.shape, np.int64)
    if block.shape[1] <= 512:  # short rows are sorted in no time
        block.numpy().sort(axis=1)
        return torch.searchsorted(block, torch.from_numpy(bounds)).numpy()
    # NumPy adds flags up one at a time. As 64-bit words it adds eight at once, each in a byte of
    # its own, and within 255 words no byte overflows.
    values, flags = block.numpy(), flags[: len(block)]
    words = flags.view(np.uint64)
    words = words.reshape(len(words), -(-words.shape[1] // 255), -1)
    counts = np.empty(bounds.shape, np.int64)
    for t in range(bounds.shape[1]):
        np.less(values, bounds[:, t : t + 1], out=flags)
        counts[:, t] = np.add.reduce(words, axis=2).view(np.uint8).sum(1, dtype=np.int64)
    return counts


# --- from counts to scores ------------------------------------------------------------------


def _evaluate(codes: _Centred | _Given, ids: _Ids, pairs: _Pairs, protocol: Protocol) -> Result:
    found = _search(codes, ids, pairs, protocol)
    scores = _scores(found, codes, ids, protocol)
    # One denominator for all scores.
    asked = len(ids.q_pids) if protocol.unmatched == "zero" else np.count_nonzero(found.matches)
    mean = {name: float(values.sum() / asked) for name, values in scores.items()}
    return Result(
        rank={k: mean[f"rank-{k}"] for k in protocol.ranks},
        mAP=mean["AP"],
        mAP_market=mean["AP_market"],
        mINP=mean["INP"],
        columns=_columns(found, scores, ids, protocol),
        protocol=protocol,
    )


def _scores(found, codes, ids, protocol) -> dict[str, np.ndarray]:
    """Each score of each query that has a match."""
    if protocol.match == "any":
        return _score_any(found, protocol)
    return _score_single(found, codes, ids, protocol)


def _columns(found: _Search, scores, ids: _Ids, protocol: Protocol) -> dict[str, Sequence]:
    blank = 0.0 if protocol.unmatched == "zero" else np.nan

    def column(name: str) -> np.ndarray:
        values = np.full(len(found.matches), np.nan if name == "first_match" else blank)
        values[found.matches > 0] = scores[name]
        return values

    named = {} if ids.q_names is None else {"name": ids.q_names}
    columns = named | {"pid": ids.q_pids, "camid": ids.q_camids}
    columns |= {name: column(name) for name in ("AP", "AP_market", "INP", "first_match")}
    columns |= {"matches": found.matches, "nearest_wrong": found.nearest_wrong}
    return columns | {f"rank-{k}": column(f"rank-{k}") for k in protocol.ranks}


def _score_any(found: _Search, protocol: Protocol) -> dict[str, np.ndarray]:
    """Scores of each matched query from where all of its matches stand."""
    query = found.query
    count = found.matches[found.matches > 0]
    if not len(count):
        return dict.fromkeys(_score_names(protocol), np.zeros(0))
    first = np.cumsum(count) - count
    last = first + count - 1
    nth = np.arange(len(query)) - np.repeat(first, count) + 1

    # Matches whose tied ranges overlap form one group with all that lies inside.
    opens = np.ones(len(query), bool)
    opens[1:] = (query[1:] != query[:-1]) | (found.low[1:] > found.high[:-1])
    group = np.cumsum(opens) - 1
    head = np.flatnonzero(opens)
    tail = np.append(head[1:], len(query)) - 1
    nearer, reached = found.nearer[head], found.reached[tail]
    rank = (nearer if protocol.ties == "best" else reached)[group] + nth

    def mean(values):  # over each query's matches
        return np.add.reduceat(values, first) / count

    plain = nth / rank
    trapezoid = (plain + np.where(rank > 1, (nth - 1) / np.maximum(rank - 1, 1), 1.0)) / 2
    hits = {f"rank-{k}": (rank[first] <= k).astype(float) for k in protocol.ranks}
    wrong = reached - nearer
    if protocol.ties == "expected" and wrong.any():
        right = tail - head + 1
        tied = np.flatnonzero(wrong)
        expected = np.zeros(len(head))
        expected[tied] = _expected_precision(
            nearer[tied], nth[head[tied]] - 1, right[tied], wrong[tied]
        )
        plain = np.where((wrong > 0)[group], expected[group], plain)
        tied = np.flatnonzero(wrong[group[first]])  # queries whose first match is tied
        lead = group[first[tied]]
        for k in protocol.ranks:
            hits[f"rank-{k}"][tied] = _expected_hit(k - nearer[lead], right[lead], wrong[lead])
    market = mean(trapezoid)
    return {
        "AP": market if protocol.ap == "market" else mean(plain),
        "AP_market": market,
        "INP": count / rank[last],
        "first_match": rank[first],
    } | hits


def _score_names(protocol: Protocol) -> list[str]:
    return ["AP", "AP_market", "INP", "first_match", *(f"rank-{k}" for k in protocol.ranks)]


def _expected_precision(nearer, matched, right, wrong) -> np.ndarray:
    """Mean of precision at the right ones of a group in random order (McSherry, Najork 2008).

    Before the group come `nearer` wrong ones and `matched` right ones. If place i of the group
    is right, (i - 1)(right - 1)/(size - 1) of the places before it are expected to be right:

        1/size sum_i (matched + 1 + (i - 1) share) / (before + i)

    which is a sum of 1 / (before + i), a difference of harmonic numbers.
    """
    size, before = right + wrong, nearer + matched
    share = (right - 1) / np.maximum(size - 1, 1)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, (before + size).max() + 1))])
    inverse = harmonic[before + size] - harmonic[before]
    return share + (matched + 1 - share * (before + 1)) * inverse / size


def _expected_hit(draws, right, wrong) -> np.ndarray:
    """Probability that some right one is among the first `draws` of a group in random order.

    All draws are wrong with probability C(wrong, draws) / C(right + wrong, draws)
    = product over i = 1..right of (wrong - draws + i) / (wrong + i).
    """
    draws = np.clip(draws, 0, wrong + 1)
    miss = (draws <= wrong).astype(float)
    for i in range(1, right.max(initial=0) + 1):
        miss *= np.where(i <= right, (wrong - draws + i) / (wrong + i), 1.0)
    return 1 - miss


def _score_single(
    found: _Search, codes: _Centred | _Given, ids: _Ids, protocol: Protocol
) -> dict[str, np.ndarray]:
    """Expected scores over all draws of one gallery image a person, the match among them.

    Person p's image is nearer than the match with probability a_p = (p's nearer images) / (p's
    images), independently of the others', so the number X of nearer ones is a sum of unequal
    coin flips, whose distribution is built up person by person. A tied image comes before the
    match if its place in a random order, uniform in [0, 1], is before the match's own place u:
    the coin is then a_p + u tied_p, and the mean over u, of a polynomial, is exact by
    Gauss-Legendre.
    """
    order = np.flatnonzero(codes.keep)
    order = order[np.argsort(ids.g_pids[order], kind="stable")]
    pids, starts = np.unique(ids.g_pids[order], return_index=True)
    values = codes.to(order)
    bounds = np.cumsum(np.append(0, found.matches))
    place = np.arange(1, len(pids) + 2)
    trapezoid = (1 / place + (place == 1)) / 2

    def chances(i: int) -> tuple[np.ndarray, np.ndarray]:
        """(M, P) each: of an image nearer than the query's match, and of one nearer or tied."""
        value = values(i)
        valid = ids.g_pids[order] != ids.q_pids[i]
        if protocol.gallery_cameras == "other":
            valid &= ids.g_camids[order] != ids.q_camids[i]
        value[~valid] = np.inf
        images = np.maximum(np.add.reduceat(valid, starts, dtype=np.int64), 1)
        match = slice(bounds[i], bounds[i + 1])
        below, within = value < found.low[match, None], value <= found.high[match, None]
        return tuple(
            np.add.reduceat(x, starts, axis=1, dtype=np.int64) / images for x in (below, within)
        )

    asked = np.flatnonzero(found.matches)
    batches = np.array_split(asked, -(-len(found.query) * len(place) // _BLOCK) or 1)
    parts = []
    for batch in (batch for batch in batches if len(batch)):
        nearer, reached = map(np.concatenate, zip(*map(chances, batch), strict=True))
        worst = _flips(nearer if protocol.ties == "best" else reached)
        plain = worst.copy()
        tied = (reached > nearer).any(1)
        if protocol.ties == "expected" and tied.any():
            plain[tied] = _mean_flips(nearer[tied], reached[tied])
        market = worst @ trapezoid
        scores = {
            "AP": market if protocol.ap == "market" else plain @ (1 / place),
            "AP_market": market,
            "INP": worst @ (1 / place),
            "first_match": worst @ place,
        } | {f"rank-{k}": plain[:, :k].sum(1) for k in protocol.ranks}
        count = found.matches[batch]
        first = np.cumsum(count) - count
        parts.append({name: np.add.reduceat(x, first) / count for name, x in scores.items()})
    none = np.zeros(0)
    return {
        name: np.concatenate([none, *(part[name] for part in parts)])
        for name in _score_names(protocol)
    }


def _flips(chance: np.ndarray) -> np.ndarray:
    """(M, P + 1): the distribution of the number of heads among P coins, chance (M, P)."""
    heads = np.zeros((len(chance), chance.shape[1] + 1))
    heads[:, 0] = 1
    for p in np.flatnonzero(chance.any(0)):
        moved = heads[:, :-1] * chance[:, p, None]
        heads *= 1 - chance[:, p, None]
        heads[:, 1:] += moved
    return heads


def _mean_flips(nearer: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """The distribution of heads at chance nearer + u (reached - nearer), mean over u in [0, 1]."""
    tied = int((reached > nearer).sum(1).max())
    nodes, weights = np.polynomial.legendre.leggauss(tied // 2 + 1)
    return sum(
        w / 2 * _flips(nearer + (x + 1) / 2 * (reached - nearer))
        for x, w in zip(nodes, weights, strict=True)
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


def split_test(
    scores_a: Sequence[dict[str, float]],
    scores_b: Sequence[dict[str, float]],
    test_share: float = 0.5,
    level: float = 0.95,
) -> pd.DataFrame:
    """Does b score higher than a over random splits of one data set?

    The splits share persons, so their scores are not independent and a plain t-test finds too
    much. The corrected resampled t-test (Nadeau and Bengio 2003) widens the variance of the mean
    from s^2 / n to s^2 (1 / n + test / train).

    Args:
        scores_a, scores_b: `Result.scores()` of each split, two or more, in the same order.
        test_share: the share of persons that a split tests on.
        level: of the interval.
    Returns:
        A row a score: difference (mean of b - a), low, high, p (two-sided).
    Raises:
        ValueError: fewer than 2 splits, lists of unequal length, or a share outside (0, 1).
    """
    if len(scores_a) != len(scores_b) or len(scores_a) < 2:
        raise ValueError(
            f"scores_a holds {len(scores_a)} splits and scores_b {len(scores_b)}; give the same "
            "splits of both, two or more."
        )
    if not 0 < test_share < 1:
        raise ValueError(f"test_share is {test_share}; it must be between 0 and 1.")
    gains = pd.DataFrame(list(scores_b)) - pd.DataFrame(list(scores_a))
    n = len(gains)
    difference = gains.mean()
    error = gains.std() * np.sqrt(1 / n + test_share / (1 - test_share))
    half = error * stats.t.ppf((1 + level) / 2, n - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(difference / error), n - 1)
    return pd.DataFrame(
        {
            "difference": difference,
            "low": difference - half,
            "high": difference + half,
            "p": np.where(difference == 0, 1.0, p),
        }
    )
