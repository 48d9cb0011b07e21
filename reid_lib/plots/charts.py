"""Charts of scores: grids, curves, intervals and effects."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import (
    LogLocator,
    MaxNLocator,
    NullLocator,
)

from reid_lib.plots.style import (
    DOUBLE,
    GREY,
    INK,
    PALETTE,
    SINGLE,
    SMALL,
    _columns,
    _finished,
    _legend,
    _looks,
    _not_empty,
    _shortened,
    _style,
    _width,
    _wrapped,
)


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
