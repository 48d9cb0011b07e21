"""Figures that show images: the sample sheet, Fig. 1, Fig. 3 and activation maps.

Their layout is in inches from the top left corner of the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.axes_grid1 import ImageGrid
from PIL import Image

from reid_lib.plots import style

_HEAD, _LINE = 0.145, 0.125  # inches: the line above a picture, and each line below it
_MAP_COLOURS = "viridis"
_LOOKS = {  # the frame of a picture, and the text above and below it
    "query": ({"ec": style.INK, "lw": 1.2}, {}),
    "correct": ({"ec": style.RED, "lw": 2.0}, {"color": style.RED, "fontweight": "bold"}),
    "wrong": ({"ec": "#bbbbbb", "lw": 0.5}, {}),
    "junk": (
        {"ec": style.GREY, "lw": 1.2, "ls": (0, (1.2, 0.8))},
        {"color": style.GREY, "style": "italic"},
    ),
}


def _page(width: float, height: float) -> Axes:
    """Axes over all of a new figure, measured in inches from the top left corner."""
    page = style.release(plt.figure(figsize=(width, height))).add_axes((0, 0, 1, 1))
    page.set(xlim=(0, width), ylim=(height, 0))
    page.set_axis_off()
    return page


def _box(page: Axes, left: float, top: float, width: float, height: float) -> tuple:
    """A place on the page as fractions of the figure: left, bottom, width, height."""
    w, h = page.get_figure().get_size_inches()
    return left / w, 1 - (top + height) / h, width / w, height / h


def _grid(page: Axes, left, top, size: tuple, shape=(1, 1), gap=(0.08, 0.08)) -> list[Axes]:
    """A grid of axes for pictures of `size` (width, height), line by line."""
    extent = [
        n * side + (n - 1) * between
        for n, side, between in zip(shape[::-1], size, gap, strict=True)
    ]
    box = _box(page, left, top, *extent)
    how = {"aspect": False, "label_mode": "keep", "axes_class": Axes}
    return list(ImageGrid(page.get_figure(), box, shape, axes_pad=gap, **how))


def _show(axes: Axes, image: np.ndarray, kind: str = "", above: str = "", below: str = "") -> None:
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


def _write(page: Axes, x: float, y: float, text: str, **how) -> None:
    how = {"ha": "center", "va": "top", "fontsize": style.SMALL, "parse_math": False} | how
    page.text(x, y, text, **how)


def _arrow(page: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    how = {"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": 1.0, "color": style.INK}
    page.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **how))


def _namer(pids: Iterable, width: float) -> tuple[Callable[[Any], str], int]:
    """How to write 'person 12': on one line if all of `pids` fit into `width` inches, else on two.

    Returns:
        The function from a pid to its text, and the number of lines.
    """
    if all(style.text_width(f"person {pid}", style.SMALL, "bold") <= width for pid in pids):
        return lambda pid: f"person {pid}", 1
    return lambda pid: f"person\n{style.shorten(pid, width, weight='bold')}", 2


def _distance(value: float) -> str:
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
        _show(axes, image, kind, above, f"{name(pid)}\n{_distance(float(sq))}")
    for spare in grid[len(images) :]:
        spare.set_visible(False)


def _check_case(case: Mapping[str, Any], keys: Sequence[str]) -> None:
    style.check_images(case["query_image"], "query_image", 3)
    style.check_not_empty(style.check_images(case["images"], "images"), "images")
    style.check_lengths(len(case["images"]), **{key: case[key] for key in keys})


def _ratio(images) -> float:
    """Height over width of an image or of equally large images."""
    return np.shape(images)[-3] / np.shape(images)[-2]


@style.in_style()
def person_sheet(images: np.ndarray, title: str = "") -> Figure:
    """Show the 16 views of one person; columns: orientations; rows: cameras.

    Args:
        images: (2, 8, H, W, 3) uint8; images[c, o] is camera c + 1, orientation o + 1.
        title: one line above the sheet, taken literally.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: another shape or dtype.
    Example:
        >>> person_sheet(np.zeros((2, 8, 128, 48, 3), dtype=np.uint8), "person 1").get_figwidth()
        6.9
    """
    images = np.asarray(images)
    if images.ndim != 5 or images.shape[:2] != (2, 8):
        raise ValueError(f"images is {images.shape}; expected (2, 8, H, W, 3): camera, orientation")
    flat = style.check_images(images.reshape(16, *images.shape[2:]), "images")
    width = min((style.DOUBLE - 0.31) / 8 - 0.05, 2.2 / _ratio(flat))
    height = width * _ratio(flat)
    top = 0.4 + (0.22 if title else 0)
    page = _page(style.DOUBLE, top + 2 * (height + 0.05) + 0.04)
    if title:
        _write(
            page, style.DOUBLE / 2, 0.08, style.shorten(title, style.DOUBLE - 0.2, 9), fontsize=9
        )
    left = (style.DOUBLE + 0.26 - 8 * (width + 0.05)) / 2
    _write(page, left + 4 * (width + 0.05), top - 0.19, "orientation", va="bottom", fontsize=8)
    grid = _grid(page, left, top, (width, height), (2, 8), (0.05, 0.05))
    for axes, image in zip(grid, flat, strict=True):
        _show(axes, image)
    for i, axes in enumerate(grid[:8]):
        axes.set_title(str(i + 1), fontsize=style.SMALL, pad=2.5)
    for i, axes in enumerate(grid[::8]):
        axes.set_ylabel(f"camera {i + 1}")
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
    query_image = style.check_images(query_image, "query_image", 3)
    gallery_images = style.check_images(gallery_images, "gallery_images")
    style.check_not_empty(gallery_images, "gallery_images")
    n = len(gallery_images)
    style.check_lengths(n, sq_distances=sq_distances, correct=correct, pids=pids)
    code, sq_distances = np.asarray(code, dtype=float), np.asarray(sq_distances, dtype=float)
    if code.ndim != 1 or not len(code) or not np.isfinite(code).all():
        raise ValueError(f"code is {code.shape}; expected (D,) finite numbers")
    if k < 1:
        raise ValueError(f"k is {k}; expected at least 1")
    if not np.isfinite(sq_distances).all():
        raise ValueError("sq_distances holds NaN or infinity; leave out what has no distance")
    order, k = np.argsort(sq_distances, kind="stable"), min(k, n, 12)
    ranked, pids = sq_distances[order], np.asarray(pids)[order]
    hits = np.asarray(correct, dtype=bool)[order]

    cell = min((style.DOUBLE - 0.1) / k, 0.66)
    size = cell - 0.08, (cell - 0.08) * _ratio(gallery_images)
    name, lines = _namer(pids[:k], cell - 0.03)
    top = 2.48  # of the ranking
    page = _page(style.DOUBLE, top + _HEAD + size[1] + 0.08 + (lines + 1) * _LINE)
    _draw_query(page, query_image, query_pid)
    _draw_network(page, {"resnet18": "ResNet-18", "resnet50": "ResNet-50"}.get(backbone, backbone))
    _draw_code(page, code)
    _draw_distances(page, ranked, hits)
    page.plot((0.1, style.DOUBLE - 0.1), (top - 0.08, top - 0.08), color=style.INK, lw=0.8)
    words = f"ranking: the nearest {k} by d²"
    _write(page, 0.1, top - 0.13, words, fontsize=8, ha="left", va="bottom")
    grid = _grid(page, (style.DOUBLE - k * cell) / 2 + 0.04, top + _HEAD, size, (1, k))
    kinds = np.where(hits[:k], "correct", "wrong")
    _show_ranked(grid, gallery_images[order[:k]], pids, ranked, kinds, name)
    return page.get_figure()


_MIDDLE = 0.98  # inches from the top: the arrows of Fig. 1


def _draw_query(page: Axes, image: np.ndarray, pid: Any) -> None:
    height = min(1.5, 0.8 * _ratio(image))
    width = height / _ratio(image)
    _write(page, 0.52, 0.05, "query", fontsize=8)
    (axes,) = _grid(page, 0.52 - width / 2, _MIDDLE - height / 2, (width, height))
    _show(axes, image, "query", below=style.shorten(f"person {pid}", 0.98))
    _arrow(page, (0.96, _MIDDLE), (1.2, _MIDDLE))


def _draw_network(page: Axes, name: str) -> None:
    """Draw the blocks of the network: their maps shrink in size and grow in number."""
    _write(page, 1.98, 0.05, style.shorten(name, 1.5, 8), fontsize=8)
    for i, block in enumerate(("conv1", "conv2", "conv3", "conv4", "conv5", "pool5")):
        left, high = 1.25 + 0.25 * i, 1.4 - 0.16 * i
        shade = plt.get_cmap("Blues")(0.08 + 0.09 * i)
        place = (left, _MIDDLE - high / 2), 0.19, high
        page.add_patch(Rectangle(*place, fc=shade, ec=style.INK, lw=0.6))
        _write(page, left + 0.095, _MIDDLE, block, rotation=90, va="center")
    _arrow(page, (2.74, _MIDDLE), (2.98, _MIDDLE))


def _draw_code(page: Axes, code: np.ndarray) -> None:
    """Draw a code folded into columns, so that each of its numbers has a visible cell."""
    columns = math.ceil(len(code) / 64)
    folded = np.full((columns, math.ceil(len(code) / columns)), np.nan)
    folded.flat[: len(code)] = code
    signed, limit = code.min() < 0, float(np.abs(code).max()) or 1.0
    low, colours = (-limit, "RdBu_r") if signed else (0, "viridis")
    width = min(0.62, 0.08 * max(columns, 2))
    _write(page, 3.36, 0.05, "inherent code", fontsize=8)
    strip = page.get_figure().add_axes(_box(page, 3.36 - width / 2, 0.3, width, 1.36), gid="code")
    image = strip.imshow(
        folded.T, cmap=colours, vmin=low, vmax=limit, aspect="auto", interpolation="nearest"
    )
    strip.set_axis_off()
    place = page.get_figure().add_axes(_box(page, 3.05, 1.74, 0.62, 0.06))
    bar = page.get_figure().colorbar(image, cax=place, location="bottom")
    ends = (-limit, 0, limit) if signed else (0, limit)
    bar.set_ticks(ends, labels=[f"{end:.2g}".replace("-", "−") for end in ends])
    bar.ax.tick_params(length=0, pad=2)
    bar.outline.set_visible(False)
    _write(page, 3.36, 1.92, f"{len(code)} numbers")
    _arrow(page, (3.74, _MIDDLE), (3.98, _MIDDLE))


def _draw_distances(page: Axes, ranked: np.ndarray, hits: np.ndarray) -> None:
    """Plot the distances to the whole gallery in the order of the ranking."""
    n, ranks = len(ranked), np.arange(1, len(ranked) + 1)
    plot = page.get_figure().add_axes(_box(page, 4.62, 0.3, 2.18, 1.3))
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
    _write(page, 5.71, 0.05, "distances to the gallery", fontsize=8)
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
        _check_case(case, ("pids", "sq_distances", "correct", *junk))
    across = min(10, max(len(case["images"]) for case in cases))
    side, gap = 0.3, 0.2
    cell = min((style.DOUBLE - side - gap - 0.04) / (across + 1), 0.9)
    name, lines = _namer([p for c in cases for p in (c["query_pid"], *c["pids"])], cell - 0.03)
    width = max(side + gap + cell * (across + 1) + 0.04, 2.0)
    key = ["number: rank", "✓ red frame: the query's person", "d²: squared distance of the codes"]
    if any(np.any(case.get("junk")) for case in cases if case.get("junk") is not None):
        key += ["dashed: junk, not ranked"]
    key = ["    ".join(key)] if style.text_width("    ".join(key), style.SMALL) < width else key

    sizes = [(cell - 0.08, (cell - 0.08) * _ratio(case["images"])) for case in cases]
    between = 0.12 + _HEAD + (lines + 1) * _LINE  # from a picture to the one below
    rows = [math.ceil(len(case["images"]) / across) for case in cases]
    tall = [n * (size[1] + between) for n, size in zip(rows, sizes, strict=True)]
    page = _page(width, 0.06 + sum(tall) + len(key) * _LINE)
    top = 0.04 + _HEAD
    for case, size, n, high in zip(cases, sizes, rows, tall, strict=True):
        label = style.shorten(case["label"], high - 0.25, 8.5, "bold")
        bold = {"fontsize": 8.5, "fontweight": "bold", "rotation": 90, "va": "center"}
        _write(page, 0.14, top + (high - between) / 2, label, **bold)
        (axes,) = _grid(page, side + 0.04, top, size)
        _show(axes, case["query_image"], "query", "query", name(case["query_pid"]))
        kinds = np.where(np.asarray(case["correct"], dtype=bool), "correct", "wrong")
        if case.get("junk") is not None:
            kinds = np.where(np.asarray(case["junk"], dtype=bool), "junk", kinds)
        grid = _grid(page, side + cell + gap, top, size, (n, across), (0.08, between))
        _show_ranked(grid, case["images"], case["pids"], case["sq_distances"], kinds, name)
        top += high
    _write(page, width / 2, top - _HEAD - 0.02, "\n".join(key), color="#555555")
    return page.get_figure()


@style.in_style()
def activation_maps(cases: Sequence[Mapping[str, Any]]) -> Figure:
    """Show where two images contain what makes their codes similar.

    The code is the mean of the last feature map f over its positions x, so the cosine of two codes
    is the mean over the positions of either image of

        m(x) = f(x) . c' / (||c|| ||c'||),    c = mean_x f(x), and c' the other image's code,

    and m is the contribution of each position to the similarity. All maps of a figure share one
    colour scale.

    What m does not show: the gallery is ranked by distance, which depends on the norms of the codes
    too. Where codes have no negative parts (after a ReLU), positions that are active for all images
    are bright in all comparisons: compare the query's maps with each other. There are few positions
    (4 x 2 for 128 x 48 pixels and a ResNet), each of which sees most of the image; the map is
    interpolated over the image, so its edges mean nothing.

    Args:
        cases: one mapping per query, with `label`; `query_image`, (H, W, 3) uint8; `query_pid`; and
            of k other images `images`, (k, H, W, 3) uint8, `pids`, `ranks`, `sq_distances` and
            `correct`, (k,); `query_maps`, (k, h, w), m of the query given each image's code; and
            `maps`, (k, h, w), m of each image given the query's code.
    Returns:
        A figure up to two columns wide.
    Raises:
        ValueError: no case, one without images, lengths disagree, or a map is not finite.
    """
    style.check_not_empty(cases, "cases")
    for case in cases:
        each = ("pids", "ranks", "sq_distances", "correct", "query_maps", "maps")
        _check_case(case, each)
        for key in ("query_maps", "maps"):
            if np.ndim(case[key]) != 3 or not np.isfinite(case[key]).all():
                raise ValueError(f"{key} is {np.shape(case[key])}; expected finite (k, h, w)")
    every = np.concatenate([np.ravel(c[key]) for c in cases for key in ("query_maps", "maps")])
    norm = Normalize(every.min(), every.max() if np.ptp(every) else every.min() + 1)

    across = max(len(case["images"]) for case in cases)
    ratio = max(_ratio(case[key]) for case in cases for key in ("images", "query_image"))
    gap, left = 0.16, 0.3
    cell = min((style.DOUBLE - left - gap * across - 0.04) / (3 * across + 1), 1.5 / ratio + 0.06)
    size = cell - 0.06, (cell - 0.06) * ratio
    name, lines = _namer([p for c in cases for p in (c["query_pid"], *c["pids"])], cell - 0.02)
    high = 0.14 + _HEAD + size[1] + lines * _LINE
    width = max(left + cell + across * (gap + 3 * cell) + 0.04, 3.0)
    key = (
        "In each group of three: where the query matches the other image's code, where that image "
        "matches the query's, and the image itself. ✓ red frame: the query's person. "
        "d²: squared distance of the codes."
    )
    key = style.wrap(key, width, style.SMALL)
    page = _page(width, 0.56 + len(cases) * high + (key.count("\n") + 1) * _LINE)
    top = 0.04 + _HEAD
    for case in cases:
        label = style.shorten(case["label"], size[1], 8.5, "bold")
        bold = {"fontsize": 8.5, "fontweight": "bold", "rotation": 90, "va": "center"}
        _write(page, 0.14, top + size[1] / 2, label, **bold)
        (axes,) = _grid(page, left, top, size)
        _show(axes, case["query_image"], "query", "query", name(case["query_pid"]))
        for j in range(len(case["images"])):
            grid = _grid(
                page, left + cell + gap + j * (gap + 3 * cell), top, size, (1, 3), (0.06, 0)
            )
            _show_mapped(grid, case, j, norm, name)
        top += high
    _draw_map_scale(page, top - _HEAD, norm, np.shape(cases[0]["maps"])[1:])
    _write(page, width / 2, top - _HEAD + 0.46, key, color="#555555")
    return page.get_figure()


def _show_mapped(grid: list[Axes], case: Mapping, j: int, norm: Normalize, name: Callable) -> None:
    """Show the query's map given image j, the map of image j given the query, and image j."""
    image, query, maps = case["images"][j], case["query_image"], case["maps"][j]
    correct = bool(case["correct"][j])
    words = f"rank {case['ranks'][j]}{' ✓' if correct else ''}"
    words += f", {_distance(float(case['sq_distances'][j]))}, cosine {np.mean(maps):.2f}"
    words = style.shorten(words, 3.3 * grid[0].get_position().width * grid[0].figure.get_figwidth())
    kind = "correct" if correct else "wrong"
    _show(
        grid[0], _mapped(query, case["query_maps"][j], norm), "query", "", name(case["query_pid"])
    )
    _show(grid[1], _mapped(image, maps, norm), kind, words, name(case["pids"][j]))
    _show(grid[2], image, kind, "", name(case["pids"][j]))


def _mapped(image: np.ndarray, values: np.ndarray, norm: Normalize) -> np.ndarray:
    """The colours of a map interpolated over the image, which shows as a slight shade."""
    grey = np.asarray(image) @ np.array([0.2126, 0.7152, 0.0722]) / 255
    small = Image.fromarray(np.asarray(values, dtype=np.float32))
    smooth = np.asarray(small.resize(grey.shape[::-1], Image.Resampling.BICUBIC))
    colours = plt.get_cmap(_MAP_COLOURS)(norm(smooth))[..., :3]
    return (255 * colours * (0.6 + 0.4 * grey[..., None])).round().astype(np.uint8)


def _draw_map_scale(page: Axes, top: float, norm: Normalize, shape: tuple[int, int]) -> None:
    figure, middle = page.get_figure(), page.get_xlim()[1] / 2
    bar = figure.colorbar(
        ScalarMappable(norm, _MAP_COLOURS),
        cax=figure.add_axes(_box(page, middle - 1.1, top, 2.2, 0.09)),
        orientation="horizontal",
    )
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(5)
    label = f"m(x) at {shape[0]} × {shape[1]} positions; its mean is the cosine of the two codes"
    _write(page, middle, top + 0.27, label)
