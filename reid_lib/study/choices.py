"""What the open choices change: other readings, weights of the scatter loss, recipes, scoring."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from reid_lib.study.records import DECIDING, SETTINGS, brief, listed
from reid_lib.study.statistics import CONTRASTS, difference, per_split
from reid_lib.study.tables import change, markdown

# What set 3 subtracts in each form of the scatter loss; the paper's is the first.
FORMS = {"sum": "gamma L_SL", "log": "gamma log L_SL", "unit": "gamma L_SL of unit codes"}
# What runs without centres (set 1, the triplet loss) cannot choose.
OF_CENTRES = frozenset(
    "centres centres_gradient persons_in_sums memory_start memory_update".split()
)


def effects(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """What each open choice changes, beside the unchanged reading of the same setting.

    Args:
        frame: as `read_records` returns it.
        columns: which scores.
    Returns:
        One row per network, setting, choice (what `changed` says) and score: the columns of
        `difference`; the largest effects first.
    Raises:
        ValueError: no record differs in an open choice.
    """
    lines = []
    for (network, setting), part in frame.groupby(["network", "setting"], sort=False):
        plain = part[part.changed == ""]
        for choice, chosen in part[part.changed != ""].groupby("changed", sort=False):
            table = difference(chosen, plain, columns)
            if table is not None:
                table = table.rename_axis("score").reset_index()
                lines.append(table.assign(network=network, setting=setting, choice=choice))
    if not lines:
        raise ValueError(
            "no setting has records of the unchanged reading and of an open choice on one split; "
            "expected both, such as the runs of `pku_likely` beside those of `ingredients`"
        )
    table = pd.concat(lines, ignore_index=True)
    size = table.difference.abs().groupby([table.network, table.choice]).transform("max")
    return table.iloc[np.lexsort((table.setting, -size, table.network))].reset_index(drop=True)


def orders(frame: pd.DataFrame, columns: Sequence[str], contrasts=CONTRASTS[:2]) -> pd.DataFrame:
    """Differences between settings under each open choice: does a choice change the order?

    Args:
        frame: as `read_records` returns it.
        columns: which scores.
        contrasts: pairs of a setting and the one that it is compared with.
    Returns:
        One row per network, choice ("" for the unchanged reading), setting, `over` (which other
        setting) and score: the columns of `difference`; contrasts without a common split are left
        out. A setting without centres is compared under the rest of a choice.
    """
    lines = []
    for network, part in frame.groupby("network", sort=False):
        for choice in part.changed.unique():
            for better, worse in contrasts:
                a, b = (_under(part, name, choice) for name in (worse, better))
                table = difference(b, a, columns)
                if table is not None:
                    which = {"network": network, "choice": choice, "setting": better, "over": worse}
                    lines.append(table.rename_axis("score").reset_index().assign(**which))
    none = pd.DataFrame(columns=["network", "choice", "setting", "over", "score"])
    return pd.concat(lines, ignore_index=True) if lines else none


def _under(part: pd.DataFrame, setting: str, choice: str) -> pd.DataFrame:
    """A setting's records under a choice, or under that part of it which the setting has."""
    words = choice.split(", ")
    if setting in ("htri", "set1"):
        words = [word for word in words if word.partition("=")[0] not in OF_CENTRES]
    return part[(part.setting == setting) & (part.changed == ", ".join(words))]


def scatter_study(frame: pd.DataFrame) -> pd.DataFrame:
    """Set 3 beside set 2 at each weight and form of the scatter loss, and what its gradient did.

    Args:
        frame: as `read_records` returns it; records of set 3 that differ from the reading in the
            scatter loss or the weight decay alone count, beside set 2 at the same decay.
    Returns:
        One row per network, form, gamma and weight decay: default (is the reading unchanged?),
        rank-1 and mAP (means over the last epochs), the columns of `difference` (rank-1 less that
        of set 2), "first ratio" and "last ratio" (the gradient of -gamma L_SL with respect to the
        codes over that of L_SR, norms, in the first and last epoch) and growth (of the codes' norm,
        last over first).
    Raises:
        ValueError: no such record.
    """
    rank1 = next(iter(DECIDING))
    keys = ["scatter", "gamma", "weight_decay"]
    changed = frame.changed.str.split(", ").map(lambda words: {w.partition("=")[0] for w in words})
    alone = frame[changed.map(lambda names: names <= {"", *keys})]
    lines = []
    for (network, *values), part in alone[alone.setting == "set3"].groupby(
        ["network", *keys], sort=False
    ):
        same = (alone.network == network) & (alone.weight_decay == values[-1])
        table = difference(part, alone[same & (alone.setting == "set2")], [rank1])
        if table is None:
            continue
        line = {"network": network, **dict(zip(keys, values, strict=True))}
        line["default"] = (part.changed == "").all()
        line |= per_split(part, DECIDING).mean().rename(DECIDING).to_dict()
        line |= table.loc[rank1].to_dict()
        for when in ("first", "last"):
            line[f"{when} ratio"] = (part[f"{when} grad_sl"] / part[f"{when} grad_sr"]).mean()
        lines.append(line | {"growth": (part["last code_norm"] / part["first code_norm"]).mean()})
    if not lines:
        raise ValueError("no record of set 3 beside one of set 2; expected both on one network")
    table = pd.DataFrame(lines)
    form = table.scatter.map(list(FORMS).index)
    order = np.lexsort((table.weight_decay, table.gamma, form, table.network))
    return table.iloc[order].reset_index(drop=True)


# --- as text --------------------------------------------------------------------------------------


def choices_text(frame: pd.DataFrame) -> str:
    """What each open choice changes, and the order of the settings under it, as Markdown."""
    table, order = effects(frame, DECIDING), orders(frame, DECIDING)
    texts = []
    for network, part in table.groupby("network", sort=False):
        shift = _wide(part, "choice", part.setting + " " + part.score.map(DECIDING))
        columns = [f"{setting} {score}" for setting in SETTINGS for score in DECIDING.values()]
        shift = shift[[name for name in columns if name in shift]]
        texts.append(f"{network}; difference to the unchanged reading:\n\n{markdown(shift)}")
        own = order[order.network == network]
        if len(own):
            gap = _gaps(own, "choice").reindex(["", *shift.index], fill_value="")
            gap = markdown(gap.rename({"": "unchanged"}))
            texts.append(f"{network}; between the settings under each choice:\n\n{gap}")
    return "\n\n".join([*texts, f"{_NOTE} Set 1 has no centres to choose.\n"])


_NOTE = (
    "Differences in points (means over the last scored epochs, camera A to B) over the splits that "
    "both have, with 95 % intervals for new persons (Nadeau and Bengio), and on how many splits "
    "the difference is above zero. Exploratory: intervals are not corrected for multiple "
    "comparisons."
)


def _wide(table: pd.DataFrame, index: str, what: pd.Series) -> pd.DataFrame:
    """Differences with their intervals as text: one row per value of `index`, columns `what`."""
    cells = [change(line, both=False) for _, line in table.iterrows()]
    return (
        table.assign(cell=cells, what=what)
        .pivot_table(index=index, columns="what", values="cell", aggfunc="first", sort=False)
        .fillna("")
    )


def _gaps(order: pd.DataFrame, index: str) -> pd.DataFrame:
    """`orders` as text: one row per value of `index`, one column per contrast and score."""
    what = order.setting + " over " + order.over + ": " + order.score.map(DECIDING)
    return _wide(order, index, what)


def scoring_text(plain: pd.DataFrame) -> str:
    """How other ways of scoring change the scores of the same runs (last epoch)."""
    ways = {
        "AP by trapezoids: mAP": ("mAP_market", "mAP"),
        "camera B to A: rank-1": ("B->A rank-1", "rank-1"),
        "camera B to A: mAP": ("B->A mAP", "mAP"),
        "both cameras: rank-1": ("both rank-1", "rank-1"),
        "both cameras: mAP": ("both mAP", "mAP"),
    }
    lines = []
    for (network, setting), part in plain.groupby(["network", "setting"], sort=False):
        line = {
            "network": brief(plain)[network],
            "setting": setting,
            "splits": part.split.nunique(),
        }
        for words, (name, usual) in ways.items():
            table = difference(part.assign(**{usual: part[name]}), part, [usual])
            line[words] = change(table.loc[usual], both=False)
        lines.append(line)
    note = (
        "Differences to the plain average precision, camera A to B, of the same runs' last epoch, "
        "in points, with 95 % intervals for new persons. No run was trained again for them."
    )
    return f"{markdown(pd.DataFrame(lines).set_index('network'))}\n\n{note}\n"


def scatter_text(frame: pd.DataFrame) -> str:
    """`scatter_study` as Markdown."""
    table = scatter_study(frame)
    cells = pd.DataFrame(
        {
            "subtracted": table.scatter.map(FORMS),
            "gamma": table.gamma.map("{:g}".format),
            "weight decay": table.weight_decay.map("{:g}".format),
            "splits": table.splits.astype(int),
            "rank-1": table["rank-1"].map("{:.1f}".format),
            "mAP": table["mAP"].map("{:.1f}".format),
            "rank-1 over set 2": [change(line, both=False) for _, line in table.iterrows()],
            "gradient over L_SR's, first epoch": table["first ratio"].map("{:.2g}".format),
            "last epoch": table["last ratio"].map("{:.2g}".format),
            "code norm grew": table.growth.map("{:.2f} x".format),
        }
    ).set_index(table.network.map(brief(frame)))
    return f"{markdown(cells)}\n\n{_NOTE}\n"


def recipes_text(frame: pd.DataFrame) -> str:
    """Recipes on held-out training persons, and what was scored on the test persons, as Markdown.

    The differences are to set 1 as the paper trains it, from the paper's kind of start.
    """
    texts = []
    for validation, title in (
        (True, "Held-out training persons, on whom the recipe was chosen"),
        (False, "Test persons"),
    ):
        part = frame[frame.validation == validation]
        if part.empty:
            continue
        plain = part[(part.setting == "set1") & (part.changed == "") & (part.start != "file")]
        lines = []
        for (network, setting, changed), chosen in part.groupby(
            ["network", "setting", "changed"], sort=False
        ):
            line = {"network": network, "recipe": ", ".join(filter(None, (setting, changed)))}
            line |= {"persons": chosen.persons.iloc[0], "splits": listed(chosen.split)}
            line |= per_split(chosen, DECIDING).mean().rename(DECIDING).to_dict()
            table = difference(chosen, plain, DECIDING)
            own = table is None or chosen.record.isin(plain.record).all()
            for column, name in DECIDING.items():
                said = "" if own else change(table.loc[column], both=False)
                line[f"{name} over the paper's set1"] = said
            lines.append(line)
        table = pd.DataFrame(lines).sort_values("rank-1", ascending=False).set_index("network")
        scores = list(DECIDING.values())
        table[scores] = table[scores].map("{:.1f}".format)
        texts.append(f"{title}:\n\n{markdown(table)}")
        pair = orders(part[part.changed == ""], DECIDING)
        if len(pair):
            wide = _gaps(pair, "network")
            texts.append(f"{title}, settings from one start:\n\n{markdown(wide)}")
    paper = "The paper's set1 starts from ImageNet weights: the row without a difference."
    return "\n\n".join([*texts, f"{_NOTE} {paper}\n"])
