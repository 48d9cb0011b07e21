"""What records say: means, paired differences, intervals for two estimands, and verdicts.

Every interval is for one of two estimands. "These persons": splits are independent draws from the
persons at hand, and the variance of a mean is s^2 / n. "New persons": splits share persons, and the
variance is s^2 (1 / n + test / train) (Nadeau and Bengio 2003); with as many test as training
persons that is an interval for one further split, which more splits do not shrink to zero.

Seeds of one split are averaged before splits are averaged or paired.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import brentq

from reid_lib.config import PAPER_TABLE
from reid_lib.study.records import (
    DECIDING,
    LAST,
    LIKELY,
    NEAR,
    QUANTISED,
    SETTINGS,
    listed,
    splits_words,
)

# What beats what, says the paper.
CONTRASTS = (("set2", "set1"), ("set3", "set2"), ("set3", "set1"), ("set3", "htri"))
ESTIMANDS = {"these persons": "these_", "new persons": ""}  # prefix of low, high and p
LEVEL = 0.05
FITTED = 90.0  # percent of rank-1 on the own training persons, below which a run has not fitted
PRIMARY_SCORES = {f"unit {LAST} rank-1": "rank-1", f"unit {LAST} mAP": "mAP"}
PRIMARY_SPLITS = {"all splits": range(10), "splits 2 to 9": range(2, 10)}


def t_interval(values: pd.DataFrame, test_over_train: float = 0.0) -> pd.DataFrame:
    """Student's 95 % interval of each column's mean, n - 1 degrees of freedom.

    Args:
        values: one row per split.
        test_over_train: 0 for these persons; the ratio of test to training persons for new ones.
    Returns:
        One row per column: mean, low, high and p (two-sided, of a mean of zero); all but the mean
        are NaN below two splits.
    Example:
        >>> t_interval(pd.DataFrame({"mAP": [1.0, 2.0, 3.0]})).round(3)
             mean    low   high      p
        mAP   2.0 -0.484  4.484  0.074
    """
    n, mean = len(values), values.mean()
    error = values.std() * np.sqrt(1 / n + test_over_train)
    half = error * stats.t.ppf(1 - LEVEL / 2, max(n - 1, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(mean / error), max(n - 1, 1))
    p = np.where((mean == 0) & (n > 1), 1.0, p)
    return pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half, "p": p})


def per_split(part: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """One row per split, the mean over its seeds."""
    return part.groupby("split")[list(columns)].mean()


def _both(values: pd.DataFrame, persons: str) -> pd.DataFrame:
    """`t_interval` for new persons, beside it these_low, these_high, these_p."""
    train, test = map(int, persons.split("/"))
    these = t_interval(values).drop(columns="mean").add_prefix("these_")
    return t_interval(values, test / train).join(these)


def means(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Means over splits with their 95 % intervals for both estimands.

    Args:
        frame: as `read_records` returns it, one recipe per network and setting.
        columns: which scores.
    Returns:
        One row per network, setting and score: persons, splits (how many, and which), mean; low and
        high for new persons, these_low and these_high for these (NaN for a single split).
    """
    lines = []
    keys = ["network", "setting", "persons"]
    for values, part in frame.groupby(keys, sort=False):
        table = _both(per_split(part, columns), values[-1]).rename_axis("score").reset_index()
        which = dict(zip(keys, values, strict=True)) | {"splits": listed(part.split)}
        lines.append(table.drop(columns=["p", "these_p"]).assign(**which))
    return pd.concat(lines, ignore_index=True)


def difference(
    better: pd.DataFrame, worse: pd.DataFrame, columns: Sequence[str]
) -> pd.DataFrame | None:
    """Paired differences over the splits that both have; None where they share no split.

    Args:
        better, worse: rows of `read_records`, one per split and seed.
        columns: which scores.
    Returns:
        One row per score: splits, difference; low, high and p for new persons; these_low,
        these_high and these_p for these (NaN below two splits); agree: on how many splits the
        difference is above zero.
    """
    gains = (per_split(better, columns) - per_split(worse, columns)).dropna(how="all")
    if gains.empty:
        return None
    table = _both(gains, better.persons.iloc[0]).rename(columns={"mean": "difference"})
    return table.assign(splits=len(gains), agree=(gains > 0).sum())


# --- verdicts -------------------------------------------------------------------------------------


def verdict(low: pd.Series, high: pd.Series) -> str:
    """What intervals of "better less worse" say: all above zero, all below it, or neither."""
    if (low > 0).all():
        return "holds"
    return "does not hold" if (high < 0).all() else "inconclusive"


def not_fitted(*parts: pd.DataFrame) -> str:
    """Names the runs whose rank-1 on their own training persons is below `FITTED`; "" for none."""
    runs = pd.concat(parts).drop_duplicates("record")
    runs = runs[runs["deciding train rank-1"] < FITTED]
    return "; ".join(
        f"{backbone} {setting}, {splits_words(listed(part.split))}"
        for (backbone, setting), part in runs.groupby(["backbone", "setting"], sort=False)
    )


def contrasts(frame: pd.DataFrame) -> pd.DataFrame:
    """Each of the paper's four claims as paired differences (exploratory, no correction).

    Claim 1 and 4 compare settings on ResNet-18 and on the other networks, claim 2 the two ResNets
    under one recipe. Claim 3 is about viewpoint: the gap of the relative distance between opposite
    and equal views, and the fall of rank-1, must be smaller. That a person's codes are nearer at
    every angle, equal views included, is "compactness".

    Args:
        frame: as `read_records` returns it; changed readings are left out.
    Returns:
        One row per claim, network, contrast and score: the columns of `difference`, which (which
        splits), better (1 where a larger value is better, else -1), and unfitted (`not_fitted`).
    """
    frame, lines = frame[frame.changed == ""], []

    def add(claim, network, contrast, better, worse, columns, sign=1):
        table = difference(better, worse, columns)
        if table is not None:
            common = set(better.split) & set(worse.split)
            used = [part[part.split.isin(common)] for part in (better, worse)]
            what = {"claim": claim, "network": network, "contrast": contrast, "better": sign}
            what |= {"which": listed(common), "unfitted": not_fitted(*used)}
            lines.append(table.rename_axis("score").reset_index().assign(**what))

    for network, part in frame.groupby("network", sort=False):
        rows = {name: part[part.setting == name] for name in SETTINGS}
        claim = "1" if part.backbone.iloc[0] == "resnet18" else "4"
        for better, worse in CONTRASTS:
            add(claim, network, f"{better} over {worse}", rows[better], rows[worse], DECIDING)
        for other in ("set1", "htri"):
            named = f"set2 against {other}"
            for measure in ("gap", "fall"):
                add("3", network, named, rows["set2"], rows[other], [measure], -1)
            add("compactness", network, named, rows["set2"], rows[other], NEAR, -1)
    recipe = frame.network.str.partition(", ")[2]
    for (words, setting), part in frame.groupby([recipe, "setting"], sort=False):
        small, large = (part[part.backbone == name] for name in ("resnet18", "resnet50"))
        named = f"resnet18 over resnet50, {setting}"
        add("2", f"resnet18, resnet50, {words}", named, small, large, DECIDING)
    if not lines:
        return pd.DataFrame(columns=["claim", "network", "contrast", "score", "splits"])
    return pd.concat(lines, ignore_index=True).sort_values("claim", kind="stable")


def judged(part: pd.DataFrame) -> dict[str, str]:
    """Estimand to verdict on the rows of one contrast of `contrasts`."""
    said = {}
    for estimand, prefix in ESTIMANDS.items():
        ends = (part[f"{prefix}{end}"] * part.better for end in ("low", "high"))
        ends = pd.concat(ends, axis=1)
        said[estimand] = verdict(ends.min(axis=1, skipna=False), ends.max(axis=1, skipna=False))
    return said


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's step-down correction; a missing p-value (NaN) still counts as a test.

    Args:
        p: the p-values of one family.
    Returns:
        Corrected p-values, in the same order.
    Source:
        Holm 1979, A simple sequentially rejective multiple test procedure.
    Example:
        >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p)  # NaN last
    corrected = np.empty(len(p))
    corrected[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return corrected


def planned(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of the planned tests: ResNet-18, quantised weights, likely reading, seed 0."""
    chosen = (frame.backbone == "resnet18") & (frame.reading == LIKELY) & (frame.changed == "")
    chosen &= (frame.seed == 0) & (frame.weights_sha256 == QUANTISED["resnet18"])
    return frame[chosen & ~frame.validation & frame.train_persons.isna()]


def primary_family(frame: pd.DataFrame) -> pd.DataFrame:
    """The eight tests that were planned before their runs, with Holm's correction.

    ResNet-18 from the quantised weights, likely reading, seed 0, unit codes, means over the last
    epochs: `CONTRASTS` in rank-1 and mAP. Everything else in this module is exploratory.

    Args:
        frame: as `read_records` returns it.
    Returns:
        For all splits and for splits 2 to 9 alone (`over`), eight rows, by contrast and score: the
        columns of `difference` (NaN where a contrast has no run), unfitted, and for each estimand
        "holm" and "these_holm" (corrected p) and its verdict: `holds` if both scores rise and both
        corrected p-values are below 0.05, `does not hold` if both fall likewise, else
        `inconclusive`; `not yet measured` until the contrast has all planned splits. Empty where
        there is no such run.
    """
    runs, families = planned(frame), []
    if runs.empty:
        return pd.DataFrame()
    for over, splits in PRIMARY_SPLITS.items():
        part, tests = runs[runs.split.isin(splits)], []
        for better, worse in CONTRASTS:
            pair = [part[part.setting == name] for name in (better, worse)]
            table = difference(*pair, PRIMARY_SCORES)
            if table is None:
                table = pd.DataFrame(index=list(PRIMARY_SCORES)).assign(splits=0)
            else:
                common = set(pair[0].split) & set(pair[1].split)
                table["unfitted"] = not_fitted(*(p[p.split.isin(common)] for p in pair))
            table = table.rename(index=PRIMARY_SCORES).rename_axis("score").reset_index()
            tests.append(table.assign(over=over, contrast=f"{better} over {worse}"))
        family = pd.concat(tests, ignore_index=True)
        if not family.splits.any():
            continue
        for estimand, prefix in ESTIMANDS.items():
            family[f"{prefix}holm"] = holm(family[f"{prefix}p"])
            sign = np.sign(family.difference).where(family[f"{prefix}holm"] < LEVEL, 0)
            two = sign.groupby(family.contrast).agg(["min", "max"])
            said = np.select([two["min"] > 0, two["max"] < 0], ["holds", "does not hold"], "")
            said = pd.Series(said, two.index).replace("", "inconclusive")
            measured = family.groupby("contrast").splits.min()
            few = measured.map(f"not yet measured ({{:.0f}} of {len(splits)} splits)".format)
            said = said.where(measured >= len(splits), few)  # no verdict before all planned splits
            family[estimand] = family.contrast.map(said)
        families.append(family)
    return pd.concat(families, ignore_index=True) if families else pd.DataFrame()


# --- noise ----------------------------------------------------------------------------------------


def seed_noise(frame: pd.DataFrame, columns: Sequence[str] = tuple(DECIDING)) -> pd.DataFrame:
    """Variance between seeds within a split and between splits (exploratory).

    One-way random effects: the mean square within splits, and (mean square between splits - that
    within) / n0, no less than zero, where n0 is the mean number of seeds corrected for imbalance.

    Args:
        frame: as `read_records` returns it; changed readings are left out.
        columns: which scores.
    Returns:
        One row per network, setting and score that has several seeds on some of several splits:
        runs, splits, within, between (variances, in squared points).
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
            line |= {"splits": splits, "within": within, "between": max(0, (square - within) / n0)}
            lines.append(line)
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

    above = bound
    while missing(above) < 0:
        above *= 1.5
    return float(brentq(missing, 0, above) * sd / np.sqrt(splits))


def one_split_differences(frame: pd.DataFrame) -> pd.DataFrame:
    """How much a contrast varies from one split to another, beside the paper's gap (exploratory).

    The paper reports one split, trained once: each split counts here with its first seed.

    Args:
        frame: as `read_records` returns it; changed readings are left out.
    Returns:
        One row per network, contrast and score: `difference`'s columns, values (each split's
        difference), sd (of one split's difference), paper (its gap; NaN on networks other than
        ResNet-18) and detectable (`detectable` with these splits).
    """
    lines = []
    plain = frame[frame.changed == ""].sort_values("seed", kind="stable")
    first = plain.drop_duplicates(["network", "setting", "split"])
    for network, part in first.groupby("network", sort=False):
        paper = PAPER_TABLE | {"htri": PAPER_TABLE["resnet18_htri"]}
        for better, worse in CONTRASTS:
            a, b = (part[part.setting == name] for name in (better, worse))
            table = difference(a, b, DECIDING)
            if table is None:
                continue
            gains = (per_split(a, DECIDING) - per_split(b, DECIDING)).dropna()
            for column, score in DECIDING.items():
                gap = paper[better][score] - paper[worse][score]
                sd = gains[column].std()
                line = {"network": network, "contrast": f"{better} over {worse}", "score": score}
                line |= table.loc[column].to_dict() | {"values": gains[column].to_numpy(), "sd": sd}
                line["paper"] = gap if part.backbone.iloc[0] == "resnet18" else np.nan
                line["detectable"] = detectable(sd, len(gains)) if len(gains) > 1 else np.nan
                lines.append(line)
    return pd.DataFrame(lines)


def prediction(frame: pd.DataFrame) -> pd.DataFrame:
    """The planned prediction: (set 3 - set 2 with 57 training persons) - (the same with half).

    Args:
        frame: as `read_records` returns it, with runs of both numbers of training persons.
    Returns:
        One row per network and score: `t_interval` over splits 0 to 4 (these persons), splits,
        and said: in our default reading `confirmed` if both scores fall and their intervals
        exclude zero, `refuted` if either rises likewise, else `inconclusive`; in the likely
        reading `refuted` if both fall, else `not refuted`.
    """
    tables, plain = [], frame[(frame.changed == "") & frame.split.isin(range(5))]
    for network in plain.network[plain.train_persons == 57].unique():
        gains = []
        for name in (network, network.removesuffix(", 57 training persons")):
            part = plain[plain.network == name]
            three, two = (part[part.setting == setting] for setting in ("set3", "set2"))
            gains.append(per_split(three, DECIDING) - per_split(two, DECIDING))
        change = (gains[0] - gains[1]).dropna()
        if change.empty:
            continue
        table = t_interval(change)
        falls, rises = (table.high < 0).all(), (table.low > 0).any()
        said = "confirmed" if falls else "refuted" if rises else "inconclusive"
        if LIKELY in network:
            said = "refuted" if falls else "not refuted"
        tables.append(table.assign(network=network, splits=len(change), said=said))
    return pd.concat(tables).rename_axis("score").reset_index() if tables else pd.DataFrame()
