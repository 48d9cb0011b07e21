"""Figures that show images: the sample sheet, Fig. 1, Fig. 3 and similarity maps."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from matplotlib.ticker import MaxNLocator
from PIL import Image

from reid_lib.plots import style

_CASE = {"query_image": "H W 3", "images": "k h w 3", "pids": "k", "sq_distances": "k"}
_CASE |= {"correct": "k", "junk": "k"}
_EMPTY = {"frame_on": False, "xticks": [], "yticks": []}
_LOOKS = {  # the frame of a picture, and the text above and below it
    "query": ({"ec": style.INK, "lw": 2.4}, {"fontweight": "bold"}),
    "correct": ({"ec": style.RED, "lw": 4}, {"color": style.RED, "fontweight": "bold"}),
    "wrong": ({"ec": "#bbbbbb", "lw": 1}, {}),
    "junk": (
        {"ec": style.GREY, "lw": 2.4, "ls": (0, (1.2, 0.8))},
        {"color": style.GREY, "style": "italic"},
    ),
}


def _show_image(axes: Axes, image: np.ndarray, kind="", above: str = "", below: str = "") -> None:
    """Show a picture in the frame of its kind, with text above and below it."""
    axes.imshow(image, interpolation="antialiased")
    axes.set(frame_on=True, xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    frame, words = _LOOKS.get(kind, ({"lw": 0}, {}))
    axes.patch.set(**frame, gid=kind, joinstyle="miter")  # below the picture, so around its pixels
    axes.set_title(above, fontsize=style.SMALL, pad=3.5, **words)
    axes.set_xlabel(below, fontsize=style.SMALL, labelpad=3.5, **words)


def _distance_text(value: float) -> str:
    return f"d² {value:.3g}" if value < 999.5 else f"d² {value:.0f}"


def _image_figure(lines: int, widths: Sequence[float], ratio: float, text: float, below: float):
    """A grid of empty axes for pictures of this height over width, in columns of these widths.

    Each line has `text` inches of text, and the figure `below` inches below the grid.
    """
    cell = min((style.DOUBLE - 0.3) / sum(widths), 4.5 / lines / ratio + 0.08, 1.0)
    size = max(cell * sum(widths) + 0.3, 3.0), lines * ((cell - 0.08) * ratio + text) + below
    options = {
        "layout": "constrained",
        "squeeze": False,
        "width_ratios": widths,
        "subplot_kw": _EMPTY,
    }
    figure, grid = plt.subplots(lines, len(widths), figsize=size, **options)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.02, wspace=0, hspace=0)
    return figure, grid


def ranked_case(
    label: str,
    images: np.ndarray,
    query: Mapping[str, np.ndarray],
    gallery: Mapping[str, np.ndarray],
    i: int,
    order: pd.DataFrame,
) -> dict[str, Any]:
    """Collect a query and a part of its ranked gallery, as `plots.ranking` draws them.

    Args:
        label: such as "simple".
        images: (N, H, W, 3) uint8, all test images in the order of the index.
        query, gallery: the two sides as `Run.query_gallery` returns them.
        i: row of the query in `query`.
        order: lines of `metrics.rank_gallery`, nearest first.
    Returns:
        A mapping with label, query_image, query_pid, images, pids, ranks, sq_distances, correct and
        junk.
    Example:
        >>> images = np.zeros((2, 4, 2, 3), dtype=np.uint8)
        >>> query, gallery = ({"rows": np.array([k]), "pids": np.array([7])} for k in (0, 1))
        >>> order = {"row": [0], "rank": [1], "distance": [2.0], "match": [True], "junk": [False]}
        >>> case = ranked_case("simple", images, query, gallery, 0, pd.DataFrame(order))
        >>> case["sq_distances"], case["correct"]
        (array([4.]), array([ True]))
    """
    shown = gallery["rows"][order["row"]]
    return {
        "label": label,
        "query_image": images[query["rows"][i]],
        "query_pid": query["pids"][i],
        "images": images[shown],
        "pids": gallery["pids"][order["row"]],
        "ranks": order["rank"].to_numpy(),
        "sq_distances": order["distance"].to_numpy() ** 2,
        "correct": order["match"].to_numpy(),
        "junk": order["junk"].to_numpy(),
    }


@style.in_style()
def person_sheet(
    images: np.ndarray, title: str = "", cameras: Sequence = (), columns: str = "orientation"
) -> Figure:
    """Show the images of one person; rows: cameras; columns: orientations, or one after another.

    Args:
        images: (C, V, H, W, 3) uint8; images[c, o] is of camera c, by default orientation o + 1. A
            white picture stands for a missing one.
        title: one line above the sheet, taken literally.
        cameras: their names; those of the ids 1 to C if empty.
        columns: what a column is, as a word above them.
    Returns:
        A figure up to two columns wide.
    Raises:
        ValueError: another shape or dtype.
    Example:
        >>> sheet = person_sheet(np.zeros((2, 8, 128, 48, 3), dtype=np.uint8), "person 1")
        >>> len(sheet.axes)
        16
    """
    style.check_shapes({"images": images}, images="c v H W 3")
    count, views = np.shape(images)[:2]
    figure, grid = _image_figure(count, [1] * views, _ratio(images), 0.1, 0.6)
    for (camera, place), axes in np.ndenumerate(grid):
        below = str(place + 1) if camera == count - 1 else ""
        _show_image(axes, images[camera][place], below=below)
    names = cameras or style.camera_names(range(1, count + 1)).values()
    for name, axes in zip(names, grid[:, 0], strict=True):
        axes.set_ylabel(name)
    figure.suptitle(style.wrap(title, 80))
    figure.supxlabel(columns)
    return style.finish(figure)


def _ratio(images: np.ndarray) -> float:
    """Height over width of an image or of equally large images."""
    return np.shape(images)[-3] / np.shape(images)[-2]


def _show_ranked(grid: Iterable[Axes], case: Mapping[str, Any]) -> None:
    """Show ranked gallery images; ranks do not count junk."""
    kinds = np.where(np.asarray(case["correct"], dtype=bool), "correct", "wrong")
    if case.get("junk") is not None:
        kinds = np.where(np.asarray(case["junk"], dtype=bool), "junk", kinds)
    ranks = np.cumsum(kinds != "junk")
    each = zip(case["images"], case["pids"], case["sq_distances"], kinds, ranks, strict=True)
    for axes, (image, pid, sq_distance, kind, rank) in zip(grid, each, strict=False):
        above = {"junk": "junk", "correct": f"{rank} ✓"}.get(kind, str(rank))
        _show_image(axes, image, kind, above, f"pid {pid}\n{_distance_text(sq_distance)}")


def _show_query(axes: Axes, case: Mapping[str, Any]) -> None:
    """Show the query's image, with the case's label upright at its left."""
    _show_image(axes, case["query_image"], "query", "query", f"pid {case['query_pid']}")
    axes.set_ylabel(style.wrap(case["label"], 12), fontsize=8.5, fontweight="bold")


@style.in_style()
def ranking(cases: Sequence[Mapping[str, Any]]) -> Figure:
    """Show ranked galleries (Fig. 3): on the left the query, then its gallery by distance.

    A correct match has a red frame and a tick, junk a dashed grey frame and the word; ranks do not
    count junk.

    Args:
        cases: one mapping per query, with `label`; `query_image`, (H, W, 3) uint8; `query_pid`; and
            of the ranked gallery `images`, (k, H, W, 3) uint8, `pids`, `sq_distances` and
            `correct`, (k,), and optionally `junk`, (k,) bool (junk is drawn as junk whatever
            `correct` says). Ten images are drawn.
    Returns:
        A figure up to two columns wide.
    Raises:
        ValueError: no case, one without images, or shapes disagree.
    """
    style.check_not_empty(cases, "cases")
    for case in cases:
        style.check_shapes(case, **_CASE)
    across = min(10, max(len(case["images"]) for case in cases))
    ratio = max(_ratio(case["images"]) for case in cases)
    figure, grid = _image_figure(len(cases), [1, 0.2, *[1] * across], ratio, 0.55, 0.3)
    for line, case in zip(grid, cases, strict=True):
        _show_query(line[0], case)
        _show_ranked(line[2:], case)
    key = "number: rank    pid: person    ✓ red frame: the query's person    "
    key += "dashed: junk    " * any(np.any(case.get("junk", False)) for case in cases)
    key += "d²: squared distance of the codes"
    figure.supxlabel(style.wrap(key, int(figure.get_figwidth() * 18)), fontsize=style.SMALL)
    return style.finish(figure)


@style.in_style()
def framework(case: Mapping[str, Any], code: np.ndarray, backbone: str = "resnet18") -> Figure:
    """Follow one query through the framework (Fig. 1): network, code, distances, ranking.

    Args:
        case: a query and its whole ranked gallery, as `ranking` takes them. All of the distances
            are plotted, and the first ten images shown.
        code: (D,) float, the query's inherent code, drawn number by number, down each column.
        backbone: name of the network.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: shapes disagree, or the gallery is empty.
    """
    style.check_shapes(case, **_CASE)
    style.check_shapes({"code": code}, code="d")
    height = 0.58 * _ratio(case["images"]) + 0.75
    figure = plt.figure(figsize=(style.DOUBLE, 2.3 + height), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(2.3, height))
    steps = above.subplots(1, 4, width_ratios=(0.9, 1.8, 0.8, 2.6))
    figure.get_layout_engine().set(wspace=0.1)
    _show_image(steps[0], case["query_image"], "query", "query", f"pid {case['query_pid']}")
    blocks, high = ("conv1", "conv2", "conv3", "conv4", "conv5", "pool5"), np.linspace(1, 0.4, 6)
    shades = plt.get_cmap("Blues")(np.linspace(0.08, 0.53, 6))
    bars = steps[1].bar(
        range(6), high, 0.75, -high / 2, color=shades, ec=style.INK, lw=0.6, clip_on=False
    )
    steps[1].bar_label(bars, blocks, label_type="center", rotation=90, fontsize=style.SMALL)
    steps[1].set_title({"resnet18": "ResNet-18", "resnet50": "ResNet-50"}.get(backbone, backbone))
    steps[1].set_axis_off()
    _draw_code(steps[2], np.asarray(code, dtype=float))
    _draw_distances(steps[3], case)
    for axes, onto in itertools.pairwise(steps):
        end = -0.12 if onto is steps[3] else 0.0  # left of the tick labels
        options = {"arrowstyle": "-|>", "mutation_scale": 9, "shrinkA": 5, "shrinkB": 5}
        ends = (1, 0.5), (end, 0.5), axes.transAxes, onto.transAxes
        above.add_artist(ConnectionPatch(*ends, **options, in_layout=False))
    k = min(10, len(case["images"]))
    below.suptitle(f"ranking: the nearest {k} by d²", fontsize=8)
    _show_ranked(below.subplots(1, 10, subplot_kw=_EMPTY), case)
    return style.finish(figure)


def _draw_code(axes: Axes, code: np.ndarray) -> None:
    """Draw a code folded into columns, so that each of its numbers has a visible cell."""
    columns = math.ceil(len(code) / 64)
    folded = np.full((columns, math.ceil(len(code) / columns)), np.nan)
    folded.flat[: len(code)] = code
    limit = float(np.abs(code).max()) or 1.0
    low, colours = (-limit, "RdBu_r") if code.min() < 0 else (0, "viridis")
    options = {"cmap": colours, "vmin": low, "vmax": limit}
    image = axes.imshow(folded.T, aspect="auto", interpolation="nearest", **options)
    axes.set(gid="code", xticks=[], yticks=[], title="inherent code")
    axes.spines[:].set_visible(False)
    place = axes.inset_axes((0, -0.12, 1, 0.05))
    bar = axes.get_figure().colorbar(image, cax=place, orientation="horizontal")
    bar.set_ticks([low, limit], labels=[f"{end:.2g}".replace("-", "−") for end in (low, limit)])
    bar.set_label(f"{len(code)} numbers", fontsize=style.SMALL)
    bar.outline.set_visible(False)


def _draw_distances(axes: Axes, case: Mapping[str, Any]) -> None:
    """Plot the distances to the whole gallery in the order of the ranking."""
    distances, hits = np.asarray(case["sq_distances"]), np.asarray(case["correct"], dtype=bool)
    ranks = np.arange(1, len(distances) + 1)
    axes.plot(ranks[~hits], distances[~hits], ".", color="#999999", ms=2.5, label="wrong")
    axes.plot(ranks[hits], distances[hits], "D", color=style.RED, ms=3.5, label="correct")
    axes.set(ylim=(0, None), xlabel=f"rank in the gallery of {len(ranks):,}")
    axes.set_title("squared distances d² to the gallery")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.legend(loc="lower right", handlelength=1, borderpad=0, labelspacing=0.2)


@style.in_style()
def similarity_maps(cases: Sequence[Mapping[str, Any]]) -> Figure:
    """Show which regions of two images make their codes similar.

    A code is the mean of the last feature map f over its positions x, so the cosine of two codes is
    the mean over the positions of either image of its map

        m(x) = f(x) . c' / (||c|| ||c'||),    c = mean_x f(x), and c' the other image's code.

    The ranking also depends on the norms of the codes. After a ReLU, positions that are active for
    all images are bright in all comparisons, so compare the maps of one query with each other. The
    map is interpolated between few positions (4 x 2 for 128 x 48 pixels and a ResNet).

    Args:
        cases: as `ranking` takes them, with `ranks`, (k,); `query_maps`, (k, h, w), m of the query
            given each image's code; and `maps`, (k, h, w), m of each image given the query's code.
    Returns:
        A figure up to two columns wide.
    Raises:
        ValueError: no case, one without images, shapes disagree, or a map is not finite.
    """
    style.check_not_empty(cases, "cases")
    for case in cases:
        style.check_shapes(case, **_CASE, ranks="k", query_maps="k m n", maps="k m n")
    every = np.concatenate(
        [np.ravel(case[key]) for case in cases for key in ("query_maps", "maps")]
    )
    if not np.isfinite(every).all():
        raise ValueError("maps hold NaN or infinity; expected finite numbers")
    norm = Normalize(every.min(), every.max())
    across, ratio = (max(f(case["images"]) for case in cases) for f in (len, _ratio))
    widths = [1, *[0.25, 1, 1, 1] * across]
    figure, grid = _image_figure(len(cases), widths, ratio, 0.45, 1.1)
    for line, case in zip(grid, cases, strict=True):
        _show_query(line[0], case)
        for j in range(len(case["images"])):
            _show_mapped(line[4 * j + 2 : 4 * j + 5], case, j, norm)
    bar = {"location": "bottom", "shrink": 0.35, "aspect": 25, "pad": 0.02}
    bar = figure.colorbar(ScalarMappable(norm, "viridis"), ax=grid, ticks=MaxNLocator(5), **bar)
    bar.outline.set_visible(False)
    size = " × ".join(map(str, np.shape(cases[0]["maps"])[1:]))
    bar.set_label(f"m(x) at {size} positions; its mean is the cosine of the two codes")
    figure.supxlabel(
        "Each group of three shows: the query, coloured by its similarity to the other image's\n"
        "code; the other image, coloured by its similarity to the query's code; the other image.\n"
        "✓ red frame: the query's person.",
        fontsize=style.SMALL,
    )
    return style.finish(figure)


def _show_mapped(grid: Sequence[Axes], case: Mapping, j: int, norm: Normalize) -> None:
    """Show the query's map given image j, the map of image j given the query, and image j."""
    image, maps, pid = case["images"][j], case["maps"][j], f"pid {case['pids'][j]}"
    kind, tick = ("correct", " ✓") if case["correct"][j] else ("wrong", "")
    words = f"rank {case['ranks'][j]}{tick}, {_distance_text(case['sq_distances'][j])}"
    words += f", cosine {np.mean(maps):.2f}"
    of_query = _mapped(case["query_image"], case["query_maps"][j], norm)
    _show_image(grid[0], of_query, "query", "", f"pid {case['query_pid']}")
    _show_image(grid[1], _mapped(image, maps, norm), kind, words, pid)
    _show_image(grid[2], image, kind, "", pid)


def _mapped(image: np.ndarray, values: np.ndarray, norm: Normalize) -> np.ndarray:
    """The colours of a map interpolated over the image, which shows as a slight shade."""
    grey = np.asarray(image) @ np.array([0.2126, 0.7152, 0.0722]) / 255
    small = Image.fromarray(np.asarray(values, dtype=np.float32))
    smooth = np.asarray(small.resize(grey.shape[::-1], Image.Resampling.BICUBIC))
    colours = plt.get_cmap("viridis")(norm(smooth))[..., :3]
    return (255 * colours * (0.6 + 0.4 * grey[..., None])).round().astype(np.uint8)
