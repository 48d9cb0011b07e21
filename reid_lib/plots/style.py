"""The one style of all figures, and what they share: checks, text, legends."""

from __future__ import annotations

import textwrap
from bisect import bisect
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path

SINGLE, DOUBLE = 3.3, 6.9  # inches: the paper's column and its two columns with the gutter
SMALL = 7.0  # points: no text is smaller
RED, GREY, INK = "#c8102e", "#767676", "#222222"
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#000000", "#56b4e9", "#d55e00")
_ROWS = {
    "resnet50_htri": ("#cc79a7", "v", (0, (1, 1))),
    "resnet18_htri": ("#000000", "s", (0, (4, 1.5))),
    "set1": ("#56b4e9", "^", (0, (6, 1, 1, 1))),
    "set2": ("#e69f00", "D", (0, (8, 1))),
    "set3": ("#0072b2", "o", "solid"),
}
_MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
_STYLE = {
    "figure.dpi": 144,
    "savefig.dpi": 200,
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "figure.titlesize": 9,
    "figure.labelsize": 8,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid.axis": "y",
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,  # text stays text, which publishers ask for and readers can search
}


@contextmanager
def _style():
    """The one style, from matplotlib's defaults up, so that a reader's own settings do not show."""
    with matplotlib.style.context(_STYLE, after_reset=True):
        yield


def _images(images, name: str, ndim: int = 4) -> np.ndarray:
    images = np.asarray(images)
    wanted = "(H, W, 3)" if ndim == 3 else "(k, H, W, 3)"
    if images.ndim != ndim or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise ValueError(
            f"{name} is {images.dtype} {images.shape}; expected uint8 {wanted}: "
            "move the channels last and do not normalise"
        )
    return images


def _same_length(n: int, **named) -> None:
    for name, values in named.items():
        if len(values) != n:
            raise ValueError(f"{name} has {len(values)} entries; expected {n}, one for each image")


def _columns(frame: pd.DataFrame, wanted: Iterable[str], name: str) -> None:
    missing = [column for column in wanted if column not in frame.columns]
    if missing:
        raise ValueError(f"{name} has no column {missing}; it has {list(frame.columns)}")


def _not_empty(values, name: str) -> None:
    if len(values) == 0:
        raise ValueError(f"{name} is empty; give at least one to draw")


def _width(text: str, size: float, weight: str = "normal") -> float:
    """Width of a line of text in inches at `size` points."""
    font = FontProperties(family=["DejaVu Sans"], size=size, weight=weight)
    return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


def _shortened(text: Any, width: float, size: float = SMALL, weight: str = "normal") -> str:
    """`text` on one line of at most `width` inches, its middle left out if need be."""
    text = " ".join(str(text).split())
    if _width(text, size, weight) <= width:
        return text

    def short(kept):
        head = (kept + 1) // 2
        return text[:head] + "…" + text[len(text) - (kept - head) :]

    fits = range(1, len(text))
    return short(bisect(fits, width, key=lambda kept: _width(short(kept), size, weight)))


def _wrapped(text: Any, width: float, size: float) -> str:
    """`text` broken into lines of about `width` inches (0.62 em a character is wide for DejaVu)."""
    return textwrap.fill(str(text), max(8, int(width * 72 / (0.62 * size))))


def _legend(figure: Figure, handles: Mapping[str, Any], loc: str = "outside upper center") -> None:
    """Name the marks of a figure outside its panels, in as many columns as its width holds."""
    labels = [_shortened(label, figure.get_figwidth() - 0.6, 7.5) for label in handles]
    length = 2.4 if any(_is_line(handle) for handle in handles.values()) else 1.1
    # A handle's length, the gap after it and the gap to the next column, all in ems of 7.5 points.
    widths = [_width(label, 7.5) + (length + 0.8 + 2) * 7.5 / 72 for label in labels]
    room = figure.get_figwidth() - 0.1
    columns = len(labels) if sum(widths) <= room else max(1, int(room / max(widths)))
    # matplotlib drops labels that begin with "_", so the names are put in afterwards.
    legend = figure.legend(
        list(handles.values()),
        ["-"] * len(labels),
        loc=loc,
        ncols=columns,
        handlelength=length,
        handler_map={tuple: HandlerTuple(ndivide=None)},  # several marks side by side
    )
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_parse_math(False)
        text.set_text(label)


def _is_line(handle: Any) -> bool:
    return isinstance(handle, Line2D) and handle.get_linestyle() != "None"


def _finished(figure: Figure) -> Figure:
    """Lay out once and keep it: each drawing would move things by a hair more."""
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    return _released(figure)


def _released(figure: Figure) -> Figure:
    """Take the figure out of pyplot's keeping, or a notebook would show it a second time."""
    plt.close(figure)
    return figure


def _looks(names: Iterable[str]) -> dict[str, tuple]:
    """Colour, marker and line style of each row: the paper's have their own, others the rest.

    A row such as mobilenet_v2_set2 looks as the paper's that its name ends with, if no other does.
    """
    names = list(names)
    ends = {name: next((row for row in _ROWS if name.endswith(row)), None) for name in names}
    ends |= {name: "resnet18_htri" for name in names if name.endswith("htri") and not ends[name]}
    looks = {name: _ROWS[name] for name in names if name in _ROWS}
    for name, row in ends.items():
        alone = list(ends.values()).count(row) == 1
        if row and alone:
            looks[name] = _ROWS[row]
    taken = {colour for colour, _, _ in looks.values()}
    free = [c for c in ("#009e73", "#d55e00", *PALETTE) if c not in taken] or list(PALETTE)
    for i, name in enumerate(name for name in names if name not in looks):
        dash = (0, (2 + i % 4, 1)) if i else "solid"
        looks[name] = (free[i % len(free)], ("P", "X", "*", "h")[i % 4], dash)
    return {name: looks[name] for name in names}
