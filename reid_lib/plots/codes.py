"""Figures of what training does to codes: Fig. 2, training curves and t-SNE."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon
from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter, SymmetricalLogLocator
from scipy.spatial import ConvexHull, QhullError

from reid_lib.plots import style

_MARKS = {  # of Fig. 2, beside the persons'
    "before": {"ls": "none", "marker": "o", "color": style.GREY, "mfc": "none", "alpha": 0.6},
    "after": {"ls": "none", "marker": "o", "color": style.GREY},
    "centre": {"ls": "none", "marker": "+", "color": style.INK, "ms": 7, "mew": 1.4},
    "sphere of radius dₘᵢₙ": {"ls": (0, (3, 2)), "color": style.INK, "lw": 0.9},
    "boundary": {"color": style.INK, "lw": 0.8},
}


@style.in_style()
def losses_in_the_plane(cases: Sequence[Mapping[str, Any]]) -> Figure:
    """Show what a loss does to two-dimensional codes (Fig. 2): before faint, after solid.

    Args:
        cases: one mapping per panel, with `title`; `before` and `after`, (N, 2) codes; `labels`,
            (N,) persons; `centres`, (P, 2), or None; and optionally `radii`, (P,) the spheres'
            d_min in the units of the codes, and `boundary`, (M, 4) line segments x0, y0, x1, y1 (or
            a function from the panel's limits x0, x1, y0, y1 to these).
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: no panel, or shapes disagree.
    """
    style.check_not_empty(cases, "panels")
    for case in cases:
        shapes = [np.shape(case[key]) for key in ("before", "after")]
        if shapes[0] != shapes[1] or shapes[0][1:] != (2,):
            raise ValueError(f"before and after are {shapes}; expected both (N, 2)")
        style.check_lengths(shapes[0][0], labels=case["labels"])
        radii, centres = case.get("radii"), case.get("centres")
        if radii is not None and (centres is None or len(radii) != len(centres)):
            raise ValueError("radii need as many centres; give both or neither")
    columns, side = min(3, len(cases)), style.DOUBLE / 3
    figure, grid = style.panels(len(cases), columns, side, side + 0.08)
    persons = sorted({label for case in cases for label in np.asarray(case["labels"]).tolist()})
    looks = {
        person: {
            "color": style.PALETTE[j % len(style.PALETTE)],
            "marker": style.MARKERS[j % len(style.MARKERS)],
        }
        for j, person in enumerate(persons)
    }
    for i, (axes, case) in enumerate(zip(grid, cases, strict=True)):
        _draw_plane(axes, case, looks)
        title = str(case["title"])
        title = title if title.startswith("(") else f"({chr(97 + i % 26)}) {title}"
        axes.set_title(style.wrap(title, side - 0.4, 8.5), parse_math=False)
    figure.supxlabel("first coordinate of the code", x=0.5)
    figure.supylabel("second coordinate of the code")
    given = {"centre": "centres", "sphere of radius dₘᵢₙ": "radii", "boundary": "boundary"}
    handles = {
        "one per person": tuple(Line2D([], [], ls="none", **look) for look in looks.values())
    }
    for name, mark in _MARKS.items():
        if name not in given or any(case.get(given[name]) is not None for case in cases):
            handles[name] = Line2D([], [], **mark)
    style.legend(figure, handles)
    return style.finish(figure)


def _draw_plane(axes: Axes, case: Mapping[str, Any], looks: Mapping) -> None:
    """Draw one panel of Fig. 2, as wide as high around its codes and spheres."""
    before, after = (np.asarray(case[key], dtype=float) for key in ("before", "after"))
    centres, radii, boundary = (case.get(key) for key in ("centres", "radii", "boundary"))
    reach = [before, after]
    how = {"angles": "xy", "scale_units": "xy", "scale": 1, "color": style.GREY}
    axes.quiver(*before.T, *(after - before).T, **how, width=0.006, headwidth=4.5, headlength=5)
    for person, look in looks.items():
        own, colour = np.asarray(case["labels"]) == person, look["color"]
        if own.any():
            shape = {"marker": look["marker"]}
            faint = {"fc": "none", "ec": colour, "alpha": 0.45, "lw": 0.7, "zorder": 1.5}
            axes.scatter(*before[own].T, s=11, **faint, **shape)
            axes.scatter(*after[own].T, s=13, fc=colour, ec="white", lw=0.3, zorder=3, **shape)
    if centres is not None:
        centres = np.asarray(centres, dtype=float)
        axes.scatter(*centres.T, marker="+", s=45, color=style.INK, linewidths=1.4, zorder=4)
        sizes = np.zeros(len(centres)) if radii is None else np.asarray(radii, dtype=float)
        reach += [centres - sizes[:, None], centres + sizes[:, None]]
        for centre, radius in zip(centres, sizes if radii is not None else [], strict=False):
            look = {"ec": style.INK, "lw": 0.9, "ls": (0, (3, 2)), "zorder": 2.5}
            axes.add_patch(Circle(centre, radius, fill=False, **look))
    low, high = np.concatenate(reach).min(0), np.concatenate(reach).max(0)
    half = (high - low).max() / 2 * 1.06 or 1.0
    (x0, y0), (x1, y1) = (low + high) / 2 - half, (low + high) / 2 + half
    if boundary is not None:
        segments = boundary(x0, x1, y0, y1) if callable(boundary) else boundary
        segments = np.asarray(segments, dtype=float).reshape(-1, 2, 2)
        lines = LineCollection(segments, colors=style.INK, linewidths=0.8, gid="bound")
        axes.add_collection(lines, autolim=False)
    axes.set(xlim=(x0, x1), ylim=(y0, y1), aspect="equal")
    axes.spines[:].set_visible(True)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))


_TERMS = {  # name, symbol, symbol as weighted in Eq. 4, unit
    "sr": ("classification", r"$\mathcal{L}_{SR}$", r"$\mathcal{L}_{SR}$", "nats"),
    "cl": ("compact", r"$\mathcal{L}_{CL}$", r"$\beta\,\mathcal{L}_{CL}$", "squared distance"),
    "sl": ("scatter", r"$\mathcal{L}_{SL}$", r"$\gamma\,\mathcal{L}_{SL}$", "squared distance"),
    "tri": ("triplet", r"$\mathcal{L}_{tri}$", r"$\mathcal{L}_{tri}$", "distance"),
}
_QUANTITIES = [  # a line of panels each: column of the history -> title, unit
    {f"l_{t}": (f"{name} loss {symbol}", unit) for t, (name, symbol, _, unit) in _TERMS.items()},
    {
        f"grad_{t}": (f"gradient of {term}", "norm, by the codes")
        for t, (*_, term, _) in _TERMS.items()
    },
    {
        "loss": ("total loss", "loss"),
        "code_norm": ("norm of the codes", "mean norm"),
        "train_accuracy": ("training accuracy", "fraction"),
        "lr": ("learning rate", "learning rate"),
    },
]


@style.in_style()
def training_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Follow training: each loss term, its gradient with respect to the codes, and the codes' norm.

    The gradient norms share one scale, so that the terms can be compared.

    Args:
        histories: row name to its history, one row per epoch, with `epoch` and `loss`, and any of
            `l_sr`, `l_cl`, `l_sl`, `l_tri` (unweighted terms), `grad_sr`, `grad_cl`, `grad_sl`,
            `grad_tri` (gradient norms with respect to the codes, weighted as in Eq. 4),
            `code_norm`, `lr` and `train_accuracy` (a fraction). NaN is left out.
    Returns:
        A figure two columns wide, one small panel per quantity.
    Raises:
        ValueError: no history, one without epochs, or without `epoch` and `loss`.
    """
    style.check_not_empty(histories, "histories")
    for name, history in histories.items():
        style.check_table(history, ("epoch", "loss"), f"the history of {name!r}")
    every = pd.concat(histories.values())
    held = set(every.columns[every.notna().any()])
    lines = [list(quantities) for quantities in _QUANTITIES if held & set(quantities)]
    terms = [t for t in _TERMS if held & {f"l_{t}", f"grad_{t}"}]
    lines = [[c for c in line if c in held or c.partition("_")[2] in terms] for line in lines]
    columns, styles = max(map(len, lines)), style.styles_of(histories)
    size = min(style.DOUBLE, 2.3 * columns), 1.35 * len(lines) + 0.45
    figure, grid = style.panels(columns * len(lines), columns, *size, figsize=size, sharex=True)
    text = {column: words for quantities in _QUANTITIES for column, words in quantities.items()}
    for i, axes in enumerate(grid):
        line, j = lines[i // columns], i % columns
        if j < len(line) and line[j] in held:
            _draw_curves(axes, line[j], histories, styles)
            axes.set_title(text[line[j]][0], fontsize=8)
            axes.set_ylabel(text[line[j]][1], fontsize=style.SMALL + 0.5)
        else:
            axes.set_axis_off()
    gradients = [c for c in held if c.startswith("grad_")]
    if gradients:
        _share_scale([a for a in grid if a.get_title().startswith("gradient")], every[gradients])
    for axes in grid:
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    first, last = every["epoch"].min(), every["epoch"].max()
    pad = max(0.5, 0.03 * (last - first))
    grid[0].set_xlim(first - pad, last + pad)
    figure.supxlabel("epoch")
    keys = style.row_keys(styles)
    for name, history in histories.items():
        keys[name].set_marker(keys[name].get_marker() if len(history) == 1 else "")
    style.legend(figure, keys)
    return style.finish(figure)


def _draw_curves(axes: Axes, column: str, histories: Mapping, styles: Mapping) -> None:
    values = []
    for name, history in histories.items():
        if column in history:
            drawn = history[["epoch", column]].dropna()
            colour, marker, dash = styles[name]
            how = {"marker": marker} if len(drawn) == 1 else {"linestyle": dash}
            axes.plot(drawn["epoch"], drawn[column], color=colour, lw=1.1, gid=name, **how)
            values.append(drawn[column].to_numpy(dtype=float))
    values = np.concatenate(values)
    values = values[np.isfinite(values)]
    axes.margins(y=0.09)
    axes.grid(True)
    if column == "train_accuracy":
        axes.set_ylim(0, 1.03)
    else:
        _log_where_needed(axes, values)
    if column == "lr" and axes.get_yscale() == "linear":
        axes.set_ylim(0, values.max() * 1.15)


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


def _share_scale(panels: Sequence[Axes], frame: pd.DataFrame) -> None:
    """Give panels one scale that holds all values of a table."""
    values = frame.to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    low, high = values.min(), values.max()
    for axes in panels:
        _log_where_needed(axes, values)
        scale = axes.get_yscale()
        least = values[values > 0].min(initial=high)
        bottom = {"log": low / 1.5, "symlog": -least / 2}.get(scale, min(0, low))
        axes.set_ylim(bottom, high * (1.08 if scale == "linear" else 1.6) or 1)


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
        if np.ndim(case["xy"]) != 2 or np.shape(case["xy"])[1] != 2:
            raise ValueError(f"xy is {np.shape(case['xy'])}; expected (N, 2)")
        style.check_lengths(len(case["xy"]), pids=case["pids"], camids=case["camids"])
    everyone, cameras = (
        sorted({value for case in cases for value in np.asarray(case[key]).tolist()})
        for key in ("pids", "camids")
    )
    persons = everyone if coloured is None else [pid for pid in everyone if pid in set(coloured)]
    colours = _person_colours(persons)
    shapes = {camera: style.MARKERS[j % len(style.MARKERS)] for j, camera in enumerate(cameras)}
    columns = min(3, len(cases)) if len(cases) != 4 else 2
    side = style.DOUBLE / columns if columns > 1 else style.SINGLE
    figure, grid = style.panels(len(cases), columns, side, side + 0.5)
    size = np.clip(2500 / max(len(case["xy"]) for case in cases), 5, 14)
    for axes, case in zip(grid, cases, strict=True):
        _draw_embedding(axes, case, colours, shapes, size)
        axes.set_title(style.wrap(case["title"], side - 0.2, 8.5), parse_math=False)
        intra, inter = float(case["intra"]), float(case["inter"])
        ratio = intra / inter if inter else math.nan
        axes.set_xlabel(
            f"mean distance of codes:\nwithin {intra:.3g}, between {inter:.3g}, ratio {ratio:.2f}",
            fontsize=style.SMALL + 0.5 if side > 2.2 else style.SMALL,
        )
    marks = {"ls": "none", "color": style.GREY}
    style.legend(
        figure, {f"camera {c}": Line2D([], [], marker=m, **marks) for c, m in shapes.items()}
    )
    who = f"all {len(persons)} persons"
    if len(persons) < len(everyone):
        who = f"{len(persons)} of {len(everyone)} persons, the others grey"
    text = style.wrap(
        f"Colours and hulls: {who}. t-SNE axes have no unit.",
        side * columns - 0.1,
        style.SMALL + 0.5,
    )
    figure.supxlabel(f"{text}\n{note}".strip(), fontsize=style.SMALL + 0.5, parse_math=False)
    return style.finish(figure)


def _person_colours(pids: Sequence) -> dict:
    """One colour per person: beyond the palette, hues and, in turn, lightness change."""
    if len(pids) <= len(style.PALETTE):
        return dict(zip(pids, style.PALETTE, strict=False))
    lights = (0.45, 0.68) if len(pids) <= 12 else (0.38, 0.58, 0.75)
    sharing = 1 if len(pids) <= 12 else 3  # persons of one hue
    shades = [seaborn.husl_palette(math.ceil(len(pids) / sharing), s=0.9, l=x) for x in lights]
    return {pid: shades[i % len(lights)][i // sharing] for i, pid in enumerate(pids)}


def _draw_embedding(axes: Axes, case: Mapping, colours: Mapping, shapes: Mapping, size) -> None:
    xy, pids = np.asarray(case["xy"], dtype=float), np.asarray(case["pids"])
    for person, colour in colours.items():
        if person in pids:
            shade = {"fc": (*to_rgb(colour), 0.09), "ec": (*to_rgb(colour), 0.6)}
            axes.add_patch(Polygon(_hull(xy[pids == person]), lw=0.5, zorder=1, **shade))
    for camera, marker in shapes.items():
        own = np.asarray(case["camids"]) == camera
        shades = [colours.get(pid, "#d0d0d0") for pid in pids[own].tolist()]
        axes.scatter(*xy[own].T, s=size, c=shades, marker=marker, linewidths=0, zorder=2)
    axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
    axes.margins(0.04)
    axes.spines[:].set(visible=True, color="#bbbbbb")


def _hull(points: np.ndarray) -> np.ndarray:
    """Corners of the convex hull; of points that span no area, their two ends."""
    try:
        return points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        along = points @ (points.max(0) - points.min(0))
        return points[[along.argmin(), along.argmax()]]
