"""The losses of section 2 compared with the paper's: contrasts, distance ratios, and verdicts on
the paper's arguments, by the rules of figures/pku74/PLAN.md."""

import itertools
import tempfile
from pathlib import Path

import pandas as pd
from scipy.stats import spearmanr

from reid_lib.engine.runs import Run
from reid_lib.study.records import (
    COMMITTED,
    DECIDING,
    NEAR,
    collect_records,
    listed,
    read_records,
    splits_words,
)
from reid_lib.study.statistics import differences, judge_family, per_split, t_interval
from reid_lib.study.tables import change, markdown

# Row -> what section 2 calls it, and its reference; then how many splits the plan has for it.
RIVALS = {
    "contrastive": "contrastive loss [23]",
    "triplet_all": "triplet loss [6]",
    "triplet_improved": "improved triplet loss [5]",
    "resnet18_htri": "hard triplet loss [8]",
    "quadruplet": "quadruplet loss [3]",
    "quadruplet_adaptive": "quadruplet loss, adaptive margins [3]",
    "msml": "margin sample mining loss [25]",
    "xent_htri": "softmax and hard triplet loss (code of [26])",
    "xent_htri_centre": "bag of tricks with centre loss [15]",
    "aligned": "AlignedReID [26]",
    "circle": "circle loss (Sun et al. 2020)",
    "arcface": "ArcFace (Deng et al. 2019)",
}
OURS = {"set1": "set 1", "set2": "set 2", "set3": "set 3"}
PLANNED = dict.fromkeys(RIVALS, 10) | dict.fromkeys(
    ("aligned", "quadruplet_adaptive", "circle", "arcface"), 3
)
FOLDERS = ("likely", "related", "related/more")  # of the records that are compared


def read_related(folder: str | Path = "") -> pd.DataFrame | None:
    """The records of the compared runs, of ResNet-18, each row once per split.

    Args:
        folder: contains likely/runs, related/runs and related/more/runs, or some of them; the
            committed records unless given.
    Returns:
        As `read_records`, with the column `ratio`; None unless there is a record in related/runs.
    """
    folders = [Path(folder or COMMITTED) / name / "runs" for name in FOLDERS]
    if not any(folders[1].glob("*.json")):
        return None
    frames = [read_records(runs) for runs in folders if any(runs.glob("*.json"))]
    frame = pd.concat(frames, ignore_index=True)
    frame = frame[(frame.backbone == "resnet18") & ~frame.validation & (frame.seed == 0)]
    return with_ratio(frame.drop_duplicates(["row", "split"]).reset_index(drop=True))


def frame_of_runs(runs: list[Run]) -> pd.DataFrame | None:
    """Return what `read_related` returns, for runs instead of records, without failed runs.

    Returns:
        None where no run leaves a record: one needs two cameras and known orientations.
    """
    with tempfile.TemporaryDirectory() as folder:
        written = collect_records([run.folder for run in runs], Path(folder))
        return with_ratio(read_records(folder)) if written else None


def with_ratio(frame: pd.DataFrame) -> pd.DataFrame:
    """Add `ratio`: the relative distance, every pair of views once."""
    pairs = {name: 8 if angle in (0, 180) else 16 for name, angle in NEAR.items()}  # of 64
    return frame.assign(ratio=sum(frame[name] * count / 64 for name, count in pairs.items()))


def chosen(frame: pd.DataFrame) -> pd.DataFrame:
    """Choose each loss's constant on held-out training persons: highest mean mAP.

    Args:
        frame: records of `related_constants`, whose rows end in -half, -source and -twice.
    Returns:
        One row per loss: half, source, twice (mean mAP), splits, and chosen, which of the three;
        the source's in a tie, and while a value is missing `not yet measured`.
    """
    names = frame.row.str.rpartition("-")
    table = frame.assign(loss=names[0], value=names[2])
    wide = table.pivot_table(index="loss", columns="value", values="deciding mAP", sort=False)
    wide = wide.reindex(columns=["source", "half", "twice"])  # the first of equal ones is chosen
    best = wide.fillna(-1).idxmax(axis=1).where(wide.notna().all(axis=1), "not yet measured")
    return wide.assign(splits=table.groupby("loss").split.nunique(), chosen=best)


def family(frame: pd.DataFrame) -> pd.DataFrame:
    """The planned tests: set 2 and set 3 minus each row of `RIVALS`, in rank-1 and mAP.

    Args:
        frame: the records that `read_related` returns.
    Returns:
        48 rows, one per row, reference and score: the columns of `differences` (NaN where nothing
        is measured), "holm" and "these_holm" (corrected over all of them), and for each estimand
        whether the paper's loss is better or worse, or the test inconclusive or not yet measured.
    """
    contrast = {"row": list(RIVALS), "ours": ["set2", "set3"]}
    parts = {row: frame[frame.row == row] for row in (*RIVALS, *OURS)}
    pairs = [
        ({"row": row, "ours": ours}, parts[ours], parts[row])
        for row, ours in itertools.product(*contrast.values())
    ]
    table = differences(pairs, list(DECIDING))
    return judge_family(table, contrast, DECIDING, PLANNED, ("better", "worse"))


def summary_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over splits of every row: rank-1, mAP, ratio, with intervals for these persons.

    Returns:
        One row per row of the records, related losses first, then the paper's, then others: label,
        splits, and for each of rank-1, mAP and ratio its mean, low and high ("rank-1 low", ...).
    """
    lines = []
    order = [*RIVALS, *OURS]
    rows = sorted(dict.fromkeys(frame.row), key=lambda r: order.index(r) if r in order else 99)
    for row in rows:
        part = frame[frame.row == row]
        table = t_interval(per_split(part, [*DECIDING, "ratio"])).rename(index=DECIDING)
        line = {"row": row, "label": (RIVALS | OURS).get(row, row), "splits": listed(part.split)}
        for name, value in table.iterrows():
            line |= {name: value["mean"], f"{name} low": value.low, f"{name} high": value.high}
        lines.append(line)
    return pd.DataFrame(lines).set_index("row")


def related_text(frame: pd.DataFrame | None) -> str:
    """The table of all rows and the planned contrasts, as Markdown; a sentence without a frame."""
    if frame is None:
        return (
            "These runs leave no record, because a record needs two cameras and the orientation of "
            "each image; the table is left out."
        )
    table, tests = summary_table(frame), family(frame)
    cells = pd.DataFrame({"loss": table.label, "splits": table.splits}, index=table.index)
    for name, digits in (("rank-1", 1), ("mAP", 1), ("ratio", 2)):
        ends = [table[f"{name} {end}"].map(f"{{:.{digits}f}}".format) for end in ("low", "high")]
        interval = (" [" + ends[0] + ", " + ends[1] + "]").where(table[f"{name} low"].notna(), "")
        cells[name] = table[name].map(f"{{:.{digits}f}}".format) + interval
    missing = [row for row in (*RIVALS, *OURS) if row not in table.index]
    said = f"\n\nNot yet measured: {', '.join(missing)}." if missing else ""
    contrast = {}
    for (row, ours), part in tests.groupby(["row", "ours"], sort=False):
        if part.splits.all():
            own = part.set_index("score")
            words = {f"{OURS[ours]}: {score}": change(own.loc[score]) for score in own.index}
            words[f"verdict on {OURS[ours]} (these persons)"] = own.iloc[0]["these persons"]
            contrast.setdefault(row, {}).update(words)
    texts = [f"{markdown(cells.rename(columns={'ratio': 'relative distance'}))}{said}"]
    if contrast:
        wide = pd.DataFrame(contrast).T.fillna("")
        texts.append(f"Scores of the paper's losses minus those of each row:\n\n{markdown(wide)}")
    return "\n\n".join([*texts, _NOTE])


_NOTE = (
    "Rank-1 and mAP are in percent, means over the last evaluated epochs, camera A to B. "
    "Relative distance: the mean distance between codes of one person divided by that between "
    "codes of different persons. The intervals of means are "
    "95 % intervals for these persons. Differences are in points, with intervals for these and for "
    "new persons and the number of splits on which they are above zero. The verdicts use p-values "
    "with Holm's correction over all planned tests."
)


def constants_text(folder: str | Path = "") -> str:
    """What `chosen` says of the records in related/constants/runs, as Markdown."""
    runs = Path(folder or COMMITTED) / "related" / "constants" / "runs"
    if not any(runs.glob("*.json")):
        return "Constants chosen on held-out persons: not yet measured."
    table = chosen(read_records(runs))
    forms = dict.fromkeys(("half", "source", "twice"), "{:.1f}")
    note = (
        "mAP in percent of held-out training persons, for half the source's constant, the source's "
        "constant, and twice the source's constant."
    )
    return f"{markdown(table, **forms)}\n\n{note}"


def stripes_text(frame: pd.DataFrame | None) -> str:
    """Effects of stripes under sets 1 to 3, as Markdown: a table and a sentence."""
    cells, above = {}, 0
    for ours in OURS if frame is not None else ():
        for stripes in (2, 4, 8):
            table = _gap(frame, f"{ours}-{stripes}-stripes", f"{ours}-1-stripe", list(DECIDING), 1)
            if table is not None:
                above += int((table.these_low > 0).all())
                words = table.rename(index=DECIDING).apply(change, axis=1)
                cells[f"{OURS[ours]}, {stripes} stripes"] = words
    if not cells:
        return "Codes of several stripes under sets 1 to 3: not yet measured."
    return (
        f"Differences from the same set with one stripe:\n\n{markdown(pd.DataFrame(cells).T)}\n\n"
        f"In {above} of {len(cells)} comparisons stripes increase both scores, with intervals for "
        "these persons above zero; exploratory, without correction for multiple comparisons."
    )


def closing(frame: pd.DataFrame | None) -> str:
    """Verdicts on the paper's arguments by the plan's rules, in sentences."""
    if frame is None:
        return "The paper's arguments: not measured on these runs."
    ratios = {row: _gap(frame, row, "set2", ["ratio"]) for row in ("resnet18_htri", "msml")}
    limited = _gap(frame, "triplet_improved", "triplet_all", list(DECIDING))
    first = second = "**not yet measured**"
    if all(table is not None for table in ratios.values()):
        low, high = (pd.concat(ratios)[f"these_{end}"] for end in ("low", "high"))
        said = "does not hold" if (high < 0).any() else "inconclusive"
        said = "holds" if (low > 0).all() else said
        first = f"**{said}** ({_words(ratios, 'set2', 3)})"
    if limited is not None:
        said = "does not hold" if (limited.these_low > 0).any() else "holds"
        second = f"**{said}** ({_words({'triplet_improved': limited}, 'triplet_all', 1)})"
    sentences = [
        '"[M]ost of the modified triplet losses are still being studied to maximize the '
        f'inter-class distances that ignore intra-class variations [8, 25]": {first}.',
        '"Although some methods attempt to apply a simple predefined margin to reduce intra-class '
        f'distance, performance improvements are limited [5]": {second}.',
        _order(summary_table(frame)),
        _verdicts(family(frame)),
    ]
    return "\n\n".join(sentences)


def _gap(frame, row, other, columns, least: int = 2) -> pd.DataFrame | None:
    """`differences` of two rows by score; None with fewer than `least` common splits."""
    pair = (frame[frame.row == name] for name in (row, other))
    table = differences([({}, *pair)], columns)
    return None if table.splits.max() < least or table.empty else table.set_index("score")


def _words(tables: dict[str, pd.DataFrame], other: str, digits: int) -> str:
    return "; ".join(
        f"{row} - {other}, {DECIDING.get(name, name)} {change(line, digits)} splits"
        for row, table in tables.items()
        for name, line in table.iterrows()
    )


def _order(table: pd.DataFrame) -> str:
    table = table[table.index.isin([*RIVALS, *OURS])]
    if len(table) < 4:
        return "The correlation of the relative distance with the scores: not yet measured."
    value = spearmanr(table.ratio, table["rank-1"]).statistic
    least, best = table.ratio.idxmin(), table["rank-1"].idxmax()
    return (
        f"Over {len(table)} rows the correlation (Spearman) of the relative distance with rank-1 "
        f"is {value:+.2f}. {least} has the smallest relative distance ({table.ratio[least]:.2f}), "
        f"{best} the highest rank-1 ({table['rank-1'][best]:.1f}; "
        f"{splits_words(table.splits[best])})."
    )


def _verdicts(tests: pd.DataFrame) -> str:
    """How many of the related losses each of the paper's losses beats, for these persons."""
    parts = []
    for ours, part in tests.drop_duplicates(["row", "ours"]).groupby("ours"):
        count = part["these persons"].str.partition(" (")[0].value_counts()
        words = ", ".join(f"{name} {n}" for name, n in count.items())
        parts.append(f"{OURS[ours]} compared with the {len(part)} related losses: {words}")
    return f"By the planned tests, {'; '.join(parts)}."
