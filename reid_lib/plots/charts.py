"""Charts of scores: dots, curves and intervals."""

import math
import textwrap
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from reid_lib.plots import style

_INTERVAL = Line2D([], [], ls="none", marker="|", color=style.GREY, ms=9, mew=1.4)
_SPLIT = {"ls": "none", "marker": "|", "color": style.GREY, "ms": 7}


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
                if np.isfinite(score):  # written on the side where the panel has room
                    shift, side = (5, "left") if score < 60 else (-5, "right")
                    how = {"textcoords": "offset points", "fontsize": style.SMALL, "color": colour}
                    how |= {"ha": side, "va": "center"}
                    axes.annotate(f"{score:.1f}", (score, place), (shift, 0), **how)
        style.name_rows(axes, [style.shorten(row, 1.3) for row in table.index])
        axes.grid(False)
        axes.set(xlim=(0, 104), xticks=(0, 50, 100))
        axes.set_title(style.shorten(column, 1.1, 8.5), parse_math=False)
        axes.hlines(range(len(table)), 0, 104, color="#eeeeee", lw=0.5, zorder=0)
    figure.supxlabel("score (%)")
    if paper is not None:
        marks = [
            Line2D([], [], ls="none", marker=marker, color=colour, mfc=face)
            for _, colour, marker, face in drawn.values()
        ]
        style.legend(figure, dict(zip(("measured here", "paper"), marks, strict=True)))
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
                axes.plot(dots, np.full(len(dots), y), **_SPLIT)
            for mean in part[part["score"] == column].to_dict("records"):
                y, setting = settings.index(mean["setting"]), mean["setting"]
                how = {"along": "x", "color": style.PALETTE[0], "marker": "o", "gid": setting}
                style.errorbar(axes, mean["mean"], y, mean["low"], mean["high"], **how)
            style.name_rows(axes, settings if axes is line[0] else [""] * len(settings))
            axes.set_xlabel(f"{column} ({label})" if part is parts[-1][1] else "", parse_math=False)
        line[0].set_title(network, loc="left", parse_math=False)
    mean = Line2D([], [], marker="o", lw=1.6, color=style.PALETTE[0])
    style.legend(figure, {"one split": Line2D([], [], **_SPLIT), "mean and 95 % interval": mean})
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
        style.name_rows(axes, names)
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
