"""The Markdown tables of many runs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from reid_lib.metrics import Protocol
from reid_lib.study.noise import one_split_differences, seed_noise
from reid_lib.study.records import (
    DECIDING,
    FOUND,
    LAST,
    NEAR,
    QUANTISED_WORDS,
    SCORES,
    brief,
    view_angle,
)
from reid_lib.study.statistics import (
    ESTIMANDS,
    contrasts,
    means,
    planned,
    prediction,
    primary_family,
)

_TEXTS = str(Protocol()).split("\n")
REWORDED = {  # how older records word the same choices
    "AP: plain sum": "AP: non-interpolated",
    "gallery: .* same person and same camera; person ids -1": _TEXTS[1],
    r"ties within (\S+) of .*": _TEXTS[2].replace("5e-07", r"\1"),
}
CHANGE_HEAD = (  # of `change`
    "difference [95 % interval, these persons] [95 % interval, new persons], number of splits with "
    "a difference above zero"
)
NOTES = yaml.safe_load(Path(__file__).with_name("notes.yaml").read_text("utf-8"))


# --- cells and notes ------------------------------------------------------------------------------


def markdown(cells: pd.DataFrame, **forms: str) -> str:
    """A Markdown table, the index as its first column.

    Args:
        cells: the table; what is missing stays empty.
        forms: column -> format of its numbers, such as "{:.1f}".
    """
    cells = cells.astype(object)
    for name, form in forms.items():
        cells[name] = cells[name].map(form.format, na_action="ignore")
    head = [cells.index.name or "row", *cells.columns]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    lines += [" | ".join(map(str, line)) for line in cells.fillna("").itertuples()]
    return "\n".join(f"| {line} |" for line in lines)


def wide(table: pd.DataFrame, index: list[str], column: str, cell: Callable) -> pd.DataFrame:
    """`cell` of each row as text: one row per value of `index`, one column per one of `column`."""
    table = table.assign(cell=[cell(row) for _, row in table.iterrows()])
    cells = table.pivot_table(
        index=index, columns=column, values="cell", aggfunc="first", sort=False
    )
    cells = cells[table[column].unique()].rename_axis(columns=None).fillna("")
    return cells.reset_index().set_index(index[0])


def change(row: pd.Series, digits: int = 1, both: bool = True) -> str:
    """A difference, its intervals (these persons, new persons), and on how many splits it is > 0.

    Args:
        row: one row of `statistics.differences`.
        digits: after the decimal point.
        both: whether to show the interval for these persons too, before that for new ones.
    """
    ends = [interval(row, prefix, digits) for prefix in ESTIMANDS.values()]
    text = f"{signed(row.difference, digits)}{''.join(ends[0 if both else 1 :])}"
    return f"{text}, {int(row.splits_above_zero)} of {int(row.splits)}"


def interval(row: pd.Series, prefix: str, digits: int = 1) -> str:
    """One of a difference's intervals, such as " [+0.6, +2.5]"; "" where it has none."""
    low, high = row[f"{prefix}low"], row[f"{prefix}high"]
    return "" if np.isnan(low) else f" [{signed(low, digits)}, {signed(high, digits)}]"


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign, and one digit more where it would round to zero: "-0.04"."""
    value = 0.0 if abs(value) < 1e-9 else value  # the rest of a floating-point sum
    text = f"{value:+.{digits}f}"
    return text if float(text) or not value else f"{value:+.{digits + 1}f}"


def estimands_note(frame: pd.DataFrame) -> str:
    """What the two intervals of a table are for."""
    return NOTES["estimands"].format(sum(map(int, frame.persons.iloc[0].split("/"))))


def notices(frame: pd.DataFrame) -> str:
    """What a reader of averaged records must know: several seeds, and which weights."""
    text = ""
    if frame.groupby(["network", "setting", "changed", "split"]).seed.nunique().max() > 1:
        text += " Seeds of one split are averaged first."
    if frame.network.str.contains(QUANTISED_WORDS).any():
        text += f" {NOTES['quantised']}"
    return text


def protocol_notice(frame: pd.DataFrame) -> str:
    """Names what differs between the protocols of records that are averaged; "" for nothing."""
    differ = set()
    frame = frame.assign(protocol=frame.protocol.replace(REWORDED, regex=True))
    for kind in frame.groupby(["network", "setting", "changed"]).protocol.unique():
        lines = [set(protocol.split("\n")) for protocol in kind]
        differ |= set.union(*lines) - set.intersection(*lines)
    named = " | ".join(sorted(differ))
    return (
        f" Note: these means combine records whose protocols differ in: {named}." if differ else ""
    )


# --- many runs ------------------------------------------------------------------------------------


def table_text(frame: pd.DataFrame) -> str:
    """Table 1 of many runs as Markdown, one table per network and kind of codes."""
    raw = [f"{LAST} rank-1", f"{LAST} mAP", *SCORES, "both rank-1", "both mAP", "train rank-1"]
    unit = [f"unit {name}" for name in raw if "both" not in name]
    texts = []
    for (network, persons), part in frame.groupby(["network", "persons"], sort=False):
        train, test = persons.split("/")
        chance = 100 / int(test)  # every person has as many images in the gallery
        head = f"{network}; {train} training and {test} test persons"
        head += f" (chance level of rank-1: {chance:.1f} %)"
        kinds = {"": raw}
        if unit[0] in part and part[unit[0]].notna().all():
            kinds = {"; codes as they are": raw, "; codes divided by their L2 norm": unit}
        for kind, columns in kinds.items():
            table = means(part, columns)
            table["score"] = table.score.str.removeprefix("unit ").map(_score_words)
            cells = wide(table, ["setting", "splits"], "score", _score)
            texts.append(f"{head}{kind}:\n\n{markdown(cells)}")
    computed = frame.groupby("backbone", sort=False).precision.unique().map(" or ".join)
    computed = ", ".join(f"{kind} ({name})" for name, kind in computed.items())
    note = NOTES["scores"].format(computed, " and ".join(sorted(set(frame.device))))
    note += f" {estimands_note(frame)}{notices(frame)}{protocol_notice(frame)}"
    return "\n\n".join([*texts, note]) + "\n"


def _score_words(column: str) -> str:
    """A column of `read_records` as a heading.

    Example:
        >>> [_score_words(column) for column in ("last epochs mAP", "both mAP", "mAP")]
        ['mAP, mean of last epochs', 'mAP, both directions', 'mAP, last epoch']
    """
    kind, _, score = column.rpartition(" ")
    kinds = {LAST: f"mean of {LAST}", "both": "both directions", "train": "training persons"}
    return f"{score}, {kinds.get(kind, 'last epoch')}"


def _score(row: pd.Series) -> str:
    """A mean, and the intervals of means over the last epochs, cut off at 0 and 100."""
    text = f"{row['mean']:.1f}"
    if LAST in row.score and not np.isnan(row.low):
        for prefix in ESTIMANDS.values():
            low, high = np.clip([row[f"{prefix}low"], row[f"{prefix}high"]], 0, 100)
            text += f" [{low:.1f}, {high:.1f}]"
    return text


def verdicts_text(frame: pd.DataFrame) -> str:
    """Markdown tables of the claims: scores, viewpoint gap and drop (claim 3), compactness."""
    table = contrasts(frame)
    missing = [claim for claim in "1234" if claim not in set(table.claim)]
    elsewhere = (table.claim == "1") & table.network.isin(planned(frame).network)
    table = table[~elsewhere]
    kind = table.score.map({"gap": "gap", "rank1_drop": "rank1_drop"} | dict.fromkeys(NEAR, "near"))
    titles = {
        "scores": "Scores, in points",
        "gap": "Claim 3, viewpoint gap (smaller is better)",
        "rank1_drop": "Claim 3, drop in rank-1 from 0 to 180 degrees, in points "
        "(smaller is better)",
        "near": "Compactness, not claim 3: relative distance by angle (smaller is better)",
    }
    texts = []
    for name, title in titles.items():
        part = table[kind.fillna("scores") == name]
        if len(part):
            cells = _verdicts(part, frame, 3 if name in ("gap", "near") else 1)
            texts.append(f"{title}; each cell: {CHANGE_HEAD}:\n\n{cells}")
    if elsewhere.any():
        texts.append(NOTES["elsewhere"])
    if missing:
        texts.append(f"Not measured: claim {', '.join(missing)}.")
    if len(table):
        notes = NOTES["meaning"], estimands_note(frame), NOTES["verdicts"], NOTES["exploratory"]
        texts.append(" ".join(notes) + notices(frame))
    return "\n\n".join(texts) + "\n"


def _verdicts(table: pd.DataFrame, frame: pd.DataFrame, digits: int) -> str:
    """Contrasts with their verdicts and differences, one column per score."""
    names = {n: f"{n[5:]} degrees" for n in NEAR} | DECIDING
    names |= {"gap": "viewpoint gap", "rank1_drop": "drop in rank-1"}
    table = table.replace({"score": names})
    keys = ["claim", "network", "contrast", *ESTIMANDS, "split_list", "unfitted"]
    cells = wide(table, keys, "score", lambda row: change(row, digits))
    cells["network"] = cells.network.replace(brief(frame))
    runs = cells.pop("unfitted")
    cells = cells.rename(columns={"split_list": "splits"})
    return markdown(cells.assign(**{"underfitted runs": runs}) if runs.any() else cells)


def primary_text(frame: pd.DataFrame) -> str:
    """The planned tests as Markdown: verdicts, then every test; "" without a run of the plan."""
    family = primary_family(frame)
    if family.empty:
        return ""
    told = family.drop_duplicates(["over", "contrast"]).melt(
        ["contrast", "over", "unfitted"], list(ESTIMANDS), var_name="estimand"
    )
    told = told.sort_values("over", kind="stable")
    told["what"] = told.estimand + ", " + told.over
    verdicts = wide(told, ["contrast"], "what", lambda row: row.value)
    unfitted = family.groupby("contrast").unfitted.first()
    if unfitted.any():
        verdicts["underfitted runs"] = unfitted
    tests = family.set_index("contrast")[["over", "score"]].rename(columns={"over": "splits"})
    measured = [change(row) if row.splits else "not measured" for _, row in family.iterrows()]
    tests[CHANGE_HEAD] = measured
    for name, prefix in ESTIMANDS.items():
        for what, column in (("p", "p"), ("Holm-adjusted p", "holm")):
            tests[f"{what}, {name}"] = [_p(value) for value in family[f"{prefix}{column}"]]
    note = f"{NOTES['primary']} {estimands_note(frame)}{notices(frame)}{protocol_notice(frame)}"
    return f"{markdown(verdicts)}\n\n{markdown(tests)}\n\n{note}\n"


def _p(value: float) -> str:
    return "" if np.isnan(value) else "< 0.0001" if value < 1e-4 else f"{value:.4f}"


HEADS = {"paper": "paper's difference", "detectable": "minimum detectable difference"}
HEADS |= {
    "than_paper": "compared with the paper's",
    "these_low": "interval from",
    "these_high": "to",
    "said": "verdict",
}
SIMPLE = {  # tables whose rows are those of a function: its columns, and the format of each
    "one-split": (
        one_split_differences,
        {"contrast": "{}", "score": "{}", "splits": "{}", "difference": "{:+.1f}", "sd": "{:.1f}"}
        | {"paper": "{:+.1f}", "than_paper": "{}", "detectable": "{:.1f}"},
    ),
    "seeds": (
        seed_noise,
        {"setting": "{}", "score": "{}", "runs": "{}", "splits": "{}"}
        | {"within": "{:.1f}", "between": "{:.1f}"},
    ),
    "prediction": (
        prediction,
        {"score": "{}", "splits": "{}", "difference": "{:+.1f}"}
        | {"these_low": "{:+.1f}", "these_high": "{:+.1f}", "said": "{}"},
    ),
}


def simple_text(name: str, frame: pd.DataFrame) -> str:
    """The table `name` of `SIMPLE` as Markdown; "" where nothing was measured for it."""
    rows, forms = SIMPLE[name]
    table = rows(frame)
    if table.empty:
        return ""
    cells = table.set_index(table.network.replace(brief(frame))).replace({"score": DECIDING})
    cells = cells[list(forms)].rename(columns=HEADS)
    text = markdown(cells, **dict(zip(cells, forms.values(), strict=True)))
    return f"{text}\n\n{NOTES[name]}{notices(frame)}\n"


def viewpoint_text(frame: pd.DataFrame) -> str:
    """Rank-1 by the angle between the views of query and gallery image, as Markdown."""
    table = means(frame, FOUND).replace({"score": FOUND, "network": brief(frame)})
    cells = wide(table, ["network", "setting", "splits"], "score", _score)
    return f"{markdown(cells)}\n\n{NOTES['viewpoint']}\n"


def viewpoint_table(grids: pd.DataFrame) -> str:
    """Rank-1 by the angle between query and gallery view, and the pairs with the lowest rank-1.

    Args:
        grids: `metrics.viewpoint_grid` of one or several runs, with a column `row`.
    Returns:
        A Markdown table in percent, one line per row of Table 1; below it three pairs of each row.
    """
    grids = grids.assign(rank1=100 * grids.rank1)
    angle = view_angle(grids.query_orientation, grids.gallery_orientation)
    by_angle = grids.groupby(["row", angle], sort=False).rank1.mean().unstack()
    by_angle = by_angle.reindex(grids.row.unique())[sorted(by_angle)].add_suffix(" degrees")
    by_angle.insert(0, "all pairs", grids.groupby("row").rank1.mean())
    worst = []
    for row, grid in grids.groupby("row", sort=False):
        few = grid.nsmallest(3, "rank1").itertuples()
        pairs = [f"{q.query_orientation} to {q.gallery_orientation} ({q.rank1:.1f})" for q in few]
        worst.append(f"- {row}: {', '.join(pairs)}")
    text = markdown(by_angle, **dict.fromkeys(by_angle, "{:.1f}"))
    title = "Pairs of orientations (query to gallery) with the lowest rank-1 (%):"
    return "\n".join([text, "", title, "", *worst, ""])
