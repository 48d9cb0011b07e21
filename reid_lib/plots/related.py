"""Figures of notebook 09: the losses of section 2 at a glance, and scores against distances."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reid_lib.plots import style


@style.in_style()
def at_a_glance(points: np.ndarray, labels: np.ndarray, moved: Mapping[str, np.ndarray]) -> Figure:
    """Show where each loss moves the same codes in the plane, one small panel per loss.

    Args:
        points: (N, 2) float, before.
        labels: (N,) int, persons.
        moved: title to (N, 2) float, after.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: nothing to draw, or a shape differs from that of `points`.
    Example:
        >>> points = np.array([[0.0, 0.0], [1.0, 0.0]])
        >>> len(at_a_glance(points, np.array([0, 1]), {"msml": points + 1}).axes)
        1
    """
    style.check_not_empty(moved, "moved")
    points, labels = np.asarray(points, dtype=float), np.asarray(labels)
    style.check_lengths(len(points), labels=labels)
    columns = min(4, len(moved))
    figure, grid = style.panels(len(moved), columns, style.DOUBLE / 4, 1.8)
    arrows = {"angles": "xy", "scale_units": "xy", "scale": 1, "color": style.GREY, "width": 0.008}
    for axes, (title, after) in zip(grid, moved.items(), strict=True):
        after = np.asarray(after, dtype=float)
        if after.shape != points.shape:
            raise ValueError(f"{title!r} has shape {after.shape}; expected {points.shape}")
        axes.quiver(*points.T, *(after - points).T, **arrows)
        for person in np.unique(labels):
            own, colour = labels == person, style.PALETTE[person % len(style.PALETTE)]
            look = {"marker": style.MARKERS[person % len(style.MARKERS)], "s": 12}
            axes.scatter(*points[own].T, fc="none", ec=colour, lw=0.7, alpha=0.5, **look)
            axes.scatter(*after[own].T, fc=colour, ec="white", lw=0.3, zorder=3, **look)
        axes.set_title(title, parse_math=False, fontsize=style.SMALL + 1)
        axes.set_aspect("equal", adjustable="datalim")
        axes.spines[:].set_visible(True)
        axes.tick_params(labelsize=style.SMALL)
    mark = {"ls": "none", "marker": "o", "color": style.GREY}
    keys = {"before": Line2D([], [], mfc="none", **mark), "after": Line2D([], [], **mark)}
    style.legend(figure, keys)
    return style.finish(figure)


@style.in_style()
def score_by_ratio(table: pd.DataFrame, ours: tuple[str, ...] = ()) -> Figure:
    """Rank-1 of each row against its ratio of within-person to between-person distance.

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
    figure, (axes,) = style.panels(1, 1, style.DOUBLE, 3.2)
    keys = {}
    for number, (row, line) in enumerate(table.iterrows(), start=1):
        own = row in ours
        colour, marker = (style.PALETTE[0], "D") if own else (style.INK, "o")
        x, y = line["ratio"], line["rank-1"]
        look = {"color": colour, "marker": marker, "ms": 4, "lw": 0.8}
        style.errorbar(axes, [x], [y], [line["rank-1 low"]], [line["rank-1 high"]], **look)
        style.errorbar(axes, [x], [y], [line["ratio low"]], [line["ratio high"]], "x", **look)
        axes.annotate(str(number), (x, y), (4, 3), textcoords="offset points", color=colour)
        keys[f"{number} {row}"] = Line2D([], [], ls="none", marker=marker, color=colour)
    axes.set_xlabel("mean distance within a person / between persons")
    axes.set_ylabel("rank-1 (%)")
    style.legend(figure, keys)
    return style.finish(figure)
