"""Scores of a ranked gallery: CMC (rank-k), average precision, distances between viewpoints.

Each query ranks the gallery by ascending Euclidean distance between codes. Whatever else a score
depends on (junk, ties, unmatched queries, which AP) is a field of `Protocol`. The counting is in
`reid_lib.scoring`.
"""

import dataclasses
from collections.abc import Iterator
from itertools import permutations
from string import ascii_uppercase

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reid_lib.scoring.distances import CentredCodes, Precomputed
from reid_lib.scoring.inputs import (
    Codes,
    Identities,
    Ids,
    is_any,
    normalise,
    read_codes,
    read_ids,
    read_matrix,
    sq_distances,
)
from reid_lib.scoring.intervals import bootstrap, paired_test
from reid_lib.scoring.pairs import find_pairs, matched_pairs
from reid_lib.scoring.protocol import Protocol
from reid_lib.scoring.reranking import rerank
from reid_lib.scoring.scores import Result, query_columns, score

__all__ = [
    "Protocol",
    "Result",
    "bootstrap",
    "evaluate",
    "evaluate_cameras",
    "evaluate_distances",
    "paired_test",
    "rank_gallery",
    "rerank",
    "sq_distances",
    "viewpoint_grid",
]

_AT_ONCE = 2**19  # up to here all distances are made in one product


def evaluate(
    q_codes: Codes,
    g_codes: Codes,
    q_pids: Ids,
    g_pids: Ids,
    q_camids: Ids,
    g_camids: Ids,
    protocol: Protocol = Protocol(),
) -> Result:
    """Rank the gallery for each query and score the rankings.

    Args:
        q_codes, g_codes: (Q, D) and (G, D) float, as NumPy arrays or tensors on one device.
        q_pids, g_pids: (Q,) and (G,) int, the persons.
        q_camids, g_camids: (Q,) and (G,) int, the cameras.
        protocol: how a ranked gallery is scored.
    Returns:
        A `Result`. The order of the gallery changes no score.
    Raises:
        ValueError: codes empty, not (N, D), not finite or of unequal D; ids of another length or
            not whole numbers; no query has a match; or an unmatched query where the protocol
            says "raise".
    Source:
        Zheng et al.: Scalable Person Re-identification: A Benchmark, ICCV 2015 (Market-1501).
    Example:
        >>> gallery = np.array([[1.0], [2.0], [4.0]])  # wrong, match, match: AP = (1/2 + 2/3) / 2
        >>> result = evaluate(np.zeros((1, 1)), gallery, [7], [8, 7, 7], [0], [1, 1, 1])
        >>> result.rank[1], result.rank[5], round(result.mAP, 4)
        (0.0, 1.0, 0.5833)
    """
    q, g = read_codes(q_codes, g_codes)
    ids = Identities.read(len(q), len(g), q_pids, g_pids, q_camids, g_camids)
    pairs = matched_pairs(ids, protocol)
    codes = CentredCodes.of(*normalise(q, g, protocol), ids, protocol)
    if len(q) * len(g) <= _AT_ONCE:  # so few that the pairs' own products would cost time
        codes = codes.at_once()
    return score(codes, ids, pairs, protocol)


def evaluate_distances(
    distances: np.ndarray | Tensor,
    q_pids: Ids,
    g_pids: Ids,
    q_camids: Ids,
    g_camids: Ids,
    protocol: Protocol = Protocol(),
) -> Result:
    """Score the rankings by precomputed distances of any kind, such as re-ranked ones.

    Args:
        distances: (Q, G) float, smallest for the nearest image; negate similarities, so that values
            below zero are distances too. Only their order counts, except for ties: the protocol's
            tolerance is relative to the mean size of a query's distances.
        q_pids, ..., protocol: as `evaluate`.
    Returns:
        A `Result`, by the same rules as `evaluate`'s.
    Raises:
        ValueError: distances not (Q, G) or not finite, or as `evaluate` for ids.
    Example:
        >>> result = evaluate_distances([[1.0, 2.0, 4.0]], [7], [8, 7, 7], [0], [1, 1, 1])
        >>> round(result.mAP, 4)
        0.5833
    """
    distances = read_matrix(distances, "distances")
    if not torch.isfinite(distances).all():
        row = int(torch.nonzero(~torch.isfinite(distances).all(1))[0])
        raise ValueError(
            f"distances contain NaN or infinity, first in row {row}; to exclude junk, give it a "
            "large finite distance"
        )
    ids = Identities.read(*distances.shape, q_pids, g_pids, q_camids, g_camids)
    pairs = matched_pairs(ids, protocol)
    return score(Precomputed.of(distances, ids, protocol), ids, pairs, protocol)


def evaluate_cameras(
    codes: Codes,
    pids: Ids,
    camids: Ids,
    protocol: Protocol = Protocol(),
) -> dict[str, Result]:
    """Score every ordered pair of cameras: queries from one, gallery from the other.

    Args:
        codes: (N, D) float.
        pids: (N,) int.
        camids: (N,) int, two cameras or more. In the keys they are letters, ascending.
        protocol: how a ranked gallery is scored.
    Returns:
        One `Result` per direction, as "A->B" (queries from A, gallery from B), and under "both"
        the mean of each score over the directions; its `per_query` holds all queries, with a
        column `direction`. Unless the protocol raises for unmatched queries, cameras that share
        no person have no direction.
    Raises:
        ValueError: see `evaluate`; also fewer than 2 cameras or more than 26.
    Example:
        >>> codes = np.array([[0.0], [5.0], [1.0], [2.0]])  # B's person 2 is nearer to A's 1
        >>> results = evaluate_cameras(codes, pids=[1, 2, 1, 2], camids=[3, 3, 6, 6])
        >>> {name: result.rank[1] for name, result in results.items()}
        {'A->B': 1.0, 'B->A': 0.5, 'both': 0.75}
    """
    x = read_matrix(codes, "codes")
    pids, camids = read_ids(pids, len(x), "pids"), read_ids(camids, len(x), "camids")
    cameras = np.unique(camids)
    if not 2 <= len(cameras) <= len(ascii_uppercase):
        raise ValueError(
            f"{len(cameras)} camera(s) in camids: {cameras.tolist()[:10]}; expected 2 to "
            f"{len(ascii_uppercase)} cameras"
        )
    results = {}
    for (a, q_camera), (b, g_camera) in permutations(zip(ascii_uppercase, cameras), 2):  # noqa: B905
        q, g = np.flatnonzero(camids == q_camera), np.flatnonzero(camids == g_camera)
        shared = np.intersect1d(pids[q], pids[g])
        if protocol.unmatched != "raise" and is_any(shared, protocol.junk_pids).all():
            continue
        sides = [part for array in (x, pids, camids) for part in (array[q], array[g])]
        results[f"{a}->{b}"] = evaluate(*sides, protocol)
    if not results:
        raise ValueError(f"no person is in two of the cameras {cameras.tolist()}")
    return results | {"both": _mean_result(results, protocol)}


def _mean_result(results: dict[str, Result], protocol: Protocol) -> Result:
    every = list(results.values())
    mean = pd.DataFrame([result.scores() for result in every]).mean()
    columns = {name: np.concatenate([r.columns[name] for r in every]) for name in every[0].columns}
    columns["direction"] = np.repeat(list(results), [len(r.columns["pid"]) for r in every])
    return Result(
        rank={k: float(mean[f"rank-{k}"]) for k in protocol.ranks},
        **{name: float(mean[name]) for name in ("mAP", "mAP_market", "mINP")},
        columns=columns,
        protocol=protocol,
    )


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
    """Score each pair of orientations: queries of one, gallery images of the other alone.

    A query counts only if its person has a match of the gallery's orientation, whatever the
    protocol says of unmatched queries: a missing view is not an error in the split.

    Args:
        q_codes, ..., g_camids: as `evaluate`.
        q_orientations, g_orientations: (Q,) and (G,) int.
        protocol: how a ranked gallery is scored.
    Returns:
        One row per pair of orientations, sorted. Columns: query_orientation,
        gallery_orientation, queries (how many count), rank1, mAP, same_distance and
        other_distance, the mean Euclidean distances to the matches and to the other persons'
        images of that orientation. NaN where no query counts.
    Raises:
        ValueError: see `evaluate`; also orientations of another length.
    Example:
        >>> codes = np.array([[0.0], [1.0], [3.0]])  # a front; another front, a back
        >>> ids = [1], [2, 1, 1], [1], [2, 2, 2]
        >>> grid = viewpoint_grid(np.zeros((1, 1)), np.array([[1.0], [2.0], [3.0]]), *ids,
        ...                       q_orientations=[3], g_orientations=[3, 3, 7])
        >>> grid[["gallery_orientation", "queries", "mAP", "same_distance"]].values.tolist()
        [[3.0, 1.0, 0.5, 2.0], [7.0, 1.0, 1.0, 3.0]]
    """
    q, g = read_codes(q_codes, g_codes)
    ids = Identities.read(len(q), len(g), q_pids, g_pids, q_camids, g_camids)
    q_views = read_ids(q_orientations, len(q), "q_orientations")
    g_views = read_ids(g_orientations, len(g), "g_orientations")
    matched_pairs(ids, protocol)
    q, g = normalise(q, g, protocol)
    protocol = dataclasses.replace(protocol, ranks=(1,), unmatched="drop")
    rows = []
    for g_view in np.unique(g_views):
        keep = np.flatnonzero(g_views == g_view)
        part = g[torch.from_numpy(keep)]
        rows += _grid_rows(q, part, ids.of_gallery(keep), protocol, q_views, g_view)
    grid = pd.DataFrame(rows).sort_values(["query_orientation", "gallery_orientation"])
    grid.loc[grid["queries"] == 0, ["same_distance", "other_distance"]] = np.nan
    return grid.reset_index(drop=True)


def _grid_rows(
    q: Tensor, g: Tensor, ids: Identities, protocol: Protocol, q_views: np.ndarray, g_view: int
) -> Iterator[dict]:
    """The grid's rows of one gallery orientation."""
    codes, pairs = CentredCodes.of(q, g, ids, protocol), find_pairs(ids, protocol)
    frame = pd.DataFrame(query_columns(codes, ids, pairs, protocol))
    distances = sq_distances(q, g).sqrt_().cpu().double().numpy()
    wrong = np.repeat(codes.keep[None], len(q), axis=0)
    wrong[pairs.query, pairs.row] = False
    matches = pairs.query[~pairs.junk], pairs.row[~pairs.junk]
    frame["same_sum"] = np.bincount(matches[0], distances[matches], minlength=len(q))
    frame["others"], frame["other_sum"] = wrong.sum(1), (distances * wrong).sum(1)
    frame["query_orientation"] = q_views
    for q_view, cell in frame.groupby("query_orientation"):
        counted = cell[cell["matches"] > 0]
        yield {
            "query_orientation": q_view,
            "gallery_orientation": g_view,
            "queries": len(counted),
            "rank1": counted["rank-1"].mean(),
            "mAP": counted["AP"].mean(),
            "same_distance": counted["same_sum"].sum() / max(counted["matches"].sum(), 1),
            "other_distance": counted["other_sum"].sum() / max(counted["others"].sum(), 1),
        }


def rank_gallery(
    q_code: Codes,
    g_codes: Codes,
    q_pid: int,
    g_pids: Ids,
    q_camid: int,
    g_camids: Ids,
    protocol: Protocol = Protocol(),
) -> pd.DataFrame:
    """One query's gallery, nearest first; tied images keep the gallery's order.

    Args:
        q_code: (D,) or (1, D) float.
        g_codes: (G, D) float.
        q_pid, q_camid: the query's person and camera.
        g_pids, g_camids: (G,) int.
        protocol: defines what is junk and what is tied.
    Returns:
        One row per gallery image. Columns: row (of the gallery), distance (Euclidean), match,
        junk, and rank (from 1, not counting junk, whose rank is 0).
    Raises:
        ValueError: see `evaluate`; but a query may have no match.
    Example:
        >>> gallery = np.array([[4.0], [1.0], [2.0]])
        >>> ranked = rank_gallery(np.array([0.0]), gallery, 7, [7, 7, 8], 0, [1, 0, 1])
        >>> ranked.round(6).values.tolist()  # the nearest: same person in the same camera
        [[1, 1.0, False, True, 0], [2, 2.0, False, False, 1], [0, 4.0, True, False, 2]]
    """
    q_code = torch.as_tensor(q_code)
    q, g = read_codes(q_code[None] if q_code.ndim == 1 else q_code, g_codes)
    if len(q) != 1:
        raise ValueError(f"q_code holds {len(q)} codes; rank_gallery takes one.")
    q, g = normalise(q, g, protocol)
    ids = Identities.read(1, len(g), [q_pid], g_pids, [q_camid], g_camids)
    sq = sq_distances(q, g)[0].cpu().double().numpy()
    same = ids.g_pids == ids.q_pids[0]
    junk = is_any(ids.g_pids, protocol.junk_pids)
    if protocol.same_camera_junk:
        junk |= same & (ids.g_camids == ids.q_camids[0])
    # A new group of tied images starts where the gap to the one before exceeds the tolerance.
    codes = CentredCodes.of(q, g, ids, protocol)
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
