"""Effects of the open choices: other readings, weights of the scatter loss, recipes, scoring.

`frame` is what `read_records` returns, and `columns` are scores in it.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from reid_lib.study.records import DECIDING, SETTINGS, brief
from reid_lib.study.statistics import CONTRASTS, differences, means, pairs_of, per_split
from reid_lib.study.tables import NOTES, change, markdown, wide

# What set 3 subtracts in each form of the scatter loss; the paper's is the first.
FORMS = {"sum": "gamma L_SL", "log": "gamma log L_SL", "unit": "gamma L_SL of unit codes"}
SCATTER = ["scatter", "gamma", "weight_decay"]
NO_CENTRES = "Set 1 uses no centres, so the choices of centres do not apply to it."


def effects(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """What each open choice changes, compared with the default choices of the same setting.

    Returns:
        One row per network, setting, choice (what `changed` says) and score: the columns of
        `differences`; the largest effects first.
    Raises:
        ValueError: no record differs in an open choice.
    """
    pairs = []
    for (network, setting), part in frame.groupby(["network", "setting"], sort=False):
        for choice, chosen in part[part.changed != ""].groupby("changed", sort=False):
            labels = {"network": network, "setting": setting, "choice": choice}
            pairs.append((labels, chosen, part[part.changed == ""]))
    table = differences(pairs, columns)
    if table.empty:
        raise ValueError(
            "no setting has records of the unchanged reading and of an open choice on one split; "
            "expected both, such as the runs of `pku_likely` and those of `ingredients`"
        )
    size = table.difference.abs().groupby([table.network, table.choice]).transform("max")
    return table.iloc[np.lexsort((table.setting, -size, table.network))].reset_index(drop=True)


def orders(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Differences between settings under each open choice: does a choice change the order?

    Returns:
        One row per network, choice ("" for the unchanged reading), contrast and score: the columns
        of `differences`. A setting without centres is compared under the rest of a choice.
    """
    pairs = []
    for network, part in frame.groupby("network", sort=False):
        for choice in sorted(part.changed.unique(), key=bool):  # the unchanged reading first
            pairs += pairs_of(part, CONTRASTS[:2], choice, network=network)
    return differences(pairs, columns)


def scatter_study(frame: pd.DataFrame) -> pd.DataFrame:
    """Compare set 3 with set 2 at each weight and form of the scatter loss, and their gradients.

    Only those records of set 3 count that differ from their reading in nothing but the scatter loss
    or the weight decay; each is compared with set 2 at the same weight decay.

    Returns:
        One row per network, form, gamma and weight decay: default (is the reading unchanged?),
        rank-1 and mAP (means over the last epochs), the columns of `differences` (rank-1 minus
        that of set 2), "first ratio" and "last ratio" (the norm of the gradient of -gamma L_SL with
        respect to the codes, divided by that of L_SR, in the first and last epoch) and growth (the
        codes' norm in the last epoch divided by that in the first).
    Raises:
        ValueError: no such record.
    """
    changed = frame.changed.str.split(", ").map(lambda words: {w.partition("=")[0] for w in words})
    alone = frame[changed.map(lambda names: names <= {"", *SCATTER})]
    pairs = []
    for values, part in alone[alone.setting == "set3"].groupby(["network", *SCATTER], sort=False):
        labels = dict(zip(["network", *SCATTER], values, strict=True))
        same = (alone.network == labels["network"]) & (alone.weight_decay == labels["weight_decay"])
        labels |= {"default": (part.changed == "").all()}
        labels |= per_split(part, DECIDING).mean().rename(DECIDING).to_dict()
        for when in ("first", "last"):
            labels[f"{when} ratio"] = (part[f"{when} grad_sl"] / part[f"{when} grad_sr"]).mean()
        labels["growth"] = (part["last code_norm"] / part["first code_norm"]).mean()
        pairs.append((labels, part, alone[same & (alone.setting == "set2")]))
    table = differences(pairs, [next(iter(DECIDING))])
    if table.empty:
        raise ValueError(
            "no network has records of both set 3 and set 2; expected both on one network"
        )
    form = table.scatter.map(list(FORMS).index)
    order = np.lexsort((table.weight_decay, table.gamma, form, table.network))
    return table.iloc[order].reset_index(drop=True)


# --- as text --------------------------------------------------------------------------------------


def _for_new(row: pd.Series) -> str:
    return change(row, both=False)


def choices_text(frame: pd.DataFrame) -> str:
    """What each open choice changes, and the order of the settings under it, as Markdown."""
    shift, order = effects(frame, DECIDING), _named(orders(frame, DECIDING))
    shift["what"] = shift.setting + " " + shift.score.map(DECIDING)
    texts = []
    for network, part in shift.groupby("network", sort=False):
        cells = wide(part, ["choice"], "what", _for_new)
        columns = [f"{setting} {score}" for setting in SETTINGS for score in DECIDING.values()]
        cells = cells[[name for name in columns if name in cells]]
        texts.append(f"{network}; difference from the unchanged reading:\n\n{markdown(cells)}")
        own = order[order.network == network]
        if len(own):
            gap = wide(own, ["choice"], "what", _for_new).reindex(["", *cells.index])
            gap = markdown(gap.rename(index={"": "unchanged"}))
            texts.append(f"{network}; differences between the settings under each choice:\n\n{gap}")
    return "\n\n".join([*texts, f"{NOTES['choices']} {NO_CENTRES}\n"])


def _named(order: pd.DataFrame) -> pd.DataFrame:
    return order.assign(what=order.contrast + ": " + order.score.map(DECIDING))


def scoring_text(plain: pd.DataFrame) -> str:
    """How other ways of scoring change the scores of the same runs (last epoch)."""
    ways = {
        "AP by the trapezoidal rule: mAP": ("mAP_market", "mAP"),
        "camera B to A: rank-1": ("B->A rank-1", "rank-1"),
        "camera B to A: mAP": ("B->A mAP", "mAP"),
        "mean of both directions: rank-1": ("both rank-1", "rank-1"),
        "mean of both directions: mAP": ("both mAP", "mAP"),
    }
    others = [plain.assign(changed=way, **{s: plain[n]}) for way, (n, s) in ways.items()]
    table = effects(pd.concat([plain, *others]), ["rank-1", "mAP"])
    table = table[[row.choice.endswith(row.score) for row in table.itertuples()]]
    table = table.sort_values(["network", "setting"], kind="stable")
    cells = wide(table, ["network", "setting", "splits"], "choice", _for_new).rename(brief(plain))
    return f"{markdown(cells[['setting', 'splits', *ways]])}\n\n{NOTES['scoring']}\n"


def scatter_text(frame: pd.DataFrame) -> str:
    """`scatter_study` as Markdown."""
    table = scatter_study(frame)
    table["rank-1 minus that of set 2"] = [_for_new(row) for _, row in table.iterrows()]
    subtracted = "term that Eq. 4 subtracts"
    table[subtracted] = table.scatter.map(FORMS)
    first = "gradient norm of the subtracted term relative to that of L_SR, first epoch"
    last, norm = first.replace("first", "last"), "code norm, last epoch / first epoch"
    names = {"weight_decay": "weight decay", "first ratio": first, "last ratio": last}
    names |= {"growth": norm}
    forms = {subtracted: "{}", "gamma": "{:g}", "weight decay": "{:g}", "splits": "{}"}
    forms |= {"rank-1": "{:.1f}", "mAP": "{:.1f}", "rank-1 minus that of set 2": "{}"}
    forms |= {first: "{:.2g}", last: "{:.2g}", norm: "{:.2f}"}
    cells = table.rename(columns=names).set_index(table.network.map(brief(frame)))
    cells = cells[list(forms)]
    if table.unfitted.any():
        cells["underfitted runs"] = table.unfitted.to_numpy()
    return f"{markdown(cells, **forms)}\n\n{NOTES['choices']}\n"


def recipes_text(frame: pd.DataFrame) -> str:
    """Scores of recipes on held-out training persons and on test persons, as Markdown.

    The differences are from our set 1 from ImageNet weights.
    """
    texts = []
    titles = {True: "Held-out training persons, used to choose the recipe"}
    for validation, title in (titles | {False: "Test persons"}).items():
        part = frame[frame.validation == validation]
        if part.empty:
            continue
        persons = "training/held-out persons" if validation else "training/test persons"
        cells = _recipes(part).rename(columns={"persons": persons})
        texts.append(f"{title}:\n\n{markdown(cells)}")
        pair = orders(part[part.changed == ""], DECIDING)
        if len(pair):
            cells = wide(_named(pair), ["network"], "what", _for_new)
            texts.append(f"{title}, settings with the same initial weights:\n\n{markdown(cells)}")
    paper = "The reference is set 1 from ImageNet weights, the row without a difference."
    paper += _starts(frame)
    return "\n\n".join([*texts, f"{NOTES['choices']} {paper}\n"])


def _starts(frame: pd.DataFrame) -> str:
    """Recipes from weights from a file: how close they are, and the gain over ImageNet weights."""
    ours, text = frame[frame.start == "file"], ""
    held_out = ours[ours.validation].groupby(["setting", "changed"])[list(DECIDING)].mean()
    if len(held_out) > 1:
        spread = " and ".join(map("{:.1f}".format, held_out.max() - held_out.min()))
        text += f" On held-out persons, the {len(held_out)} recipes from weights from a file lie "
        text += f"within {spread} points of rank-1 and mAP of each other."
    test = frame[~frame.validation & (frame.changed == "") & (frame.setting == "set2")]
    pair = differences([({}, test[test.start == "file"], test[test.start == "imagenet"])], DECIDING)
    if len(pair):
        words = " and ".join(_for_new(row) for _, row in pair.iterrows())
        text += (
            " On test persons, set 2 from weights from a file minus set 2 from ImageNet weights "
        )
        text += f"is {words}, in rank-1 and mAP."
    return text


def _recipes(frame: pd.DataFrame) -> pd.DataFrame:
    """Scores of each recipe and differences from set 1 from ImageNet weights; the best first."""
    paper = frame[(frame.setting == "set1") & (frame.changed == "") & (frame.start != "file")]
    words = frame.changed.map(lambda words: words and f", {words}")
    frame = frame.assign(setting=frame.setting + words)
    pairs = [
        ({"network": network, "setting": recipe}, part, paper)
        for (network, recipe), part in frame.groupby(["network", "setting"], sort=False)
        if not part.record.isin(paper.record).all()
    ]
    scores = means(frame, DECIDING).replace({"score": DECIDING})
    keys = ["network", "setting", "persons", "splits"]
    cells = wide(scores, keys, "score", lambda row: f"{row['mean']:.1f}")
    over = differences(pairs, DECIDING).replace({"score": DECIDING})
    over["score"] += " minus that of set1 from ImageNet weights"
    if len(over):
        keys = ["network", "setting"]
        over = wide(over, keys, "score", _for_new).reset_index()
        cells = cells.reset_index().merge(over, on=keys, how="left").set_index("network")
    cells = cells.sort_values("rank-1", key=lambda text: -text.astype(float), kind="stable")
    return cells.rename(columns={"setting": "recipe"})
