"""Table 1: its scores, its caption, and its text in four formats."""

import html
import re

import numpy as np
import pandas as pd

from reid_lib.config import PAPER_PERSONS, PAPER_TABLE
from reid_lib.engine.runs import Run, chance, scores_frame, table_direction
from reid_lib.engine.sides import direction_words
from reid_lib.study.records import QUANTISED_WORDS, SCORES, start_words
from reid_lib.study.statistics import underfitted
from reid_lib.study.tables import NOTES, markdown


def table1(runs: list[Run], direction: str = "") -> pd.DataFrame:
    """Table 1: measured scores and the paper's.

    Args:
        runs: completed runs, one or several splits per row of the table.
        direction: one of `Run.directions`, or "both"; empty: camera A to B if there are two
            cameras, the mean over all directions if there are more, and the data set's own queries
            if it defines them.
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
    """The caption of Table 1: persons, recipe, splits, direction, unit, chance level."""
    direction = direction or table_direction(runs)
    scored = {name for run in runs if not run.failed for name in run.metrics["test"]}
    persons = runs[0].manifest["persons"]
    splits = sorted({run.config.split for run in runs})
    configs = [run.config.model_dump() for run in runs]
    recipes = sorted(
        {f"{c['backbone']} from {start_words(c)}, {c['epochs']} epochs" for c in configs}
    )
    several = (
        "Split " if len(splits) == 1 else f"Mean and standard deviation of {len(splits)} splits: "
    )
    text = (
        f"{persons['train']} training and {persons['test']} test persons. "
        f"Networks: {'; '.join(recipes)}. {several}{', '.join(map(str, splits))}. "
        f"Direction: {direction_words(scored, direction)}. All scores in percent; the chance level "
        f"of rank-1 is {100 * chance(runs):.1f} %."
    )
    return f"{text} {NOTES['quantised']}" if QUANTISED_WORDS in text else text


def table_texts(table: pd.DataFrame, note: str, runs: list[Run]) -> dict[str, str]:
    """The table as `csv`, `md`, `tex` (booktabs) and `html`; the best measured score in bold.

    Args:
        table: the frame that `table1` returns.
        note: a caption in plain words.
        runs: those of the table; † marks their rows where one underfits.
    Returns:
        Format -> text.
    """
    plain, low = table, underfitted(runs)
    table = table.rename(index={row: f"{row} †" for row in low})
    named = ", ".join(f"{row} {rank1:.1f} %" for row, rank1 in low.items())
    note += f" {NOTES['underfitted'].format(named)}" if low else ""
    one_head = _cells(table, "**{}**")
    one_head.columns = [f"{b} {name}".removeprefix("measured ") for b, name in one_head]
    one_head.loc["chance level", "rank-1"] = f"{100 * chance(runs):.1f}"
    tex = _cells(table, r"\textbf{{{}}}").replace("%", r"\%", regex=True).rename_axis(index=None)
    tex = tex.style.format_index(escape="latex").to_latex(
        hrules=True, multicol_align="c", column_format="l" + "r" * tex.shape[1]
    )
    body = _cells(table, "<b>{}</b>").rename_axis(index=None).style.format_index(escape="html")
    body = re.sub(r"<(t[hd]) >", r"<\1>", body.to_html(exclude_styles=True))
    body = body.replace("<table>", '<table class="table1">')
    body = re.sub(r'(<th colspan="\d+")', r'\1 scope="colgroup"', body)
    return {
        "csv": plain.set_axis([f"{b} {s}" for b, s in plain.columns], axis=1).round(2).to_csv(),
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
        if block == "measured":  # a missing score means a failed run: no run is missing
            best = values == values.max()
            if ("sd", name) in table.columns:
                text = text + table["sd", name].map(" ± {:.1f}".format)
            text = text.where(~best, text.map(bold.format)).where(values.notna(), "failed")
        cells[block, name] = text
    return pd.DataFrame(cells, index=table.index)
