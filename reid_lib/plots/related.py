"""Figures of notebook 09: effects of the losses of section 2, and scores against distances."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reid_lib.plots import style
from reid_lib.plots.method import losses_in_the_plane


def at_a_glance(points: np.ndarray, labels: np.ndarray, moved: Mapping[str, np.ndarray]) -> Figure:
    """Show where each loss moves the same two-dimensional codes, one small panel per loss.

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
    given = {"points": points, "labels": labels, **moved}
    style.check_shapes(given, points="n 2", labels="n", **dict.fromkeys(moved, "n 2"))
    shared = {"before": points, "labels": labels}
    cases = [{"title": title, "after": after} | shared for title, after in moved.items()]
    return losses_in_the_plane(cases, columns=4)


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
    figure, (axes,) = style.panels(1, 1, (style.DOUBLE, 3.6))
    for number, (row, line) in enumerate(table.iterrows(), start=1):
        colour, marker = (style.PALETTE[0], "D") if row in ours else (style.INK, "o")
        x, y, name = line["ratio"], line["rank-1"], f"{number} {row}"
        axes.plot(x, y, ls="none", color=colour, marker=marker, gid=name)
        axes.vlines(x, line["rank-1 low"], line["rank-1 high"], colour, lw=0.8)
        axes.hlines(y, line["ratio low"], line["ratio high"], colour, lw=0.8)
        axes.annotate(str(number), (x, y), (4, 3), textcoords="offset points", color=colour)
    axes.set_xlabel("mean distance within a person / between persons")
    axes.set_ylabel("rank-1 (%)")
    style.legend(figure)
    return style.finish(figure)
