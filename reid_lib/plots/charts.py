"""Charts of scores: dots, curves and intervals."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from reid_lib.plots import style

_INTERVAL = {"95 % interval": Line2D([], [], color=style.GREY, lw=1.4)}


@style.in_style()
def agreement_by_angle(curves: Mapping[str, pd.DataFrame], label: str) -> Figure:
    """Show how a score depends on the angle between the orientations of query and gallery image.

    Args:
        curves: row name to a table with columns `angle` (degrees, 0 to 180), `value`, and `low` and
            `high`, the ends of its 95 % interval; NaN is left out.
        label: what the score is, with its unit.
    Returns:
        A figure one column wide.
    Raises:
        ValueError: no curve, or a column is missing.
    """
    style.check_not_empty(curves, "curves")
    for name, curve in curves.items():
        style.check_table(curve, ("angle", "value", "low", "high"), f"the curve of {name!r}")
    styles = style.styles_of(curves)
    size = style.SINGLE, 2.4 + 0.09 * len(curves)
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    for i, (name, curve) in enumerate(curves.items()):
        colour, marker, dash = styles[name]
        # Side by side, so that no interval hides another.
        x = curve["angle"] + (i - (len(curves) - 1) / 2) * min(3.5, 18 / len(curves))
        axes.plot(x, curve["value"], color=colour, marker=marker, ls=dash, gid=name)
        axes.vlines(x, curve["low"], curve["high"], colour, lw=1.4)
    axes.set_xticks(range(0, 181, 45))
    axes.set_xlabel("angle between the orientations (degrees)")
    axes.set_ylabel(style.wrap(label, max(32, len(label) // 2 + 3)))  # at most two lines
    axes.grid(True)
    style.legend(figure, _INTERVAL)
    return style.finish(figure)


@style.in_style()
def score_bars(table: pd.DataFrame, paper: pd.DataFrame | None = None) -> Figure:
    """Show the scores of Table 1 as dots, one panel per score, with the paper's scores if given.

    Args:
        table: one row per row of Table 1, one column per score (rank-1 ... mAP), in percent.
        paper: the paper's scores in the same layout; what `table` lacks is left out.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: no score, or one outside 0 to 100.
    """
    looks = {"measured here": {"color": style.PALETTE[0], "marker": "o"}}
    looks["paper"] = {"color": style.INK, "marker": "D", "mfc": "white"}
    tables = {"measured here": table} if paper is None else {"measured here": table, "paper": paper}
    for name, frame in tables.items():
        style.check_not_empty(frame, name)
        if (frame.lt(0) | frame.gt(100)).any(axis=None):
            raise ValueError(f"{name} holds scores outside 0 to 100; expected percent")
    count, size = len(table.columns), (style.DOUBLE, 0.7 + 0.17 * (1 + len(tables)) * len(table))
    figure, grid = style.panels(count, count, size, sharey=True)
    for axes, column in zip(grid, table, strict=True):
        for i, (name, frame) in enumerate(tables.items()):
            scores = frame.reindex(index=table.index, columns=table.columns)[column]
            places = np.arange(len(table)) + 0.34 * (i - (len(tables) - 1) / 2)
            axes.plot(scores, places, ls="none", **looks[name], gid=name)
            options = {"textcoords": "offset points", "va": "center", "color": looks[name]["color"]}
            for score, place in zip(scores, places, strict=True):
                if np.isfinite(score):
                    axes.annotate(
                        f"{score:.1f}", (score, place), (5, 0), size=style.SMALL, **options
                    )
        style.name_rows(axes, table.index)
        axes.set(xlim=(0, 145), xticks=(0, 50, 100), title=column)  # room to write beside 100
    figure.supxlabel("score (%)")
    if paper is not None:
        style.legend(figure)
    return style.finish(figure)


@style.in_style()
def split_scores(table: pd.DataFrame, label: str, zero: bool = False) -> Figure:
    """Show the scores of each split, their mean and its interval.

    Args:
        table: one row per network, setting and score: `network`, `setting`, `score`, `values`
            (those of the splits), `mean`, and `low` and `high`, the ends of its interval (NaN for
            none); and optionally `paper`, the value that the paper reports (NaN for none), shown as
            a diamond.
        label: what the scores are, with their unit.
        zero: draw a line at zero, for scores that are differences.
    Returns:
        A figure two columns wide; rows of panels: networks; columns: scores.
    Raises:
        ValueError: an empty table, or a column is missing.
    """
    wanted = ("network", "setting", "score", "values", "mean", "low", "high")
    style.check_table(table, wanted, "table")
    columns, networks = table["score"].unique(), table["network"].unique()
    settings = {n: part["setting"].unique().tolist() for n, part in table.groupby("network")}
    heights = [0.45 + 0.25 * len(settings[network]) for network in networks]
    size = style.DOUBLE, 0.5 + sum(heights)
    options = {"height_ratios": heights, "sharex": "col"}
    figure, grid = style.panels(len(networks) * len(columns), len(columns), size, **options)
    split_mark = {"ls": "none", "marker": "|", "color": style.GREY, "ms": 7, "gid": "one split"}
    mean_mark = {"ls": "none", "marker": "o", "color": style.PALETTE[0], "gid": "mean"}
    paper_mark = {"ls": "none", "marker": "D", "color": "k", "mfc": "w"}
    paper_mark |= {"gid": "reported by the paper"}
    for place, axes in enumerate(grid):
        network, column = networks[place // len(columns)], columns[place % len(columns)]
        names = settings[network]
        part = table[(table["network"] == network) & (table["score"] == column)]
        y, dots = part["setting"].map(names.index), part["values"].explode().astype(float)
        axes.plot(dots, y[dots.index], **split_mark)
        axes.plot(part["mean"], y, **mean_mark)
        axes.hlines(y, part["low"], part["high"], style.PALETTE[0], lw=1.4, gid="95 % interval")
        if "paper" in part and part["paper"].notna().any():
            axes.plot(part["paper"], y, **paper_mark)
        if zero:
            axes.axvline(0, color=style.GREY, lw=0.8, zorder=0)
        first = place % len(columns) == 0
        style.name_rows(axes, names if first else [""] * len(names))
        axes.set_title(network if first else "", loc="left")
        axes.set_xlabel(style.wrap(f"{column} ({label})" if network == networks[-1] else "", 44))
    style.legend(figure)
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
    choices, scores = (table[name].unique().tolist() for name in ("choice", "score"))
    styles = style.styles_of(sorted(set(table["setting"])))
    size = style.DOUBLE, 0.9 + 0.12 * (len(styles) + 1) * len(choices)
    figure, grid = style.panels(len(scores), len(scores), size, sharey=True)
    for axes, score in zip(grid, scores, strict=True):
        for i, (setting, (colour, marker, _)) in enumerate(styles.items()):
            part = table[(table["score"] == score) & (table["setting"] == setting)]
            shift = min(0.22, 0.8 / len(styles)) * (i - (len(styles) - 1) / 2)
            y = part["choice"].map(choices.index) + shift
            options = {"color": colour, "marker": marker, "ls": "none"}
            axes.plot(part["difference"], y, **options, gid=setting)
            axes.hlines(y, part["low"], part["high"], colour, lw=1.4)
        axes.axvline(0, color=style.GREY, lw=0.8, zorder=0)
        axes.set_xlabel(style.wrap(f"{score}: {label}", 44))
        style.name_rows(axes, choices)
    style.legend(figure, _INTERVAL)
    return style.finish(figure)


_FORMS = {  # of the scatter loss: name, colour, marker
    "sum": ("Eq. 3", style.PALETTE[0], "o"),
    "log": ("logarithm of Eq. 3", style.PALETTE[1], "^"),
    "unit": ("Eq. 3 on L2-normalised codes", style.PALETTE[2], "s"),
}
_RING = {"marker": "o", "ls": "none", "mfc": "none", "color": style.INK, "ms": 9, "mew": 0.9}
_RING |= {"gid": "the paper's gamma (default)"}


@style.in_style()
def scatter_study(table: pd.DataFrame) -> Figure:
    """Show scores and code norms against the ratio of the scatter loss's gradient norm.

    Args:
        table: one row per weight and form of the scatter loss: `network`, `scatter` (its form),
            `default` (the default reading?), `last ratio` (the gradient norm of the scatter loss
            divided by that of the classification loss, in the last epoch), `difference` (rank-1
            minus that of set 2, in points) with `low` and `high` (NaN for none), and `growth` (the
            codes' norm in the last epoch divided by that in the first).
    Returns:
        A figure two columns wide; rows: networks; columns: the difference, and the growth. A ring
        marks the default reading, whose gamma is the paper's.
    Raises:
        ValueError: an empty table, or a column is missing.
    """
    columns = ("network", "scatter", "default", "last ratio", "difference", "low", "high", "growth")
    style.check_table(table, columns, "table")
    networks = table["network"].unique()
    share, size = {"sharex": True, "sharey": "col"}, (style.DOUBLE, 0.6 + 1.9 * len(networks))
    figure, grid = style.panels(2 * len(networks), 2, size, **share)
    for (left, right), network in zip(grid.reshape(-1, 2), networks, strict=True):
        left.set_title(network, loc="left")
        for axes, score, level in ((left, "difference", 0), (right, "growth", 1)):
            own = table[table["network"] == network]
            for form, part in own.groupby("scatter", sort=False):
                name, colour, marker = _FORMS[form]
                options = {"color": colour, "marker": marker, "ls": "none", "gid": name}
                axes.plot(part["last ratio"], part[score], **options)
                if axes is left:
                    axes.vlines(part["last ratio"], part["low"], part["high"], colour, lw=1.4)
            ringed = own[own["default"]]
            axes.plot(ringed["last ratio"], ringed[score], **_RING)
            axes.axhline(level, color=style.GREY, lw=0.8, zorder=0)
            axes.grid(True)
        left.set_ylabel("rank-1 of set 3\nminus that of set 2 (points)")
        right.set_ylabel("mean code norm,\nlast epoch / first epoch")
    grid[0].set_xscale("log")  # the others share it
    grid[0].xaxis.set_major_formatter("{x:g}")
    grid[0].xaxis.set_minor_locator(NullLocator())
    figure.supxlabel(
        "gradient norm of the scatter loss / that of the classification loss (last epoch)"
    )
    style.legend(figure, _INTERVAL)
    return style.finish(figure)


@style.in_style()
def score_by_ratio(table: pd.DataFrame, ours: tuple[str, ...] = ()) -> Figure:
    """Rank-1 of each row against its relative distance (same person / different persons).

    Args:
        table: index: rows; columns `ratio` and `rank-1`, each with `... low` and `... high`.
        ours: rows to mark as the paper's, by colour and shape.
    Returns:
        A figure two columns wide, a number at each point and its row in the legend.
    Raises:
        ValueError: an empty table, or a column is missing.
    Example:
        >>> values = {"ratio": 0.7, "ratio low": 0.6, "ratio high": 0.8}
        >>> values |= {"rank-1": 50.0, "rank-1 low": 40.0, "rank-1 high": 60.0}
        >>> len(score_by_ratio(pd.DataFrame([values], index=["msml"])).axes)
        1
    """
    wanted = [f"{name}{end}" for name in ("ratio", "rank-1") for end in ("", " low", " high")]
    style.check_table(table, wanted, "table")
    figure, (axes,) = style.panels(1, 1, (style.DOUBLE, 3.6))
    for number, (row, line) in enumerate(table.iterrows(), start=1):
        colour, marker = (style.PALETTE[0], "D") if row in ours else (style.INK, "o")
        x, y, name = line["ratio"], line["rank-1"], f"{number} {row}"
        axes.plot(x, y, ls="none", color=colour, marker=marker, gid=name)
        axes.vlines(x, line["rank-1 low"], line["rank-1 high"], colour, lw=0.8)
        axes.hlines(y, line["ratio low"], line["ratio high"], colour, lw=0.8)
        axes.annotate(str(number), (x, y), (4, 3), textcoords="offset points", color=colour)
    axes.set_xlabel("relative distance (same person / different persons)")
    axes.set_ylabel("rank-1 (%)")
    style.legend(figure)
    return style.finish(figure)
