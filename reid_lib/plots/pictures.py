"""Figures with images: the sample sheet, Fig. 1, Fig. 3 and activation maps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.text import Text
from matplotlib.ticker import (
    MaxNLocator,
)
from PIL import Image

from reid_lib.plots.style import (
    DOUBLE,
    GREY,
    INK,
    RED,
    SMALL,
    _images,
    _not_empty,
    _released,
    _same_length,
    _shortened,
    _style,
    _width,
    _wrapped,
)

_HEAD, _LINE = 0.145, 0.125  # inches: the line above a picture, and each line below it
_MAP_COLOURS = "viridis"


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


def _distance(value: float) -> str:
    if not math.isfinite(value):
        return f"d² {value}"
    if value != 0 and (abs(value) < 0.01 or abs(value) >= 1e5):
        return f"d² {value:.1e}"
    return f"d² {value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"
