"""Figures that show images: the sample sheet, Fig. 1 and Fig. 3.

Their layout is in inches from the top left corner of the page.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.axes_grid1 import Grid

from reid_lib.plots import style

HEAD, LINE = 0.145, 0.125  # inches: the line above a picture, and each line below it
LEFT = 0.3  # inches: left of a query, for its label
_LOOKS = {  # the frame of a picture, and the text above and below it
    "query": ({"ec": style.INK, "lw": 1.2}, {}),
    "correct": ({"ec": style.RED, "lw": 2.0}, {"color": style.RED, "fontweight": "bold"}),
    "wrong": ({"ec": "#bbbbbb", "lw": 0.5}, {}),
    "junk": (
        {"ec": style.GREY, "lw": 1.2, "ls": (0, (1.2, 0.8))},
        {"color": style.GREY, "style": "italic"},
    ),
}


def new_page(width: float, height: float) -> Axes:
    """Axes over all of a new figure, measured in inches from the top left corner."""
    page = style.release(plt.figure(figsize=(width, height))).add_axes((0, 0, 1, 1))
    page.set(xlim=(0, width), ylim=(height, 0))
    page.set_axis_off()
    return page


def fractions(page: Axes, left: float, top: float, width: float, height: float) -> tuple:
    """A place on the page as fractions of the figure: left, bottom, width, height."""
    w, h = page.get_figure().get_size_inches()
    return left / w, 1 - (top + height) / h, width / w, height / h


def image_grid(page: Axes, left, top, size: tuple, shape=(1, 1), gap=(0.08, 0.08)) -> list[Axes]:
    """A grid of axes for pictures of `size` (width, height), line by line."""
    extent = [
        n * side + (n - 1) * between
        for n, side, between in zip(shape[::-1], size, gap, strict=True)
    ]
    box = fractions(page, left, top, *extent)
    how = {"label_mode": "keep", "axes_class": Axes}
    return list(Grid(page.get_figure(), box, shape, axes_pad=gap, **how))


def show_image(
    axes: Axes, image: np.ndarray, kind: str = "", above: str = "", below: str = ""
) -> None:
    """Show a picture in the frame of its kind, with text above and below it."""
    axes.imshow(image, interpolation="antialiased", aspect="auto", extent=(0, 1, 0, 1))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    frame, words = _LOOKS.get(kind, ({}, {}))
    if frame:  # twice as wide and below the picture, so that it lies around the pixels
        frame = frame | {"lw": 2 * frame["lw"], "joinstyle": "miter", "gid": kind}
        place = {"transform": axes.transAxes, "clip_on": False, "zorder": -1}
        axes.add_patch(Rectangle((0, 0), 1, 1, fill=False, **frame, **place))
    words = {"fontsize": style.SMALL, "parse_math": False} | words
    axes.set_xlabel(below, labelpad=3, **words)
    axes.set_title(above, pad=3.2, **words | ({"fontweight": "bold"} if kind == "query" else {}))


def write_text(page: Axes, x: float, y: float, text: str, **how) -> None:
    how = {"ha": "center", "va": "top", "fontsize": style.SMALL, "parse_math": False} | how
    page.text(x, y, text, **how)


def _arrow(page: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    how = {"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": 1.0, "color": style.INK}
    page.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **how))


def namer(pids: Iterable, width: float) -> tuple[Callable[[Any], str], int]:
    """How to write 'person 12': on one line if all of `pids` fit into `width` inches, else on two.

    Returns:
        The function from a pid to its text, and the number of lines.
    """
    if all(style.text_width(f"person {pid}", style.SMALL, "bold") <= width for pid in pids):
        return lambda pid: f"person {pid}", 1
    return lambda pid: f"person\n{style.shorten(pid, width, weight='bold')}", 2


def distance_text(value: float) -> str:
    if value != 0 and (abs(value) < 0.01 or abs(value) >= 1e5):
        return f"d² {value:.1e}"
    return f"d² {value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"


def _show_ranked(grid: list[Axes], images, pids, sq_distances, kinds, name: Callable) -> None:
    """Show ranked gallery images in a grid; ranks do not count junk, and spare axes are hidden."""
    ranks = np.cumsum(np.asarray(kinds) != "junk")
    for axes, image, pid, sq, kind, rank in zip(
        grid, images, pids, sq_distances, kinds, ranks, strict=False
    ):
        above = {"junk": "junk", "correct": f"{rank} ✓"}.get(kind, str(rank))
        show_image(axes, image, kind, above, f"{name(pid)}\n{distance_text(float(sq))}")
    for spare in grid[len(images) :]:
        spare.set_visible(False)


def start_line(page: Axes, case: Mapping, top: float, size: tuple, high: float, name) -> None:
    """Write the label of a query upright at the left of its line, and show its image."""
    bold = {"fontsize": 8.5, "fontweight": "bold", "rotation": 90, "va": "center"}
    write_text(page, 0.14, top + high / 2, style.shorten(case["label"], high, 8.5, "bold"), **bold)
    (axes,) = image_grid(page, LEFT, top, size)
    show_image(axes, case["query_image"], "query", "query", name(case["query_pid"]))


def check_case(case: Mapping[str, Any], keys: Sequence[str]) -> None:
    style.check_images(case["query_image"], "query_image", 3)
    style.check_not_empty(style.check_images(case["images"], "images"), "images")
    style.check_lengths(len(case["images"]), **{key: case[key] for key in keys})


def height_ratio(images) -> float:
    """Height over width of an image or of equally large images."""
    return np.shape(images)[-3] / np.shape(images)[-2]


@style.in_style()
def person_sheet(
    images: np.ndarray, title: str = "", cameras: Sequence = (), columns: str = "orientation"
) -> Figure:
    """Show the images of one person; rows: cameras; columns: orientations, or one after another.

    Args:
        images: (C, V, H, W, 3) uint8; images[c, o] is of camera c, by default orientation o + 1. A
            white picture stands for a missing one.
        title: one line above the sheet, taken literally.
        cameras: their names; 1 to C if empty.
        columns: what a column is, as a word above them.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: another shape or dtype.
    Example:
        >>> sheet = person_sheet(np.zeros((2, 8, 128, 48, 3), dtype=np.uint8), "person 1")
        >>> len(sheet.axes)  # the page and 16 pictures
        17
    """
    images = np.asarray(images)
    if images.ndim != 5 or 0 in images.shape:
        raise ValueError(f"images is {images.shape}; expected (C, V, H, W, 3): camera, view")
    count, views = images.shape[:2]
    style.check_lengths(count, cameras=cameras or range(count))
    flat = style.check_images(images.reshape(count * views, *images.shape[2:]), "images")
    width = min((style.DOUBLE - 0.31) / max(views, 8) - 0.05, 2.2 / height_ratio(flat))
    height = width * height_ratio(flat)
    top = 0.4 + (0.22 if title else 0)
    page = new_page(style.DOUBLE, top + count * (height + 0.05) + 0.04)
    title = style.shorten(title, style.DOUBLE - 0.2, 9)
    write_text(page, style.DOUBLE / 2, 0.08, title, fontsize=9)
    left = (style.DOUBLE + 0.26 - views * (width + 0.05)) / 2
    middle = left + views / 2 * (width + 0.05)
    write_text(page, middle, top - 0.19, columns, va="bottom", fontsize=8)
    grid = image_grid(page, left, top, (width, height), (count, views), (0.05, 0.05))
    for axes, image in zip(grid, flat, strict=True):
        show_image(axes, image)
    for i, axes in enumerate(grid[:views]):
        axes.set_title(str(i + 1), fontsize=style.SMALL, pad=2.5)
    for name, axes in zip(cameras or range(1, count + 1), grid[::views], strict=True):
        axes.set_ylabel(f"camera {name}")
    return page.get_figure()


@style.in_style()
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

    The gallery is sorted by ascending distance here (ties keep their order). All of its distances
    are plotted and its first `k` images shown.

    Args:
        query_image: (H, W, 3) uint8.
        code: (D,) float, the query's inherent code, drawn number by number, down each column.
        gallery_images: (n, H, W, 3) uint8.
        sq_distances: (n,) float, squared distances from the query's code.
        correct: (n,) bool, whether an image shows the query's person.
        pids: (n,), the gallery's persons.
        query_pid: the query's person.
        backbone: name of the network.
        k: how many ranked images to show, at most 12.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: lengths or image shapes disagree, or the gallery is empty.
    """
    style.check_images(query_image, "query_image", 3)
    style.check_not_empty(style.check_images(gallery_images, "gallery_images"), "gallery_images")
    style.check_lengths(len(gallery_images), sq_distances=sq_distances, correct=correct, pids=pids)
    code, sq_distances = np.asarray(code, dtype=float), np.asarray(sq_distances, dtype=float)
    if code.ndim != 1 or not len(code) or not np.isfinite(code).all():
        raise ValueError(f"code is {code.shape}; expected (D,) finite numbers")
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1")
    if not np.isfinite(sq_distances).all():
        raise ValueError("sq_distances holds NaN or infinity; leave out what has no distance")
    order, k = np.argsort(sq_distances, kind="stable"), min(k, len(gallery_images), 12)
    ranked, pids = sq_distances[order], np.asarray(pids)[order]
    hits = np.asarray(correct, dtype=bool)[order]
    cell = min((style.DOUBLE - 0.1) / k, 0.66)
    size = cell - 0.08, (cell - 0.08) * height_ratio(gallery_images)
    (name, lines), top = namer(pids[:k], cell - 0.03), 2.48  # the top of the ranking
    page = new_page(style.DOUBLE, top + HEAD + size[1] + 0.08 + (lines + 1) * LINE)
    _draw_query(page, query_image, query_pid)
    _draw_network(page, {"resnet18": "ResNet-18", "resnet50": "ResNet-50"}.get(backbone, backbone))
    _draw_code(page, code)
    _draw_distances(page, ranked, hits)
    page.plot((0.1, style.DOUBLE - 0.1), (top - 0.08, top - 0.08), color=style.INK, lw=0.8)
    title = f"ranking: the nearest {k} by d²"
    write_text(page, 0.1, top - 0.13, title, fontsize=8, ha="left", va="bottom")
    grid = image_grid(page, (style.DOUBLE - k * cell) / 2 + 0.04, top + HEAD, size, (1, k))
    shown, kinds = np.asarray(gallery_images)[order[:k]], np.where(hits[:k], "correct", "wrong")
    _show_ranked(grid, shown, pids, ranked, kinds, name)
    return page.get_figure()


_MIDDLE = 0.98  # inches from the top: the arrows of Fig. 1


def _draw_query(page: Axes, image: np.ndarray, pid: Any) -> None:
    height = min(1.5, 0.8 * height_ratio(image))
    width = height / height_ratio(image)
    write_text(page, 0.52, 0.05, "query", fontsize=8)
    (axes,) = image_grid(page, 0.52 - width / 2, _MIDDLE - height / 2, (width, height))
    show_image(axes, image, "query", below=style.shorten(f"person {pid}", 0.98))
    _arrow(page, (0.96, _MIDDLE), (1.2, _MIDDLE))


def _draw_network(page: Axes, name: str) -> None:
    """Draw the blocks of the network: their maps shrink in size and grow in number."""
    write_text(page, 1.98, 0.05, style.shorten(name, 1.5, 8), fontsize=8)
    for i, block in enumerate(("conv1", "conv2", "conv3", "conv4", "conv5", "pool5")):
        left, high = 1.25 + 0.25 * i, 1.4 - 0.16 * i
        shade = plt.get_cmap("Blues")(0.08 + 0.09 * i)
        place = (left, _MIDDLE - high / 2), 0.19, high
        page.add_patch(Rectangle(*place, fc=shade, ec=style.INK, lw=0.6))
        write_text(page, left + 0.095, _MIDDLE, block, rotation=90, va="center")
    _arrow(page, (2.74, _MIDDLE), (2.98, _MIDDLE))


def _draw_code(page: Axes, code: np.ndarray) -> None:
    """Draw a code folded into columns, so that each of its numbers has a visible cell."""
    columns = math.ceil(len(code) / 64)
    folded = np.full((columns, math.ceil(len(code) / columns)), np.nan)
    folded.flat[: len(code)] = code
    signed, limit = code.min() < 0, float(np.abs(code).max()) or 1.0
    low, colours = (-limit, "RdBu_r") if signed else (0, "viridis")
    width = min(0.62, 0.08 * max(columns, 2))
    write_text(page, 3.36, 0.05, "inherent code", fontsize=8)
    strip = page.get_figure().add_axes(
        fractions(page, 3.36 - width / 2, 0.3, width, 1.36), gid="code"
    )
    image = strip.imshow(
        folded.T, cmap=colours, vmin=low, vmax=limit, aspect="auto", interpolation="nearest"
    )
    strip.set_axis_off()
    place = page.get_figure().add_axes(fractions(page, 3.05, 1.74, 0.62, 0.06))
    bar = page.get_figure().colorbar(image, cax=place, location="bottom")
    ends = (-limit, 0, limit) if signed else (0, limit)
    bar.set_ticks(ends, labels=[f"{end:.2g}".replace("-", "−") for end in ends])
    bar.ax.tick_params(length=0, pad=2)
    bar.outline.set_visible(False)
    write_text(page, 3.36, 1.92, f"{len(code)} numbers")
    _arrow(page, (3.74, _MIDDLE), (3.98, _MIDDLE))


def _draw_distances(page: Axes, ranked: np.ndarray, hits: np.ndarray) -> None:
    """Plot the distances to the whole gallery in the order of the ranking."""
    n, ranks = len(ranked), np.arange(1, len(ranked) + 1)
    plot = page.get_figure().add_axes(fractions(page, 4.62, 0.3, 2.18, 1.3))
    plot.plot(ranks[~hits], ranked[~hits], ".", color="#999999", ms=2.5, label="wrong")
    if hits.any():
        plot.plot(ranks[hits], ranked[hits], "D", color=style.RED, ms=3.5, label="correct")
    plot.set(ylim=(0, ranked[-1] * 1.08 or 1), xlim=(1 - 0.04 * n, n + 0.04 * n))
    ticks = MaxNLocator(5, integer=True).tick_values(1, n)
    plot.set_xticks([1, *(tick for tick in ticks if max(1, 0.1 * n) < tick <= n)])
    plot.yaxis.set_major_locator(MaxNLocator(4))
    plot.set_xlabel(f"rank in the gallery of {n:,}", labelpad=2)
    plot.set_ylabel("squared distance d²", labelpad=3)
    plot.legend(loc="lower right", handlelength=1, borderpad=0, labelspacing=0.2)
    write_text(page, 5.71, 0.05, "distances to the gallery", fontsize=8)
    _arrow(page, (5.71, 2.02), (5.71, 2.4))


@style.in_style()
def ranking(cases: Sequence[Mapping[str, Any]]) -> Figure:
    """Show ranked galleries (Fig. 3): on the left the query, then its gallery by distance.

    A correct match has a red frame and a tick, junk a dashed grey frame and the word; ranks do not
    count junk.

    Args:
        cases: one mapping per query, with `label`; `query_image`, (H, W, 3) uint8; `query_pid`; and
            of the ranked gallery `images`, (k, H, W, 3) uint8, `pids`, `sq_distances` and
            `correct`, (k,), and optionally `junk`, (k,) bool (junk is drawn as junk whatever
            `correct` says). More than ten images continue on further lines.
    Returns:
        A figure up to two columns wide.
    Raises:
        ValueError: no case, one without images, or lengths disagree.
    """
    style.check_not_empty(cases, "cases")
    for case in cases:
        junk = ("junk",) if case.get("junk") is not None else ()
        check_case(case, ("pids", "sq_distances", "correct", *junk))
    across = min(10, max(len(case["images"]) for case in cases))
    gap = 0.2
    cell = min((style.DOUBLE - LEFT - gap) / (across + 1), 0.9)
    name, lines = namer([p for c in cases for p in (c["query_pid"], *c["pids"])], cell - 0.03)
    width = max(LEFT + gap + cell * (across + 1), 2.0)
    key = ["number: rank", "✓ red frame: the query's person", "d²: squared distance of the codes"]
    key += ["dashed: junk, not ranked"] * any(np.any(case.get("junk", False)) for case in cases)
    key = ["    ".join(key)] if style.text_width("    ".join(key), style.SMALL) < width else key

    sizes = [(cell - 0.08, (cell - 0.08) * height_ratio(case["images"])) for case in cases]
    between = 0.12 + HEAD + (lines + 1) * LINE  # from a picture to the one below
    rows = [math.ceil(len(case["images"]) / across) for case in cases]
    tall = [n * (size[1] + between) for n, size in zip(rows, sizes, strict=True)]
    page = new_page(width, 0.06 + sum(tall) + len(key) * LINE)
    top = 0.04 + HEAD
    for case, size, n, high in zip(cases, sizes, rows, tall, strict=True):
        start_line(page, case, top, size, high - between, name)
        kinds = np.where(np.asarray(case["correct"], dtype=bool), "correct", "wrong")
        if case.get("junk") is not None:
            kinds = np.where(np.asarray(case["junk"], dtype=bool), "junk", kinds)
        grid = image_grid(page, LEFT + cell + gap, top, size, (n, across), (0.08, between))
        _show_ranked(grid, case["images"], case["pids"], case["sq_distances"], kinds, name)
        top += high
    write_text(page, width / 2, top - HEAD - 0.02, "\n".join(key), color="#555555")
    return page.get_figure()
