"""Grids of cells: the split of a data set, and scores by orientation."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from reid_lib.plots import style

_PARTS = {"train": "#0072b2", "test": "#e69f00", "unused": "#bbbbbb"}


@style.in_style()
def split_counts(index: pd.DataFrame, train_pids: Sequence, test_pids: Sequence) -> Figure:
    """Show which persons train and which test, which views exist, and how many images that makes.

    Above, columns: persons (ascending pid); rows: camera x orientation. A cell has the colour of
    the person's part where at least one image exists and is white where none does. Below, the
    number of images of each camera and part.

    Args:
        index: pid, camid and orientation of each image, one row per image.
        train_pids: the persons to train on.
        test_pids: the persons to test on, both as query and as gallery.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: a column is missing, a person is in both parts, or one has no image.
    """
    style.check_table(index, ("pid", "camid", "orientation"), "index")
    train, test, pids = set(train_pids), set(test_pids), set(index["pid"])
    if train & test:
        raise ValueError(f"{sorted(train & test)[:5]} both train and test; parts must be disjoint")
    if (train | test) - pids:
        raise ValueError(f"{sorted((train | test) - pids)[:5]} of the split have no image in index")
    part_of = dict.fromkeys(pids, "unused") | dict.fromkeys(train, "train")
    part = index["pid"].map(part_of | dict.fromkeys(test, "test"))
    counts = pd.crosstab(index["camid"], part)
    counts = counts[[name for name in _PARTS if name in counts]]
    height = 0.14 * counts.size
    figure, (above, below) = plt.subplots(
        *(2, 1),
        figsize=(style.DOUBLE, 2.35 + height),
        height_ratios=(1.4, 1.2 * height + 0.2),
        layout="constrained",
    )
    cells = index.assign(part=1 + part.map(list(_PARTS).index))
    cells = cells.pivot_table("part", ["camid", "orientation"], "pid", "first", fill_value=0)
    sizes = index["pid"].groupby(part).nunique()[counts.columns]
    words = {"train": "to train", "test": "to test"}
    sizes = ", ".join(f"{size} {words.get(name, name)}" for name, size in sizes.items())
    above.set_title(f"{len(pids)} persons: {sizes}", loc="left")
    _draw_views(above, cells)
    _draw_counts(below, counts)
    names = {"test": "test (query or gallery)"}
    handles = {names.get(name, name): Patch(color=_PARTS[name]) for name in counts}
    style.legend(figure, handles, "outside lower center")
    return style.finish(figure)


def _draw_views(axes: Axes, cells: pd.DataFrame) -> None:
    colours = ListedColormap(["white", *_PARTS.values()])
    how = {"aspect": "auto", "interpolation": "nearest"}
    axes.imshow(cells.to_numpy(), cmap=colours, vmin=0, vmax=3, **how)
    axes.spines[:].set_visible(False)
    pids, camids = cells.columns, cells.index.get_level_values("camid")
    axes.set_xticks(np.arange(len(pids)) - 0.5, minor=True)
    axes.grid(which="minor", axis="x", color="white", linewidth=min(0.8, 40 / len(pids)))
    places = pd.Series(range(len(camids)), camids).groupby(level=0)
    axes.set_yticks(places.mean(), [f"camera {camid}" for camid in places.groups], parse_math=False)
    for first in places.min()[1:]:
        axes.axhline(first - 0.5, color="white", linewidth=2.5)
    axes.tick_params(which="both", length=0)
    shown = np.unique(np.linspace(0, len(pids) - 1, min(12, len(pids))).round().astype(int))
    axes.set_xticks(shown, [style.shorten(pids[i], 0.45) for i in shown], parse_math=False)
    axes.set_xlabel("columns: persons (ascending pid); rows: camera × orientation; white: no image")


def _draw_counts(axes: Axes, counts: pd.DataFrame) -> None:
    step = 0.8 / len(counts.columns)
    for i, name in enumerate(counts):
        place = np.arange(len(counts)) - 0.4 + (i + 0.5) * step
        bars = axes.barh(place, counts[name], step * 0.9, color=_PARTS[name])
        axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=style.SMALL)
    style.name_rows(axes, [f"camera {camid}" for camid in counts.index])
    axes.grid(False)
    axes.set_xlim(0, counts.to_numpy().max() * 1.09)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("images")


@style.in_style()
def viewpoint_grids(
    grids: Mapping[str, np.ndarray],
    label: str,
    fmt: str = "{:.0f}",
    vmin: float | None = None,
    vmax: float | None = None,
) -> Figure:
    """Show a score for each orientation of the query against each of the gallery.

    Args:
        grids: row name to (8, 8); rows: query orientations; columns: gallery orientations; NaN,
            drawn hatched, where no pair exists.
        label: what the numbers are, with their unit, beside the shared colour bar.
        fmt: how each number is written.
        vmin: the lower end of the colour scale; the smallest value of all grids if None.
        vmax: its upper end; the largest value if None.
    Returns:
        A figure up to two columns wide.
    Raises:
        ValueError: no grid, or one of another shape.
    """
    style.check_not_empty(grids, "grids")
    grids = {name: np.asarray(grid, dtype=float) for name, grid in grids.items()}
    for name, grid in grids.items():
        if grid.shape != (8, 8):
            raise ValueError(f"the grid of {name!r} is {grid.shape}; expected (8, 8)")
    values = np.concatenate([grid[np.isfinite(grid)] for grid in grids.values()])
    low = vmin if vmin is not None else values.min() if len(values) else 0.0
    high = vmax if vmax is not None else values.max() if len(values) else 1.0
    high = high if high > low else low + 1

    widest = max(
        (style.text_width(fmt.format(value), style.SMALL) for value in values), default=0.1
    )
    cell, frame = max(0.22, widest + 0.05), 0.27  # inches; the frame holds ticks and spacing
    columns = max(1, min(len(grids), int((style.DOUBLE - 0.25) / (8 * cell + frame))))
    columns = math.ceil(len(grids) / math.ceil(len(grids) / columns))  # 2 and 2, not 3 and 1
    cell = max(cell, min(0.28, ((style.DOUBLE - 0.25) / columns - frame) / 8))
    missing = any(np.isnan(grid).any() for grid in grids.values())
    lines = math.ceil(len(grids) / columns)
    size = max(columns * (8 * cell + frame) + 0.25, 2.6), lines * (8 * cell + 0.4) + 1.0
    figure, axes_grid = style.panels(len(grids), columns, *size, figsize=size, layout="compressed")
    for axes, (name, grid) in zip(axes_grid, grids.items(), strict=True):
        _draw_grid(axes, grid, fmt, low, high)
        axes.set_title(style.shorten(name, 8 * cell, 8.5), parse_math=False)
    bar = figure.colorbar(
        axes.collections[0], ax=figure.axes, location="bottom", aspect=40, pad=0.02, shrink=0.7
    )
    bar.outline.set_visible(False)
    bar.set_label(label, parse_math=False)
    for axes in axes_grid[-columns:]:  # no grid lies below these
        axes.set_xlabel("gallery orientation\n(3 back, 7 front)")
    figure.supylabel("query orientation (3 back, 7 front)")
    if missing:
        hatched = Patch(fc="white", ec="#aaaaaa", hatch="//////", lw=0.5)
        style.legend(figure, {"no pair": hatched}, "outside upper right")
    return style.finish(figure)


def _draw_grid(axes: Axes, grid: np.ndarray, fmt: str, low: float, high: float) -> None:
    ticks = range(1, 9)
    seaborn.heatmap(
        pd.DataFrame(grid, ticks, ticks),
        **{"ax": axes, "vmin": low, "vmax": high, "cmap": "cividis", "cbar": False},
        **{"annot": np.vectorize(fmt.format)(grid), "fmt": "", "annot_kws": {"size": style.SMALL}},
        square=True,
    )
    axes.patch.set(fc="white", ec="#aaaaaa", hatch="////", lw=0)  # seen where a cell is missing
    axes.tick_params(length=0, rotation=0)
