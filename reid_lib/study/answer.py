"""Which readings of the paper reproduce its order of the settings, and which choices matter."""

import pandas as pd

from reid_lib.study.choices import orders
from reid_lib.study.records import DECIDING, LAST, LIKELY, brief, splits_words
from reid_lib.study.statistics import (
    NO_VERDICT,
    PLANNED,
    differences,
    first_seeds,
    judged,
    planned,
    primary_family,
    third,
)
from reid_lib.study.tables import NOTES

# Choices that may matter -> the keys of a configuration that belong to each.
INGREDIENTS = {
    "batches": {"batches", "images_per_person"},
    "centres": {"centres", "centres_gradient"},
    "persons in the sums": {"persons_in_sums"},
    "normalisation at test": {"codes"},
    "learning rate": {"schedule"},
}
TWO = ("set2 - set1", "set3 - set2")
ORDERS = {  # does a reading reproduce the paper's order?
    "yes": "Order reproduced, intervals exclude zero",
    "in the means": "Order reproduced in the means only",
    "no": "Order not reproduced, a difference is reversed in both scores",
    "not in the means": "Order not reproduced in the means, no difference reversed in both scores",
    NO_VERDICT: "No verdict †, a network underfits",
    "not yet measured": "Not yet measured",
}


def readings(frame: pd.DataFrame) -> pd.DataFrame:
    """Each reading's differences between the settings, and whether they reproduce the order.

    Args:
        frame: the records that `summary.read_all_records` returns.
    Returns:
        One row per network and choice that set 3 and set 2 were trained in: name, choice ("" for
        none), splits, `TWO` (rank-1 / mAP, in points), order: `yes` (both contrasts hold for these
        persons, by the planned tests where there are any), `in the means` (all four differences are
        above zero), `no` (a contrast does not hold), `not in the means`, `NO_VERDICT` where a run
        underfits, or `not yet measured` where planned splits or set 1 are missing; unfitted.
    """
    frame = _first(frame)
    table, family, lines = orders(frame, DECIDING), primary_family(frame), []
    for (network, choice), part in table.groupby(["network", "choice"], sort=False):
        two = {name: rows for name, rows in part.groupby("contrast", sort=False)}
        if TWO[1] not in two:
            continue
        line = {"network": network, "name": brief(frame)[network], "choice": choice}
        line |= {"splits": two[TWO[1]].split_list.iloc[0]}
        for name in TWO:
            gains = two[name].difference if name in two else []
            line[name] = " / ".join(map("{:+.1f}".format, gains))
        said = {name: judged(rows.assign(better=1)) for name, rows in two.items()}
        if choice == "" and network in set(planned(frame).network):
            rows = family.drop_duplicates("contrast").set_index("contrast")  # of all splits
            said = {name: rows.loc[name] for name in TWO}
        line["order"] = _order(part, [row["these persons"] for row in said.values()])
        line["unfitted"] = "; ".join(dict.fromkeys(part.unfitted[part.unfitted != ""]))
        lines.append(line)
    columns = ["network", "name", "choice", "splits", *TWO, "order", "unfitted"]
    return pd.DataFrame(lines, columns=columns)


def _order(part: pd.DataFrame, said: list[str]) -> str:
    """The column `order` of `readings`, from differences and the contrasts' verdicts."""
    waiting = [words for words in said if words.startswith("not yet measured")]
    if (part.unfitted != "").any() and not waiting:
        return NO_VERDICT
    if waiting or "does not hold" in said:
        return min(waiting, default="no")
    if len(said) < 2:
        return "not yet measured (set 1)"
    if set(said) == {"holds"}:
        return "yes"
    return "in the means" if (part.difference > 0).all() else "not in the means"


def _first(frame: pd.DataFrame) -> pd.DataFrame:
    """Runs on test persons with half of the persons to train, the first seed of each split."""
    return first_seeds(frame[~frame.validation & frame.train_persons.isna()])


def ingredients(frame: pd.DataFrame) -> pd.DataFrame:
    """Effects on set 3 - set 2 of changing one or two choices of a reading, by `INGREDIENTS`.

    Args:
        frame: the records that `summary.read_all_records` returns.
    Returns:
        One row per ingredient, network, choice and score: the columns of `differences` of (set 3 -
        set 2 under the choice) - (set 3 - set 2 without it). A choice that changes other keys too
        is left out.
    """
    frame, pairs = _first(frame), []
    for network, part in frame.groupby("network", sort=False):
        choices = [(choice, part, choice, part) for choice in part.changed.unique() if choice]
        if f"unit {LAST} mAP" in part:
            kinds = [
                part.assign(**{name: part[f"{kind}{LAST} {s}"] for name, s in DECIDING.items()})
                for kind in ("unit ", "")
            ]
            choices.append(("codes=unit", kinds[0], "", kinds[1]))
        for words, changed, choice, plain in choices:
            keys = {word.partition("=")[0] for word in words.split(", ")} - {"epochs"}
            named = [name for name, own in INGREDIENTS.items() if keys & own]
            if keys <= set().union(*(INGREDIENTS[name] for name in named)):
                labels = {"network": network, "choice": words, "ingredient": " and ".join(named)}
                pairs.append((labels, third(changed, choice), third(plain)))
    return differences(pairs, DECIDING)


def answer_text(frame: pd.DataFrame) -> str:
    """The answer in sentences, as Markdown, from the records of `summary.read_all_records`."""
    table = readings(frame)
    kind, lines = table.order.str.partition(" (")[0], []
    ours, nearly = kind == "yes", kind == "in the means"
    measured = table[~kind.isin(["not yet measured", NO_VERDICT])]
    head = (
        f"**{ours.sum()} of the {len(measured)} combinations of network and reading that were "
        "measured reproduce the paper's order, set 1 < set 2 < set 3 in rank-1 and mAP, with 95 % "
        f"intervals that exclude zero (planned tests: corrected p < 0.05); {nearly.sum()} further "
        f"combination{'s have' if nearly.sum() != 1 else ' has'} this order in the means only.** "
        f"{_kinds(measured)}"
    )
    for order, words in ORDERS.items():
        part = table[kind == order]
        named = part[(part.choice == "") | (ours | nearly)[part.index]]
        names = [_reading(row) for row in named.to_dict("records")]
        others = len(part) - len(named)
        names += (
            [f"{others} reading{'s' * (others > 1)} that change single choices of these"]
            if others
            else []
        )
        lines.append(f"- {words}: {'; '.join(names) or 'none'}.")
    moved = ingredients(frame)
    beyond = (moved.these_low.astype(float) > 0) | (moved.these_high.astype(float) < 0)
    moved = moved.assign(name=moved.network.replace(brief(frame)), beyond=beyond)
    most = moved.groupby(["ingredient", "network", "choice"]).beyond.sum()
    most = most.groupby("ingredient").max()
    both, one = (", ".join(most.index[most == scores]) or "nothing" for scores in (2, 1))
    what = (
        "**Which choices change the difference set 3 - set 2? With intervals that exclude zero in "
        f"both scores: {both}; in one score: {one}.** Change of this difference by each choice, "
        "rank-1 / mAP in points:"
    )
    names = dict.fromkeys([*INGREDIENTS, *moved.ingredient])
    where = [f"- {name}: {_moved(moved, name)}." for name in names]
    return "\n".join([head, "", *lines, "", what, "", *where, "", NOTES["answer"]])


def _kinds(table: pd.DataFrame) -> str:
    """What the measured readings are: their splits and networks, and the paper's own network."""
    splits = table.splits.str.extract(r"(\d+)")[0].astype(int)
    counts = [f"{n} with {k} splits" for k, n in splits.value_counts().sort_index()[::-1].items()]
    varied = table[table.choice != ""].name.value_counts()
    text = f"Of these combinations there are {' and '.join(counts) or 'none'}"
    text += "".join(f"; {n} vary choices of {name}" for name, n in varied.items()) + "."
    if (splits < PLANNED).any():
        text += f" {NOTES['few splits']}"
    own = table[table.network.str.match("resnet18, .*ImageNet").astype(bool)]
    texts = map(_reading, own.to_dict("records"))
    return f"{text} {NOTES['own network']} {'; '.join(texts) or 'none'}."


def _reading(row: dict) -> str:
    """A reading with its differences, in words."""
    choice = f" with {row['choice']}" if row["choice"] else ""
    waiting = row["order"].partition(" (")[2].strip(")") or splits_words(row["splits"])
    gains = [f"{name} = {row[name]}" for name in TWO if row[name]]
    unfitted = f"; †: {row['unfitted']}" if row["unfitted"] else ""
    return f"{row['name']}{choice} ({waiting}; {', '.join(gains)}{unfitted})"


def _moved(table: pd.DataFrame, ingredient: str) -> str:
    """The effect of changing only one ingredient on set 3 - set 2, in words."""
    table, texts = table[table.ingredient == ingredient], []
    for (name, choice), part in table.groupby(["name", "choice"], sort=False):
        scores = part.score[part.beyond].map(DECIDING)
        noise = f"interval excludes zero in {' and '.join(scores)}"
        noise = noise if len(scores) else "intervals include zero"
        gains = " / ".join(map("{:+.1f}".format, part.difference))
        texts.append(
            f"{choice} {gains} on {name} ({splits_words(part.split_list.iloc[0])}), {noise}"
        )
    if not table.network.str.contains(LIKELY).any():
        texts.append("not yet measured in the likely reading")
    return "; ".join(texts)
