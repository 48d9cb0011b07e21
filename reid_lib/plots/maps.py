"""Activation maps: where two images contain what makes their codes similar.

The code is the mean of the last feature map f over its positions x, so the cosine of two codes is
the mean over the positions of either image of

    m(x) = f(x) . c' / (||c|| ||c'||),    c = mean_x f(x), and c' the other image's code,

and m is the contribution of each position to the similarity. What m does not show: the gallery is
ranked by distance, which depends on the norms of the codes too. Where codes have no negative parts
(after a ReLU), positions that are active for all images are bright in all comparisons: compare the
query's maps with each other. There are few positions (4 x 2 for 128 x 48 pixels and a ResNet), each
of which sees most of the image; the map is interpolated over the image, so its edges mean nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from reid_lib.plots import pictures, style


@style.in_style()
def activation_maps(cases: Sequence[Mapping[str, Any]]) -> Figure:
    """Show where two images contain what makes their codes similar: the map m above.

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
        pictures.check_case(case, each)
        for key in ("query_maps", "maps"):
            if np.ndim(case[key]) != 3 or not np.isfinite(case[key]).all():
                raise ValueError(f"{key} is {np.shape(case[key])}; expected finite (k, h, w)")
    every = np.concatenate([np.ravel(c[key]) for c in cases for key in ("query_maps", "maps")])
    norm = Normalize(every.min(), every.max() if np.ptp(every) else every.min() + 1)

    across = max(len(case["images"]) for case in cases)
    every = [case[key] for case in cases for key in ("images", "query_image")]
    ratio = max(map(pictures.height_ratio, every))
    gap, left = 0.16, pictures.LEFT
    cell = (style.DOUBLE - left - gap * across - 0.04) / (3 * across + 1)
    cell = min(cell, 1.5 / ratio + 0.06)
    size = cell - 0.06, (cell - 0.06) * ratio
    name, lines = pictures.namer(
        [p for c in cases for p in (c["query_pid"], *c["pids"])], cell - 0.02
    )
    high = 0.14 + pictures.HEAD + size[1] + lines * pictures.LINE
    width = max(left + cell + across * (gap + 3 * cell) + 0.04, 3.0)
    key = (
        "In each group of three: where the query matches the other image's code, where that image "
        "matches the query's, and the image itself. ✓ red frame: the query's person. "
        "d²: squared distance of the codes."
    )
    key = style.wrap(key, width, style.SMALL)
    page = pictures.new_page(
        width, 0.56 + len(cases) * high + (key.count("\n") + 1) * pictures.LINE
    )
    top = 0.04 + pictures.HEAD
    for case in cases:
        pictures.start_line(page, case, top, size, size[1], name)
        for j in range(len(case["images"])):
            x = left + cell + gap + j * (gap + 3 * cell)
            grid = pictures.image_grid(page, x, top, size, (1, 3), (0.06, 0))
            _show_mapped(grid, case, j, norm, name)
        top += high
    _draw_map_scale(page, top - pictures.HEAD, norm, np.shape(cases[0]["maps"])[1:])
    pictures.write_text(page, width / 2, top - pictures.HEAD + 0.46, key, color="#555555")
    return page.get_figure()


def _show_mapped(grid: list[Axes], case: Mapping, j: int, norm: Normalize, name: Callable) -> None:
    """Show the query's map given image j, the map of image j given the query, and image j."""
    image, query, maps = case["images"][j], case["query_image"], case["maps"][j]
    correct = bool(case["correct"][j])
    words = f"rank {case['ranks'][j]}{' ✓' if correct else ''}"
    words += (
        f", {pictures.distance_text(float(case['sq_distances'][j]))}, cosine {np.mean(maps):.2f}"
    )
    width = 3.3 * grid[0].get_position().width * grid[0].figure.get_figwidth()
    words = style.shorten(words, width)
    kind = "correct" if correct else "wrong"
    pictures.show_image(
        grid[0], _mapped(query, case["query_maps"][j], norm), "query", "", name(case["query_pid"])
    )
    pictures.show_image(grid[1], _mapped(image, maps, norm), kind, words, name(case["pids"][j]))
    pictures.show_image(grid[2], image, kind, "", name(case["pids"][j]))


def _mapped(image: np.ndarray, values: np.ndarray, norm: Normalize) -> np.ndarray:
    """The colours of a map interpolated over the image, which shows as a slight shade."""
    grey = np.asarray(image) @ np.array([0.2126, 0.7152, 0.0722]) / 255
    small = Image.fromarray(np.asarray(values, dtype=np.float32))
    smooth = np.asarray(small.resize(grey.shape[::-1], Image.Resampling.BICUBIC))
    colours = plt.get_cmap("viridis")(norm(smooth))[..., :3]
    return (255 * colours * (0.6 + 0.4 * grey[..., None])).round().astype(np.uint8)


def _draw_map_scale(page: Axes, top: float, norm: Normalize, shape: tuple[int, int]) -> None:
    figure, middle = page.get_figure(), page.get_xlim()[1] / 2
    bar = figure.colorbar(
        ScalarMappable(norm, "viridis"),
        cax=figure.add_axes(pictures.fractions(page, middle - 1.1, top, 2.2, 0.09)),
        orientation="horizontal",
    )
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(5)
    label = f"m(x) at {shape[0]} × {shape[1]} positions; its mean is the cosine of the two codes"
    pictures.write_text(page, middle, top + 0.27, label)
