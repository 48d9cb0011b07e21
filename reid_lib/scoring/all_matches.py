"""Scores of a query from the ranks of all of its matches, as expectations under ties."""

import numpy as np

from reid_lib.scoring.counting import Counts
from reid_lib.scoring.protocol import Protocol


def score_names(protocol: Protocol) -> list[str]:
    """The scores of a query, in the order of their columns."""
    return ["AP", "AP_market", "INP", "first_match", *(f"rank-{k}" for k in protocol.ranks)]


def score_all_matches(found: Counts, protocol: Protocol) -> dict[str, np.ndarray]:
    """Each score of each query that has a match."""
    count = found.matches[found.matches > 0]
    if not len(count):
        return dict.fromkeys(score_names(protocol), np.zeros(0))
    first = np.cumsum(count) - count  # of each query, among the matches
    nth = np.arange(len(found.query)) - np.repeat(first, count) + 1
    group, head, tail = _tied_groups(found)
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
        "INP": count / rank[first + count - 1],
        "first_match": rank[first],
    } | hits


def _tied_groups(found: Counts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matches whose tied ranges overlap form one group with all that lies inside.

    Returns:
        The group of each match, and the first and last match of each group.
    """
    opens = np.ones(len(found.query), bool)
    opens[1:] = (found.query[1:] != found.query[:-1]) | (found.low[1:] > found.high[:-1])
    head = np.flatnonzero(opens)
    return np.cumsum(opens) - 1, head, np.append(head[1:], len(found.query)) - 1


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
