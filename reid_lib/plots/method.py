"""Figures of notebook 02: a function's body, Fig. 2, definitions of the centre, Eq. 4."""

from __future__ import annotations

import ast
import inspect
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from reid_lib.plots import style


def body(function: Callable) -> str:
    """A function's source without its docstring, as a Markdown code block.

    Args:
        function: a Python function or class.
    Returns:
        Markdown, for `IPython.display.Markdown`.
    Raises:
        TypeError, OSError: the source is not available; see `inspect.getsource`.
    Example:
        >>> from reid_lib.losses import total_loss
        >>> print(body(total_loss).splitlines()[-2])
            return loss
    """
    source = textwrap.dedent(inspect.getsource(function))
    lines = source.splitlines()
    first = ast.parse(source).body[0].body[0]
    if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
        del lines[first.lineno - 1 : first.end_lineno]
    return "\n".join(["```python", *lines, "```"])


def boundaries(weight: np.ndarray, length: float = 20.0) -> np.ndarray:
    """Where two of three persons share the best logit: the boundaries of a classifier.

    Args:
        weight: (3, 2) float, the classifier's weights; it has no bias.
        length: the length of each segment.
    Returns:
        (M, 4) segments x0, y0, x1, y1 from the origin, as `losses_in_the_plane` draws them.
    Example:
        >>> boundaries(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]), 1.0).round(2) + 0.0
        array([[ 0.  ,  0.  ,  0.  , -1.  ],
               [ 0.  ,  0.  ,  0.71,  0.71],
               [ 0.  ,  0.  , -0.71,  0.71]])
    """
    weight = np.asarray(weight, dtype=float)
    segments = []
    for one, other, third in ((0, 1, 2), (0, 2, 1), (1, 2, 0)):
        x, y = weight[one] - weight[other]
        for end in (np.array([-y, x]), np.array([y, -x])):
            if end @ weight[one] > end @ weight[third]:
                segments.append([0, 0, *(length * end / np.hypot(x, y))])
    return np.array(segments)


_CENTRE = {"marker": "+", "color": style.INK, "gid": "centre"}
_SPHERE = {"ls": (0, (3, 2)), "color": style.INK, "lw": 0.9, "gid": "sphere of radius dₘᵢₙ"}


@style.in_style()
def losses_in_the_plane(cases: Sequence[Mapping[str, Any]], columns: int = 3) -> Figure:
    """Show what a loss does to two-dimensional codes (Fig. 2): before hollow, after solid.

    Args:
        cases: one mapping per panel, with `title`; `before` and `after`, (N, 2) codes; `labels`,
            (N,) int persons; and optionally `centres`, (P, 2); `radii`, (P,) the spheres' d_min;
            and `boundary`, (M, 4) line segments x0, y0, x1, y1.
        columns: number of panels in a row.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: no panel, or shapes disagree.
    """
    style.check_not_empty(cases, "panels")
    for case in cases:
        shapes = {"labels": "n", "centres": "p 2", "radii": "p", "boundary": "m 4"}
        style.check_shapes(case, before="n 2", after="n 2", **shapes)
    side, columns = style.DOUBLE / columns, min(columns, len(cases))
    size = side * columns, (side + 0.1) * math.ceil(len(cases) / columns) + 0.6
    figure, grid = style.panels(len(cases), columns, size)
    for axes, case in zip(grid, cases, strict=True):
        before, after = (np.asarray(case[key], dtype=float) for key in ("before", "after"))
        _draw_moves(axes, before, after - before, style.GREY)
        _draw_codes(axes, before, case["labels"], "before", mfc="none", alpha=0.45)
        _draw_codes(axes, after, case["labels"], "after")
        _draw_centres(axes, case.get("centres"), case.get("radii"))
        if case.get("boundary") is not None:
            segments = np.asarray(case["boundary"], dtype=float).reshape(-1, 2, 2)
            lines = LineCollection(segments, colors=style.INK, linewidths=0.8, gid="boundary")
            axes.add_collection(lines, autolim=False)
        axes.set(title=style.wrap(case["title"], 24), aspect="equal", adjustable="datalim")
    return _finish_plane(figure, "from before to after")


@style.in_style()
def centre_definitions(cases: Sequence[Mapping[str, Any]]) -> Figure:
    """Compare definitions of the centre on two-dimensional codes: centres, spheres, moves.

    Args:
        cases: one mapping per panel, with `title`; `codes`, (N, 2); `averaged`, (N, 2) the codes
            that the centres are the mean of, NaN where an image does not count; `labels`, (N,)
            persons; `batch`, (N,) bool, which images form the batch; `centres`, (P, 2) and
            `radii`, (P,); and `steps`, (N, 2) the direction in which the compact loss moves a code.
    Returns:
        A figure, four panels wide at two columns of the paper.
    Raises:
        ValueError: no case, or shapes disagree.
    Example:
        >>> codes = np.array([[0.0, 0.0], [2.0, 0.0]])
        >>> case = {"title": "batch", "codes": codes, "averaged": codes, "steps": 0 * codes}
        >>> case |= {"labels": np.array([0, 1]), "batch": np.array([True, True])}
        >>> len(centre_definitions([case | {"centres": codes, "radii": np.ones(2)}]).axes)
        1
    """
    style.check_not_empty(cases, "cases")
    for case in cases:
        shapes = {"codes": "n 2", "averaged": "n 2", "labels": "n", "batch": "n", "steps": "n 2"}
        style.check_shapes(case, **shapes, centres="p 2", radii="p")
    columns = min(4, len(cases))
    size = columns * style.DOUBLE / 4, math.ceil(len(cases) / columns) * 2.1 + 0.4
    figure, grid = style.panels(len(cases), columns, size, sharex=True, sharey=True)
    for axes, case in zip(grid, cases, strict=True):
        codes, averaged = (np.asarray(case[key], dtype=float) for key in ("codes", "averaged"))
        labels, batch, steps = (np.asarray(case[key]) for key in ("labels", "batch", "steps"))
        older = np.isfinite(averaged[:, 0]) & (averaged != codes).any(1)
        _draw_codes(axes, codes[batch], labels[batch], "in the batch")
        _draw_codes(axes, codes[~batch], labels[~batch], "not in the batch", mfc="none")
        _draw_codes(axes, averaged[older], labels[older], "older code, in the memory", marker="x")
        _draw_centres(axes, case["centres"], case["radii"])
        moved = np.abs(steps).sum(1) > 0
        _draw_moves(axes, codes[moved], steps[moved], style.INK)
        axes.set(title=style.wrap(case["title"], 24), aspect="equal")
    return _finish_plane(figure, "negative gradient of the compact loss, scaled")


def _draw_codes(axes: Axes, codes: np.ndarray, labels: Sequence[int], name: str, **options) -> None:
    """Draw codes in the colour and shape of their persons."""
    for person in np.unique(labels):
        marks = {"color": style.PALETTE[person % len(style.PALETTE)], "ls": "none", "gid": name}
        marks |= {"marker": style.MARKERS[person % len(style.MARKERS)], **options}
        axes.plot(*codes[np.asarray(labels) == person].T, **marks)


def _draw_moves(axes: Axes, codes: np.ndarray, steps: np.ndarray, colour: str) -> None:
    """Draw an arrow from each code along its step, in the units of the codes."""
    options = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.006, "headwidth": 4.5}
    axes.quiver(*codes.T, *steps.T, **options, color=colour)


def _draw_centres(axes: Axes, centres, radii) -> None:
    """Draw centres, and around each the sphere of its radius unless that is not finite."""
    if centres is None:
        return
    axes.scatter(*np.transpose(centres), **_CENTRE, s=45, linewidths=1.4, zorder=4)
    for centre, radius in zip(centres, [] if radii is None else radii, strict=False):
        if np.isfinite(radius):
            axes.add_patch(Circle(centre, float(radius), fill=False, **_SPHERE))


def _finish_plane(figure: Figure, arrows: str) -> Figure:
    for axes in figure.axes:
        axes.spines[:].set_visible(True)
        axes.locator_params(nbins=5)
    words = f"Colour and shape: person; arrow: {arrows}."
    figure.supxlabel(f"first coordinate of the code\n{words}")
    figure.supylabel("second coordinate of the code")
    style.legend(figure)
    return style.finish(figure)


@style.in_style()
def net_force(profiles: pd.DataFrame, coefficients: pd.DataFrame, change: float) -> Figure:
    """Show where gradient descent on Eq. 4 moves a code, by its distance from its centre and by P.

    Args:
        profiles: one column per P; index: the distance from the person's centre in units of the
            radius d_min; values: the component of the negative gradient towards that centre.
        coefficients: columns `inside` and `outside` of the sphere; index: P; values: the
            coefficient of (centre − code), which is that component divided by the distance.
        change: P at which the coefficient outside the sphere changes its sign.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: an empty table, or a column is missing.
    Example:
        >>> profiles = pd.DataFrame({8: [-4e-6, 9e-5]}, index=[0.5, 2.0])
        >>> coefficients = pd.DataFrame({"inside": [-7e-6], "outside": [4.3e-5]}, index=[8])
        >>> len(net_force(profiles, coefficients, 51).axes)
        2
    """
    style.check_table(profiles, (), "profiles")
    style.check_table(coefficients, ("inside", "outside"), "coefficients")
    figure, (left, right) = style.panels(2, 2, (style.DOUBLE, 3.0))
    # The component jumps at the sphere, so the curves have a gap there.
    forces = 1e5 * profiles.reindex(profiles.index.union([1.0]))
    options = {"color": style.PALETTE, "style": ["-", "--", "-.", ":"], "legend": False}
    forces.plot(ax=left, **options, xlabel="distance from the person's centre / dₘᵢₙ")
    left.axvline(1, **_SPHERE)
    left.set_title("negative gradient of β L_CL − γ L_SL\nwith respect to a code")
    left.set_ylabel("component towards the centre (10⁻⁵)")
    for persons, line, marker in zip(profiles, left.lines, style.MARKERS, strict=False):
        line.set_gid(f"{persons} persons")
        if persons in coefficients.index:
            right.plot(persons, 1e5 * coefficients.outside[persons], marker, color=line.get_color())
    outside, inside = (1e5 * coefficients[name] for name in ("outside", "inside"))
    outside.plot(ax=right, color=style.INK, zorder=1, gid="outside the sphere: β − γ(P − 1)")
    inside.plot(ax=right, color=style.GREY, style="--", gid="inside: −γ(P − 1)")
    right.axvline(change, color=style.RED, lw=0.9, gid=f"P = 1 + β/γ = {change:g}")
    right.set(title="coefficient of (centre − code)", xlabel="number of persons P in the sums")
    right.set_ylabel("β − γ(P − 1) or −γ(P − 1) (10⁻⁵)")
    for axes in (left, right):
        axes.axhline(0, color=style.GREY, lw=0.6, zorder=0)
    style.legend(figure)
    return style.finish(figure)
