"""Figures of codes: Fig. 2, training curves and t-SNE."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon
from matplotlib.ticker import (
    MaxNLocator,
    NullLocator,
    StrMethodFormatter,
    SymmetricalLogLocator,
)
from scipy.spatial import ConvexHull, QhullError

from reid_lib.plots.style import (
    _MARKERS,
    DOUBLE,
    GREY,
    INK,
    PALETTE,
    SINGLE,
    SMALL,
    _columns,
    _finished,
    _legend,
    _looks,
    _not_empty,
    _same_length,
    _style,
    _wrapped,
)

_TERMS = {  # name, symbol, symbol as weighted in Eq. 4, unit
    "sr": ("classification", r"$\mathcal{L}_{SR}$", r"$\mathcal{L}_{SR}$", "nats"),
    "cl": ("compact", r"$\mathcal{L}_{CL}$", r"$\beta\,\mathcal{L}_{CL}$", "squared distance"),
    "sl": ("scatter", r"$\mathcal{L}_{SL}$", r"$\gamma\,\mathcal{L}_{SL}$", "squared distance"),
    "tri": ("triplet", r"$\mathcal{L}_{tri}$", r"$\mathcal{L}_{tri}$", "distance"),
}


@_style()
def losses_in_the_plane(panels: Sequence[Mapping[str, Any]]) -> Figure:
    """Show what a loss does to two-dimensional codes (Fig. 2): before faint, after solid.

    Args:
        panels: one mapping a panel, with `title`; `before` and `after`, (N, 2) codes; `labels`,
            (N,) persons; `centres`, (P, 2), or None; `radii`, (P,) the spheres' d_min in the units
            of the codes, or None; and optionally `boundary`, (M, 4) line segments x0, y0, x1, y1
            (or a function from the panel's limits x0, x1, y0, y1 to these).
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: no panel, or shapes disagree.
    """
    _not_empty(panels, "panels")
    for panel in panels:
        shapes = [np.shape(panel[key]) for key in ("before", "after")]
        if shapes[0] != shapes[1] or shapes[0][1:] != (2,):
            raise ValueError(f"before and after are {shapes}; expected both (N, 2)")
        _same_length(shapes[0][0], labels=panel["labels"])
        if panel.get("radii") is not None and (
            panel.get("centres") is None or len(panel["radii"]) != len(panel["centres"])
        ):
            raise ValueError("radii need as many centres; give both or neither")

    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    side = DOUBLE / 3
    figure, grid = plt.subplots(
        lines,
        columns,
        figsize=(side * columns, (side + 0.18) * lines + 0.3),
        squeeze=False,
        layout="constrained",
    )
    persons = sorted({label for panel in panels for label in np.asarray(panel["labels"]).tolist()})
    looks = {
        person: {"color": PALETTE[j % len(PALETTE)], "marker": _MARKERS[j % len(_MARKERS)]}
        for j, person in enumerate(persons)
    }
    marks = set()
    for spare in grid.ravel()[len(panels) :]:
        spare.set_axis_off()
    for i, (axes, panel) in enumerate(zip(grid.ravel(), panels, strict=False)):
        before, after = (np.asarray(panel[key], dtype=float) for key in ("before", "after"))
        labels = np.asarray(panel["labels"])
        centres, radii = panel.get("centres"), panel.get("radii")
        reach = [before, after]
        if centres is not None:
            centres = np.asarray(centres, dtype=float)
            r = np.zeros(len(centres)) if radii is None else np.asarray(radii, dtype=float)
            reach += [centres - r[:, None], centres + r[:, None]]
        reach = np.concatenate(reach)
        middle = (reach.min(0) + reach.max(0)) / 2
        half = (reach.max(0) - reach.min(0)).max() / 2 * 1.06 or 1.0
        limits = (middle[0] - half, middle[0] + half, middle[1] - half, middle[1] + half)

        axes.quiver(
            *before.T,
            *(after - before).T,
            angles="xy",
            scale_units="xy",
            scale=1,
            color=GREY,
            width=0.006,
            headwidth=4.5,
            headlength=5,
            zorder=2,
        )
        for person, look in looks.items():
            own = labels == person
            if not own.any():
                continue
            colour, shape = look["color"], {"marker": look["marker"]}
            axes.scatter(
                *before[own].T, s=11, fc="none", ec=colour, alpha=0.45, lw=0.7, zorder=1.5, **shape
            )
            axes.scatter(*after[own].T, s=13, fc=colour, ec="white", lw=0.3, zorder=3, **shape)
        if centres is not None:
            axes.scatter(*centres.T, marker="+", s=45, color=INK, linewidths=1.4, zorder=4)
            marks.add("centre")
        if radii is not None:
            for centre, radius in zip(centres, radii, strict=True):
                axes.add_patch(
                    Circle(centre, radius, fill=False, ec=INK, lw=0.9, ls=(0, (3, 2)), zorder=2.5)
                )
            marks.add("sphere")
        boundary = panel.get("boundary")
        if boundary is not None:
            segments = np.asarray(boundary(*limits) if callable(boundary) else boundary, float)
            axes.add_collection(
                LineCollection(segments.reshape(-1, 2, 2), colors=INK, linewidths=0.8, gid="bound"),
                autolim=False,
            )
            marks.add("boundary")
        axes.set(xlim=limits[:2], ylim=limits[2:], aspect="equal")
        for name in ("top", "right"):
            axes.spines[name].set_visible(True)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        title = str(panel["title"])
        title = title if title.startswith("(") else f"({chr(97 + i % 26)}) {title}"
        axes.set_title(_wrapped(title, side - 0.4, 8.5), parse_math=False)
    figure.supxlabel("first coordinate of the code", x=0.5)
    figure.supylabel("second coordinate of the code")
    spot = {"ls": "none", "marker": "o", "color": GREY}
    handles = {
        "a person each": tuple(Line2D([], [], ls="none", **look) for look in looks.values()),
        "before": Line2D([], [], mfc="none", alpha=0.6, **spot),
        "after": Line2D([], [], **spot),
    }
    if "centre" in marks:
        handles["centre"] = Line2D([], [], ls="none", marker="+", color=INK, ms=7, mew=1.4)
    if "sphere" in marks:
        handles["sphere of radius dₘᵢₙ"] = Line2D([], [], ls=(0, (3, 2)), color=INK, lw=0.9)
    if "boundary" in marks:
        handles["boundary"] = Line2D([], [], color=INK, lw=0.8)
    _legend(figure, handles)
    return _finished(figure)


@_style()
def training_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Follow training: each loss term, the gradient it puts on the codes, and the codes' norm.

    The gradient norms share one scale, so that they can be compared: they are each term's share.

    Args:
        histories: row name to its history, a row an epoch, with `epoch` and `loss`, and any of
            `l_sr`, `l_cl`, `l_sl`, `l_tri` (raw terms), `grad_sr`, `grad_cl`, `grad_sl`,
            `grad_tri` (gradient norms with respect to the codes, weighted as in Eq. 4),
            `code_norm`, `lr` and `train_accuracy` (a fraction). NaN is left out.
    Returns:
        A figure two columns wide, a small panel a quantity.
    Raises:
        ValueError: no history, one without epochs, or without `epoch` and `loss`.
    """
    _not_empty(histories, "histories")
    for name, history in histories.items():
        _columns(history, ("epoch", "loss"), f"the history of {name!r}")
        _not_empty(history, f"the history of {name!r}")

    def held(column):
        return any(column in h and h[column].notna().any() for h in histories.values())

    terms = [t for t in _TERMS if held(f"l_{t}") or held(f"grad_{t}")]
    grid: list[list[tuple[str, str, str]]] = [[], [], []]
    for term in terms:
        name, symbol, weighted, unit = _TERMS[term]
        grid[0].append((f"l_{term}", f"{name} loss {symbol}", unit))
        grid[1].append((f"grad_{term}", f"gradient of {weighted}", "norm, by the codes"))
    rest = {
        "loss": ("total loss", "loss"),
        "code_norm": ("norm of the codes", "mean norm"),
        "train_accuracy": ("training accuracy", "fraction"),
        "lr": ("learning rate", "learning rate"),
    }
    grid[2] = [(column, *text) for column, text in rest.items() if held(column)]
    lines = [[cell for cell in line] for line in grid if any(held(cell[0]) for cell in line)]
    columns = max(len(line) for line in lines)

    looks = _looks(histories)
    figure, axes_grid = plt.subplots(
        len(lines),
        columns,
        figsize=(min(DOUBLE, 2.3 * columns), 1.35 * len(lines) + 0.45),
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    gradients = []
    for line, axes_line in zip(lines, axes_grid, strict=True):
        for spare in axes_line[len(line) :]:
            spare.set_axis_off()
        for (column, title, unit), axes in zip(line, axes_line, strict=False):
            if not held(column):
                axes.set_axis_off()
                continue
            values = []
            for name, history in histories.items():
                if column not in history:
                    continue
                drawn = history[["epoch", column]].dropna()
                colour, marker, dash = looks[name]
                how = {"marker": marker} if len(drawn) == 1 else {"linestyle": dash}
                axes.plot(drawn["epoch"], drawn[column], color=colour, lw=1.1, gid=name, **how)
                values.append(drawn[column].to_numpy(dtype=float))
            values = np.concatenate(values)
            values = values[np.isfinite(values)]
            axes.margins(y=0.09)
            axes.set_title(title, fontsize=8)
            axes.set_ylabel(unit, fontsize=SMALL + 0.5)
            axes.grid(True)
            if column.startswith("grad_"):
                gradients.append((axes, values))
            elif column == "train_accuracy":
                axes.set_ylim(0, 1.03)
            else:
                _log_where_needed(axes, values)
                if column == "lr" and axes.get_yscale() == "linear":
                    axes.set_ylim(0, values.max() * 1.15)
    if gradients:
        every = np.concatenate([values for _, values in gradients])
        for axes, _ in gradients:
            _log_where_needed(axes, every)
            low, high = every.min(), every.max()
            least = every[every > 0].min(initial=high)
            axes.set_ylim(
                {"log": low / 1.5, "symlog": -least / 2}.get(axes.get_yscale(), min(0, low)),
                high * (1.08 if axes.get_yscale() == "linear" else 1.6) or 1,
            )
    for axes in figure.axes:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    epochs = np.concatenate([h["epoch"].to_numpy(dtype=float) for h in histories.values()])
    pad = max(0.5, 0.03 * (epochs.max() - epochs.min()))
    axes_grid[0, 0].set_xlim(epochs.min() - pad, epochs.max() + pad)
    figure.supxlabel("epoch")
    handles = {
        name: Line2D(
            [], [], color=colour, ls=dash, marker=marker if len(histories[name]) == 1 else ""
        )
        for name, (colour, marker, dash) in looks.items()
    }
    _legend(figure, handles)
    return _finished(figure)


def _log_where_needed(axes: Axes, values: np.ndarray) -> None:
    """A logarithmic axis for values that span more than a factor of 30; zeros keep their place."""
    positive = values[values > 0]
    if len(positive) < 2 or (values < 0).any() or positive.max() / positive.min() <= 30:
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=(1, 2, 5, 10)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    elif (values == 0).any():
        axes.set_yscale("symlog", linthresh=positive.min())
        axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=positive.min()))
    else:
        axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())


def _person_colours(pids: Sequence) -> dict:
    """A colour a person: beyond the palette, hues turn and lightness steps from one to the next."""
    if len(pids) <= len(PALETTE):
        return dict(zip(pids, PALETTE, strict=False))
    lights = (0.45, 0.68) if len(pids) <= 12 else (0.38, 0.58, 0.75)
    persons = 1 if len(pids) <= 12 else 3  # who share a hue
    hues = math.ceil(len(pids) / persons)
    shades = [seaborn.husl_palette(hues, s=0.9, l=light) for light in lights]
    return {pid: shades[i % len(lights)][i // persons] for i, pid in enumerate(pids)}


@_style()
def tsne_panels(
    panels: Sequence[Mapping[str, Any]], note: str = "", coloured: Sequence | None = None
) -> Figure:
    """Show codes flattened by t-SNE: a colour a person with its convex hull, a shape a camera.

    Args:
        panels: one mapping a panel, with `title`; `xy`, (N, 2); `pids` and `camids`, (N,);
            `intra` and `inter`, the mean distance within and between persons in the space of the
            codes (not of the picture), written below with their ratio.
        note: a line for perplexity and seed.
        coloured: the persons who get a colour and a hull, the others being grey; None: all.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: no panel, or lengths disagree.
    """
    _not_empty(panels, "panels")
    for panel in panels:
        if np.ndim(panel["xy"]) != 2 or np.shape(panel["xy"])[1] != 2:
            raise ValueError(f"xy is {np.shape(panel['xy'])}; expected (N, 2)")
        _same_length(len(panel["xy"]), pids=panel["pids"], camids=panel["camids"])
    everyone = sorted({pid for panel in panels for pid in np.asarray(panel["pids"]).tolist()})
    persons = everyone if coloured is None else [pid for pid in everyone if pid in set(coloured)]
    cameras = sorted({cam for panel in panels for cam in np.asarray(panel["camids"]).tolist()})
    colours = _person_colours(persons)

    columns = min(3, len(panels)) if len(panels) != 4 else 2
    lines = math.ceil(len(panels) / columns)
    side = DOUBLE / columns if columns > 1 else SINGLE
    figure, grid = plt.subplots(
        lines,
        columns,
        figsize=(side * columns, (side + 0.45) * lines + 0.45),
        squeeze=False,
        layout="constrained",
    )
    for spare in grid.ravel()[len(panels) :]:
        spare.set_axis_off()
    size = np.clip(2500 / max(len(panel["xy"]) for panel in panels), 5, 14)
    for axes, panel in zip(grid.ravel(), panels, strict=False):
        xy = np.asarray(panel["xy"], dtype=float)
        pids, camids = np.asarray(panel["pids"]), np.asarray(panel["camids"])
        for person in persons:
            if person not in pids:
                continue
            axes.add_patch(
                Polygon(
                    _hull(xy[pids == person]),
                    fc=(*matplotlib.colors.to_rgb(colours[person]), 0.09),
                    ec=(*matplotlib.colors.to_rgb(colours[person]), 0.6),
                    lw=0.5,
                    zorder=1,
                )
            )
        for j, camera in enumerate(cameras):
            own = camids == camera
            axes.scatter(
                *xy[own].T,
                s=size,
                c=[colours.get(pid, "#d0d0d0") for pid in pids[own].tolist()],
                marker=_MARKERS[j % len(_MARKERS)],
                linewidths=0,
                zorder=2,
            )
        axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        axes.margins(0.04)
        for spine in axes.spines.values():
            spine.set(visible=True, color="#bbbbbb")
        axes.set_title(_wrapped(panel["title"], side - 0.2, 8.5), parse_math=False)
        intra, inter = float(panel["intra"]), float(panel["inter"])
        ratio = intra / inter if inter else math.nan
        axes.set_xlabel(
            f"mean distance of codes:\nwithin {intra:.3g}, between {inter:.3g}, ratio {ratio:.2f}",
            fontsize=SMALL + 0.5 if side > 2.2 else SMALL,
        )
    handles = {
        f"camera {camera}": Line2D(
            [], [], ls="none", marker=_MARKERS[j % len(_MARKERS)], color=GREY
        )
        for j, camera in enumerate(cameras)
    }
    _legend(figure, handles)
    who = f"each of {len(persons)} persons"
    if len(persons) < len(everyone):
        who = f"{len(persons)} of {len(everyone)} persons, the others grey"
    text = f"A colour and a hull for {who}; the plane has no unit."
    text = _wrapped(text, side * columns - 0.1, SMALL + 0.5) + (f"\n{note}" if note else "")
    figure.supxlabel(text, fontsize=SMALL + 0.5, parse_math=False)
    return _finished(figure)


def _hull(points: np.ndarray) -> np.ndarray:
    """Corners of the convex hull; of points that span no area, their two ends."""
    try:
        return points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        along = points @ (points.max(0) - points.min(0))
        return points[[along.argmin(), along.argmax()]]
