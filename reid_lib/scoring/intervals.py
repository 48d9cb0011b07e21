"""How sure a score is: intervals over persons, and a test between two runs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

_ID_COLUMNS = ("name", "pid", "camid", "direction", "matches", "nearest_wrong", "first_match")


def bootstrap(
    per_query: pd.DataFrame,
    columns: Sequence[str] | None = None,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Percentile bootstrap intervals of the mean scores, resampling persons, not images.

    The queries of one person are correlated, so resampling images gives too narrow intervals.
    Intervals are not corrected for multiple comparisons.

    Args:
        per_query: a `Result`'s frame, (Q, columns). With a `direction` column the statistic is
            the mean over directions, as in `evaluate_cameras`.
        columns: the scores to bound; all by default.
        draws: how many times the persons are drawn with replacement.
        seed: seed of the random generator.
        level: the share of the draws inside the interval.
    Returns:
        One row per score. Columns: estimate, low, high.
    Raises:
        ValueError: fewer than 2 persons with a score, or no such column.
    Source:
        Efron and Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13.
    Example:
        >>> frame = pd.DataFrame({"pid": [1, 1, 2, 2], "AP": [1.0, 1.0, 0.0, 0.0]})
        >>> bootstrap(frame).loc["AP"].tolist()  # 0, 1 or 2 draws of person 1
        [0.5, 0.0, 1.0]
    """
    columns = _score_columns(per_query, columns)
    frame = per_query.dropna(subset=columns)
    people = frame["pid"].nunique()
    if people < 2:
        raise ValueError(f"{people} person(s) with a score; an interval over persons needs 2.")
    times = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), draws)
    directions = frame["direction"] if "direction" in frame else pd.Series(0, frame.index)
    totals, index = np.zeros((draws, len(columns))), np.unique(frame["pid"])
    for _, part in frame.assign(size=1).groupby(directions):
        sums = part.groupby("pid")[[*columns, "size"]].sum().reindex(index, fill_value=0)
        drawn = times @ sums.to_numpy()
        with np.errstate(invalid="ignore"):
            totals += drawn[:, :-1] / drawn[:, -1:]
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
    """Test whether b scores higher than a on the same queries, by random sign flips.

    If a and b do not differ, each person's difference is as likely with the opposite sign.

    Args:
        per_query_a, per_query_b: frames (Q, columns) of two runs over the same queries in the
            same order.
        columns, draws, seed, level: see `bootstrap`.
    Returns:
        One row per score. Columns: difference (b - a), low, high (bootstrap over persons), and
        p (two-sided; the signs of all queries of a person flip together).
    Raises:
        ValueError: the frames hold different queries, or as `bootstrap`.
    Source:
        Fisher: The Design of Experiments, 1935 (randomisation of paired differences).
    Example:
        >>> a = pd.DataFrame({"pid": range(20), "AP": 0.5})
        >>> test = paired_test(a, a.assign(AP=0.75)).loc["AP"]
        >>> float(test["difference"]), bool(test["p"] < 0.01)
        (0.25, True)
    """
    columns = _score_columns(per_query_a, columns)
    keys = [k for k in ("name", "pid", "camid", "direction") if k in per_query_a]
    if len(per_query_a) != len(per_query_b) or any(
        k not in per_query_b or (per_query_a[k].to_numpy() != per_query_b[k].to_numpy()).any()
        for k in keys
    ):
        raise ValueError(
            f"per_query_a ({len(per_query_a)} rows) and per_query_b ({len(per_query_b)} rows) are "
            f"not of the same queries in the same order (compared by: {keys})."
        )
    frame = per_query_a[keys].copy()
    frame[columns] = per_query_b[columns].to_numpy() - per_query_a[columns].to_numpy()
    table = bootstrap(frame, columns, draws, seed, level).rename(columns={"estimate": "difference"})
    sums = frame.dropna(subset=columns).groupby("pid")[columns].sum().to_numpy()
    signs = np.random.default_rng(seed).integers(0, 2, (draws, len(sums)), np.int8) * 2.0 - 1
    extreme = np.abs(signs @ sums) >= np.abs(sums.sum(0)) - 1e-12
    return table.assign(p=(extreme.sum(0) + 1) / (draws + 1))
