"""The style that all figures share, and their common checks, texts and legends."""

import math
import textwrap
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SINGLE, DOUBLE = 3.3, 6.9  # inches: the paper's column, and its two columns with the gutter
SMALL = 7.0  # points: no text is smaller
RED, GREY, INK = "#c8102e", "#767676", "#222222"
# Okabe and Ito's palette, in an order whose neighbours differ in lightness as well.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#000000", "#56b4e9", "#d55e00")
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
# Colour, marker and line style of each setting, the same in every figure. The two settings that
# Table 1 lacks have darker shades of the palette's last two hues, so that they differ in grey too.
STYLES = {
    "resnet50_htri": ("#cc79a7", "v", (0, (1, 1))),
    "xent_htri": ("#a83c00", "P", (0, (2, 1))),
    "htri_cl": ("#00553e", "X", (0, (4, 1, 1, 1, 1, 1))),
    "resnet18_htri": ("#000000", "s", (0, (4, 1.5))),
    "set1": ("#56b4e9", "^", (0, (6, 1, 1, 1))),
    "set2": ("#e69f00", "D", (0, (8, 1))),
    "set3": ("#0072b2", "o", "solid"),
}
_SHEET = Path(__file__).with_name("paper.mplstyle")


@contextmanager
def in_style():
    """Draw in the common style; the reader's own matplotlib settings neither show nor change."""
    with matplotlib.style.context(_SHEET, after_reset=True):
        yield


def styles_of(names: Iterable[str]) -> dict[str, tuple]:
    """Colour, marker and line style of each row of a table.

    A row has the style of the setting that its name is or ends with, unless two rows end with the
    same setting; every other row has a style that none of the settings present has.
    """
    names = list(names)
    endings = {name: next((s for s in STYLES if name.endswith(s)), None) for name in names}
    endings |= {n: "resnet18_htri" for n in names if n.endswith("htri") and not endings[n]}
    found = list(endings.values())
    known = {n: s for n, s in endings.items() if s and (n in STYLES or found.count(s) == 1)}
    styles = {name: STYLES[setting] for name, setting in known.items()}
    taken = {mark for style in styles.values() for mark in style[:2]}
    colours = [c for c in ("#009e73", "#d55e00", *PALETTE) if c not in taken] or list(PALETTE)
    markers = [marker for marker in "PX*hp<>dv8H" if marker not in taken]
    for i, name in enumerate(name for name in names if name not in styles):
        dash = (0, (2 + i % 4, 1)) if i else "solid"
        styles[name] = (colours[i % len(colours)], markers[i % len(markers)], dash)
    return {name: styles[name] for name in names}


def camera_names(camids: Iterable[int]) -> dict[int, str]:
    """Each camera by its letter, as directions name it, and its id; ids beyond 26 have no letter.

    Example:
        >>> camera_names([5, 2, 2])
        {2: 'camera A (id 2)', 5: 'camera B (id 5)'}
    """
    ids = sorted(set(camids))
    letters = dict(zip(ids, ascii_uppercase, strict=False))
    return {c: f"camera {letters[c]} (id {c})" if c in letters else f"camera {c}" for c in ids}


def check_shapes(given: Mapping[str, Any], **shapes: str) -> None:
    """Compare arrays with their shapes; what is None or absent is left out.

    Args:
        given: arrays by name.
        shapes: for a name its sizes, such as "k h w 3". A letter is the same size throughout; a 3
            at the end is that of the channels of a uint8 image.
    Raises:
        ValueError: another shape or type, or a size is 0.
    Example:
        >>> check_shapes({"xy": np.ones((4, 2)), "pids": [1, 2]}, xy="n 2", pids="n")
        Traceback (most recent call last):
        ValueError: pids is int64 (2,); expected (4,)
    """
    sizes = {}
    for name in (name for name in shapes if given.get(name) is not None):
        value, letters = np.asarray(given[name]), shapes[name].split()
        if value.ndim == len(letters):
            sizes = dict(zip(letters, value.shape, strict=True)) | sizes
        wanted = tuple(int(x) if x.isdigit() else sizes.get(x, x) for x in letters)
        image = letters[-1] == "3"
        if value.shape != wanted or (image and value.dtype != np.uint8):
            text = str(wanted).replace("'", "")
            hint = "uint8 {}: move the channels last and do not normalise" if image else "{}"
            found = f"{name} is {value.dtype} {value.shape}"
            raise ValueError(f"{found}; expected {hint.format(text)}")
        check_not_empty(range(value.size), name)


def check_table(frame: pd.DataFrame, columns: Iterable[str], name: str) -> None:
    """ValueError unless a table has rows and all of these columns."""
    check_not_empty(frame, name)
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"{name} has no column {missing}; it has {list(frame.columns)}")


def check_not_empty(values, name: str) -> None:
    """ValueError if there is nothing to draw."""
    if len(values) == 0:
        raise ValueError(f"{name} is empty; give at least one to draw")


def wrap(text: Any, letters: int) -> str:
    """`text` in two lines of at most so many letters, the rest being left out."""
    return "\n".join(textwrap.wrap(str(text), letters, max_lines=2, placeholder=" …"))


def legend(figure: Figure, more: Mapping[str, Any] | None = None) -> None:
    """Name a figure's marks above its panels, in as many columns as its width holds.

    The marks are the artists that have a name (a `gid`), each name once, beginning with the last
    panel, and `more`, by name.
    """
    marks = {}
    for artist in (artist for axes in figure.axes[::-1] for artist in axes.get_children()):
        if artist.get_gid():
            marks.setdefault(artist.get_gid(), artist)
    marks |= more or {}
    for columns in range(len(marks), 0, -1):
        names = [wrap(name, 60) for name in marks]
        drawn = figure.legend(marks.values(), names, loc="outside upper center", ncols=columns)
        if drawn.get_window_extent().width <= figure.bbox.width or columns == 1:
            break
        drawn.remove()


def panels(count: int, columns: int, size: tuple, **options) -> tuple[Figure, Any]:
    """A figure of `size` in inches, with `count` panels in lines of `columns`."""
    options = {"figsize": size, "squeeze": False, "layout": "constrained"} | options
    figure, grid = plt.subplots(math.ceil(count / columns), columns, **options)
    for spare in grid.flat[count:]:
        spare.set_axis_off()
    return figure, grid.ravel()[:count]


def name_rows(axes: Axes, names: Iterable) -> None:
    """One line of a chart per name, the first on top, with a grid along the values."""
    names = [wrap(name, 36) for name in names]
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")


def finish(figure: Figure) -> Figure:
    """Lay out once and keep that layout: each later drawing would shift things slightly.

    The figure is closed for pyplot, or a notebook would show it a second time.
    """
    for _ in range(2):  # the first pass may change the ticks
        figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    plt.close(figure)
    return figure
