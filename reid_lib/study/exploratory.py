"""Exploratory sentences that stand beside the verdicts, with numbers from the records.

`frame` is what `read_records` returns. No number here is corrected for multiple comparisons.
"""

import re

import pandas as pd

from reid_lib.study.records import LAST, splits_words
from reid_lib.study.statistics import (
    ESTIMANDS,
    PLANNED,
    PRIMARY_SCORES,
    differences,
    pairs_of,
    planned,
    primary_family,
)
from reid_lib.study.tables import NOTES, interval, signed

RAW = {f"{LAST} rank-1": "rank-1", f"{LAST} mAP": "mAP"}
WITHOUT_OURS = ("set1", "htri")  # neither has the compact or the scatter loss


def beside_planned(frame: pd.DataFrame) -> str:
    """What qualifies the planned contrasts, from the same runs; "" before all of them are measured.

    Set 3 - htri mixes the softmax loss with the paper's two losses, so set 1 - htri and set 3 -
    xent_htri (softmax and triplet loss) stand beside it. The plan compares codes divided by their
    norms, so two contrasts are repeated with codes as they are, and all verdicts of the plan.
    """
    runs = planned(frame)
    if runs.empty:
        return ""
    unit = differences(pairs_of(runs, [WITHOUT_OURS, ("set3", "xent_htri")]), [*PRIMARY_SCORES])
    raw = differences(pairs_of(runs, [("set3", "htri"), ("set3", "set1")]), [*RAW])
    family, other = (primary_family(frame, scores) for scores in (PRIMARY_SCORES, RAW))
    if raw.empty or (family.splits < family.wanted).any():
        return ""
    text = f"{NOTES['beside']} {'; '.join(_both(unit))}."
    alone = unit[unit.contrast == " - ".join(WITHOUT_OURS)]
    if (alone.these_low > 0).all():
        text += f" {NOTES['softmax alone']}"
    same = family.over == family.over.iloc[0]
    verdicts = [t[same].drop_duplicates("contrast").set_index("contrast") for t in (family, other)]
    moved = [
        f"{subject(contrast)}: {verdicts[1][estimand][contrast]} instead of {said} ({estimand})"
        for estimand in ESTIMANDS
        for contrast, said in verdicts[0][estimand].items()
        if said != verdicts[1][estimand][contrast]
    ]
    text += f" With codes as they are, {'; '.join(_both(raw))}; the rule of the plan then gives "
    return f"{text}{'; '.join(moved) or 'the same verdicts'}."


def _both(table: pd.DataFrame) -> list[str]:
    """Each contrast's differences in rank-1 and mAP, with intervals for these persons."""
    texts = []
    for contrast, rows in table.groupby("contrast", sort=False):
        scores = [signed(r.difference) + interval(r, "these_") for _, r in rows.iterrows()]
        few = rows.splits.iloc[0] < PLANNED
        which = f" ({splits_words(rows.split_list.iloc[0])})" if few else ""
        texts.append(f"{subject(contrast)} = {' / '.join(scores)}{which}")
    return texts


def viewpoint_measures(frame: pd.DataFrame, table: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Measures of claim 3 other than the gap, set 2 against set 1, in words.

    Args:
        frame: what `read_records` returns.
        table: its `contrasts`.
    Returns:
        Network -> "verdicts" and "numbers": of the relative distance at every angle, and of the
        drop of rank-1 from equal to opposite views; the numbers also of rank-1 at 180 degrees.
    """
    plain = frame[(frame.changed == "") & frame.train_persons.isna()]
    texts, table = {}, table[table.contrast == "set2 - set1"].set_index("score")
    for network, part in plain.groupby("network", sort=False):
        own = table[table.network == network]
        if not {"near_0", "near_180", "rank1_drop"} <= set(own.index):
            continue
        pairs = pairs_of(part, [("set2", "set1")])
        own = pd.concat([own, differences(pairs, ["found_180"]).set_index("score")])
        near, drop = (verdict_words(own.loc[score]) for score in ("near_0", "rank1_drop"))
        digits = {"near_0": 3, "near_180": 3, "rank1_drop": 1, "found_180": 1}
        numbers = {
            score: signed(own.difference[score], n) + interval(own.loc[score], "these_", n)
            for score, n in digits.items()
        }
        texts[network] = {
            "verdicts": NOTES["viewpoint verdicts"].format(near, drop),
            "numbers": " " + NOTES["viewpoint numbers"].format(near=near, drop=drop, **numbers),
        }
    return texts


def subject(contrast: str, sign: str = "-") -> str:
    """A contrast in words: "set3 - htri" is "set 3 - triplet loss"."""
    words = re.sub("set([123])", r"set \1", contrast).replace("resnet", "ResNet-")
    return re.sub(r"\bhtri\b", "triplet loss", words).replace(" - ", f" {sign} ")


def verdict_words(said, form: str = "{}") -> str:
    """Verdicts for these and for new persons in words."""
    these, new = (said[name] for name in ESTIMANDS)
    return form.format(these) + ("" if these == new else f" (new persons: {new})")
