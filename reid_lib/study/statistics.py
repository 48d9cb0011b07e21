"""Statistics of records: means, paired differences, intervals for two estimands, and verdicts.

Every interval is for one of two estimands. "These persons": splits are independent draws from the
persons at hand, and the variance of a mean is s^2 / n. "New persons": splits share persons, and the
variance is s^2 (1 / n + test / train) (Nadeau and Bengio 2003); with as many test as training
persons that is an interval for one further split, which more splits do not shrink to zero.

Seeds of one split are averaged before splits are averaged or paired. `frame` is what `read_records`
returns, and `columns` are scores in it.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from reid_lib.engine.runs import Run, scores_frame
from reid_lib.study.records import DECIDING, LAST, LIKELY, NEAR, QUANTISED, listed, splits_words

# What beats what, says the paper.
CONTRASTS = (("set2", "set1"), ("set3", "set2"), ("set3", "set1"), ("set3", "htri"))
ESTIMANDS = {"these persons": "these_", "new persons": ""}  # prefix of low, high and p
LEVEL = 0.05
FITTED = 90.0  # rank-1 in percent on its training persons, below which a run underfits
NO_VERDICT = "no verdict †"  # where a run behind it underfits
PRIMARY_SCORES = {f"unit {LAST} rank-1": "rank-1", f"unit {LAST} mAP": "mAP"}
PLANNED = 10  # splits; no verdict on the runs of the plan before all of them
PRIMARY_SPLITS = {"all splits": range(PLANNED), "splits 2 to 9": range(2, PLANNED)}
PREDICTED = 57  # training persons of the planned prediction
PREDICTED_SPLITS = range(5)
# What runs without centres (set 1, the triplet loss) cannot choose.
OF_CENTRES = frozenset(
    "centres centres_gradient persons_in_sums memory_start memory_update".split()
)

# The columns of `differences` where no pair shares a split.
EMPTY = (
    "network setting contrast claim choice ingredient row ours score splits difference agree low "
    "high p these_low these_high these_p which unfitted"
).split()

Pairs = Iterable[tuple[dict, pd.DataFrame, pd.DataFrame]]  # labels, better, worse


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


def _both(values: pd.DataFrame, persons: str) -> pd.DataFrame:
    """`t_interval` for new persons, and for these persons as these_low, these_high, these_p."""
    train, test = map(int, persons.split("/"))
    these = t_interval(values).drop(columns="mean").add_prefix("these_")
    return t_interval(values, test / train).join(these)


def per_split(part: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """One row per split, the mean over its seeds."""
    return part.groupby("split")[list(columns)].mean()


def first_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """Of runs that differ in the seed alone those with the smallest, in the frame's order."""
    frame = frame.sort_values("seed", kind="stable")
    return frame.drop_duplicates(["network", "setting", "changed", "split"]).sort_index()


def means(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Means over splits with their 95 % intervals for both estimands.

    Returns:
        One row per network, setting and score: persons, splits (how many, and which), mean; low and
        high for new persons, these_low and these_high for these (NaN for a single split); values,
        those of the splits.
    """
    lines, keys = [], ["network", "setting", "persons"]
    for labels, part in frame.groupby(keys, sort=False):
        values = per_split(part, columns)
        table = _both(values, labels[-1]).rename_axis("score").reset_index()
        table["values"] = list(values.T.to_numpy())
        table["splits"] = listed(part.split)
        lines.append(table.assign(**dict(zip(keys, labels, strict=True))))
    return pd.concat(lines, ignore_index=True)


def differences(pairs: Pairs, columns: Sequence[str]) -> pd.DataFrame:
    """Paired differences "better - worse" over the splits that both have.

    Args:
        pairs: labels, and two parts of the frame of `read_records`; pairs that share no split are
            left out.
    Returns:
        One row per pair and score: the labels; score; splits (how many), split_list (`listed`),
        values (each split's difference), their mean `difference` and standard deviation `sd`; low,
        high and p for new persons; these_low, these_high and these_p for these (NaN below two
        splits); splits_above_zero, a number of splits; unfitted (`not_fitted`).
    """
    lines = []
    for labels, better, worse in pairs:
        gains = _gains(better, worse, columns)
        if gains.empty:
            continue
        used = [part[part.split.isin(gains.index)] for part in (better, worse)]
        table = _both(gains, better.persons.iloc[0]).rename(columns={"mean": "difference"})
        table = table.assign(splits=len(gains), splits_above_zero=(gains > 0).sum(), sd=gains.std())
        table["values"] = list(gains.T.to_numpy())
        labels = {"split_list": listed(gains.index), "unfitted": not_fitted(*used), **labels}
        lines.append(table.rename_axis("score").reset_index().assign(**labels))
    return pd.concat(lines, ignore_index=True) if lines else pd.DataFrame(columns=EMPTY)


def _gains(better: pd.DataFrame, worse: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    return (per_split(better, columns) - per_split(worse, columns)).dropna(how="all")


def gain(better: pd.DataFrame, worse: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Rows of `better`, one per split, whose scores are those gained over `worse`.

    Given such rows, `differences` returns differences of differences.
    """
    gains = _gains(better, worse, columns)
    rows = better.drop_duplicates("split").set_index("split").loc[gains.index]
    return rows.assign(**gains).reset_index()


def under(part: pd.DataFrame, setting: str, choice: str = "") -> pd.DataFrame:
    """A setting's records under a choice, or under that part of it which the setting has."""
    words = choice.split(", ")
    if setting in ("htri", "set1"):
        words = [word for word in words if word.partition("=")[0] not in OF_CENTRES]
    return part[(part.setting == setting) & (part.changed == ", ".join(words))]


def third(part: pd.DataFrame, choice: str = "") -> pd.DataFrame:
    """What set 3 gains over set 2 under a choice, per split, as `gain` returns it."""
    return gain(*(under(part, name, choice) for name in ("set3", "set2")), DECIDING)


def pairs_of(part: pd.DataFrame, contrasts=CONTRASTS, choice: str = "", **labels) -> Pairs:
    """Pairs of settings under a choice, for `differences`; `contrast` is such as "set2 - set1"."""
    for better, worse in contrasts:
        two = (under(part, name, choice) for name in (better, worse))
        yield {"contrast": f"{better} - {worse}", "choice": choice, **labels}, *two


# --- verdicts -------------------------------------------------------------------------------------


def verdict(low: pd.Series, high: pd.Series) -> str:
    """The verdict of intervals of "better - worse": `holds` if all lie above zero, `does not hold`
    if all lie below zero, else `inconclusive`.
    """
    if (low > 0).all():
        return "holds"
    return "does not hold" if (high < 0).all() else "inconclusive"


def judged(part: pd.DataFrame) -> dict[str, str]:
    """Estimand to verdict on the rows of one contrast of `contrasts`."""
    said = {}
    for estimand, prefix in ESTIMANDS.items():
        ends = part[[f"{prefix}low", f"{prefix}high"]].mul(part.better, axis=0)
        said[estimand] = verdict(ends.min(axis=1, skipna=False), ends.max(axis=1, skipna=False))
    return said


def not_fitted(*parts: pd.DataFrame) -> str:
    """Names the underfitted runs, whose rank-1 on their training persons is below `FITTED`.

    Returns:
        Backbone, setting, splits and this rank-1, the runs separated by "; ". "" for none.
    """
    columns = ["record", "backbone", "setting", "split", "deciding train rank-1"]
    runs, texts = pd.concat([part[columns] for part in parts]).drop_duplicates("record"), []
    runs = runs[runs["deciding train rank-1"] < FITTED]
    for (backbone, setting), part in runs.groupby(["backbone", "setting"], sort=False):
        ends = part["deciding train rank-1"].agg(["min", "max"]).map("{:.1f} %".format)
        words = f"{backbone} {setting}, {splits_words(listed(part.split))}"
        texts.append(f"{words}, training rank-1 {' to '.join(dict.fromkeys(ends))}")
    return "; ".join(texts)


def underfitted(runs: list[Run]) -> dict[str, float]:
    """Row -> lowest rank-1 in percent on its training persons, of rows with an underfitted run."""
    least = scores_frame(runs, part="train").groupby("row", sort=False)["rank-1"].min()
    return least[least < FITTED].to_dict()


def contrasts(frame: pd.DataFrame) -> pd.DataFrame:
    """Each of the paper's four claims as paired differences (exploratory, no correction).

    Claim 1 and 4 compare settings on ResNet-18 and on the other networks, claim 2 the two ResNets
    under one recipe. Claim 3 is about viewpoint: two differences between opposite and equal views,
    of the relative distance (the gap) and of rank-1 (the drop), must be smaller. Smaller relative
    distances at every angle, equal views included, are "compactness". Records with non-default
    choices, or with a number of training persons other than half, are excluded.

    Returns:
        One row per claim, network, contrast and score: the columns of `differences`; better (1
        where a larger value is better, else -1); "these persons" and "new persons": the contrast's
        verdict, which rests on all its scores (the gap and the drop have one verdict each);
        `NO_VERDICT` where a run underfits; on runs of the plan "not yet measured" until all planned
        splits are there.
    """
    frame = frame[(frame.changed == "") & frame.train_persons.isna()]
    scores, views = [], []
    for network, part in frame.groupby("network", sort=False):
        claim = "1" if part.backbone.iloc[0] == "resnet18" else "4"
        scores += pairs_of(part, network=network, better=1, claim=claim)
        for against in ("set1", "htri"):
            labels = {"network": network, "better": -1, "contrast": f"set2 - {against}"}
            views += pairs_of(part, [("set2", against)], **labels)
    recipe = frame.network.str.partition(", ")[2]
    for (words, setting), part in frame.groupby([recipe, "setting"], sort=False):
        labels = {"claim": "2", "network": f"resnet18, resnet50, {words}", "better": 1}
        labels["contrast"] = f"resnet18 - resnet50, {setting}"
        scores.append((labels, *(part[part.backbone == b] for b in ("resnet18", "resnet50"))))
    tables = [differences(scores, DECIDING)]
    for claim, columns in (("3", ["gap"]), ("3", ["rank1_drop"]), ("compactness", NEAR)):
        tables.append(differences(views, columns).assign(claim=claim))
    table = pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
    waiting = set(planned(frame).network)
    for _, part in table.groupby(["claim", "network", "contrast", table.score == "rank1_drop"]):
        said = dict.fromkeys(ESTIMANDS, NO_VERDICT) if part.unfitted.any() else judged(part)
        if part.network.iloc[0] in waiting and part.splits.iloc[0] < PLANNED:
            said = dict.fromkeys(said, waiting_words(part.splits.iloc[0], PLANNED))
        table.loc[part.index, list(said)] = list(said.values())
    return table.sort_values("claim", kind="stable", ignore_index=True)


def waiting_words(splits: float, wanted: int) -> str:
    """In place of a verdict, where splits are missing."""
    return f"not yet measured ({splits:.0f} of {wanted} splits)"


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


def judge_family(
    table: pd.DataFrame, contrast: dict, scores: dict, wanted: dict, words: tuple[str, str]
) -> pd.DataFrame:
    """Correct the tests of one family by Holm's method and judge its contrasts.

    Args:
        table: the family's rows of `differences`, or some of them.
        contrast: the columns that name a contrast, each with all its values.
        scores: the score of each of a contrast's tests, and what it is called.
        wanted: the planned splits by the value of the first column.
        words: the verdict where all its scores rise, where all fall; corrected p below 0.05.
    Returns:
        One row per test (NaN where `table` lacks it): the columns of `table`, wanted, holm,
        these_holm, and one verdict per estimand, else `inconclusive`; `not yet measured` before all
        planned splits.
    """
    tests = pd.MultiIndex.from_product([*contrast.values(), scores], names=[*contrast, "score"])
    family = table.set_index(tests.names).reindex(tests).reset_index().replace({"score": scores})
    family = family.fillna({"splits": 0, "unfitted": ""})
    keys = [family[name] for name in contrast]
    family["wanted"] = keys[0].map(wanted)
    for estimand, prefix in ESTIMANDS.items():
        family[f"{prefix}holm"] = holm(family[f"{prefix}p"])
        sign = np.sign(family.difference.astype(float)).where(family[f"{prefix}holm"] < LEVEL, 0)
        least, most = (sign.groupby(keys).transform(end) for end in ("min", "max"))
        said = np.select([least > 0, most < 0], words, "inconclusive")
        few = [waiting_words(*counts) for counts in zip(family.splits, family.wanted, strict=True)]
        family[estimand] = np.where(family.splits < family.wanted, few, said)
    return family


def planned(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs of the planned tests: ResNet-18, quantised weights, likely reading, seed 0."""
    chosen = (frame.backbone == "resnet18") & (frame.reading == LIKELY) & (frame.changed == "")
    chosen &= (frame.seed == 0) & (frame.weights_sha256 == QUANTISED["resnet18"])
    return frame[chosen & ~frame.validation & frame.train_persons.isna()]


def primary_family(frame: pd.DataFrame, scores: dict = PRIMARY_SCORES) -> pd.DataFrame:
    """The eight tests that were planned before their runs, with Holm's correction.

    ResNet-18 from the quantised weights, likely reading, seed 0, unit codes, means over the last
    epochs: `CONTRASTS` in rank-1 and mAP. Everything else in this module is exploratory.

    Args:
        frame: what `read_records` returns.
        scores: columns of rank-1 and mAP -> their names; others than the plan's are exploratory.
    Returns:
        For all splits and for splits 2 to 9 only (`over`), eight rows, by contrast and score: the
        columns of `differences` (NaN where a contrast has no run), and for each estimand "holm" and
        "these_holm" (corrected p) and its verdict: `holds` if both scores rise and both corrected
        p-values are below 0.05, `does not hold` if both fall likewise, else `inconclusive`; `not
        yet measured` until the contrast has all planned splits. Empty where there is no such run.
    """
    runs, families = planned(frame), []
    if runs.empty:
        return pd.DataFrame()
    names = [f"{better} - {worse}" for better, worse in CONTRASTS]
    for over, splits in PRIMARY_SPLITS.items():
        table = differences(pairs_of(runs[runs.split.isin(splits)], over=over), scores)
        if table.empty:
            continue
        wanted, words = dict.fromkeys(names, len(splits)), ("holds", "does not hold")
        family = judge_family(table, {"contrast": names}, scores, wanted, words)
        families.append(family.assign(over=over))
    return pd.concat(families, ignore_index=True) if families else pd.DataFrame()


def prediction(frame: pd.DataFrame) -> pd.DataFrame:
    """The planned prediction: (set 3 - set 2 with 57 training persons) - (the same with half).

    Returns:
        One row per network and score, over splits 0 to 4: the columns of `differences`, and said
        (these persons): in our default reading `confirmed` if both scores fall and their intervals
        exclude zero, `refuted` if either rises likewise, else `inconclusive`; in the likely reading
        `refuted` if both fall, else `not refuted`; `not yet measured` while a split is missing.
    """
    plain = frame[(frame.changed == "") & frame.split.isin(PREDICTED_SPLITS)]
    pairs = []
    for network in plain.network[plain.train_persons == PREDICTED].unique():
        half = network.removesuffix(f", {PREDICTED} training persons")
        parts = (plain[plain.network == name] for name in (network, half))
        pairs.append(({"network": network}, *map(third, parts)))
    table = differences(pairs, DECIDING)
    for network, part in table.groupby("network"):
        falls, rises = (part.these_high < 0).all(), (part.these_low > 0).any()
        said = "confirmed" if falls else "refuted" if rises else "inconclusive"
        if LIKELY in network:
            said = "refuted" if falls else "not refuted"
        if part.splits.iloc[0] < len(PREDICTED_SPLITS):
            said = waiting_words(part.splits.iloc[0], len(PREDICTED_SPLITS))
        table.loc[part.index, "said"] = said
    return table
