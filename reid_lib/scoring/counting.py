"""Count, for each match, the wrong images that are nearer, without ever making the ranking."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid_lib.scoring import blocks
from reid_lib.scoring.distances import CentredCodes, Precomputed
from reid_lib.scoring.inputs import Identities
from reid_lib.scoring.pairs import Pairs
from reid_lib.scoring.protocol import Protocol


@dataclass(frozen=True)
class Counts:
    """Where each of M matches ranks, sorted by query and then by distance."""

    query: np.ndarray  # (M,)
    low: np.ndarray  # (M,) the range in which others are tied with the match
    high: np.ndarray
    nearer: np.ndarray  # (M,) wrong images below the range
    reached: np.ndarray  # (M,) wrong images below or inside it
    matches: np.ndarray  # (Q,)
    nearest_wrong: np.ndarray  # (Q,) row of the gallery, -1 without one
    sums: dict[str, np.ndarray]  # (Q,) each: of distances, if requested


def count_nearer(
    codes: CentredCodes | Precomputed,
    ids: Identities,
    pairs: Pairs,
    protocol: Protocol,
    distances: bool = False,
) -> Counts:
    """Go through all distances once and count; with `distances` also sum them (codes only)."""
    query, value = _matches(codes, pairs)
    low = (value - codes.tolerance[query]).astype(value.dtype)
    high = (value + codes.tolerance[query]).astype(value.dtype)
    matches = np.bincount(query, minlength=len(codes.queries))
    width = blocks.part_width(len(codes.keep))
    rows = min(max(blocks.BLOCK // width, 1), len(matches))

    tied = _TiedRanges(low, high, matches, rows, width)
    nearest = _NearestWrong(len(matches), value.dtype)
    sums = _DistanceSums(codes, query, value) if distances else None
    query_blocks = _query_blocks(pairs, matches, rows)
    buffer = codes.queries.new_empty(rows, width)
    for images, part in codes.parts(width):
        for queries, own_query, own_row in query_blocks:
            block = buffer[: len(queries)]
            codes.fill(part, queries, block)
            _keep_wrong(block, images, own_query, own_row)
            if protocol.gallery_cameras == "other":
                _leave_out_camera(block, ids.q_camids[queries], ids.g_camids[images])
            nearest.update(block, queries, images.start)
            if sums:
                sums.add(block, queries)
            tied.count(block, queries)  # last, for it may sort the block
    nearer, reached = tied.counts.T
    totals = sums.totals if sums else {}
    return Counts(query, low, high, nearer, reached, matches, nearest.row, totals)


def _matches(codes: CentredCodes | Precomputed, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """The matches' queries and values, sorted by query and then by value."""
    values = codes.of_pairs(pairs)
    right = np.flatnonzero(~pairs.junk)
    right = right[np.argsort(values[right])]
    right = right[np.argsort(pairs.query[right], kind="stable")]
    return pairs.query[right], values[right]


def _query_blocks(pairs: Pairs, matches: np.ndarray, rows: int) -> list[tuple[np.ndarray, ...]]:
    """Blocks of at most `rows` queries.

    Queries with equally many matches share a block, so that few thresholds are idle.

    Returns:
        Of each block its queries, and for each pair of theirs the query's row in the block and
        the image's row in the gallery.
    """
    by_matches = np.argsort(-matches, kind="stable")
    place = np.argsort(by_matches)[pairs.query]
    order = np.argsort(place, kind="stable")
    starts = np.arange(0, len(matches), rows)
    own = np.split(order, np.searchsorted(place[order], starts[1:]))
    return [
        (by_matches[start : start + rows], place[pair] - start, pairs.row[pair])
        for start, pair in zip(starts, own, strict=True)
    ]


def _keep_wrong(block: Tensor, images: slice, query: np.ndarray, row: np.ndarray) -> None:
    """Put the images of the queries' own persons, matches and junk, infinitely far away."""
    here = (row >= images.start) & (row < images.stop)
    at = query[here] * block.shape[1] + row[here] - images.start
    block.view(-1)[torch.from_numpy(at)] = torch.inf


def _leave_out_camera(block: Tensor, q_camids: np.ndarray, g_camids: np.ndarray) -> None:
    same = torch.from_numpy(q_camids[:, None] == g_camids).to(block.device)
    block[:, : len(g_camids)].masked_fill_(same, torch.inf)


class _TiedRanges:
    """Counts of wrong images below each match's tied range, and below or inside it."""

    def __init__(self, low, high, matches: np.ndarray, rows: int, width: int):
        # A match's thresholds are neighbours: below the first it is beaten, below the second it
        # is beaten or tied.
        above = np.nextafter(high, high.dtype.type(np.inf))  # x <= high is x < above
        self.thresholds = np.stack([low, above], axis=1)
        self.counts = np.zeros(self.thresholds.shape, np.int64)
        self.matches = matches
        self.first = np.cumsum(matches) - matches
        self.cached = min(rows, max(blocks.CACHED // width, 1))
        self.flags = np.empty((self.cached, width), bool)

    def count(self, block: Tensor, queries: np.ndarray) -> None:
        """Add a block's counts; its queries come in the order of ever fewer matches."""
        for i in range(0, len(queries), self.cached):
            few = queries[i : i + self.cached]
            nth = np.arange(self.matches[few[0]])
            used = nth < self.matches[few][:, None]
            index = (self.first[few][:, None] + nth)[used]
            bounds = np.full((len(few), len(nth), 2), -np.inf, self.thresholds.dtype)
            bounds[used] = self.thresholds[index]
            below = blocks.count_below(
                block[i : i + self.cached], bounds.reshape(len(few), 2 * len(nth)), self.flags
            )
            self.counts[index] += below.reshape(bounds.shape)[used]


class _NearestWrong:
    """Each query's nearest wrong image."""

    def __init__(self, queries: int, dtype: np.dtype):
        self.row = np.full(queries, -1)
        self.value = np.full(queries, np.inf, dtype)

    def update(self, block: Tensor, queries: np.ndarray, start: int) -> None:
        column, least = blocks.least(block)
        better = least < self.value[queries]
        self.value[queries[better]] = least[better]
        self.row[queries[better]] = start + column[better]


class _DistanceSums:
    """Sums over each query's matches and wrong images, of their Euclidean distances."""

    def __init__(self, codes: CentredCodes, query: np.ndarray, value: np.ndarray):
        queries = len(codes.queries)
        same = np.sqrt(np.maximum(value + codes.q_sq.cpu().numpy()[query], 0))
        self.q_sq = codes.q_sq
        self.totals = {
            "same_sum": np.bincount(query, same, minlength=queries),
            "other_sum": np.zeros(queries),
            "others": np.zeros(queries, np.int64),
        }

    def add(self, block: Tensor, queries: np.ndarray) -> None:
        wrong = torch.isfinite(block)
        sq = block + self.q_sq[torch.from_numpy(queries)][:, None]
        total = sq.clamp_(min=0).where(wrong, 0.0).sqrt_().sum(1)
        self.totals["other_sum"][queries] += total.cpu().numpy()
        self.totals["others"][queries] += wrong.sum(1).cpu().numpy()
