"""Figures of what training does to codes: training curves and t-SNE."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.pyplot import figure as new_figure
from matplotlib.ticker import MaxNLocator, NullLocator, SymmetricalLogLocator
from scipy.spatial import ConvexHull, QhullError

from reid_lib.plots import style

_TEXTS = {  # title and unit of each panel, in three lines of five
    "l_sr": (r"classification loss $\mathcal{L}_{SR}$", "nats"),
    "l_cl": (r"compact loss $\mathcal{L}_{CL}$", "squared distance"),
    "l_sl": (r"scatter loss $\mathcal{L}_{SL}$", "squared distance"),
    "l_tri": (r"triplet loss $\mathcal{L}_{tri}$", "distance"),
    "l_rel": ("related loss", "loss"),
    "grad_sr": (r"gradient of $\mathcal{L}_{SR}$", "norm w.r.t. codes"),
    "grad_cl": (r"gradient of $\beta\,\mathcal{L}_{CL}$", "norm w.r.t. codes"),
    "grad_sl": (r"gradient of $\gamma\,\mathcal{L}_{SL}$", "norm w.r.t. codes"),
    "grad_tri": (r"gradient of $\mathcal{L}_{tri}$", "norm w.r.t. codes"),
    "grad_rel": ("gradient of the related loss", "norm w.r.t. codes"),
    "loss": ("total loss", "loss"),
    "code_norm": ("norm of the codes", "mean norm"),
    "train_accuracy": ("training accuracy", "fraction"),
    "lr": ("learning rate", "learning rate"),
}
_GRID = np.reshape([*_TEXTS, "."], (3, 5))


@style.in_style()
def training_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Follow training: each loss term, its gradient with respect to the codes, and the codes' norm.

    The gradient norms share one scale, so that the terms can be compared.

    Args:
        histories: row name to its history, one row per epoch, with `epoch` and `loss`, and any of
            `l_sr`, `l_cl`, `l_sl`, `l_tri`, `l_rel` (unweighted terms), `grad_sr`, ... (gradient
            norms with respect to the codes, weighted as in Eq. 4), `code_norm`, `lr` and
            `train_accuracy` (a fraction). NaN is left out.
    Returns:
        A figure two columns wide, one small panel per quantity.
    Raises:
        ValueError: no history, one without epochs, or without `epoch` and `loss`.
    """
    style.check_not_empty(histories, "histories")
    for name, history in histories.items():
        style.check_table(history, ("epoch", "loss"), f"the history of {name!r}")
    every = pd.concat(histories.values())
    held = np.isin(_GRID, every.columns[every.notna().any()])
    grid = np.where(held, _GRID, ".")[held.any(1)][:, held.any(0)]
    size = min(style.DOUBLE, 2.3 * grid.shape[1]), 1.35 * len(grid) + 0.45
    figure, styles = new_figure(figsize=size, layout="constrained"), style.styles_of(histories)
    panels = figure.subplot_mosaic(grid.tolist(), sharex=True)
    gradients = [column for column in panels if column.startswith("grad_")]
    for column, axes in panels.items():
        if column in gradients[1:]:
            axes.sharey(panels[gradients[0]])
        for name, history in histories.items():
            if column in history:
                drawn = history[["epoch", column]].dropna()
                colour, marker, dash = styles[name]
                options = {
                    "marker": marker,
                    "markevery": max(1, len(drawn) // 5),
                    "ms": 3,
                    "ls": dash,
                }
                axes.plot(drawn["epoch"], drawn[column], color=colour, lw=1.1, **options, gid=name)
        shared = gradients if column in gradients else [column]
        _scale(axes, every[shared].to_numpy(dtype=float), column != "train_accuracy")
        title, unit = _TEXTS[column]
        axes.set_title(title, fontsize=8, parse_math=True)
        axes.set_ylabel(unit, fontsize=style.SMALL + 0.5)
        axes.grid(True)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    figure.supxlabel("epoch")
    style.legend(figure)
    return style.finish(figure)


def _scale(axes: Axes, values: np.ndarray, may_be_logarithmic: bool) -> None:
    """Scale an axis that holds zero: logarithmic where values span more than a factor of 30."""
    positive = values[values > 0]
    axes.margins(y=0.09)
    wide = positive.max(initial=0) > 30 * positive.min(initial=np.inf)
    if not wide or (values < 0).any() or not may_be_logarithmic:
        axes.axhline(0, lw=0)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 10)))
    else:
        axes.set_yscale("symlog", linthresh=positive.min())
        axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=positive.min()))
        axes.yaxis.get_major_locator().set_params(numticks=5)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")


@style.in_style()
def tsne_panels(
    cases: Sequence[Mapping[str, Any]], note: str = "", coloured: Sequence | None = None
) -> Figure:
    """Show codes embedded by t-SNE; colours and convex hulls: persons; shapes: cameras.

    Args:
        cases: one mapping per panel, with `title`; `xy`, (N, 2); `pids` and `camids`, (N,);
            `intra` and `inter`, the mean distance within and between persons in the space of the
            codes (not of the picture), written below with their ratio.
        note: a line for perplexity and seed.
        coloured: the persons with a colour and a hull, the others being grey; None: all.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: no panel, or lengths disagree.
    """
    style.check_not_empty(cases, "panels")
    for case in cases:
        style.check_shapes(case, xy="n 2", pids="n", camids="n")
    everyone, cameras = (
        np.unique(np.concatenate([case[key] for case in cases])).tolist()
        for key in ("pids", "camids")
    )
    persons = everyone if coloured is None else [pid for pid in everyone if pid in set(coloured)]
    # One hue per person; neighbouring hues differ in lightness.
    shades = [seaborn.husl_palette(len(persons), s=0.9, l=light) for light in (0.42, 0.68)]
    colours = {pid: shades[i % 2][i] for i, pid in enumerate(persons)}
    shapes = dict(zip(cameras, style.MARKERS, strict=False))
    columns = 2 if len(cases) == 4 else min(3, len(cases))
    side = style.DOUBLE / max(columns, 2)
    size = side * columns, (side + 0.6) * math.ceil(len(cases) / columns) + 0.6
    figure, grid = style.panels(len(cases), columns, size)
    for axes, case in zip(grid, cases, strict=True):
        _draw_embedding(axes, case, colours, shapes)
        axes.set_title(style.wrap(case["title"], 30))
        intra, inter = float(case["intra"]), float(case["inter"])
        ratio = f"ratio {intra / inter if inter else math.nan:.2f}"
        means = f"same person {intra:.3g}, different persons {inter:.3g}"
        text = f"mean distance between codes:\n{means}\n({ratio})"
        axes.set_xlabel(text, fontsize=style.SMALL)
    options = {"ls": "none", "color": style.GREY}
    names = style.camera_names(cameras)
    marks = {names[c]: Line2D([], [], marker=m, **options) for c, m in shapes.items()}
    style.legend(figure, marks)
    few = f"{len(persons)} of {len(everyone)} persons, the others grey"
    who = few if len(persons) < len(everyone) else f"all {len(persons)} persons"
    text = f"Colours and hulls: {who}. t-SNE axes have no unit.\n{note}"
    figure.supxlabel(text.strip(), fontsize=style.SMALL)
    return style.finish(figure)


def _draw_embedding(axes: Axes, case: Mapping, colours: Mapping, shapes: Mapping) -> None:
    xy, pids = np.asarray(case["xy"], dtype=float), np.asarray(case["pids"])
    for person, colour in colours.items():
        points = xy[pids == person]
        with suppress(QhullError, ValueError):  # points that span no area are joined by a line
            points = points[ConvexHull(points).vertices]
        if len(points):
            shade = {"fc": to_rgba(colour, 0.09), "ec": to_rgba(colour, 0.6)}
            axes.add_patch(Polygon(points, lw=0.5, zorder=1, **shade))
    for camera, marker in shapes.items():
        own = np.asarray(case["camids"]) == camera
        shades = [colours.get(pid, "#d0d0d0") for pid in pids[own].tolist()]
        size = np.clip(2500 / len(xy), 5, 14)
        axes.scatter(*xy[own].T, s=size, c=shades, marker=marker, linewidths=0, zorder=2)
    axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    axes.spines[:].set(visible=True, color="#bbbbbb")
