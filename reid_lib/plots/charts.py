"""Charts of a data set's split and of scores: grids, curves, dots and intervals."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from reid_lib.plots import style

_PARTS = {"train": "#0072b2", "test": "#e69f00", "unused": "#bbbbbb"}
_INTERVAL = Line2D([], [], ls="none", marker="|", color=style.GREY, ms=9, mew=1.4)
_SPLIT = Line2D([], [], ls="none", marker="|", color=style.GREY, ms=7)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """One line of a chart per name, the first on top, with a grid along the values."""
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")


@style.in_style()
def split_counts(index: pd.DataFrame, train_pids: Sequence, test_pids: Sequence) -> Figure:
    """Show which persons train and which test, which views exist, and how many images that makes.

    Above, columns: persons (ascending pid); rows: camera x orientation. A cell has the colour of
    the person's part where at least one image exists and is white where none does. Below, the
    number of images of each camera and part.

    Args:
        index: pid, camid and orientation of each image, one row per image.
        train_pids: the persons to train on.
        test_pids: the persons to test on, both as query and as gallery.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: a column is missing, a person is in both parts, or one has no image.
    """
    style.check_table(index, ("pid", "camid", "orientation"), "index")
    train, test, pids = set(train_pids), set(test_pids), set(index["pid"])
    if train & test:
        raise ValueError(f"{sorted(train & test)[:5]} both train and test; parts must be disjoint")
    if (train | test) - pids:
        raise ValueError(f"{sorted((train | test) - pids)[:5]} of the split have no image in index")
    part_of = dict.fromkeys(pids, "unused") | dict.fromkeys(train, "train")
    part = index["pid"].map(part_of | dict.fromkeys(test, "test"))
    counts = pd.crosstab(index["camid"], part)
    counts = counts[[name for name in _PARTS if name in counts]]
    height = 0.14 * counts.size
    figure, (above, below) = plt.subplots(
        *(2, 1),
        figsize=(style.DOUBLE, 2.35 + height),
        height_ratios=(1.4, 1.2 * height + 0.2),
        layout="constrained",
    )
    cells = index.assign(part=1 + part.map(list(_PARTS).index))
    cells = cells.pivot_table("part", ["camid", "orientation"], "pid", "first", fill_value=0)
    sizes = index["pid"].groupby(part).nunique()[counts.columns]
    words = {"train": "to train", "test": "to test"}
    sizes = ", ".join(f"{size} {words.get(name, name)}" for name, size in sizes.items())
    above.set_title(f"{len(pids)} persons: {sizes}", loc="left")
    _draw_views(above, cells)
    _draw_counts(below, counts)
    names = {"test": "test (query or gallery)"}
    handles = {names.get(name, name): Patch(color=_PARTS[name]) for name in counts}
    style.legend(figure, handles, "outside lower center")
    return style.finish(figure)


def _draw_views(axes: Axes, cells: pd.DataFrame) -> None:
    colours = ListedColormap(["white", *_PARTS.values()])
    how = {"aspect": "auto", "interpolation": "nearest"}
    axes.imshow(cells.to_numpy(), cmap=colours, vmin=0, vmax=3, **how)
    axes.spines[:].set_visible(False)
    pids, camids = cells.columns, cells.index.get_level_values("camid")
    axes.set_xticks(np.arange(len(pids)) - 0.5, minor=True)
    axes.grid(which="minor", axis="x", color="white", linewidth=min(0.8, 40 / len(pids)))
    places = pd.Series(range(len(camids)), camids).groupby(level=0)
    axes.set_yticks(places.mean(), [f"camera {camid}" for camid in places.groups], parse_math=False)
    for first in places.min()[1:]:
        axes.axhline(first - 0.5, color="white", linewidth=2.5)
    axes.tick_params(which="both", length=0)
    shown = np.unique(np.linspace(0, len(pids) - 1, min(12, len(pids))).round().astype(int))
    axes.set_xticks(shown, [style.shorten(pids[i], 0.45) for i in shown], parse_math=False)
    axes.set_xlabel("columns: persons (ascending pid); rows: camera × orientation; white: no image")


def _draw_counts(axes: Axes, counts: pd.DataFrame) -> None:
    step = 0.8 / len(counts.columns)
    for i, name in enumerate(counts):
        place = np.arange(len(counts)) - 0.4 + (i + 0.5) * step
        bars = axes.barh(place, counts[name], step * 0.9, color=_PARTS[name])
        axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=style.SMALL)
    _name_rows(axes, [f"camera {camid}" for camid in counts.index])
    axes.grid(False)
    axes.set_xlim(0, counts.to_numpy().max() * 1.09)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("images")


@style.in_style()
def viewpoint_grids(
    grids: Mapping[str, np.ndarray],
    label: str,
    fmt: str = "{:.0f}",
    vmin: float | None = None,
    vmax: float | None = None,
) -> Figure:
    """Show a score for each orientation of the query against each of the gallery.

    Args:
        grids: row name to (8, 8); rows: query orientations; columns: gallery orientations; NaN,
            drawn hatched, where no pair exists.
        label: what the numbers are, with their unit, beside the shared colour bar.
        fmt: how each number is written.
        vmin: the lower end of the colour scale; the smallest value of all grids if None.
        vmax: its upper end; the largest value if None.
    Returns:
        A figure up to two columns wide.
    Raises:
        ValueError: no grid, or one of another shape.
    """
    style.check_not_empty(grids, "grids")
    grids = {name: np.asarray(grid, dtype=float) for name, grid in grids.items()}
    for name, grid in grids.items():
        if grid.shape != (8, 8):
            raise ValueError(f"the grid of {name!r} is {grid.shape}; expected (8, 8)")
    values = np.concatenate([grid[np.isfinite(grid)] for grid in grids.values()])
    low = vmin if vmin is not None else values.min() if len(values) else 0.0
    high = vmax if vmax is not None else values.max() if len(values) else 1.0
    high = high if high > low else low + 1

    widest = max(
        (style.text_width(fmt.format(value), style.SMALL) for value in values), default=0.1
    )
    cell, frame = max(0.22, widest + 0.05), 0.27  # inches; the frame holds ticks and spacing
    columns = max(1, min(len(grids), int((style.DOUBLE - 0.25) / (8 * cell + frame))))
    columns = math.ceil(len(grids) / math.ceil(len(grids) / columns))  # 2 and 2, not 3 and 1
    cell = max(cell, min(0.28, ((style.DOUBLE - 0.25) / columns - frame) / 8))
    missing = any(np.isnan(grid).any() for grid in grids.values())
    lines = math.ceil(len(grids) / columns)
    size = max(columns * (8 * cell + frame) + 0.25, 2.6), lines * (8 * cell + 0.4) + 1.0
    figure, axes_grid = style.panels(len(grids), columns, *size, figsize=size, layout="compressed")
    for axes, (name, grid) in zip(axes_grid, grids.items(), strict=True):
        _draw_grid(axes, grid, fmt, low, high)
        axes.set_title(style.shorten(name, 8 * cell, 8.5), parse_math=False)
    bar = figure.colorbar(
        axes.collections[0], ax=figure.axes, location="bottom", aspect=40, pad=0.02, shrink=0.7
    )
    bar.outline.set_visible(False)
    bar.set_label(label, parse_math=False)
    for axes in axes_grid[-columns:]:  # no grid lies below these
        axes.set_xlabel("gallery orientation\n(3 back, 7 front)")
    figure.supylabel("query orientation (3 back, 7 front)")
    if missing:
        hatched = Patch(fc="white", ec="#aaaaaa", hatch="//////", lw=0.5)
        style.legend(figure, {"no pair": hatched}, "outside upper right")
    return style.finish(figure)


def _draw_grid(axes: Axes, grid: np.ndarray, fmt: str, low: float, high: float) -> None:
    ticks = range(1, 9)
    seaborn.heatmap(
        pd.DataFrame(grid, ticks, ticks),
        **{"ax": axes, "vmin": low, "vmax": high, "cmap": "cividis", "cbar": False},
        **{"annot": np.vectorize(fmt.format)(grid), "fmt": "", "annot_kws": {"size": style.SMALL}},
        square=True,
    )
    axes.patch.set(fc="white", ec="#aaaaaa", hatch="////", lw=0)  # seen where a cell is missing
    axes.tick_params(length=0, rotation=0)


@style.in_style()
def agreement_by_angle(curves: pd.DataFrame | Mapping[str, pd.DataFrame], label: str) -> Figure:
    """Show how a score depends on the angle between the orientations of query and gallery image.

    Args:
        curves: a table, or row name to a table, with columns `angle` (degrees, 0 to 180), `value`,
            and `low` and `high`, the ends of its 95 % interval; NaN is left out.
        label: what the score is, with its unit.
    Returns:
        A figure one column wide.
    Raises:
        ValueError: no curve, or a column is missing.
    """
    curves = {"": curves} if isinstance(curves, pd.DataFrame) else curves
    style.check_not_empty(curves, "curves")
    for name, curve in curves.items():
        style.check_table(curve, ("angle", "value", "low", "high"), f"the curve of {name!r}")
    styles = style.styles_of(curves)
    keys = 0 if list(curves) == [""] else math.ceil((len(curves) + 1) / 2)  # and the interval
    figure, axes = plt.subplots(figsize=(style.SINGLE, 2.3 + 0.17 * keys), layout="constrained")
    for i, (name, curve) in enumerate(curves.items()):
        colour, marker, dash = styles[name]
        # Side by side, so that no interval hides another.
        x = curve["angle"] + (i - (len(curves) - 1) / 2) * min(3.5, 18 / len(curves))
        how = {"color": colour, "marker": marker, "ls": dash, "gid": name}
        style.errorbar(axes, x, curve["value"], curve["low"], curve["high"], **how)
    axes.set_xticks(range(0, 181, 45))
    axes.set_xlim(-14, 194)
    axes.set_xlabel("angle between the orientations (degrees)")
    axes.set_ylabel(style.wrap(label, 2.0, 8), parse_math=False)
    axes.grid(True)
    if keys:
        style.legend(figure, style.row_keys(styles) | {"95 % interval": _INTERVAL})
    return style.finish(figure)


@style.in_style()
def score_bars(table: pd.DataFrame, paper: pd.DataFrame | None = None) -> Figure:
    """Show the scores of Table 1 as dots, one panel per score, with the paper's if given.

    Args:
        table: one row per row of Table 1, one column per score (rank-1 ... mAP), in percent.
        paper: the paper's scores in the same layout; what `table` lacks is left out.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: no score, or one outside 0 to 100.
    """
    measured = {"measured": (table, style.PALETTE[0], "o", style.PALETTE[0])}
    drawn = measured | ({} if paper is None else {"paper": (paper, style.INK, "D", "white")})
    for name, (frame, *_) in drawn.items():
        style.check_not_empty(frame, name)
        if (frame.lt(0) | frame.gt(100)).any(axis=None):
            raise ValueError(f"{name} holds scores outside 0 to 100; expected percent")
    size = style.DOUBLE, 0.75 + (0.24 if paper is None else 0.34) * len(table)
    figure, grid = style.panels(
        len(table.columns), len(table.columns), *size, figsize=size, sharey=True
    )
    for axes, column in zip(grid, table, strict=True):
        for i, (name, (frame, colour, marker, face)) in enumerate(drawn.items()):
            x = frame.reindex(index=table.index, columns=table.columns)[column].to_numpy(float)
            y = np.arange(len(x)) + (0 if paper is None else 0.34 * i - 0.17)
            axes.plot(x, y, ls="none", marker=marker, color=colour, mfc=face, gid=name)
            for score, place in zip(x, y, strict=True):
                side = 1 if score < 60 else -1  # where the panel has room
                how = {"ha": "left" if side > 0 else "right", "va": "center", "color": colour}
                if np.isfinite(score):
                    axes.annotate(
                        f"{score:.1f}",
                        (score, place),
                        (5 * side, 0),
                        textcoords="offset points",
                        fontsize=style.SMALL,
                        **how,
                    )
        _name_rows(axes, [style.shorten(row, 1.3) for row in table.index])
        axes.grid(False)
        axes.set(xlim=(0, 104), xticks=(0, 50, 100))
        axes.set_title(style.shorten(column, 1.1, 8.5), parse_math=False)
        axes.hlines(range(len(table)), 0, 104, color="#eeeeee", lw=0.5, zorder=0)
    figure.supxlabel("score (%)")
    if paper is not None:
        style.legend(
            figure,
            {
                {"measured": "measured here"}.get(name, name): Line2D(
                    [], [], ls="none", marker=marker, color=colour, mfc=face
                )
                for name, (_, colour, marker, face) in drawn.items()
            },
        )
    figure.get_layout_engine().set(wspace=0.06)
    return style.finish(figure)


@style.in_style()
def split_scores(
    scores: pd.DataFrame, means: pd.DataFrame, label: str, zero: bool = False
) -> Figure:
    """Show the scores of each split, their mean and its interval.

    Args:
        scores: one row per run: network, setting, and one column per score.
        means: one row per network, setting and score: `network`, `setting`, `score`, `mean`, and
            `low` and `high`, the ends of its interval (NaN for none).
        label: what the scores are, with their unit.
        zero: draw a line at zero, for scores that are differences.
    Returns:
        A figure two columns wide; rows of panels: networks; columns: scores.
    Raises:
        ValueError: an empty table, or a column is missing.
    """
    style.check_table(means, ("network", "setting", "score", "mean", "low", "high"), "means")
    columns = list(dict.fromkeys(means["score"]))
    style.check_table(scores, ("network", "setting", *columns), "scores")
    parts = list(means.groupby("network", sort=False))
    heights = [0.45 + 0.25 * part["setting"].nunique() for _, part in parts]
    figure, grid = style.panels(
        len(parts) * len(columns),
        len(columns),
        *(style.DOUBLE, 0),
        figsize=(style.DOUBLE, 0.5 + sum(heights)),
        height_ratios=heights,
        sharex="col",
    )
    for line, (network, part) in zip(grid.reshape(-1, len(columns)), parts, strict=True):
        settings = list(dict.fromkeys(part["setting"]))
        for axes, column in zip(line, columns, strict=True):
            if zero:
                axes.axvline(0, color=style.GREY, lw=0.8)
            runs = scores[(scores["network"] == network) & scores["setting"].isin(settings)]
            for y, setting in enumerate(settings):
                dots = runs.loc[runs["setting"] == setting, column]
                axes.plot(
                    dots, np.full(len(dots), y), ls="none", marker="|", color=style.GREY, ms=7
                )
            for mean in part[part["score"] == column].to_dict("records"):
                y, setting = settings.index(mean["setting"]), mean["setting"]
                how = {"along": "x", "color": style.PALETTE[0], "marker": "o", "gid": setting}
                style.errorbar(axes, mean["mean"], y, mean["low"], mean["high"], **how)
            _name_rows(axes, settings if axes is line[0] else [""] * len(settings))
            axes.set_xlabel(f"{column} ({label})" if part is parts[-1][1] else "", parse_math=False)
        line[0].set_title(network, loc="left", parse_math=False)
    mean = Line2D([], [], marker="o", lw=1.6, color=style.PALETTE[0])
    style.legend(figure, {"one split": _SPLIT, "mean and 95 % interval": mean})
    return style.finish(figure)


@style.in_style()
def effects(table: pd.DataFrame, label: str) -> Figure:
    """Show the effect of each choice on the scores, with intervals, in the order of the table.

    Args:
        table: one row per choice, setting and score: `choice`, `setting`, `score`, `difference`,
            and `low` and `high`, the ends of its 95 % interval (NaN for none).
        label: what a difference is, with its unit.
    Returns:
        A figure two columns wide, one panel per score.
    Raises:
        ValueError: an empty table, or a column is missing.
    """
    style.check_table(table, ("choice", "setting", "score", "difference", "low", "high"), "table")
    choices, scores = (list(dict.fromkeys(table[name])) for name in ("choice", "score"))
    styles = style.styles_of(sorted(set(table["setting"])))
    size = style.DOUBLE, 0.9 + 0.12 * (len(styles) + 1) * len(choices)
    figure, grid = style.panels(len(scores), len(scores), *size, figsize=size, sharey=True)
    wrapped = [textwrap.wrap(choice, 36, max_lines=2, placeholder=" …") for choice in choices]
    names = ["\n".join(style.shorten(line, 1.9) for line in lines) for lines in wrapped]
    for axes, score in zip(grid, scores, strict=True):
        axes.axvline(0, color=style.GREY, lw=0.8)
        for line in table[table["score"] == score].to_dict("records"):
            colour, marker, _ = styles[line["setting"]]
            shift = list(styles).index(line["setting"]) - (len(styles) - 1) / 2
            y = choices.index(line["choice"]) + min(0.22, 0.8 / len(styles)) * shift
            how = {"along": "x", "color": colour, "marker": marker, "gid": line["choice"]}
            style.errorbar(axes, line["difference"], y, line["low"], line["high"], **how)
        axes.set_xlabel(f"{score}: {label}", parse_math=False)
        _name_rows(axes, names)
    interval = {"95 % interval": Line2D([], [], color=style.GREY, lw=1.4)}
    style.legend(figure, style.row_keys(styles, lines=False) | interval)
    return style.finish(figure)


_FORMS = {  # of the scatter loss: name, colour, marker
    "sum": ("Eq. 3", style.PALETTE[0], "o"),
    "log": ("its logarithm", style.PALETTE[1], "^"),
    "unit": ("of unit codes", style.PALETTE[2], "s"),
}
_RING = {"marker": "o", "ls": "none", "mfc": "none", "color": style.INK, "ms": 9, "mew": 0.9}
_FLOOR = -25  # points: a run that fails altogether would squeeze the other differences into a line


@style.in_style()
def scatter_study(table: pd.DataFrame) -> Figure:
    """Show what the scatter loss does to scores and codes, by its share of the gradient.

    Args:
        table: one row per reading of set 3: `network`, `scatter` (its form), `default` (is it the
            default reading?), `last ratio` (its gradient over that of the classification loss, at
            the end), `difference` (of rank-1 to set 2, in points) with `low` and `high` (NaN for
            none), and `growth` of the codes' norm.
    Returns:
        A figure two columns wide; rows: networks; columns: the difference, and the growth. An arrow
        with its value marks a difference below -25 points, a ring the default reading, with the
        paper's weight.
    Raises:
        ValueError: an empty table, or a column is missing.
    """
    columns = ("network", "scatter", "default", "last ratio", "difference", "low", "high", "growth")
    style.check_table(table, columns, "table")
    parts = list(table.groupby("network", sort=False))
    size = style.DOUBLE, 0.6 + 1.9 * len(parts)
    share = {"sharex": True, "sharey": "col"}
    figure, grid = style.panels(2 * len(parts), 2, *size, figsize=size, **share)
    for (left, right), (network, part) in zip(grid.reshape(-1, 2), parts, strict=True):
        left.axhline(0, color=style.GREY, lw=0.8)
        right.axhline(1, color=style.GREY, lw=0.8)
        left.set_title(style.shorten(network, 3.0, 8), loc="left", parse_math=False)
        for line in part.to_dict("records"):
            _draw_reading(left, right, line)
        left.set_ylabel("rank-1 of set 3\nminus that of set 2 (points)")
        right.set_ylabel("norm of the codes,\nlast epoch over first")
        left.grid(True)
        right.grid(True)
    axes = grid[0]  # the others share its scales
    if table["difference"].min() < _FLOOR:
        axes.set_ylim(bottom=_FLOOR)
    axes.set_xscale("log")
    wide = table["last ratio"].max() > 100 * table["last ratio"].min()
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    figure.supxlabel(
        "gradient of the scatter loss over that of the classification loss, last epoch"
    )
    forms = [_FORMS[form] for form in dict.fromkeys(table["scatter"])]
    handles = {name: Line2D([], [], ls="none", marker=m, color=c) for name, c, m in forms}
    handles |= {"95 % interval": _INTERVAL} if table["low"].notna().any() else {}
    handles |= {"the paper's weight": Line2D([], [], **_RING)} if table["default"].any() else {}
    style.legend(figure, handles)
    return style.finish(figure)


def _draw_reading(left: Axes, right: Axes, line: Mapping) -> None:
    """Mark one reading of set 3 in the panel of the differences and in that of the growth."""
    x, y = line["last ratio"], line["difference"]
    _, colour, marker = _FORMS[line["scatter"]]
    how = {"color": colour, "marker": marker}
    ends = (line["low"], line["high"]) if y >= _FLOOR else (math.nan, math.nan)
    style.errorbar(left, x, y, *ends, **how, gid="difference")
    right.plot(x, line["growth"], **how, gid="growth")
    if y < _FLOOR:
        left.annotate(
            f"{y:.0f}".replace("-", "\N{MINUS SIGN}"),
            *((x, _FLOOR), (0, 15)),
            textcoords="offset points",
            ha="center",
            fontsize=style.SMALL,
            bbox={"fc": "white", "ec": "none", "pad": 0.5},
            arrowprops={"arrowstyle": "->", "color": colour},
        )
    if line["default"]:
        left.plot(x, y, **_RING)
        right.plot(x, line["growth"], **_RING)
