"""The paper's figures and the companion's own: from arrays and tables to matplotlib figures.

Nothing here computes a score, opens a run folder or calls `show`: a function takes what an earlier
stage measured and returns a figure, which the caller shows, saves with `save` and closes. All share
one style, which holds while a figure is made and leaves the reader's own settings alone.

Red marks a correct match, always beside a second mark (a tick or another shape), so that no figure
is read by colour alone. Sizes are the paper's columns: 3.3 in for one, 6.9 in for two.
"""

from __future__ import annotations

import functools
import math
import textwrap
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyArrowPatch, Patch, Polygon, Rectangle
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    NullLocator,
    StrMethodFormatter,
    SymmetricalLogLocator,
)
from PIL import Image
from scipy.spatial import ConvexHull, QhullError

from reid_lib.engine.files import write_file, write_text

SINGLE, DOUBLE = 3.3, 6.9  # inches: the paper's column and its two columns with the gutter
SMALL = 7.0  # points: no text is smaller
RED, GREY, INK = "#c8102e", "#767676", "#222222"
# Okabe and Ito's palette, in an order whose neighbours differ in lightness as well.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#000000", "#56b4e9", "#d55e00")
# A row of Table 1 looks the same in every figure, whichever rows are beside it.
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


# --- checks ---------------------------------------------------------------------------------------


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


# --- text -----------------------------------------------------------------------------------------


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


def _distance(value: float) -> str:
    if not math.isfinite(value):
        return f"d² {value}"
    if value != 0 and (abs(value) < 0.01 or abs(value) >= 1e5):
        return f"d² {value:.1e}"
    return f"d² {value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"


# --- layout ---------------------------------------------------------------------------------------


def _finished(figure: Figure) -> Figure:
    """Lay out once and keep it: each drawing would move things by a hair more."""
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine("none")
    return _released(figure)


def _released(figure: Figure) -> Figure:
    """Take the figure out of pyplot's keeping, or a notebook would show it a second time."""
    plt.close(figure)
    return figure


def _sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure and, over all of it, axes measured in inches from the top left corner."""
    figure = _released(plt.figure(figsize=(width, height)))
    page = figure.add_axes((0, 0, 1, 1))
    page.set(xlim=(0, width), ylim=(height, 0))
    page.set_axis_off()
    return figure, page


def _inset(page: Axes, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches from the top left corner of the page."""
    figure = page.get_figure()
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))


def _picture(page: Axes, image: np.ndarray, left: float, top: float, width: float, height: float):
    axes = _inset(page, left, top, width, height)
    axes.imshow(image, interpolation="antialiased", aspect="auto")
    axes.set_axis_off()
    return axes


def _line(page: Axes, x: float, y: float, text: str, **how) -> Text:
    how = {"ha": "center", "va": "top", "fontsize": SMALL, "parse_math": False} | how
    return page.text(x, y, text, **how)


def _caption(page: Axes, x: float, top: float, lines: Iterable[str], **how) -> None:
    for i, text in enumerate(lines):
        _line(page, x, top + (i + 0.8) * _LINE, text, va="baseline", **how)


def _box(page: Axes, left, top, width, height, kind: str) -> None:
    """Frame a picture: 'correct' in red, 'junk' dashed grey, 'wrong' a hair line, 'query' black."""
    look = {
        "correct": {"edgecolor": RED, "linewidth": 2.0},
        "junk": {"edgecolor": GREY, "linewidth": 1.2, "linestyle": (0, (2.5, 1.5))},
        "wrong": {"edgecolor": "#bbbbbb", "linewidth": 0.5},
        "query": {"edgecolor": INK, "linewidth": 1.2},
    }[kind]
    out = look["linewidth"] / 72 / 2  # the frame lies around the pixels, not over them
    page.add_patch(
        Rectangle(
            (left - out, top - out),
            width + 2 * out,
            height + 2 * out,
            fill=False,
            gid=kind,
            joinstyle="miter",
            **look,
        )
    )


def _arrow(page: Axes, start: tuple[float, float], end: tuple[float, float], **how) -> None:
    how = {"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": 1.0, "color": INK} | how
    page.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **how))


def _person(pids: Iterable, width: float) -> Callable[[Any], list[str]]:
    """Write 'person 12' on one line if all of `pids` fit into `width` inches, else on two."""
    if all(_width(f"person {pid}", SMALL, "bold") <= width for pid in pids):
        return lambda pid: [f"person {pid}"]
    return lambda pid: ["person", _shortened(pid, width, weight="bold")]


_HEAD, _LINE = 0.145, 0.125  # inches: the line above a picture, and each line below it


def _ranked(
    page, images, pids, sq_distances, kinds, left, top, cell, picture, height, person, rank=0
):
    """A line of ranked gallery pictures; ranks go on from `rank` and count what is not junk."""
    for i, (image, pid, kind) in enumerate(zip(images, pids, kinds, strict=True)):
        x, y = left + i * cell + (cell - picture) / 2, top + _HEAD
        rank += kind != "junk"
        head = "junk" if kind == "junk" else f"{rank} ✓" if kind == "correct" else f"{rank}"
        look = {
            "correct": {"color": RED, "fontweight": "bold"},
            "junk": {"color": GREY, "fontstyle": "italic"},
            "wrong": {},
        }[kind]
        _line(page, x + picture / 2, y - 0.035, head, va="bottom", **look)
        _picture(page, image, x, y, picture, height)
        _box(page, x, y, picture, height, kind)
        caption = [*person(pid), _distance(float(sq_distances[i]))]
        _caption(page, x + picture / 2, y + height + 0.04, caption, **look)
    return rank


# --- the data -------------------------------------------------------------------------------------


@_style()
def person_sheet(images: np.ndarray, title: str = "") -> Figure:
    """Show the 16 views of one person: a camera a row, an orientation a column.

    Args:
        images: (2, 8, H, W, 3) uint8; images[c, o] is camera c + 1, orientation o + 1.
        title: one line above the sheet, taken literally.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: another shape or dtype.
    """
    images = np.asarray(images)
    if images.ndim != 5 or images.shape[:2] != (2, 8):
        raise ValueError(f"images is {images.shape}; expected (2, 8, H, W, 3): camera, orientation")
    for row in images:
        _images(row, "images")
    height_of, width_of = images.shape[2:4]
    side, gap = 0.26, 0.05
    picture = (DOUBLE - side - 0.05) / 8 - gap
    height = min(picture * height_of / width_of, 2.2)
    picture = height * width_of / height_of
    cell = (DOUBLE - side - 0.05) / 8
    top = 0.08 + (0.22 if title else 0) + 0.32
    figure, page = _sheet(DOUBLE, top + 2 * (height + gap) + 0.04)
    middle = side + 4 * cell
    if title:
        _line(page, DOUBLE / 2, 0.08, _shortened(title, DOUBLE - 0.2, 9), fontsize=9)
    _line(page, middle, top - 0.19, "orientation", va="bottom", fontsize=8)
    for camera in range(2):
        y = top + camera * (height + gap)
        name = f"camera {camera + 1}"
        _line(page, side / 2, y + height / 2, name, rotation=90, va="center", fontsize=8)
        for view in range(8):
            x = side + view * cell + (cell - picture) / 2
            if camera == 0:
                _line(page, x + picture / 2, y - 0.04, str(view + 1), va="bottom")
            _picture(page, images[camera, view], x, y, picture, height)
    return figure


@_style()
def split_counts(index: pd.DataFrame, train_pids: Sequence, test_pids: Sequence) -> Figure:
    """Show which persons train and which test, which views exist, and how many images that makes.

    Above, a column a person (ascending pid) and a row a camera and orientation: a cell is coloured
    by the person's part where at least one image exists and white where none does. Below, the
    images of each camera and part, counted.

    Args:
        index: pid, camid and orientation of each image, a row an image.
        train_pids: the persons to train on.
        test_pids: the persons to test on, both as query and as gallery.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: a column is missing, a person is in both parts, or one has no image.
    """
    _columns(index, ("pid", "camid", "orientation"), "index")
    _not_empty(index, "index")
    train, test = set(train_pids), set(test_pids)
    if train & test:
        raise ValueError(f"{sorted(train & test)[:5]} both train and test; parts must be disjoint")
    pids = np.unique(index["pid"])
    absent = (train | test) - set(pids)
    if absent:
        raise ValueError(f"{sorted(absent)[:5]} of the split have no image in index")

    parts = ["train", "test"] + (["unused"] if len(pids) > len(train | test) else [])
    colours = dict(zip(("train", "test", "unused"), ("#0072b2", "#e69f00", "#bbbbbb"), strict=True))
    part_of = {p: "train" if p in train else "test" if p in test else "unused" for p in pids}
    part = index["pid"].map(part_of)
    views = index[["camid", "orientation"]].drop_duplicates().sort_values(["camid", "orientation"])
    cameras = np.unique(index["camid"])
    row = {view: i for i, view in enumerate(views.itertuples(index=False, name=None))}
    grid = np.zeros((len(row), len(pids)), dtype=int)
    column = np.searchsorted(pids, index["pid"])
    lines = [row[view] for view in zip(index["camid"], index["orientation"], strict=True)]
    grid[lines, column] = [1 + list(colours).index(p) for p in part]

    figure, (above, below) = plt.subplots(
        2,
        1,
        figsize=(DOUBLE, 2.35 + 0.14 * len(parts) * len(cameras)),
        height_ratios=(1.4, 0.17 * len(parts) * len(cameras) + 0.2),
        layout="constrained",
    )
    above.imshow(
        grid,
        cmap=ListedColormap(["white", *colours.values()]),
        vmin=0,
        vmax=3,
        aspect="auto",
        interpolation="nearest",
    )
    for name in ("left", "bottom"):
        above.spines[name].set_visible(False)
    above.set_xticks(np.arange(len(pids)) - 0.5, minor=True)
    above.grid(which="minor", axis="x", color="white", linewidth=min(0.8, 40 / len(pids)))
    camids = views["camid"].to_numpy()
    middles = [np.flatnonzero(camids == camera).mean() for camera in cameras]
    above.set_yticks(middles, [f"camera {camera}" for camera in cameras], parse_math=False)
    for line in np.flatnonzero(camids[1:] != camids[:-1]):
        above.axhline(line + 0.5, color="white", linewidth=2.5)
    above.tick_params(which="both", length=0)
    shown = np.unique(np.linspace(0, len(pids) - 1, min(12, len(pids))).round().astype(int))
    above.set_xticks(shown, [_shortened(pids[i], 0.45) for i in shown], parse_math=False)
    above.set_xlabel("person (pid, ascending)")
    above.set_title(
        f"{len(pids)} persons: {len(train)} to train, {len(test)} to test"
        + (f", {len(pids) - len(train | test)} unused" if "unused" in parts else "")
        + f"; a column a person, a row one of {len(row)} views (white: no image)",
        loc="left",
    )

    counts = pd.crosstab(index["camid"], part).reindex(index=cameras, columns=parts, fill_value=0)
    step = 0.8 / len(parts)
    for i, name in enumerate(parts):
        where = np.arange(len(cameras)) - 0.4 + (i + 0.5) * step
        bars = below.barh(where, counts[name], step * 0.9, color=colours[name])
        labels = [f"{count:,}" for count in counts[name]]
        below.bar_label(bars, labels, padding=3, fontsize=SMALL)
    below.set_yticks(
        range(len(cameras)), [f"camera {camera}" for camera in cameras], parse_math=False
    )
    below.invert_yaxis()
    below.tick_params(axis="y", length=0)
    below.set_xlim(0, counts.to_numpy().max() * 1.09)
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.set_xlabel("images")
    names = {"test": "test (query or gallery)"}
    handles = {names.get(name, name): Patch(color=colours[name]) for name in parts}
    _legend(figure, handles, "outside lower center")
    return _finished(figure)


# --- Fig. 1 ---------------------------------------------------------------------------------------


@_style()
def framework(
    query_image: np.ndarray,
    code: np.ndarray,
    gallery_images: np.ndarray,
    sq_distances: np.ndarray,
    correct: np.ndarray,
    pids: Sequence,
    query_pid: Any,
    backbone: str = "resnet18",
    k: int = 10,
) -> Figure:
    """Follow one query through the framework (Fig. 1): network, code, distances, ranking.

    The gallery is put in ascending order of distance here (ties keep their order); all of its
    distances are plotted and the first `k` images shown.

    Args:
        query_image: (H, W, 3) uint8.
        code: (D,) float, the query's inherent code, drawn number by number, down each column.
        gallery_images: (n, H, W, 3) uint8.
        sq_distances: (n,) float, squared distances from the query's code.
        correct: (n,) bool, the same person as the query.
        pids: (n,), the gallery's persons.
        query_pid: the query's person.
        backbone: name of the network.
        k: how many ranked images to show, at most 12.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: lengths or image shapes disagree, or the gallery is empty.
    """
    query_image = _images(query_image, "query_image", 3)
    gallery_images = _images(gallery_images, "gallery_images")
    n = len(gallery_images)
    _not_empty(gallery_images, "gallery_images")
    _same_length(n, sq_distances=sq_distances, correct=correct, pids=pids)
    code = np.asarray(code, dtype=float)
    if code.ndim != 1 or not len(code) or not np.isfinite(code).all():
        raise ValueError(f"code is {code.shape}; expected (D,) finite numbers")
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1")
    if not np.isfinite(np.asarray(sq_distances, dtype=float)).all():
        raise ValueError("sq_distances holds NaN or infinity; leave out what has no distance")
    order = np.argsort(np.asarray(sq_distances, dtype=float), kind="stable")
    ranked = np.asarray(sq_distances, dtype=float)[order]
    hits = np.asarray(correct, dtype=bool)[order]
    ranked_pids = np.asarray(pids)[order]
    k = min(k, n, 12)

    cell = min((DOUBLE - 0.1) / k, 0.66)
    picture = cell - 0.08
    small = picture * gallery_images.shape[1] / gallery_images.shape[2]
    person = _person(ranked_pids[:k], cell - 0.03)
    lines = len(person(ranked_pids[0])) + 1
    tier = 2.02  # the height of the upper line of the figure
    ranking_top = tier + 0.46
    figure, page = _sheet(DOUBLE, ranking_top + _HEAD + small + 0.08 + lines * _LINE)
    middle = 0.98

    # The query.
    tall = min(1.5, 0.8 * query_image.shape[0] / query_image.shape[1])
    wide = tall * query_image.shape[1] / query_image.shape[0]
    x, y = 0.12 + (0.8 - wide) / 2, middle - tall / 2
    _line(page, 0.52, 0.05, "query", fontsize=8)
    _picture(page, query_image, x, y, wide, tall)
    _box(page, x, y, wide, tall, "query")
    _caption(page, 0.52, middle + tall / 2 + 0.03, [_shortened(f"person {query_pid}", 0.98)])
    _arrow(page, (0.96, middle), (1.2, middle))

    # The network: maps shrink in size and grow in number from block to block.
    name = {"resnet18": "ResNet-18", "resnet50": "ResNet-50"}.get(backbone, backbone)
    blocks = ("conv1", "conv2", "conv3", "conv4", "conv5", "pool5")
    _line(page, 1.98, 0.05, _shortened(name, 1.5, 8), fontsize=8)
    for i, block in enumerate(blocks):
        high = 1.4 - 0.16 * i
        shade = plt.get_cmap("Blues")(0.08 + 0.09 * i)
        page.add_patch(
            Rectangle((1.25 + 0.25 * i, middle - high / 2), 0.19, high, fc=shade, ec=INK, lw=0.6)
        )
        _line(page, 1.345 + 0.25 * i, middle, block, rotation=90, va="center")
    _arrow(page, (2.74, middle), (2.98, middle))

    # The code, folded into columns so that each of its numbers has a visible cell.
    columns = math.ceil(len(code) / 64)
    rows = math.ceil(len(code) / columns)
    folded = np.full(columns * rows, np.nan)
    folded[: len(code)] = code
    signed = code.min() < 0
    limit = float(np.abs(code).max()) or 1.0
    wide = min(0.62, 0.08 * max(columns, 2))
    strip = _inset(page, 3.36 - wide / 2, 0.3, wide, 1.36)
    strip.set_gid("code")
    colours = strip.imshow(
        folded.reshape(columns, rows).T,
        cmap="RdBu_r" if signed else "viridis",
        vmin=-limit if signed else 0,
        vmax=limit,
        aspect="auto",
        interpolation="nearest",
    )
    strip.set_axis_off()
    _line(page, 3.36, 0.05, "inherent code", fontsize=8)
    bar = figure.colorbar(colours, cax=_inset(page, 3.05, 1.74, 0.62, 0.06), location="bottom")
    ends = (-limit, 0, limit) if signed else (0, limit)
    bar.set_ticks(ends, labels=[f"{end:.2g}".replace("-", "−") for end in ends])
    bar.ax.tick_params(length=0, pad=2)
    bar.outline.set_visible(False)
    _caption(page, 3.36, 1.92, [f"{len(code)} numbers"])
    _arrow(page, (3.74, middle), (3.98, middle))

    # The distances to the whole gallery, in the order of the ranking.
    left_plot, wide = 4.62, DOUBLE - 4.62 - 0.1
    x_plot = left_plot + wide / 2
    plot = _inset(page, left_plot, 0.3, wide, 1.3)
    ranks = np.arange(1, n + 1)
    plot.plot(ranks[~hits], ranked[~hits], ".", color="#999999", ms=2.5, label="wrong")
    if hits.any():
        plot.plot(ranks[hits], ranked[hits], "D", color=RED, ms=3.5, label="correct")
    plot.set(ylim=(0, ranked[-1] * 1.08 or 1), xlim=(1 - 0.04 * n, n + 0.04 * n))
    ticks = MaxNLocator(5, integer=True).tick_values(1, n)
    plot.set_xticks([1, *(tick for tick in ticks if max(1, 0.1 * n) < tick <= n)])
    plot.yaxis.set_major_locator(MaxNLocator(4))
    plot.set_xlabel(f"rank among the gallery's {n:,}", labelpad=2)
    plot.set_ylabel("squared distance d²", labelpad=3)
    plot.legend(loc="lower right", handlelength=1, borderpad=0, labelspacing=0.2)
    _line(page, x_plot, 0.05, "distances to the gallery", fontsize=8)

    # The ranking.
    left = (DOUBLE - k * cell) / 2
    rule = ranking_top - 0.08
    page.plot((0.1, DOUBLE - 0.1), (rule, rule), color=INK, lw=0.8)
    nearest = f"ranking: the nearest {k} by d²"
    _line(page, 0.1, rule - 0.05, nearest, fontsize=8, ha="left", va="bottom")
    _arrow(page, (x_plot, tier), (x_plot, rule))
    kinds = ["correct" if hit else "wrong" for hit in hits[:k]]
    _ranked(
        page,
        gallery_images[order[:k]],
        ranked_pids[:k],
        ranked[:k],
        kinds,
        left,
        ranking_top,
        cell,
        picture,
        small,
        person,
    )
    return figure


# --- Fig. 2 ---------------------------------------------------------------------------------------


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


# --- training -------------------------------------------------------------------------------------


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


_TERMS = {  # name, symbol, symbol as weighted in Eq. 4, unit
    "sr": ("classification", r"$\mathcal{L}_{SR}$", r"$\mathcal{L}_{SR}$", "nats"),
    "cl": ("compact", r"$\mathcal{L}_{CL}$", r"$\beta\,\mathcal{L}_{CL}$", "squared distance"),
    "sl": ("scatter", r"$\mathcal{L}_{SL}$", r"$\gamma\,\mathcal{L}_{SL}$", "squared distance"),
    "tri": ("triplet", r"$\mathcal{L}_{tri}$", r"$\mathcal{L}_{tri}$", "distance"),
}


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


# --- t-SNE ----------------------------------------------------------------------------------------


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


# --- Fig. 3 ---------------------------------------------------------------------------------------


@_style()
def ranking(cases: Sequence[Mapping[str, Any]]) -> Figure:
    """Show ranked galleries (Fig. 3): the query at the left, then its gallery by distance.

    A correct match has a red box and a tick, junk a dashed grey box and the word; ranks count what
    is not junk.

    Args:
        cases: one mapping a query, with `label`; `query_image`, (H, W, 3) uint8; `query_pid`; and
            of the ranked gallery `images`, (k, H, W, 3) uint8, `pids`, `sq_distances` and
            `correct`, (k,), and optionally `junk`, (k,) bool (an image that is junk is drawn as
            junk whatever `correct` says). More than ten images go on further lines.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: no case, one without images, or lengths disagree.
    """
    _not_empty(cases, "cases")
    for case in cases:
        _images(case["query_image"], "query_image", 3)
        k = len(_images(case["images"], "images"))
        _not_empty(case["images"], "images")
        _same_length(k, **{key: case[key] for key in ("pids", "sq_distances", "correct")})
        if case.get("junk") is not None:
            _same_length(k, junk=case["junk"])

    across = min(10, max(len(case["images"]) for case in cases))
    side, gap, margin = 0.26, 0.2, 0.04
    cell = min((DOUBLE - side - gap - 2 * margin) / (across + 1), 0.9)
    picture = cell - 0.08
    every_pid = [pid for case in cases for pid in (case["query_pid"], *case["pids"])]
    person = _person(every_pid, cell - 0.03)
    lines = len(person(every_pid[0])) + 1
    below = 0.07 + lines * _LINE
    heights = [
        picture
        * max(
            np.shape(case[key])[-3] / np.shape(case[key])[-2] for key in ("images", "query_image")
        )
        for case in cases
    ]
    rows = [math.ceil(len(case["images"]) / across) for case in cases]
    tall = [n * (_HEAD + h + below) for n, h in zip(rows, heights, strict=True)]
    between = 0.1
    width = 2 * margin + side + gap + cell * (across + 1)
    any_junk = any(case.get("junk") is not None and np.any(case["junk"]) for case in cases)
    key = ["number: rank", "✓ red box: the query's person", "d²: squared distance of the codes"]
    key += ["dashed: junk, not ranked"] if any_junk else []
    if _width("    ".join(key), SMALL) < width:
        key = ["    ".join(key)]
    total = 0.12 + sum(tall) + between * (len(cases) - 1) + len(key) * _LINE
    figure, page = _sheet(max(width, 2.0), total)

    top = 0.04
    left = margin + side
    for case, height, space in zip(cases, heights, tall, strict=True):
        junk = case.get("junk")
        junk = np.zeros(len(case["images"]), bool) if junk is None else np.asarray(junk, bool)
        kinds = np.where(
            junk, "junk", np.where(np.asarray(case["correct"], bool), "correct", "wrong")
        )
        label = _shortened(case["label"], space - 0.1, 8.5, "bold")
        bold = {"fontsize": 8.5, "fontweight": "bold"}
        _line(page, margin + 0.1, top + space / 2, label, rotation=90, va="center", **bold)
        x = left + (cell - picture) / 2
        _line(page, x + picture / 2, top + _HEAD - 0.035, "query", va="bottom", fontweight="bold")
        _picture(page, case["query_image"], x, top + _HEAD, picture, height)
        _box(page, x, top + _HEAD, picture, height, "query")
        _caption(page, x + picture / 2, top + _HEAD + height + 0.04, person(case["query_pid"]))
        line_height = _HEAD + height + below
        shown = 0
        for line in range(math.ceil(len(kinds) / across)):
            part = slice(line * across, (line + 1) * across)
            shown = _ranked(
                page,
                case["images"][part],
                np.asarray(case["pids"])[part],
                np.asarray(case["sq_distances"])[part],
                kinds[part].tolist(),
                left + cell + gap,
                top + line * line_height,
                cell,
                picture,
                height,
                person,
                shown,
            )
        top += space + between
    _caption(page, width / 2, total - 0.03 - len(key) * _LINE, key, color="#555555")
    return figure


# --- activation maps ------------------------------------------------------------------------------


_MAP_COLOURS = "viridis"


@_style()
def activation_maps(cases: Sequence[Mapping[str, Any]]) -> Figure:
    """Show where two images hold what makes their codes alike.

    The code is the mean of the last feature map f over its places x, so the cosine of two codes is
    the mean over the places of either image of

        m(x) = f(x) . c' / (||c|| ||c'||),    c = mean_x f(x), and c' the other image's code,

    and m says how much each place brings to the likeness. All maps of a figure share one scale.

    What m does not say: gallery images are ranked by distance, on which the norms of the codes bear
    too. Where codes have no negative parts (after a ReLU), places that are active for everyone
    are bright with everyone: compare the query's maps with each other. There are few places (4 x 2
    for 128 x 48 pixels and a ResNet), each of which sees most of the image; the map is spread
    smoothly and evenly over the image, so its edges mean nothing.

    Args:
        cases: one mapping a query, with `label`; `query_image`, (H, W, 3) uint8; `query_pid`; and
            of k images beside it `images`, (k, H, W, 3) uint8, `pids`, `ranks`, `sq_distances` and
            `correct`, (k,); `query_maps`, (k, h, w), m of the query given each image's code; and
            `maps`, (k, h, w), m of each image given the query's code.
    Returns:
        A figure up to two columns wide.
    Raises:
        ValueError: no case, one without images, lengths disagree, or a map is not finite.
    """
    _not_empty(cases, "cases")
    for case in cases:
        _images(case["query_image"], "query_image", 3)
        k = len(_images(case["images"], "images"))
        _not_empty(case["images"], "images")
        each = ("pids", "ranks", "sq_distances", "correct", "query_maps", "maps")
        _same_length(k, **{key: case[key] for key in each})
        for key in ("query_maps", "maps"):
            if np.ndim(case[key]) != 3 or not np.isfinite(case[key]).all():
                raise ValueError(f"{key} is {np.shape(case[key])}; expected finite (k, h, w)")
    every = [np.ravel(case[key]) for case in cases for key in ("query_maps", "maps")]
    low, high = min(map(np.min, every)), max(map(np.max, every))
    norm = Normalize(low, high if high > low else low + 1)

    across = max(len(case["images"]) for case in cases)
    side, gap, margin, foot = 0.26, 0.16, 0.04, 0.52
    tallest = max(
        np.shape(image)[0] / np.shape(image)[1]
        for case in cases
        for image in (case["query_image"], *case["images"])
    )
    cell = (DOUBLE - side - gap * across - 2 * margin) / (3 * across + 1)
    picture = min(cell - 0.06, 1.5 / tallest)
    cell, height = picture + 0.06, picture * tallest
    every_pid = [pid for case in cases for pid in (case["query_pid"], *case["pids"])]
    person = _person(every_pid, cell - 0.02)
    below = 0.14 + len(person(every_pid[0])) * _LINE
    left = margin + side
    width = max(left + cell + across * (gap + 3 * cell) + margin, 3.0)
    key = (
        "In each group of three: where the query holds the other image's code, where that image "
        "holds the query's, and the image itself. ✓ red box: the query's person. "
        "d²: squared distance of the codes."
    )
    key = _wrapped(key, width, SMALL).splitlines()
    total = 0.04 + len(cases) * (_HEAD + height + below) + foot + len(key) * _LINE
    figure, page = _sheet(width, total)

    y = 0.04 + _HEAD
    for case in cases:
        label = _shortened(case["label"], height, 8.5, "bold")
        bold = {"fontsize": 8.5, "fontweight": "bold"}
        _line(page, margin + 0.1, y + height / 2, label, rotation=90, va="center", **bold)
        _line(page, left + picture / 2, y - 0.035, "query", va="bottom", fontweight="bold")
        query, own = case["query_image"], person(case["query_pid"])
        shown = [(query, left, "query", own, {})]
        for j, image in enumerate(case["images"]):
            x = left + cell + gap + j * (gap + 3 * cell)
            right = bool(case["correct"][j])
            look = {"color": RED, "fontweight": "bold"} if right else {}
            words = f"rank {case['ranks'][j]}{' ✓' if right else ''}"
            words += f", {_distance(float(case['sq_distances'][j]))}"
            words += f", cosine {np.mean(case['maps'][j]):.2f}"
            words = _shortened(words, 3 * cell, SMALL, "bold")
            _line(page, x + cell + picture / 2, y - 0.035, words, va="bottom", **look)
            kind, pid = "correct" if right else "wrong", person(case["pids"][j])
            shown += [
                (_mapped(query, case["query_maps"][j], norm), x, "query", own, {}),
                (_mapped(image, case["maps"][j], norm), x + cell, kind, pid, look),
                (image, x + 2 * cell, kind, pid, look),
            ]
        for image, x, kind, pid, look in shown:
            _picture(page, image, x, y, picture, height)
            _box(page, x, y, picture, height, kind)
            _caption(page, x + picture / 2, y + height + 0.04, pid, **look)
        y += height + below + _HEAD

    y -= _HEAD
    bar = figure.colorbar(
        matplotlib.cm.ScalarMappable(norm, _MAP_COLOURS),
        cax=_inset(page, width / 2 - 1.1, y, 2.2, 0.09),
        orientation="horizontal",
    )
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(5)
    h, w = np.shape(cases[0]["maps"])[1:]
    label = f"m(x) at {h} × {w} places, whose mean is the cosine of the two codes"
    _caption(page, width / 2, y + 0.26, [label])
    _caption(page, width / 2, y + foot - 0.06, key, color="#555555")
    return figure


def _mapped(image: np.ndarray, values: np.ndarray, norm: Normalize) -> np.ndarray:
    """The colours of a map spread over the image, which shows as a slight shade."""
    grey = np.asarray(image) @ np.array([0.2126, 0.7152, 0.0722]) / 255
    small = Image.fromarray(np.asarray(values, dtype=np.float32))
    smooth = np.asarray(small.resize(grey.shape[::-1], Image.Resampling.BICUBIC))
    colours = plt.get_cmap(_MAP_COLOURS)(norm(smooth))[..., :3]
    return (255 * colours * (0.6 + 0.4 * grey[..., None])).round().astype(np.uint8)


# --- viewpoints -----------------------------------------------------------------------------------


@_style()
def viewpoint_grids(
    grids: Mapping[str, np.ndarray],
    label: str,
    fmt: str = "{:.0f}",
    vmin: float | None = None,
    vmax: float | None = None,
) -> Figure:
    """Show a score for each orientation of the query against each of the gallery.

    Args:
        grids: row name to (8, 8): query orientation down, gallery orientation across; NaN where no
            pair exists, drawn hatched.
        label: what the numbers are, with their unit, beside the shared colour bar.
        fmt: how each number is written.
        vmin: the colour scale's lower end; the least value of all grids if None.
        vmax: its upper end; the greatest value if None.
    Returns:
        A figure up to two columns wide.
    Raises:
        ValueError: no grid, or one of another shape.
    """
    _not_empty(grids, "grids")
    grids = {name: np.asarray(grid, dtype=float) for name, grid in grids.items()}
    for name, grid in grids.items():
        if grid.shape != (8, 8):
            raise ValueError(f"the grid of {name!r} is {grid.shape}; expected (8, 8)")
    values = np.concatenate([grid[np.isfinite(grid)] for grid in grids.values()])
    low = vmin if vmin is not None else values.min() if len(values) else 0.0
    high = vmax if vmax is not None else values.max() if len(values) else 1.0
    norm = Normalize(low, high if high > low else low + 1)

    widest = max((_width(fmt.format(value), SMALL) for value in values), default=0.1)
    cell, frame = max(0.22, widest + 0.04), 0.27  # inches; the frame holds ticks and spacing
    columns = max(1, min(len(grids), int((DOUBLE - 0.25) / (8 * cell + frame))))
    lines = math.ceil(len(grids) / columns)
    columns = math.ceil(len(grids) / lines)  # two and two rather than three and one
    cell = max(cell, min(0.28, ((DOUBLE - 0.25) / columns - frame) / 8))
    missing = any(np.isnan(grid).any() for grid in grids.values())
    figure, axes_grid = plt.subplots(
        lines,
        columns,
        figsize=(
            max(columns * (8 * cell + frame) + 0.25, 2.6),
            lines * (8 * cell + 0.37) + 0.62 + 0.2 * missing + 0.3 * (len(grids) % columns > 0),
        ),
        squeeze=False,
        sharex=True,
        sharey=True,
        layout="compressed",
    )
    colours = plt.get_cmap("cividis")
    for spare in axes_grid.ravel()[len(grids) :]:
        spare.set_axis_off()
    for axes, (name, grid) in zip(axes_grid.ravel(), grids.items(), strict=False):
        image = axes.imshow(grid, cmap=colours, norm=norm, interpolation="nearest")
        for (i, j), value in np.ndenumerate(grid):
            if np.isnan(value):
                axes.add_patch(
                    Rectangle(
                        (j - 0.5, i - 0.5), 1, 1, fc="white", ec="#aaaaaa", hatch="////", lw=0
                    )
                )
                continue
            # Black on what is lighter than 18 % of white, where both contrasts are equal.
            r, g, b = (np.array(colours(norm(value))[:3]) + 0.055) ** 2.4 / 1.055**2.4
            dark = 0.2126 * r + 0.7152 * g + 0.0722 * b < 0.18
            axes.text(
                j,
                i,
                fmt.format(value),
                ha="center",
                va="center",
                fontsize=SMALL,
                color="white" if dark else "black",
            )
        axes.set_xticks(range(8), range(1, 9))
        axes.set_yticks(range(8), range(1, 9))
        axes.tick_params(length=0, labelbottom=True, labelleft=True)
        axes.spines[:].set_visible(False)
        axes.set_title(_shortened(name, 8 * cell, 8.5), parse_math=False)
    bar = figure.colorbar(
        image, ax=axes_grid, location="bottom", aspect=40, pad=0.02, fraction=0.08, shrink=0.7
    )
    bar.outline.set_visible(False)
    bar.set_label(label, parse_math=False)
    for axes in axes_grid.ravel()[max(0, len(grids) - columns) : len(grids)]:  # none lies below
        axes.set_xlabel("gallery orientation\n(3 back, 7 front)")
    figure.supylabel("query orientation (3 back, 7 front)")
    if missing:
        hatched = Patch(fc="white", ec="#aaaaaa", hatch="//////", lw=0.5)
        _legend(figure, {"no pair": hatched}, "outside upper right")
    return _finished(figure)


@_style()
def agreement_by_angle(curves: pd.DataFrame | Mapping[str, pd.DataFrame], label: str) -> Figure:
    """Show how a score falls as query and gallery are seen from directions further apart.

    Args:
        curves: a frame, or row name to a frame, with columns `angle` (degrees, 0 to 180), `value`,
            and `low` and `high`, the ends of its 95 % interval; NaN is left out.
        label: what the score is, with its unit.
    Returns:
        A figure one column wide.
    Raises:
        ValueError: no curve, or a column is missing.
    """
    if isinstance(curves, pd.DataFrame):
        curves = {"": curves}
    _not_empty(curves, "curves")
    for name, curve in curves.items():
        _columns(curve, ("angle", "value", "low", "high"), f"the curve of {name!r}")
    names = list(curves)
    keys = 0 if names == [""] else math.ceil((len(names) + 1) / 2)  # and the interval
    figure, axes = plt.subplots(figsize=(SINGLE, 2.3 + 0.17 * keys), layout="constrained")
    looks = _looks(names)
    step = min(3.5, 18 / len(names))
    for i, (name, curve) in enumerate(curves.items()):
        colour, marker, dash = looks[name]
        # Side by side, so that no interval hides another.
        x = curve["angle"].to_numpy(dtype=float) + (i - (len(names) - 1) / 2) * step
        axes.vlines(x, curve["low"], curve["high"], color=colour, lw=1.4, alpha=0.55)
        axes.plot(x, curve["value"], color=colour, marker=marker, ls=dash, gid=name)
    axes.set_xticks(range(0, 181, 45))
    axes.set_xlim(-14, 194)
    axes.set_xlabel("angle between the orientations (degrees)")
    axes.set_ylabel(_wrapped(label, 2.0, 8), parse_math=False)
    axes.grid(True)
    if keys:
        handles = {
            name: Line2D([], [], color=colour, marker=marker, ls=dash)
            for name, (colour, marker, dash) in looks.items()
        }
        handles["95 % interval"] = Line2D([], [], ls="none", marker="|", color=GREY, ms=9, mew=1.4)
        _legend(figure, handles)
    return _finished(figure)


# --- Table 1 --------------------------------------------------------------------------------------


@_style()
def score_bars(table: pd.DataFrame, paper: pd.DataFrame | None = None) -> Figure:
    """Show the scores of Table 1 as dots, a panel a column, beside the paper's if given.

    Args:
        table: a line a row of the table, a column a score (rank-1 ... mAP) in percent.
        paper: the paper's scores, laid out alike; rows and columns that `table` lacks are left out.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: no score, or one outside 0 to 100.
    """
    for name, frame in (("table", table), ("paper", paper)):
        if frame is None:
            continue
        _not_empty(frame, name)
        values = frame.to_numpy(dtype=float)
        if (values < 0).any() or (values > 100).any():
            raise ValueError(f"{name} holds scores outside 0 to 100; expected percent")
    rows, columns = list(table.index), list(table.columns)
    names = [_shortened(row, 1.3) for row in rows]
    figure, grid = plt.subplots(
        1,
        len(columns),
        figsize=(DOUBLE, 0.75 + (0.34 if paper is not None else 0.24) * len(rows)),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    both = [table.to_numpy(dtype=float)]
    both += [] if paper is None else [paper.reindex(index=rows, columns=columns).to_numpy(float)]
    looks = ((PALETTE[0], "o", PALETTE[0], "measured"), (INK, "D", "white", "paper"))
    shift = 0.17 if paper is not None else 0.0
    for j, (axes, column) in enumerate(zip(grid[0], columns, strict=True)):
        for scores, (colour, marker, face, gid), up in zip(both, looks, (-1, 1), strict=False):
            y = np.arange(len(rows)) + up * shift
            axes.plot(scores[:, j], y, ls="none", marker=marker, color=colour, mfc=face, gid=gid)
            for score, where in zip(scores[:, j], y, strict=True):
                if np.isfinite(score):
                    # On the side where the panel has room.
                    side = 1 if score < 60 else -1
                    axes.annotate(
                        f"{score:.1f}",
                        (score, where),
                        (5 * side, 0),
                        textcoords="offset points",
                        ha="left" if side > 0 else "right",
                        va="center",
                        fontsize=SMALL,
                        color=colour,
                    )
        axes.set(xlim=(0, 104), ylim=(len(rows) - 0.5, -0.5), xticks=(0, 50, 100))
        axes.set_title(_shortened(column, 1.1, 8.5), parse_math=False)
        axes.set_yticks(range(len(rows)), names, parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.hlines(range(len(rows)), 0, 104, color="#eeeeee", lw=0.5, zorder=0)
    figure.supxlabel("score (%)")
    if paper is not None:
        handles = {
            name: Line2D([], [], ls="none", marker=marker, color=colour, mfc=face)
            for (colour, marker, face, _), name in zip(
                looks, ("measured here", "paper"), strict=True
            )
        }
        _legend(figure, handles)
    figure.get_layout_engine().set(wspace=0.06)
    return _finished(figure)


@_style()
def split_scores(
    scores: pd.DataFrame, means: pd.DataFrame, label: str, zero: bool = False
) -> Figure:
    """Show each split's scores, their mean and its interval: a panel a network and score.

    Args:
        scores: a line a run: network, setting, and a column a score.
        means: a line a network, setting and score: `network`, `setting`, `score`, `mean`, and `low`
            and `high`, the ends of its interval (NaN for none).
        label: what the scores are, with their unit.
        zero: draw a line at zero, where the scores are differences.
    Returns:
        A figure two columns wide, a line of panels a network.
    Raises:
        ValueError: no line, or a column is missing.
    """
    _not_empty(means, "means")
    _columns(means, ("network", "setting", "score", "mean", "low", "high"), "means")
    columns = list(dict.fromkeys(means["score"]))
    _columns(scores, ("network", "setting", *columns), "scores")
    networks = {
        network: list(dict.fromkeys(part["setting"]))
        for network, part in means.groupby("network", sort=False)
    }
    heights = [0.45 + 0.25 * len(settings) for settings in networks.values()]
    figure, grid = plt.subplots(
        len(networks),
        len(columns),
        figsize=(DOUBLE, 0.5 + sum(heights)),
        height_ratios=heights,
        squeeze=False,
        sharex="col",
        layout="constrained",
    )
    for line, (network, settings) in zip(grid, networks.items(), strict=True):
        for axes, column in zip(line, columns, strict=True):
            chosen = means[(means["network"] == network) & (means["score"] == column)]
            if zero:
                axes.axvline(0, color=GREY, lw=0.8)
            for y, setting in enumerate(settings):
                rows = (scores["network"] == network) & (scores["setting"] == setting)
                dots = scores.loc[rows, column].to_numpy(dtype=float)
                axes.plot(dots, np.full(len(dots), y), ls="none", marker="|", color=GREY, ms=7)
                for mean in chosen[chosen["setting"] == setting].to_dict("records"):
                    axes.hlines(y, mean["low"], mean["high"], color=PALETTE[0], lw=1.6)
                    axes.plot(mean["mean"], y, marker="o", color=PALETTE[0], gid=setting)
            axes.set_yticks(range(len(settings)), settings, parse_math=False)
            axes.set_ylim(len(settings) - 0.5, -0.5)
            axes.tick_params(axis="y", length=0)
            axes.grid(True, axis="x")
            axes.grid(False, axis="y")
            if axes is line[0]:
                axes.set_title(network, loc="left", parse_math=False)
            else:
                axes.set_yticklabels([])
    for axes, column in zip(grid[-1], columns, strict=True):
        axes.set_xlabel(f"{column} ({label})", parse_math=False)
    handles = {
        "a split": Line2D([], [], ls="none", marker="|", color=GREY, ms=7),
        "mean and 95 % interval": Line2D([], [], marker="o", lw=1.6, color=PALETTE[0]),
    }
    _legend(figure, handles)
    return _finished(figure)


@_style()
def effects(table: pd.DataFrame, label: str) -> Figure:
    """Show what each choice changes, with intervals: a panel a score, the largest effects on top.

    Args:
        table: a line a choice, setting and score: `choice`, `setting`, `score`, `difference`, and
            `low` and `high`, the ends of its 95 % interval (NaN for none).
        label: what a difference is, with its unit.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: no line, or a column is missing.
    """
    _not_empty(table, "table")
    _columns(table, ("choice", "setting", "score", "difference", "low", "high"), "table")
    choices, settings, scores = (
        list(dict.fromkeys(table[name])) for name in ("choice", "setting", "score")
    )
    settings = sorted(settings)
    looks = _looks(settings)
    figure, grid = plt.subplots(
        1,
        len(scores),
        figsize=(DOUBLE, 0.9 + 0.12 * (len(settings) + 1) * len(choices)),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    for axes, score in zip(grid[0], scores, strict=True):
        axes.axvline(0, color=GREY, lw=0.8)
        for line in table[table["score"] == score].to_dict("records"):
            colour, marker, _ = looks[line["setting"]]
            shift = settings.index(line["setting"]) - (len(settings) - 1) / 2
            y = choices.index(line["choice"]) + 0.22 * shift
            axes.hlines(y, line["low"], line["high"], color=colour, lw=1.3)
            axes.plot(line["difference"], y, color=colour, marker=marker, gid=line["choice"])
        axes.set_xlabel(f"{score}: {label}", parse_math=False)
        lines = [textwrap.wrap(choice, 36, max_lines=2, placeholder=" …") for choice in choices]
        names = ["\n".join(_shortened(line, 1.9) for line in two) for two in lines]
        axes.set_yticks(range(len(choices)), names, parse_math=False)
        axes.set_ylim(len(choices) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
    handles = {
        name: Line2D([], [], ls="none", color=colour, marker=marker)
        for name, (colour, marker, _) in looks.items()
    }
    handles["95 % interval"] = Line2D([], [], color=GREY, lw=1.3)
    _legend(figure, handles)
    return _finished(figure)


@_style()
def scatter_study(table: pd.DataFrame) -> Figure:
    """Show what the scatter loss does to scores and codes, by its share in the gradient.

    Args:
        table: a line a reading of set 3: `network`, `scatter` (its form), `default` (is it the
            default reading?), `last ratio` (its gradient over that of the classification loss, at
            the end), `difference` (of rank-1 to set 2, in points) with `low` and `high` (NaN for
            none), and `growth` of the codes' norm.
    Returns:
        A figure two columns wide, a row a network: the difference on the left, where an arrow and
        its value stand for what lies below -25 points, and the growth on the right. The default
        reading, with the paper's weight, is ringed.
    Raises:
        ValueError: no line, or a column is missing.
    """
    _not_empty(table, "table")
    columns = ("network", "scatter", "default", "last ratio", "difference", "low", "high", "growth")
    _columns(table, columns, "table")
    looks = {"sum": (PALETTE[0], "o"), "log": (PALETTE[1], "^"), "unit": (PALETTE[2], "s")}
    ring = {"marker": "o", "ls": "none", "mfc": "none", "color": INK, "ms": 9, "mew": 0.9}
    networks = table["network"].nunique()
    figure, grid = plt.subplots(
        networks,
        2,
        figsize=(DOUBLE, 0.6 + 1.9 * networks),
        squeeze=False,
        sharex=True,
        sharey="col",
        layout="constrained",
    )
    floor = -25  # what fails altogether would squeeze the rest into a line
    for (left, right), (network, part) in zip(
        grid, table.groupby("network", sort=False), strict=True
    ):
        left.axhline(0, color=GREY, lw=0.8)
        right.axhline(1, color=GREY, lw=0.8)
        left.set_title(_shortened(network, 3.0, 8), loc="left", parse_math=False)
        for line in part.to_dict("records"):
            colour, marker = looks[line["scatter"]]
            x, y = line["last ratio"], line["difference"]
            if y < floor:
                left.annotate(
                    f"{y:.0f}".replace("-", "\N{MINUS SIGN}"),
                    (x, floor),
                    (0, 15),
                    textcoords="offset points",
                    ha="center",
                    fontsize=SMALL,
                    bbox={"fc": "white", "ec": "none", "pad": 0.5},
                    arrowprops={"arrowstyle": "->", "color": colour},
                )
            else:
                left.vlines(x, max(line["low"], floor), line["high"], color=colour, lw=1.2)
            left.plot(x, y, color=colour, marker=marker, gid="difference")
            right.plot(x, line["growth"], color=colour, marker=marker, gid="growth")
            if line["default"]:
                for axes, height in ((left, y), (right, line["growth"])):
                    axes.plot(x, height, **ring)
        left.set_ylabel("rank-1 of set 3\nless set 2's (points)")
        right.set_ylabel("codes' norm,\nlast epoch over first")
        left.grid(True)
        right.grid(True)
    axes = grid[0, 0]  # the others share its scales
    if table["difference"].min() < floor:
        axes.set_ylim(bottom=floor)
    axes.set_xscale("log")
    wide = table["last ratio"].max() > 100 * table["last ratio"].min()
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    figure.supxlabel(
        "gradient of the scatter loss over that of the classification loss, last epoch"
    )
    words = {"sum": "Eq. 3", "log": "its logarithm", "unit": "of unit codes"}
    handles = {
        words[form]: Line2D([], [], ls="none", marker=looks[form][1], color=looks[form][0])
        for form in dict.fromkeys(table["scatter"])
    }
    if table["low"].notna().any():
        handles["95 % interval"] = Line2D([], [], ls="none", marker="|", color=GREY, ms=9, mew=1.2)
    if table["default"].any():
        handles["the paper's weight"] = Line2D([], [], **ring)
    _legend(figure, handles)
    return _finished(figure)


# --- files ----------------------------------------------------------------------------------------


@_style()
def save(
    figure: Figure,
    folder: str | Path,
    name: str,
    alt: str,
    metadata: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write a figure as `name.pdf` and `name.png` (200 dpi), with its alt text in `name.alt.txt`.

    Each file is written beside its place and renamed into it. Nothing in them depends on the time,
    so the same figure gives the same bytes.

    Args:
        figure: what to save; it stays open.
        folder: where to; made if it is not there.
        name: the files' name without a suffix.
        alt: what is seen, for whoever does not see it; also the files' Subject and Description.
        metadata: such as preset, config hash and commit: the PDF's keywords, the PNG's text chunks.
    Returns:
        The three paths: PDF, PNG, alt text.
    Raises:
        ValueError: `alt` is empty, or `name` is not a plain file name.
    """
    if not alt.strip():
        raise ValueError(f"the alt text of {name!r} is empty; say what the figure shows")
    if not name or name.startswith(".") or set(name) & set("/\\\0"):
        raise ValueError(f"{name!r} is not a plain file name; give one without folders")
    pairs = {str(key): str(value) for key, value in sorted((metadata or {}).items())}
    about = {
        "pdf": {
            "Title": name,
            "Subject": alt,
            "Keywords": "; ".join(f"{key}={value}" for key, value in pairs.items()),
            "Creator": "reid_lib",
            "Producer": None,  # it would hold matplotlib's version
            "CreationDate": None,
        },
        "png": {"Title": name, "Description": alt, **pairs, "Software": None},
    }
    paths = [Path(folder) / f"{name}.{suffix}" for suffix in ("pdf", "png", "alt.txt")]
    for path, dpi in zip(paths[:2], (300, 200), strict=True):  # of the pictures inside the PDF
        kind = path.suffix[1:]
        save = functools.partial(figure.savefig, format=kind, dpi=dpi, metadata=about[kind])
        write_file(path, save)
    write_text(paths[2], alt.strip() + "\n")
    return paths
