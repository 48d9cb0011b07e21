"""Figures of notebook 02: a function's body, the readings of the centre, the net force of Eq. 4."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from reid_lib.plots import style


def body(function: Callable) -> str:
    """A function's source without its docstring, as a Markdown code block.

    Args:
        function: a Python function or class.
    Returns:
        Markdown, for `IPython.display.Markdown`.
    Raises:
        TypeError, OSError: the source is not available, as `inspect.getsource`.
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
        length: of each segment.
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


@style.in_style()
def centre_readings(cases: Sequence[Mapping[str, Any]]) -> Figure:
    """Compare readings of the centre on codes in the plane: centres, spheres and the pull.

    Args:
        cases: one mapping per panel, with `title`; `codes`, (N, 2); `averaged`, (N, 2) the codes
            that the centres are the mean of, NaN where an image does not count; `labels`, (N,)
            persons; `batch`, (N,) bool, which images form the batch; `centres`, (P, 2) and
            `radii`, (P,); and `steps`, (N, 2) the direction in which the compact loss moves a code.
    Returns:
        A figure, four panels wide at two columns of the paper.
    Raises:
        ValueError: no case, or lengths disagree.
    Example:
        >>> codes = np.array([[0.0, 0.0], [2.0, 0.0]])
        >>> case = {"title": "batch", "codes": codes, "averaged": codes, "steps": 0 * codes}
        >>> case |= {"labels": np.array([0, 1]), "batch": np.array([True, True])}
        >>> len(centre_readings([case | {"centres": codes, "radii": np.ones(2)}]).axes)
        1
    """
    style.check_not_empty(cases, "cases")
    for case in cases:
        keys = ("averaged", "labels", "batch", "steps")
        style.check_lengths(len(case["codes"]), **{key: case[key] for key in keys})
    columns = min(4, len(cases))
    figure, grid = style.panels(
        len(cases), columns, style.DOUBLE / 4, 2.1, sharex=True, sharey=True
    )
    for axes, case in zip(grid, cases, strict=True):
        _draw_reading(axes, case)
        axes.set_title(str(case["title"]), parse_math=False)
    figure.supxlabel("first coordinate of the code", x=0.5)
    figure.supylabel("second coordinate of the code")
    grey = {"ls": "none", "color": style.GREY}
    style.legend(
        figure,
        {
            "in the batch": Line2D([], [], marker="o", **grey),
            "not in the batch": Line2D([], [], marker="o", mfc="none", **grey),
            "older code, in the memory": Line2D([], [], marker="x", **grey),
            "centre": Line2D([], [], ls="none", marker="+", color=style.INK, ms=8, mew=1.5),
            "sphere of radius dₘᵢₙ": Line2D([], [], ls=(0, (3, 2)), color=style.INK, lw=0.9),
            "pull of the compact loss": Line2D([], [], color=style.INK, lw=1.2),
        },
    )
    return style.finish(figure)


def _draw_reading(axes: Axes, case: Mapping[str, Any]) -> None:
    """Draw one reading: codes, what the centres average, spheres, and arrows for the pull."""
    codes, averaged = (np.asarray(case[key], dtype=float) for key in ("codes", "averaged"))
    labels, batch, steps = (np.asarray(case[key]) for key in ("labels", "batch", "steps"))
    older = np.isfinite(averaged[:, 0]) & (averaged != codes).any(1)
    for person in np.unique(labels):
        own, colour = labels == person, style.PALETTE[person % len(style.PALETTE)]
        look = {"marker": style.MARKERS[person % len(style.MARKERS)], "s": 18, "zorder": 3}
        axes.scatter(*codes[own & batch].T, fc=colour, ec="white", lw=0.3, **look)
        axes.scatter(*codes[own & ~batch].T, fc="none", ec=colour, lw=0.8, **look)
        axes.scatter(*averaged[own & older].T, marker="x", s=16, color=colour, lw=0.8)
        x, y = case["centres"][person]
        axes.scatter(x, y, marker="+", s=60, color=style.INK, linewidths=1.5, zorder=4)
        if not np.isfinite(case["radii"][person]):  # a person who takes part in no sum
            continue
        circle = {"ec": colour, "lw": 1.0, "ls": (0, (3, 2)), "fill": False}
        axes.add_patch(Circle((x, y), float(case["radii"][person]), **circle))
    moved = np.abs(steps).sum(1) > 0
    how = {"angles": "xy", "scale_units": "xy", "scale": 1, "color": style.INK, "zorder": 3.5}
    axes.quiver(*codes[moved].T, *steps[moved].T, **how, width=0.006, headwidth=4.5)
    axes.set_aspect("equal")
    axes.spines[:].set_visible(True)


@style.in_style()
def net_force(profiles: pd.DataFrame, coefficients: pd.DataFrame, change: float) -> Figure:
    """Show which way Eq. 4 moves a code, by its distance from its centre and by the persons P.

    Args:
        profiles: one column per P; index: the distance from the own centre in units of the radius
            d_min; values: the force towards the own centre.
        coefficients: columns `inside` and `outside` of the sphere; index: P; values: force divided
            by distance.
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
    figure, (left, right) = style.panels(2, 2, style.DOUBLE / 2, 2.4)
    looks = ("solid", (0, (6, 1.5)), (0, (3, 1.5)), (0, (1, 1)))
    keys = {}
    for i, persons in enumerate(profiles):
        how = {"color": style.PALETTE[i % len(style.PALETTE)], "ls": looks[i % len(looks)]}
        for inside in (True, False):  # the force jumps at the sphere
            part = profiles[persons][(profiles.index < 1) == inside]
            left.plot(part.index, 1e5 * part, **how)
        marker = style.MARKERS[i % len(style.MARKERS)]
        if persons in coefficients.index:
            right.plot(persons, 1e5 * coefficients.outside[persons], marker, color=how["color"])
        keys[f"{persons} persons"] = Line2D([], [], marker=marker, **how)
    left.axvline(1, color=style.INK, lw=0.9, ls=(0, (3, 2)))
    left.set_title("force on a code")
    left.set_xlabel("distance from the own centre / dₘᵢₙ")
    left.set_ylabel("force towards the centre (10⁻⁵)")
    right.plot(coefficients.index, 1e5 * coefficients.outside, color=style.INK, zorder=1)
    right.plot(coefficients.index, 1e5 * coefficients.inside, color=style.GREY, ls=(0, (2, 1)))
    right.axvline(change, color=style.RED, lw=0.9)
    right.set_title("its coefficient")
    right.set_xlabel("persons P in the sums")
    right.set_ylabel("force / distance (10⁻⁵)")
    for axes in (left, right):
        axes.axhline(0, color=style.GREY, lw=0.6, zorder=0)
    keys["outside the sphere: β − γ(P − 1)"] = Line2D([], [], color=style.INK)
    keys["inside: −γ(P − 1)"] = Line2D([], [], color=style.GREY, ls=(0, (2, 1)))
    keys[f"P = 1 + β/γ = {change:g}"] = Line2D([], [], color=style.RED, lw=0.9)
    style.legend(figure, keys)
    return style.finish(figure)
