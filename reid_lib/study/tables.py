"""Results as text: Table 1 in four formats, and the Markdown tables of many runs."""

import html
import re

import numpy as np
import pandas as pd

from reid_lib.config import PAPER_PERSONS, PAPER_TABLE
from reid_lib.engine.runs import Run, chance, scores_frame, table_direction
from reid_lib.engine.sides import direction_words
from reid_lib.study.records import (
    DECIDING,
    DIRECTION,
    LAST,
    NEAR,
    QUANTISED_WORDS,
    SCORES,
    brief,
    listed,
    splits_words,
    start_words,
    view_angle,
)
from reid_lib.study.statistics import (
    ESTIMANDS,
    contrasts,
    judged,
    means,
    one_split_differences,
    seed_noise,
)

EXPLORATORY = "Exploratory: intervals are not corrected for multiple comparisons."
QUANTISED_NOTE = (
    "Product-quantised ImageNet weights are those of Martinez et al. 2021 (stated top-1 66.7 % for "
    "ResNet-18, 72.2 % for ResNet-50), under their non-commercial licence, repository "
    "uber-research/permute-quantize-finetune; they are not torchvision's."
)


def estimands_note(frame: pd.DataFrame) -> str:
    """What the two intervals of a table are for."""
    total = sum(map(int, frame.persons.iloc[0].split("/")))
    return (
        f"Two 95 % intervals: the first is for these {total} persons (splits are independent draws "
        "of them: s^2 / n), the second for new persons (Nadeau and Bengio's s^2 (1 / n + test / "
        "train), since splits share persons); n - 1 degrees of freedom. With as many test as "
        "training persons the second is an interval for one further split and does not shrink to "
        "zero with more splits."
    )


# --- Table 1 --------------------------------------------------------------------------------------


def table1(runs: list[Run], direction: str = "") -> pd.DataFrame:
    """Table 1: measured scores beside the paper's.

    Args:
        runs: finished runs, one or several splits per row of the table.
        direction: one of `Run.directions`, or "both"; empty: camera A to B of two cameras, the mean
            over all pairs of several, the data's own queries where they name them.
    Returns:
        A frame indexed by row name with two-level columns: `measured` (mean over the splits, in
        percent; NaN where one of the row's runs failed), `sd` (over the splits, only where there
        are several), `re-ranked` (only where every run was scored so), `paper` (only for rows that
        the paper has), and `difference` (only where the data are the paper's 114 persons).
    """
    scores = scores_frame(runs, direction).reindex(columns=["row", "split", *SCORES])
    by_row = scores.groupby("row", sort=False)[list(SCORES)]
    blocks = {"measured": by_row.agg(lambda splits: splits.mean(skipna=False))}
    if scores.split.nunique() > 1:
        blocks["sd"] = by_row.std()
    if all("reranked" in run.metrics for run in runs):
        reranked = scores_frame(runs, direction, "reranked").groupby("row", sort=False)
        blocks["re-ranked"] = reranked[["rank-1", "mAP"]].mean()
    paper = pd.DataFrame(PAPER_TABLE).T.reindex(blocks["measured"].index)[list(SCORES)]
    if paper.notna().any(axis=None):
        blocks["paper"] = paper
        if sum(runs[0].manifest["persons"].values()) == PAPER_PERSONS:
            blocks["difference"] = blocks["measured"] - paper
    return pd.concat(blocks, axis=1)


def caption(runs: list[Run], direction: str = "") -> str:
    """What a table must say about itself: data, size, recipe, splits, direction, protocol."""
    direction = direction or table_direction(runs)
    scored = {name for run in runs if not run.failed for name in run.metrics["test"]}
    persons = runs[0].manifest["persons"]
    splits = sorted({run.config.split for run in runs})
    configs = [run.config.model_dump() for run in runs]
    recipes = sorted(
        {f"{c['backbone']} from {start_words(c)}, {c['epochs']} epochs" for c in configs}
    )
    several = (
        "split " if len(splits) == 1 else f"mean and standard deviation of {len(splits)} splits "
    )
    text = (
        f"{persons['train']} persons to train, {persons['test']} to test; "
        f"{'; '.join(recipes)}; {several}{', '.join(map(str, splits))}; "
        f"{direction_words(scored, direction)}; in percent (a random order of the gallery has "
        f"rank-1 {100 * chance(runs):.1f})."
    )
    return f"{text} {QUANTISED_NOTE}" if QUANTISED_WORDS in text else text


def table_texts(table: pd.DataFrame, note: str) -> dict[str, str]:
    """The table as `csv`, `md`, `tex` (booktabs) and `html`; the best measured score in bold.

    Args:
        table: as `table1` returns it.
        note: a caption in plain words.
    Returns:
        Format -> text.
    """
    one_head = _cells(table, "**{}**")
    one_head.columns = [f"{b} {name}".removeprefix("measured ") for b, name in one_head]
    tex = _cells(table, r"\textbf{{{}}}").replace("%", r"\%", regex=True).rename_axis(index=None)
    tex = tex.style.format_index(escape="latex").to_latex(
        hrules=True, multicol_align="c", column_format="l" + "r" * tex.shape[1]
    )
    body = _cells(table, "<b>{}</b>").rename_axis(index=None).style.format_index(escape="html")
    body = re.sub(r"<(t[hd]) >", r"<\1>", body.to_html(exclude_styles=True))
    body = body.replace("<table>", '<table class="table1">')
    body = re.sub(r'(<th colspan="\d+")', r'\1 scope="colgroup"', body)
    return {
        "csv": table.set_axis([f"{b} {s}" for b, s in table.columns], axis=1).round(2).to_csv(),
        "md": f"{markdown(one_head)}\n\n{note}\n",
        "tex": f"% needs booktabs\n{tex}% {note}\n",
        "html": f"<figure>\n{body}<figcaption>{html.escape(note)}</figcaption>\n</figure>\n",
    }


def _cells(table: pd.DataFrame, bold: str) -> pd.DataFrame:
    """Text cells under two heads, block and score; the best of each measured column in bold."""
    cells = {}
    for block, name in table.columns:
        if block == "sd":
            continue
        values = table[block, name]
        form = "{:+.1f}" if block == "difference" else "{:.1f}"
        text = values.map(lambda value, form=form: "" if np.isnan(value) else form.format(value))
        if block == "measured":  # what was not measured failed: no table has a missing run
            best = values == values.max()
            if ("sd", name) in table.columns:
                text = text + table["sd", name].map(" ± {:.1f}".format)
            text = text.where(~best, text.map(bold.format)).where(values.notna(), "failed")
        cells[block, name] = text
    return pd.DataFrame(cells, index=table.index)


def markdown(cells: pd.DataFrame) -> str:
    """A Markdown table, the index as its first column."""
    head = [cells.index.name or "row", *cells.columns]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    lines += [" | ".join([str(row), *map(str, line)]) for row, *line in cells.itertuples()]
    return "\n".join(f"| {line} |" for line in lines)


# --- many runs ------------------------------------------------------------------------------------


def change(row: pd.Series, digits: int = 1, both: bool = True) -> str:
    """A difference, its intervals (these persons, new persons), and on how many splits it is > 0.

    Args:
        row: one row of `statistics.difference`.
        digits: after the decimal point.
        both: whether to show the interval for these persons too, before that for new ones.
    """
    text = f"{row.difference:+.{digits}f}"
    for prefix in list(ESTIMANDS.values())[0 if both else 1 :]:
        low, high = row[f"{prefix}low"], row[f"{prefix}high"]
        text += "" if np.isnan(low) else f" [{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"{text}, {int(row.agree)} of {int(row.splits)}"


def table_text(frame: pd.DataFrame) -> str:
    """Table 1 of many runs as Markdown, one table per network and kind of codes."""
    raw = [f"{LAST} rank-1", f"{LAST} mAP", *SCORES, "both rank-1", "both mAP", "train rank-1"]
    unit = [f"unit {name}" for name in raw if "both" not in name]
    texts = []
    for (network, persons), part in frame.groupby(["network", "persons"], sort=False):
        train, test = persons.split("/")
        chance = 100 / int(test)  # every person has as many images in the gallery
        head = (
            f"{network}; {train} persons to train, {test} to test (by chance: rank-1 {chance:.1f})"
        )
        kinds = {"": raw}
        if unit[0] in part and part[unit[0]].notna().all():
            kinds = {"; codes as they are": raw, "; codes divided by their L2 norm": unit}
        for kind, columns in kinds.items():
            wide = _scores(means(part, columns)).reset_index("splits")
            wide.columns = wide.columns.str.removeprefix("unit ")
            title = f"{head}{kind}"
            if wide.splits.nunique() == 1:
                title += f"; {splits_words(wide.pop('splits').iloc[0])}"
            texts.append(f"{title}:\n\n{markdown(wide)}")
    precision = frame.groupby("backbone", sort=False).precision.agg(
        lambda p: " or ".join(sorted(set(p)))
    )
    note = (
        f'In percent; camera {DIRECTION.replace("->", " to ")}, "both": both directions; '
        f"train rank-1: of the training persons. Means over the splits (how many, and which). "
        f'"{LAST}": the mean over the last ten scored epochs, which one step does not decide; all '
        f"other columns: the last epoch alone. {estimands_note(frame)} Intervals are cut off at 0 "
        "and 100. Computed in "
        f"{', '.join(f'{kind} ({name})' for name, kind in precision.items())} on "
        f"{' and '.join(sorted(set(frame.device)))}."
    )
    return "\n\n".join([*texts, f"{note}{notices(frame)}{protocol_notice(frame)}\n"])


def _scores(table: pd.DataFrame) -> pd.DataFrame:
    """`means` as text, one column per score, with intervals of the last epochs' means."""
    cells = table["mean"].map("{:.1f}".format)
    bounds = ""
    for prefix in ESTIMANDS.values():
        ends = table[[f"{prefix}low", f"{prefix}high"]].clip(0, 100)
        bounds += ends.iloc[:, 0].map(" [{:.1f}, ".format) + ends.iloc[:, 1].map("{:.1f}]".format)
    bounded = table.score.str.contains(LAST) & table.low.notna()
    table = table.assign(cell=cells.where(~bounded, cells + bounds))
    wide = table.pivot_table(
        index=["setting", "splits"], columns="score", values="cell", aggfunc="first", sort=False
    )
    return wide[list(dict.fromkeys(table.score))]


def notices(frame: pd.DataFrame) -> str:
    """What a reader of averaged records must know: several seeds, and which weights."""
    text = ""
    if frame.groupby(["network", "setting", "changed", "split"]).seed.nunique().max() > 1:
        text += " Seeds of one split are averaged first."
    if frame.network.str.contains(QUANTISED_WORDS).any():
        text += f" {QUANTISED_NOTE}"
    return text


def protocol_notice(frame: pd.DataFrame) -> str:
    """Names what differs between the protocols of records that are averaged; "" for nothing."""
    kinds = frame.groupby(["network", "setting", "changed"]).protocol.agg(set)
    differ = {
        line
        for kind in kinds[kinds.map(len) > 1]
        for line in set.union(*(set(p.split("\n")) for p in kind))
        - set.intersection(*(set(p.split("\n")) for p in kind))
    }
    named = " | ".join(sorted(differ))
    return f" Notice: averaged records state different protocols: {named}." if differ else ""


def verdicts_text(frame: pd.DataFrame) -> str:
    """The claims as Markdown tables: scores, the viewpoint gap (claim 3), compactness."""
    table = contrasts(frame)
    gap, fall, near = (table.score == "gap"), (table.score == "fall"), table.claim == "compactness"
    parts = (
        ("Scores, in points", ~(gap | fall | near), 1),
        (
            "Claim 3, gap: relative distance, 180 minus 0 degrees (should fall)",
            gap,
            3,
        ),
        ("Claim 3, fall: rank-1 in points, 0 minus 180 degrees (should fall)", fall, 1),
        (
            "Compactness, not claim 3: relative distance by angle (should fall)",
            near,
            3,
        ),
    )
    texts = [
        f"{title}:\n\n{_verdict_table(table[chosen], frame, digits)}"
        for title, chosen, digits in parts
        if chosen.any()
    ]
    missing = [claim for claim in "1234" if claim not in set(table.claim)]
    if missing:
        texts.append(f"Not measured: claim {', '.join(missing)}.")
    if len(table):
        counts = (
            "After them: on how many splits the difference is above zero. Relative distance: that "
            "within a person over that between persons."
        )
        texts.append(f"{estimands_note(frame)} {counts} {EXPLORATORY}{notices(frame)}")
    return "\n\n".join(texts) + "\n"


def _verdict_table(table: pd.DataFrame, frame: pd.DataFrame, digits: int) -> str:
    names = {**DECIDING, **{near: f"{degrees} degrees" for near, degrees in NEAR.items()}}
    lines = []
    keys = ["claim", "network", "contrast"]
    for values, part in table.groupby(keys, sort=False):
        line = dict(zip(keys, values, strict=True)) | judged(part) | {"splits": part.which.iloc[0]}
        line["network"] = brief(frame).get(line["network"], line["network"])
        line |= {names.get(row.score, row.score): change(row, digits) for _, row in part.iterrows()}
        lines.append(line | {"not fitted": part.unfitted.iloc[0]})
    wide = pd.DataFrame(lines).set_index("claim")
    if not wide["not fitted"].any():
        wide = wide.drop(columns="not fitted")
    return markdown(wide)


def one_split_text(plain: pd.DataFrame) -> str:
    """`one_split_differences` as Markdown."""
    table = one_split_differences(plain)
    if table.empty:
        return ""
    forms = {"splits": "{:.0f}", "difference": "{:+.1f}", "sd": "{:.1f}", "paper": "{:+.1f}"}
    forms["detectable"] = "{:.1f}"
    for name, form in forms.items():
        table[name] = table[name].map(form.format, na_action="ignore").astype(object).fillna("")
    cells = table.set_index(table.network.map(brief(plain)))[["contrast", "score", *forms]]
    note = (
        "In points. difference: mean over splits; sd: standard deviation of one split's "
        "difference, each setting trained once; paper: the paper's gap on its one split (ResNet-18 "
        "only); detectable: the smallest "
        "difference that a paired t test over these splits finds with 80 % power at 5 %, for these "
        f"persons. {EXPLORATORY}"
    )
    return f"{markdown(cells)}\n\n{note}{notices(plain)}\n"


def seeds_text(plain: pd.DataFrame) -> str:
    """`seed_noise` as Markdown, standard deviations in points; "" without several seeds."""
    table = seed_noise(plain)
    if table.empty:
        return ""
    for name in ("within", "between"):
        table[name] = np.sqrt(table[name]).map("{:.1f}".format)
    table = table.replace({"score": DECIDING}).set_index("network")
    note = (
        "Standard deviations in points, from a one-way random effects analysis of variance. within:"
        f" between seeds of one split; between: between splits, beyond that. {EXPLORATORY}"
    )
    return f"{markdown(table)}\n\n{note}\n"


# --- viewpoints -----------------------------------------------------------------------------------

VIEWS = ["query_orientation", "gallery_orientation"]


def viewpoint_table(grids: pd.DataFrame) -> str:
    """Which views match each other: rank-1 by the angle between them, and the worst pairs.

    Args:
        grids: `metrics.viewpoint_grid` of one or several runs, with a column `row`.
    Returns:
        A Markdown table in percent, one line per row of Table 1; below it the three worst pairs.
    """
    angle = view_angle(grids.query_orientation, grids.gallery_orientation)
    by_angle = (
        grids.assign(angle=angle).groupby(["row", "angle"], sort=False).rank1.mean().unstack()
    )
    cells = (100 * by_angle.reindex(grids.row.unique())[sorted(by_angle)]).map("{:.1f}".format)
    cells = cells.set_axis([f"{degrees} degrees" for degrees in cells], axis=1)
    cells.insert(0, "all pairs", (100 * grids.groupby("row").rank1.mean()).map("{:.1f}".format))
    worst = []
    for row, grid in grids.groupby("row", sort=False):
        few = grid.nsmallest(3, "rank1").itertuples()
        pairs = [
            f"{q.query_orientation} to {q.gallery_orientation} ({100 * q.rank1:.1f})" for q in few
        ]
        worst.append(f"{row}: {', '.join(pairs)}")
    return f"{markdown(cells)}\n\nThe worst pairs of views, query to gallery: {'; '.join(worst)}.\n"


def mean_grids(plain: pd.DataFrame) -> pd.DataFrame:
    """Rank-1 of each pair of orientations: mean over splits, per network and setting."""
    keys = ["network", "setting", *VIEWS]
    grids = [
        pd.DataFrame(run.viewpoint)
        .astype(float)
        .assign(network=run.network, setting=run.setting, split=run.split)
        for run in plain.itertuples()
    ]
    seeds = pd.concat(grids).groupby([*keys, "split"], sort=False).rank1.mean()
    means = seeds.groupby(keys, sort=False).mean().reset_index()
    return means.astype({name: int for name in VIEWS})


def viewpoint_text(plain: pd.DataFrame) -> str:
    """Which views match each other, means over splits, as Markdown."""
    texts = []
    for network, part in mean_grids(plain).groupby("network", sort=False):
        splits = plain[plain.network == network].groupby("setting", sort=False).split.agg(listed)
        over = "; ".join(f"{setting} {which}" for setting, which in splits.items())
        table = viewpoint_table(part.assign(row=part.setting))
        texts.append(f"{network}; means over splits: {over}:\n\n{table}")
    note = (
        "Each gallery holds one view of each person, so that these scores lie below those of the "
        "whole gallery. Scores of the last epoch; the worst pairs are named without intervals."
    )
    return "\n".join([*texts, note]) + "\n"
