"""Grids of cells: the split of a data set, and scores by orientation."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from reid_lib.plots import style

_PARTS = {"train": "#0072b2", "test": "#e69f00", "unused": "#bbbbbb"}


@style.in_style()
def split_counts(index: pd.DataFrame, train_pids: Sequence, test_pids: Sequence) -> Figure:
    """Show which persons train and which test, which views exist, and how many images that makes.

    Columns: persons (ascending pid); rows: camera x orientation. A cell has the colour of the
    person's part where at least one image exists and is white where none does. Beside each camera
    stands its number of images in each part.

    Args:
        index: pid, camid and orientation of each image, one row per image.
        train_pids: the persons to train on.
        test_pids: the persons to test on, both as query and as gallery.
    Returns:
        A figure two columns wide.
    Raises:
        ValueError: a column is missing, or a person is in both parts.
    """
    style.check_table(index, ("pid", "camid", "orientation"), "index")
    train, test, pids = set(train_pids), set(test_pids), sorted(set(index["pid"]))
    if train & test:
        both = ", ".join(map(str, sorted(train & test)[:5]))
        raise ValueError(f"persons {both} are in both the training and the test set")
    part_of = dict.fromkeys(pids, "unused") | dict.fromkeys(train, "train")
    index = index.assign(part=index["pid"].map(part_of | dict.fromkeys(test, "test")))
    index["colour"] = 1 + index["part"].map(list(_PARTS).index)
    counts = pd.crosstab(index["camid"], index["part"])
    counts = counts[[name for name in _PARTS if name in counts]]
    size = style.DOUBLE, 0.9 + 0.55 * len(counts)
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    cells = index.pivot_table("colour", ["camid", "orientation"], "pid", "first", fill_value=0)
    options = {"aspect": "auto", "interpolation": "nearest", "vmin": 0, "vmax": len(_PARTS)}
    axes.imshow(cells.to_numpy(), ListedColormap(["white", *_PARTS.values()]), **options)
    axes.vlines(np.arange(1, len(pids)) - 0.5, -0.5, len(cells) - 0.5, "white", lw=0.5)
    rows = pd.Series(range(len(cells)), cells.index.get_level_values("camid")).groupby(level=0)
    axes.hlines(rows.min() - 0.5, -0.5, len(pids) - 0.5, "white", lw=4)
    names = style.camera_names(counts.index.tolist())
    images = [
        "\n".join([names[camid], *(f"{n:,} {part}" for part, n in line.items())])
        for camid, line in counts.iterrows()
    ]
    axes.set_yticks(rows.mean(), images)
    shown = range(0, len(pids), math.ceil(len(pids) / 16))
    axes.set_xticks(shown, [style.wrap(pids[i], 12) for i in shown])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("columns: persons (ascending pid); rows: camera × orientation; white: no image")
    persons = index.groupby("part")["pid"].nunique()
    handles = {f"{name}: {persons[name]} persons": Patch(color=_PARTS[name]) for name in counts}
    style.legend(figure, handles)
    return style.finish(figure)


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
            left blank, where no pair exists.
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
    style.check_shapes(grids, **dict.fromkeys(grids, "8 8"))
    values = pd.DataFrame({name: np.ravel(grid) for name, grid in grids.items()}, dtype=float)
    scale = {
        "vmin": values.min(axis=None) if vmin is None else vmin,
        "vmax": values.max(axis=None) if vmax is None else vmax,
    }
    most = 3 if values.map(fmt.format).map(len).max(axis=None) <= 4 else 2
    lines, side, ticks = math.ceil(len(grids) / most), style.DOUBLE / most, range(1, 9)
    columns = math.ceil(len(grids) / lines)
    size = max(columns * side, style.SINGLE), (side + 0.05) * lines + 0.9
    figure, panels = style.panels(len(grids), columns, size, layout="compressed")
    for axes, (name, grid) in zip(panels, grids.items(), strict=True):
        texts = {"annot": np.vectorize(fmt.format)(grid), "fmt": ""}
        options = {"cmap": "cividis", "square": True, "cbar": False, **scale}
        cells = pd.DataFrame(np.asarray(grid, dtype=float), ticks, ticks)
        seaborn.heatmap(cells, ax=axes, **texts, **options, annot_kws={"size": style.SMALL})
        for text in axes.texts:  # inside its cell; laying out is faster without it
            text.set_in_layout(False)
        axes.tick_params(length=0, rotation=0)
        axes.set_title(style.wrap(name, 30))
    where = {"location": "top", "aspect": 40, "pad": 0.02, "shrink": 0.7}
    bar = figure.colorbar(panels[0].collections[0], ax=figure.axes, **where, label=label)
    bar.outline.set_visible(False)
    figure.supxlabel("gallery orientation (3 back, 7 front)")
    figure.supylabel("query orientation (3 back, 7 front)")
    return style.finish(figure)
