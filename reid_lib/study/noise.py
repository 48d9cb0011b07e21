"""Variation of scores between seeds and between splits, and the paper's differences (exploratory).

`frame` is what `read_records` returns.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import brentq

from reid_lib.config import PAPER_TABLE
from reid_lib.study.records import DECIDING
from reid_lib.study.statistics import LEVEL, differences, first_seeds, pairs_of


def seed_noise(frame: pd.DataFrame, columns: Sequence[str] = tuple(DECIDING)) -> pd.DataFrame:
    """Standard deviations between seeds within a split and between splits (exploratory).

    One-way random effects: the mean square within splits, and (mean square between splits - that
    within) / n0, no less than zero, where n0 is the mean number of seeds corrected for imbalance.

    Returns:
        One row per network, setting and score that has several seeds on some of several splits:
        runs, splits, within, between (the roots of these variances). Records
        with non-default choices are excluded.
    """
    lines = []
    plain = frame[frame.changed == ""]
    for (network, setting), part in plain.groupby(["network", "setting"], sort=False):
        seeds = part.groupby("split").size()
        runs, splits = seeds.sum(), len(seeds)
        if splits < 2 or runs == splits:
            continue
        n0 = (runs - (seeds**2).sum() / runs) / (splits - 1)
        for name in columns:
            own = part.groupby("split")[name].transform("mean")
            within = ((part[name] - own) ** 2).sum() / (runs - splits)
            square = ((own - part[name].mean()) ** 2).sum() / (splits - 1)
            line = {"network": network, "setting": setting, "score": name, "runs": runs}
            between = max(0, (square - within) / n0)
            lines.append(line | {"splits": splits, "within": within**0.5, "between": between**0.5})
    return pd.DataFrame(lines)


def detectable(sd: float, splits: int, power: float = 0.8) -> float:
    """The smallest difference that a two-sided paired t test at 5 % finds with a given power.

    For these persons: `sd` is that of the differences over splits, which count as independent.

    Args:
        sd: the standard deviation of one split's difference.
        splits: how many splits, two or more.
        power: the wanted chance to find it.
    Returns:
        The difference, in the unit of `sd`.
    Example:
        >>> round(detectable(1.0, 10), 2)
        1.0
    """
    if splits < 2:
        raise ValueError(f"{splits} split(s); a paired t test needs two or more")
    bound = stats.t.ppf(1 - LEVEL / 2, splits - 1)

    def missing(shift: float) -> float:
        other = stats.nct.cdf(-bound, splits - 1, shift)  # NaN where too small to compute
        return stats.nct.sf(bound, splits - 1, shift) + np.nan_to_num(other) - power

    return float(brentq(missing, 0, 3 * bound) * sd / np.sqrt(splits))


def one_split_differences(frame: pd.DataFrame) -> pd.DataFrame:
    """Variation of each contrast between splits, and the paper's difference (exploratory).

    The paper reports one split, trained once, so each split counts with its first seed only.
    Records with non-default choices are excluded.

    Returns:
        One row per network, contrast and score: the columns of `differences`, paper (the difference
        that it reports; NaN on networks other than ResNet-18), than_paper ("smaller" where this
        lies above the interval for these persons, "larger" where below, else "") and detectable
        (`detectable` with these splits).
    """
    first = first_seeds(frame[frame.changed == ""])
    paper = pd.DataFrame(PAPER_TABLE).T.rename(index={"resnet18_htri": "htri"})
    pairs = []
    for network, part in first.groupby("network", sort=False):
        pairs += pairs_of(part, network=network)
    table = differences(pairs, DECIDING).replace({"score": DECIDING})
    table = table.assign(paper=np.nan, detectable=np.nan, than_paper="")
    for i, row in table.iterrows():
        better, worse = row.contrast.split(" - ")
        if row.network.startswith("resnet18,"):
            table.loc[i, "paper"] = paper[row.score][better] - paper[row.score][worse]
        if row.splits > 1:
            table.loc[i, "detectable"] = detectable(row.sd, row.splits)
    table.loc[table.paper > table.these_high, "than_paper"] = "smaller"
    table.loc[table.paper < table.these_low, "than_paper"] = "larger"
    return table
