"""The scores of each query from where its matches rank, and their means.

In the single-shot gallery, one image of each person, person p's image is nearer than the match with
probability a_p = (p's nearer images) / (p's images), independently of the others', so the number of
nearer ones is a sum of unequal coin flips, whose distribution is built up person by person. A tied
image comes before the match if its place in a random order, uniform in [0, 1], is before the
match's own place u: the coin is then a_p + u tied_p, and the mean over u, of a polynomial, is exact
by Gauss-Legendre quadrature.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from reid_lib.scoring import blocks
from reid_lib.scoring.counting import Counts, count_nearer
from reid_lib.scoring.distances import CentredCodes, Precomputed
from reid_lib.scoring.inputs import Identities
from reid_lib.scoring.pairs import Pairs
from reid_lib.scoring.protocol import Protocol


class Ranks(dict):
    """k -> rank-k; the KeyError of another k names those that were computed."""

    def __missing__(self, k):
        raise KeyError(f"rank {k!r} was not computed; Protocol.ranks is {tuple(self)}")


@dataclass(frozen=True)
class Result:
    """The scores of one evaluation, as fractions in [0, 1].

    Args:
        rank: k -> the fraction of queries with a match among the first k.
        mAP: mean of the protocol's average precision.
        mAP_market: mean of the average precision by Market-1501's trapezoidal rule.
        mINP: mean inverse negative penalty (Ye et al. 2021): matches / rank of the last match.
        columns: names of columns of `per_query`.
        protocol: how the scores are defined.
    """

    rank: dict[int, float]
    mAP: float
    mAP_market: float
    mINP: float
    columns: dict[str, Sequence] = field(repr=False)
    protocol: Protocol

    def __post_init__(self):
        object.__setattr__(self, "rank", Ranks(self.rank))

    @functools.cached_property
    def per_query(self) -> pd.DataFrame:
        """One row per query, in the given order.

        Columns: pid, camid, AP, AP_market, INP, first_match (rank of the first match, from 1),
        matches (their number), nearest_wrong (row of the gallery, -1 without one), and rank-k for
        each k (the probability of a hit, so a fraction under ties). An unmatched query has
        matches = 0, first_match NaN and the rest NaN ("drop") or 0 ("zero").
        """
        return pd.DataFrame(self.columns)

    def scores(self) -> dict[str, float]:
        """The scores as a flat dict of plain floats: rank-1, ..., mAP, mAP_market, mINP.

        Example:
            >>> Result({1: 0.5}, 0.75, 0.5, 0.25, {}, Protocol(ranks=(1,))).scores()
            {'rank-1': 0.5, 'mAP': 0.75, 'mAP_market': 0.5, 'mINP': 0.25}
        """
        ranks = {f"rank-{k}": value for k, value in self.rank.items()}
        return ranks | {"mAP": self.mAP, "mAP_market": self.mAP_market, "mINP": self.mINP}


def score(
    codes: CentredCodes | Precomputed, ids: Identities, pairs: Pairs, protocol: Protocol
) -> Result:
    """Count, score each query, and average over the queries that count."""
    columns = query_columns(codes, ids, pairs, protocol)
    matched = columns["matches"] > 0
    counted = len(matched) if protocol.unmatched == "zero" else np.count_nonzero(matched)

    def mean(name: str) -> float:  # all scores share one denominator
        return float(columns[name][matched].sum() / counted)

    rank = {k: mean(f"rank-{k}") for k in protocol.ranks}
    return Result(rank, mean("AP"), mean("AP_market"), mean("INP"), columns, protocol)


def query_columns(
    codes: CentredCodes | Precomputed, ids: Identities, pairs: Pairs, protocol: Protocol
) -> dict[str, np.ndarray]:
    """The columns of `Result.per_query`: the scores, and blanks for queries without a match."""
    found = count_nearer(codes, pairs)
    matched, scores = found.matches > 0, {}
    if matched.any() and protocol.match == "any":
        scores = _all_matches(found, protocol)
    elif matched.any():
        scores = _single_shot(found, codes, ids, protocol)
    if scores and protocol.ap == "market":
        scores["AP"] = scores["AP_market"]
    blank = 0.0 if protocol.unmatched == "zero" else np.nan

    def column(name: str) -> np.ndarray:
        values = np.full(len(matched), np.nan if name == "first_match" else blank)
        values[matched] = scores.get(name, 0)
        return values

    columns = {"pid": ids.q_pids, "camid": ids.q_camids}
    columns |= {name: column(name) for name in ("AP", "AP_market", "INP", "first_match")}
    columns |= {"matches": found.matches, "nearest_wrong": found.nearest_wrong}
    return columns | {f"rank-{k}": column(f"rank-{k}") for k in protocol.ranks}


def _all_matches(found: Counts, protocol: Protocol) -> dict[str, np.ndarray]:
    """Each score of each query that has a match; there is at least one."""
    count = found.matches[found.matches > 0]
    first = np.cumsum(count) - count  # of each query, among the matches
    nth = np.arange(len(found.query)) - np.repeat(first, count) + 1
    # Matches whose tied ranges overlap form one group with all that lies inside.
    opens = np.ones(len(found.query), bool)
    opens[1:] = (found.query[1:] != found.query[:-1]) | (found.low[1:] > found.high[:-1])
    group, head = np.cumsum(opens) - 1, np.flatnonzero(opens)
    tail = np.append(head[1:], len(opens)) - 1
    nearer, reached = found.nearer[head], found.reached[tail]
    right, wrong = tail - head + 1, reached - nearer
    rank = reached[group] + nth  # in the worst order

    def mean(values):  # over each query's matches
        return np.add.reduceat(values, first) / count

    plain = nth / rank
    trapezoid = (plain + np.where(rank > 1, (nth - 1) / np.maximum(rank - 1, 1), 1.0)) / 2
    hits = {f"rank-{k}": (rank[first] <= k).astype(float) for k in protocol.ranks}
    tied = np.flatnonzero(wrong)
    if len(tied):
        expected = np.zeros(len(head))
        expected[tied] = _expected_precision(
            nearer[tied], nth[head[tied]] - 1, right[tied], wrong[tied]
        )
        plain = np.where((wrong > 0)[group], expected[group], plain)
        tied = np.flatnonzero(wrong[group[first]])  # queries whose first match is tied
        lead = group[first[tied]]
        for k in protocol.ranks:
            hits[f"rank-{k}"][tied] = _expected_hit(k - nearer[lead], right[lead], wrong[lead])
    return hits | {
        "AP": mean(plain),
        "AP_market": mean(trapezoid),
        "INP": count / rank[first + count - 1],
        "first_match": rank[first],
    }


def _expected_precision(nearer, matched, right, wrong) -> np.ndarray:
    """Mean precision at the matches of a tied group in random order (McSherry, Najork 2008).

    Before the group come `nearer` wrong images and `matched` matches. If place i of the group is
    a match, (i - 1)(right - 1)/(size - 1) of the places before it are expected to be matches:

        1/size sum_i (matched + 1 + (i - 1) share) / (before + i)

    which is a sum of 1 / (before + i), a difference of harmonic numbers.
    """
    size, before = right + wrong, nearer + matched
    share = (right - 1) / np.maximum(size - 1, 1)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, (before + size).max() + 1))])
    inverse = harmonic[before + size] - harmonic[before]
    return share + (matched + 1 - share * (before + 1)) * inverse / size


def _expected_hit(draws, right, wrong) -> np.ndarray:
    """Probability of a match among the first `draws` of a tied group in random order.

    All draws are wrong with probability C(wrong, draws) / C(right + wrong, draws)
    = product over i = 1..right of (wrong - draws + i) / (wrong + i).
    """
    draws = np.clip(draws, 0, wrong + 1)
    miss = (draws <= wrong).astype(float)
    for i in range(1, right.max(initial=0) + 1):
        miss *= np.where(i <= right, (wrong - draws + i) / (wrong + i), 1.0)
    return 1 - miss


def _single_shot(
    found: Counts, codes: CentredCodes | Precomputed, ids: Identities, protocol: Protocol
) -> dict[str, np.ndarray]:
    """As `_all_matches`, each an expectation over all draws of the single-shot gallery."""
    order = np.flatnonzero(codes.keep)
    order = order[np.argsort(ids.g_pids[order], kind="stable")]  # the gallery, sorted by person
    pids, values = ids.g_pids[order], codes.to_images(order)
    starts, images = np.unique(pids, return_index=True, return_counts=True)[1:]
    ends = np.cumsum(found.matches)

    def chances(i: int) -> list[np.ndarray]:
        """(M, P) each: of an image nearer than query i's match, and of one nearer or tied."""
        value = values(i)
        value[pids == ids.q_pids[i]] = np.inf
        own = slice(ends[i] - found.matches[i], ends[i])
        below = value < found.low[own, None], value <= found.high[own, None]
        return [np.add.reduceat(x, starts, axis=1, dtype=np.int64) / images for x in below]

    matched = np.flatnonzero(found.matches)
    sections = -(-len(found.query) * (len(starts) + 1) // blocks.BLOCK)
    parts = []
    for batch in np.array_split(matched, min(sections, len(matched))):
        both = zip(*map(chances, batch), strict=True)
        scores = _match_scores(*map(np.concatenate, both), protocol)
        count = found.matches[batch]
        first = np.cumsum(count) - count
        parts.append({name: np.add.reduceat(x, first) / count for name, x in scores.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _match_scores(nearer, reached, protocol: Protocol) -> dict[str, np.ndarray]:
    """(M,) each score, from the chances (M, P) that person p's image comes before the match."""
    place = np.arange(1, nearer.shape[1] + 2)
    worst = _flips(reached)
    plain = worst.copy()
    tied = (reached > nearer).any(1)
    if tied.any():
        plain[tied] = _mean_flips(nearer[tied], reached[tied])
    return {
        "AP": plain @ (1 / place),
        "AP_market": worst @ ((1 / place + (place == 1)) / 2),
        "INP": worst @ (1 / place),
        "first_match": worst @ place,
    } | {f"rank-{k}": plain[:, :k].sum(1) for k in protocol.ranks}


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
