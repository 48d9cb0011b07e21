"""Count, for each match, the wrong images that are nearer, without ever making the ranking."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid_lib.scoring import blocks
from reid_lib.scoring.distances import CentredCodes, Precomputed
from reid_lib.scoring.pairs import Pairs


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


def count_nearer(codes: CentredCodes | Precomputed, pairs: Pairs) -> Counts:
    """Go through all distances once and count."""
    query, value = _matches(codes, pairs)
    low = (value - codes.tolerance[query]).astype(value.dtype)
    high = (value + codes.tolerance[query]).astype(value.dtype)
    matches = np.bincount(query, minlength=len(codes.queries))
    width = blocks.part_width(len(codes.keep))
    rows = min(max(blocks.BLOCK // width, 1), len(matches))

    tied = _TiedRanges(low, high, matches, rows, width)
    nearest, nearest_row = np.full(len(matches), np.inf, value.dtype), np.full(len(matches), -1)
    query_blocks = _query_blocks(pairs, matches, rows)
    buffer = codes.queries.new_empty(rows, width)
    for images, part in codes.parts(width):
        for queries, own_query, own_row in query_blocks:
            block = buffer[: len(queries)]
            codes.fill(part, queries, block)
            _keep_wrong(block, images, own_query, own_row)
            column, least = blocks.least(block)
            better = least < nearest[queries]
            nearest[queries[better]] = least[better]
            nearest_row[queries[better]] = images.start + column[better]
            tied.count(block, queries)  # last, for it may sort the block
    return Counts(query, low, high, *tied.counts.T, matches, nearest_row)


def _matches(codes: CentredCodes | Precomputed, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    """The matches' queries and values, sorted by query and then by value."""
    values = codes.of_pairs(pairs)
    right = np.flatnonzero(~pairs.junk)
    right = right[np.argsort(values[right])]
    right = right[np.argsort(pairs.query[right], kind="stable")]
    return pairs.query[right], values[right]


def _query_blocks(pairs: Pairs, matches: np.ndarray, rows: int) -> list[tuple[np.ndarray, ...]]:
    """Blocks of at most `rows` queries, and of their pairs the rows in the block and the gallery.

    Queries with equally many matches share a block, so that few thresholds are idle.
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
