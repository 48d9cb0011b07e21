"""The scores of one evaluation."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from reid_lib.scoring.all_matches import score_all_matches
from reid_lib.scoring.counting import Counts, count_nearer
from reid_lib.scoring.distances import CentredCodes, Precomputed
from reid_lib.scoring.inputs import Identities
from reid_lib.scoring.pairs import Pairs
from reid_lib.scoring.protocol import Protocol
from reid_lib.scoring.single_shot import score_single_shot


@dataclass(frozen=True)
class Result:
    """The scores of one evaluation, as fractions in [0, 1].

    Args:
        rank: k -> the fraction of queries with a match among the first k.
        mAP: mean of the protocol's average precision.
        mAP_market: mean of Market-1501's trapezoid average precision.
        mINP: mean inverse negative penalty (Ye et al. 2021): matches / rank of the last match.
        columns: of `per_query`.
        protocol: how the scores are defined.
    """

    rank: dict[int, float]
    mAP: float
    mAP_market: float
    mINP: float
    columns: dict[str, Sequence] = field(repr=False)
    protocol: Protocol

    @functools.cached_property
    def per_query(self) -> pd.DataFrame:
        """One row per query, in the given order.

        Columns: name (if given), pid, camid, AP, AP_market, INP, first_match (rank of the first
        match, from 1), matches (their number), nearest_wrong (row of the gallery, -1 without
        one), and rank-k for each k (the probability of a hit, so a fraction under ties). An
        unmatched query has matches = 0, first_match NaN and the rest NaN ("drop") or 0 ("zero").
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
    found = count_nearer(codes, ids, pairs, protocol)
    scores = query_scores(found, codes, ids, protocol)
    # All scores share one denominator.
    counted = len(ids.q_pids) if protocol.unmatched == "zero" else np.count_nonzero(found.matches)
    mean = {name: float(values.sum() / counted) for name, values in scores.items()}
    return Result(
        rank={k: mean[f"rank-{k}"] for k in protocol.ranks},
        mAP=mean["AP"],
        mAP_market=mean["AP_market"],
        mINP=mean["INP"],
        columns=query_columns(found, scores, ids, protocol),
        protocol=protocol,
    )


def query_scores(
    found: Counts, codes: CentredCodes | Precomputed, ids: Identities, protocol: Protocol
) -> dict[str, np.ndarray]:
    """Each score of each query that has a match."""
    if protocol.match == "any":
        return score_all_matches(found, protocol)
    return score_single_shot(found, codes, ids, protocol)


def query_columns(
    found: Counts, scores: dict[str, np.ndarray], ids: Identities, protocol: Protocol
) -> dict[str, Sequence]:
    """The columns of `Result.per_query`: the scores, and blanks for queries without a match."""
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
