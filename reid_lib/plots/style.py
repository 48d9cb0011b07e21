"""The style that all figures share, and their common checks, texts and legends."""

import math
import textwrap
from bisect import bisect
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

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
    styles = {}
    for name, setting in endings.items():
        if name in STYLES:
            styles[name] = STYLES[name]
        elif setting and list(endings.values()).count(setting) == 1:
            styles[name] = STYLES[setting]
    taken = {mark for style in styles.values() for mark in style[:2]}
    colours = [c for c in ("#009e73", "#d55e00", *PALETTE) if c not in taken] or list(PALETTE)
    markers = [marker for marker in ("P", "X", "*", "h") if marker not in taken]
    for i, name in enumerate(name for name in names if name not in styles):
        dash = (0, (2 + i % 4, 1)) if i else "solid"
        styles[name] = (colours[i % len(colours)], markers[i % len(markers)], dash)
    return {name: styles[name] for name in names}


def check_images(images, name: str, ndim: int = 4) -> np.ndarray:
    """`images` as an array; ValueError unless it is uint8 with its three channels last."""
    images = np.asarray(images)
    wanted = "(H, W, 3)" if ndim == 3 else "(k, H, W, 3)"
    if images.ndim != ndim or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"{name} is {images.dtype} {images.shape}; expected uint8 {wanted}: "
            "move the channels last and do not normalise"
        )
    return images


def check_lengths(n: int, **named) -> None:
    """ValueError unless each of the named sequences has `n` entries."""
    for name, values in named.items():
        if len(values) != n:
            raise ValueError(f"{name} has {len(values)} entries; expected {n}, one for each image")


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


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width of a line of text in inches at `size` points."""
    font = FontProperties(family=["DejaVu Sans"], size=size, weight=weight)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def shorten(text: Any, width: float, size: float = SMALL, weight: str = "normal") -> str:
    """`text` on one line of at most `width` inches, without its middle if it is longer."""
    text = " ".join(str(text).split())
    if text_width(text, size, weight) <= width:
        return text

    def short(kept):
        head = (kept + 1) // 2
        return text[:head] + "…" + text[len(text) - (kept - head) :]

    fits = range(1, len(text))
    return short(bisect(fits, width, key=lambda kept: text_width(short(kept), size, weight)))


def wrap(text: Any, width: float, size: float) -> str:
    """`text` broken into lines of about `width` inches (DejaVu needs at most 0.62 em a letter)."""
    return textwrap.fill(str(text), max(8, int(width * 72 / (0.62 * size))))


def legend(figure: Figure, handles: Mapping[str, Any], loc: str = "outside upper center") -> None:
    """Name a figure's marks outside its panels, in as many columns as its width holds."""
    labels = [shorten(label, figure.get_figwidth() - 0.6, 7.5) for label in handles]
    lines = [h for h in handles.values() if isinstance(h, Line2D) and h.get_linestyle() != "None"]
    length = 2.4 if lines else 1.1
    # A handle's length, the gap after it and the gap to the next column, all in ems of 7.5 points.
    widths = [text_width(label, 7.5) + (length + 0.8 + 2) * 7.5 / 72 for label in labels]
    room = figure.get_figwidth() - 0.1
    drawn = figure.legend(
        list(handles.values()),
        ["-"] * len(labels),
        loc=loc,
        ncols=len(labels) if sum(widths) <= room else max(1, int(room / max(widths))),
        handlelength=length,
        handler_map={tuple: HandlerTuple(ndivide=None)},  # several marks side by side
    )
    # matplotlib drops labels that begin with "_", so the names are put in afterwards.
    for text, label in zip(drawn.get_texts(), labels, strict=True):
        text.set(parse_math=False, text=label)


def row_keys(styles: Mapping[str, tuple], lines: bool = True) -> dict[str, Line2D]:
    """A legend's mark for each row: its marker, on its line if `lines`."""
    return {
        name: Line2D([], [], color=colour, marker=marker, ls=dash if lines else "none")
        for name, (colour, marker, dash) in styles.items()
    }


def panels(count: int, columns: int, width: float, height: float, **how) -> tuple[Figure, Any]:
    """A figure with `count` panels of this size in inches, and room for a legend above them."""
    lines = math.ceil(count / columns)
    size = (width * columns, height * lines + 0.4)
    how = {"figsize": size, "squeeze": False, "layout": "constrained"} | how
    figure, grid = plt.subplots(lines, columns, **how)
    for spare in grid.flat[count:]:
        spare.set_axis_off()
    return figure, grid.ravel()[:count]


def name_rows(axes: Axes, names: list[str]) -> None:
    """One line of a chart per name, the first on top, with a grid along the values."""
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")


def finish(figure: Figure) -> Figure:
    """Lay out once and keep that layout: each later drawing would shift things slightly."""
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    return release(figure)


def release(figure: Figure) -> Figure:
    """Close the figure for pyplot, or a notebook would show it a second time."""
    plt.close(figure)
    return figure


def errorbar(axes: Axes, x, y, low, high, along: str = "y", **how) -> None:
    """Draw values with their intervals `low` to `high` along one axis; NaN leaves out an interval.

    Rounding keeps an interval that begins at its value from a negative length of 1e-16.
    """
    given = {"x": np.asarray(x, dtype=float), "y": np.asarray(y, dtype=float)}
    ends = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    lengths = np.round([given[along] - ends[0], ends[1] - given[along]], 9).reshape(2, -1)
    axes.errorbar(**given, **{f"{along}err": lengths}, **{"elinewidth": 1.4, "ls": "none"} | how)
