"""Finished runs to numbers for people: Table 1, agreement across views, the summary."""

import html
import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from reid_lib.config import PAPER_PERSONS, PAPER_TABLE, PRESETS, Embedded, Preset
from reid_lib.engine.files import write_text
from reid_lib.engine.runs import Run, read_runs, scores_frame

SCORES = ("rank-1", "rank-5", "rank-10", "rank-20", "mAP")
SEEDS_APART = 3  # a tolerance is so many standard deviations over seeds,
LEAST_TOLERANCE = 5.0  # but no less than these points: one query of 192 is half a point


def table1(runs: list[Run], direction: str = "A->B") -> pd.DataFrame:
    """Table 1: a line a row, measured beside the paper's.

    Args:
        runs: finished runs, one or several splits a row.
        direction: which camera queries which.
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


def caption(runs: list[Run], direction: str = "A->B") -> str:
    """What a table must say about itself: data, size, recipe, splits, direction, protocol."""
    persons = runs[0].manifest["persons"]
    splits = sorted({run.config.split for run in runs})
    recipes = sorted({f"{_start(run.config)}, {run.config.epochs} epochs" for run in runs})
    several = (
        "split " if len(splits) == 1 else f"mean and standard deviation of {len(splits)} splits "
    )
    return (
        f"{persons['train']} persons to train, {persons['test']} to test; {'; '.join(recipes)}; "
        f"{several}{', '.join(map(str, splits))}; camera {direction.replace('->', ' to ')}; "
        f"in percent (a random order of the gallery has rank-1 {100 / persons['test']:.1f})."
    )


def table_texts(table: pd.DataFrame, note: str) -> dict[str, str]:
    """The table as `csv`, `md`, `tex` (booktabs) and `html`; the best measured score in bold.

    Args:
        table: as `table1` returns it.
        note: a caption in plain words.
    Returns:
        Format -> text.
    """
    rows = list(table.index)
    return {
        "csv": table.set_axis([f"{b} {s}" for b, s in table.columns], axis=1).round(2).to_csv(),
        "md": f"{markdown(_one_head(_cells(table, '**{}**')))}\n\n{note}\n",
        "tex": _latex(_cells(table, r"\textbf{{{}}}"), note),
        "html": _html(_cells(table, "<b>{}</b>").set_axis([html.escape(r) for r in rows]), note),
    }


def view_angle(one, other):
    """Degrees between orientations, 1 to 8 around the person: 0, 45, ..., 180; arrays or series."""
    turn = np.abs(one - other)
    return 45 * np.minimum(turn, 8 - turn)


def agreement_by_angle(run: Run, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """How far apart a person's codes lie, by the angle between the two views (claim 3).

    The mean distance between codes of one person from the two cameras, divided by the mean distance
    between codes of different persons, so that networks of another scale can be compared.

    Args:
        run: a finished run.
        draws: bootstrap draws over persons for the interval.
        seed: of the draws.
    Returns:
        A row an angle (degrees, 0 to 180): value, low and high (95 %).
    """
    part = run.codes
    first = part["camids"] == part["camids"].min()
    pids = np.unique(part["pids"])
    dist = cdist(part["codes"][first], part["codes"][~first])
    same = part["pids"][first][:, None] == part["pids"][~first][None, :]
    views = part["orientations"]
    angle = view_angle(views[first][:, None], views[~first][None, :])
    unit = dist[~same].mean()
    owner = np.searchsorted(pids, part["pids"][first])
    drawn = np.random.default_rng(seed).integers(len(pids), size=(draws, len(pids)))
    lines = []
    for degrees in (0, 45, 90, 135, 180):
        chosen = same & (angle == degrees)
        sums = np.bincount(owner, (dist * chosen).sum(1), len(pids)) / unit
        counts = np.bincount(owner, chosen.sum(1), len(pids))
        low, high = np.quantile(sums[drawn].sum(1) / counts[drawn].sum(1), [0.025, 0.975])
        value = sums.sum() / counts.sum()
        lines.append({"angle": degrees, "value": value, "low": low, "high": high})
    return pd.DataFrame(lines)


def viewpoint_table(grids: pd.DataFrame) -> str:
    """Which views find each other: rank-1 by the angle between them, and the worst pairs.

    Args:
        grids: `metrics.viewpoint_grid` of one or several runs, with a column `row`.
    Returns:
        A Markdown table, a line a row of Table 1, in percent; below it the pairs that fail most.
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
    return f"{markdown(cells)}\n\nThe views that fail most, query to gallery: {'; '.join(worst)}.\n"


def provenance(preset: Preset, runs: list[Run]) -> dict[str, str]:
    """What a figure's file says of its origin: preset, configs and commits of its runs."""
    return {
        "preset": preset.name,
        "config": " ".join(sorted({run.config.digest() for run in runs})),
        "commit": " ".join(sorted({run.manifest["commit"] for run in runs})),
    }


def figure_folders(preset: Preset, root: str | Path) -> tuple[Path, Path]:
    """Where figures go: (those without pixels, those with pixels).

    Pixels of the embedded data go to `figures/` too; those of real people stay under `results/`.
    """
    plain = Path(root) / "figures" / preset.name
    embedded = isinstance(preset.data, Embedded)
    return plain, plain if embedded else Path(root) / "results" / preset.name / "figures"


def expected_scores(runs_by_seed: list[list[Run]]) -> dict:
    """The scores to expect of a preset, and how far a run on another machine may stray.

    Args:
        runs_by_seed: the preset's runs under several seeds.
    Returns:
        row -> score -> [mean, tolerance] in points; the tolerance is three standard deviations over
        the seeds, and no less than five points.
    """
    frames = [
        scores_frame(runs).groupby("row", sort=False)[["rank-1", "mAP"]].mean()
        for runs in runs_by_seed
    ]
    mean = sum(frames) / len(frames)
    spread = pd.concat(frames).groupby(level=0, sort=False).std().fillna(0)
    tolerance = (SEEDS_APART * spread).clip(lower=LEAST_TOLERANCE)
    return {
        row: {
            s: [round(float(mean.loc[row, s]), 1), round(float(tolerance.loc[row, s]), 1)]
            for s in mean
        }
        for row in mean.index
    }


def summary(preset: Preset, root: str | Path = ".") -> str:
    """The closing words of `make reproduce`: where to look, how long it took, each score."""
    root = Path(root)
    results, figures = root / "results" / preset.name, root / "figures" / preset.name
    runs = read_runs(root / "results", preset)
    lines = [
        preset.title,
        caption(runs),
        "",
        "Where to look",
        f"  {figures / 'table1.md'}: Table 1 (also .html, .tex, .csv)",
        f"  {figures}: every figure as PNG and PDF",
        f"  {results / 'notebooks'}: the executed notebooks",
        f"  {results / 'training'}: the executed notebook of each training",
        "  make lab: open the notebooks",
        "",
        "How long it took",
    ]
    seconds = {
        path.stem: pd.read_csv(path, sep="\t")["s"].iloc[-1]
        for path in sorted((results / "seconds").glob("*.tsv"))
    }
    lines += [f"  {stage:<32}{value:8.1f} s" for stage, value in seconds.items()]

    file = PRESETS / "expected" / f"{preset.name}.json"
    expected = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    table = table1(runs)["measured"]
    wide = max(16, *(len(row) + 1 for row in table.index))
    lines += ["", f"{'Score':<{wide + 10}}measured   expected"]
    outside = 0
    for row, values in table.iterrows():
        for name in ("rank-1", "mAP"):
            line = f"  {row:<{wide}}{name:<8}{values[name]:8.1f}"
            if row in expected:
                mean, tolerance = expected[row][name]
                inside = abs(values[name] - mean) <= tolerance
                outside += not inside
                line += f"   {mean:5.1f} ± {tolerance:.1f}" + ("" if inside else "   OUTSIDE")
            lines.append(line)
    if expected:
        lines.append(f"{outside} of {2 * len(table)} scores lie outside their tolerance.")
    return "\n".join(lines)


def refresh_readme(readme: Path) -> bool:
    """Put each named file's text between its markers `<!-- from PATH -->` and `<!-- end -->`.

    Returns:
        Whether the README changed.
    Raises:
        ValueError: a marker without an end, or a named file is missing.
    """
    before = readme.read_text("utf-8")
    head, *parts = before.split("<!-- from ")
    text = head
    for part in parts:
        name, _, rest = part.partition(" -->")
        _, end, tail = rest.partition("<!-- end -->")
        source = readme.parent / name
        if not end or not source.is_file():
            raise ValueError(f"{readme.name}: {name}: no such file, or no <!-- end --> after it")
        content = source.read_text("utf-8").strip()
        if source.suffix != ".md":
            content = f"```text\n{content}\n```"
        text += f"<!-- from {name} -->\n{content}\n<!-- end -->{tail}"
    if text != before:
        write_text(readme, text)
    return text != before


START = {"imagenet": "ImageNet weights", "random": "random weights", "file": "weights from a file"}


def _start(config) -> str:
    return f"{config.backbone} from {START[config.start]}"


def _cells(table: pd.DataFrame, bold: str) -> pd.DataFrame:
    """Text cells under two heads, block and score; the best of each measured column in bold."""
    # What was not measured failed: a run that is only missing makes no table.
    cells = {}
    for block, name in table.columns:
        if block == "sd":
            continue
        values = table[block, name]
        text = values.map(lambda v: "" if np.isnan(v) else f"{v:.1f}")
        if block == "difference":
            text = values.map(lambda v: "" if np.isnan(v) else f"{v:+.1f}")
        if block == "measured":
            best = values == values.max()
            if ("sd", name) in table.columns:
                text = text + table["sd", name].map(" ± {:.1f}".format)
            text = text.where(~best, text.map(bold.format)).where(values.notna(), "failed")
        cells[block, name] = text
    return pd.DataFrame(cells, index=table.index)


def _one_head(cells: pd.DataFrame) -> pd.DataFrame:
    """For formats whose heads have one line."""
    return cells.set_axis(
        [f"{block} {name}".removeprefix("measured ") for block, name in cells], axis=1
    )


def markdown(cells: pd.DataFrame) -> str:
    """A Markdown table, the index as its first column."""
    head = [cells.index.name or "row", *cells.columns]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    lines += [" | ".join([str(row), *map(str, line)]) for row, *line in cells.itertuples()]
    return "\n".join(f"| {line} |" for line in lines)


def _latex(cells: pd.DataFrame, note: str) -> str:
    def plain(text: str) -> str:
        return text.replace("_", r"\_").replace("%", r"\%")

    cells = cells.set_axis([plain(row) for row in cells.index])
    body = cells.rename_axis(index=None).to_latex(
        column_format="l" + "r" * cells.shape[1], multicolumn_format="c"
    )
    return f"% needs booktabs\n{body}% {note}\n"


def _html(cells: pd.DataFrame, note: str) -> str:
    body = cells.rename_axis(index=None).to_html(escape=False, border=0, classes="table1")
    body = body.replace('halign="left"', 'scope="colgroup"')  # pandas writes what HTML 5 dropped
    return f"<figure>\n{body}\n<figcaption>{html.escape(note)}</figcaption>\n</figure>\n"
