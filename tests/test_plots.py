"""Figures draw what they are given, can be read, take names literally, and redraw byte for byte."""

import copy
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import drawings as of
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon
from matplotlib.path import Path as Outline
from matplotlib.text import Text

from reid_lib import plots
from reid_lib.config import SETTINGS
from reid_lib.plots import style


@pytest.fixture(scope="module")
def drawn():
    """Draws each of the figures above once."""
    made = {}

    def get(name, drawings=of.DRAWINGS):
        key = name, id(drawings)
        if key not in made:
            made[key] = drawings[name]()
            plt.close(made[key])  # it stays a figure, but pyplot counts it no more
        return made[key]

    return get


@pytest.fixture(autouse=True)
def _nothing_stays_open():
    yield
    plt.close("all")


def drawn_texts(figure, monkeypatch):
    """The texts that reach the canvas, each with its box in pixels (hidden ticks do not count)."""
    found = []
    draw = Text.draw

    def record(self, renderer):
        if self.get_visible() and self.get_text().strip():
            found.append((self, self.get_window_extent(renderer)))
        draw(self, renderer)

    with monkeypatch.context() as patch:
        patch.setattr(Text, "draw", record)
        FigureCanvasAgg(figure).draw()
    return found


def words(figure):
    """All lines of text of a figure."""
    texts = [text.get_text() for text in figure.findobj(Text)]
    return [line for text in texts for line in text.split("\n") if line.strip()]


def frames(figure, kind):
    return figure.findobj(lambda artist: artist.get_gid() == kind)


@pytest.mark.parametrize("name", of.DRAWINGS)
def test_every_text_is_readable_whole_and_clear_of_the_others(name, drawn, monkeypatch):
    figure = drawn(name)
    assert isinstance(figure, Figure)
    assert figure.get_figwidth() <= style.DOUBLE + 1e-9
    texts = drawn_texts(figure, monkeypatch)
    assert texts
    page = figure.bbox
    for text, box in texts:
        assert text.get_fontsize() >= style.SMALL, text
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= page.x1 + 1 and box.y1 <= page.y1 + 1
        assert inside, (text, box)
    for i, (one, a) in enumerate(texts):
        for other, b in texts[i + 1 :]:
            wide = min(a.x1, b.x1) - max(a.x0, b.x0)
            high = min(a.y1, b.y1) - max(a.y0, b.y0)
            # A box holds the room for descenders, so that two may touch by a pixel or so.
            assert wide <= 1 or high <= 2.5, (one.get_text(), other.get_text(), wide, high)


@pytest.mark.parametrize("name", of.HOSTILE_DRAWINGS)
def test_names_from_files_stay_literal(name, drawn):
    figure = drawn(name, of.HOSTILE_DRAWINGS)
    FigureCanvasAgg(figure).draw()
    hostile = [t for t in figure.findobj(Text) if "$x" in t.get_text() or "_a_b" in t.get_text()]
    assert hostile
    assert not any(text.get_parse_math() for text in hostile)
    written = words(figure)
    for given in of.HOSTILE:
        assert any(given in text for text in written), given


def test_a_long_title_never_runs_off(monkeypatch):
    figure = plots.person_sheet(of.noise(2, 8), "begin " + "x" * 500 + " end\nof it")
    assert any(text.startswith("begin x") for text in words(figure))
    for text, box in drawn_texts(figure, monkeypatch):
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, text


def test_the_readers_settings_neither_change_nor_show(tmp_path):
    plain = plots.save(of.DRAWINGS["agreement_by_angle"](), tmp_path / "plain", "f", "alt")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "savefig.bbox": "tight"}):
        before = copy.deepcopy(dict(matplotlib.rcParams))
        odd = plots.save(of.DRAWINGS["agreement_by_angle"](), tmp_path / "odd", "f", "alt")
        assert dict(matplotlib.rcParams) == before
    assert [p.read_bytes() for p in plain] == [p.read_bytes() for p in odd]


def test_a_row_of_the_table_looks_the_same_whichever_rows_are_beside_it():
    alone = plots.agreement_by_angle({"set2": of.a_curve()}, "rank-1 (%)").axes[0].lines[0]
    among = (
        plots.agreement_by_angle(dict.fromkeys(of.ROWS, of.a_curve()), "rank-1 (%)").axes[0].lines
    )
    two = next(line for line in among if line.get_gid() == "set2")
    assert (alone.get_color(), alone.get_marker()) == (two.get_color(), two.get_marker())
    assert len({(line.get_color(), line.get_marker()) for line in among}) == len(of.ROWS)
    looks = style.styles_of(["mobilenet_v2_htri", "mobilenet_v2_set2", "other"])
    assert looks["mobilenet_v2_set2"] == style.styles_of(["set2"])["set2"]
    assert looks["mobilenet_v2_htri"] == style.styles_of(["resnet18_htri"])["resnet18_htri"]
    both = style.styles_of(["a_set2", "b_set2"])  # must be told apart
    assert both["a_set2"] != both["b_set2"]


def test_each_setting_differs_in_its_marker_and_the_papers_in_colour_and_line_too():
    styles = style.styles_of(SETTINGS)
    assert len({marker for _, marker, _ in styles.values()}) == len(SETTINGS)
    for marks in zip(*style.STYLES.values(), strict=True):
        assert len(set(marks)) == len(style.STYLES)
    named = {"xent_htri", "htri_cl", "set1", "set2", "set3"}
    assert all(styles[name] == style.STYLES[name] for name in named)
    assert not {styles[name] for name in set(SETTINGS) - named} & {styles[n] for n in named}


def test_the_method_needs_no_plotting_library():
    script = (
        "import sys, reid_lib.losses, reid_lib.metrics, reid_lib.dataset, reid_lib.model, "
        "reid_lib.training; print({'matplotlib', 'seaborn', 'sklearn'} & set(sys.modules))"
    )
    root = Path(__file__).parent.parent
    run = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, check=True)
    assert run.stdout.strip() == b"set()"


def test_person_sheet_puts_cameras_down_and_orientations_across(drawn):
    figure = drawn("person_sheet")
    placed = [axes for axes in figure.axes if axes.images]
    given = of.noise(2, 8)
    assert len(placed) == 16
    for axes in placed:
        box = axes.get_position()
        view = sum(other.get_position().x0 < box.x0 - 1e-6 for other in placed) // 2
        camera = sum(other.get_position().y0 > box.y0 + 1e-6 for other in placed) // 8
        np.testing.assert_array_equal(axes.images[0].get_array(), given[camera, view])
    assert set(words(figure)) >= {"camera A (id 1)", "camera B (id 2)", *map(str, range(1, 9))}


def test_split_counts_writes_the_counts_and_leaves_missing_views_white():
    index = of.an_index().drop(index=[0, 1, 40])
    figure = plots.split_counts(index, range(1, 7), range(7, 13))
    (axes,) = figure.axes
    cells = np.asarray(axes.images[0].get_array())
    assert cells.shape == (16, 12)
    assert Counter(cells.ravel().tolist()) == {0: 3, 1: 6 * 16 - 3, 2: 6 * 16}
    counted = [label.get_text().split("\n") for label in axes.get_yticklabels()]
    assert counted == [
        ["camera A (id 1)", "46 train", "48 test"],
        ["camera B (id 2)", "47 train", "48 test"],
    ]
    assert {"train: 6 persons", "test: 6 persons"} <= set(words(figure))


def test_split_counts_names_persons_in_neither_part(drawn):
    assert {"unused: 2 persons", "16 unused"} <= set(words(drawn("split_counts")))


def test_framework_draws_the_code_itself_the_distances_and_the_first_ten(drawn):
    (case, code), figure = of.a_framework(), drawn("framework")
    strip = next(axes for axes in figure.axes if axes.get_gid() == "code").images[0]
    np.testing.assert_array_equal(np.asarray(strip.get_array()).T.ravel(), code)
    pictures = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    np.testing.assert_array_equal(pictures[0], case["query_image"])
    np.testing.assert_array_equal(pictures[2:], case["images"][:10])
    assert len(frames(figure, "correct")) == case["correct"][:10].sum()
    plot = next(axes for axes in figure.axes if "squared distances" in axes.get_title())
    wrong, right = (line.get_xydata() for line in plot.lines)
    np.testing.assert_array_equal(right[:, 0], np.flatnonzero(case["correct"]) + 1)
    np.testing.assert_array_equal(right[:, 1], case["sq_distances"][case["correct"]])
    assert len(wrong) + len(right) == 30
    assert "ResNet-18" in words(figure)


def test_framework_draws_a_long_signed_code_and_a_small_gallery():
    code = np.random.default_rng(0).normal(size=2047)
    figure = plots.framework(of.a_framework(2)[0], code, "resnet50")
    strip = next(axes for axes in figure.axes if axes.get_gid() == "code").images[0]
    cells = np.asarray(np.ma.filled(strip.get_array(), np.nan)).T.ravel()
    np.testing.assert_array_equal(cells[:2047], code)
    assert np.isnan(cells[2047:]).all()
    assert strip.get_clim() == pytest.approx((-abs(code).max(), abs(code).max()))
    assert {"−3.9", "3.9", "ResNet-50", "2047 numbers"} <= set(words(figure))
    assert "ranking: the nearest 2 by d²" in words(figure)


def test_losses_in_the_plane_draws_points_spheres_and_boundaries_in_equal_scale(drawn):
    figure, panels = drawn("losses_in_the_plane"), of.plane_panels()
    for axes, panel in zip(figure.axes, panels, strict=True):
        assert axes.get_aspect() == 1
        circles = [patch for patch in axes.patches if isinstance(patch, Circle)]
        radii = [] if panel["radii"] is None else panel["radii"]
        assert [circle.get_radius() for circle in circles] == list(radii)
        if circles:
            np.testing.assert_array_equal([c.get_center() for c in circles], panel["centres"])
        for name in ("before", "after"):
            points = [line.get_xydata() for line in axes.lines if line.get_gid() == name]
            np.testing.assert_array_equal(np.concatenate(points), panel[name])
        low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
        for codes in (panel["before"], panel["after"]):
            assert ((codes > low) & (codes < high)).all()
    lines = next(c for c in figure.axes[0].collections if c.get_gid() == "boundary")
    assert isinstance(lines, LineCollection)
    assert len(lines.get_segments()) == 2
    assert figure.axes[0].get_title() == "classification loss"


@pytest.mark.parametrize("epochs", [1, 20])
def test_training_curves_plot_each_column_of_each_history(epochs, drawn):
    given = {name: history.iloc[:epochs] for name, history in of.histories().items()}
    figure = drawn("training_curves" + ("_of_one_epoch" if epochs == 1 else ""))
    plotted = Counter()
    for axes in figure.axes:
        for line in (line for line in axes.lines if line.get_gid()):
            history = given[line.get_gid()]
            same = [
                column
                for column in history
                if column != "epoch" and np.array_equal(history[column], line.get_ydata())
            ]
            assert same, axes.get_title()
            plotted[line.get_gid()] += 1
            assert line.get_marker() not in ("", "None")
    assert plotted == {name: len(h.columns) - 1 for name, h in given.items()}


def test_training_curves_show_a_related_loss_and_its_gradient():
    figure = plots.training_curves({"msml": of.a_history(("rel",))})
    assert {"related loss", "gradient of the related loss"} <= {a.get_title() for a in figure.axes}


def test_gradient_norms_share_one_scale(drawn):
    panels = [a for a in drawn("training_curves").axes if a.get_title().startswith("gradient")]
    assert len(panels) == 4
    assert len({(axes.get_ylim(), axes.get_yscale()) for axes in panels}) == 1


def test_zeros_and_gaps_of_a_loss_are_drawn_on_its_logarithmic_axis(monkeypatch):
    history = of.a_history(("cl",))
    history["l_cl"] = [1000.0, np.nan, 10.0, 0.1, *[0.0] * 16]
    figure = plots.training_curves({"set2": history})
    axes = next(axes for axes in figure.axes if "compact loss" in axes.get_title())
    assert axes.get_yscale() == "symlog"
    assert axes.get_ylim()[0] < 0
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), history["l_cl"].dropna())


def test_training_curves_need_no_more_than_epoch_and_loss():
    figure = plots.training_curves({"mine": of.a_history(()).loc[:, ["epoch", "loss"]]})
    assert [axes.get_title() for axes in figure.axes] == ["total loss"]


def test_a_hull_encloses_its_persons_points_and_no_colour_serves_two(drawn):
    figure, panel = drawn("tsne_panels"), of.tsne_panel()
    hulls = [patch for patch in figure.axes[0].patches if isinstance(patch, Polygon)]
    assert len(hulls) == 20
    for person, hull in zip(range(20), hulls, strict=True):
        own = panel["xy"][panel["pids"] == person]
        middle = own.mean(0)
        assert Outline(hull.get_xy()).contains_points(middle + (own - middle) * 0.999).all()
    assert len({patch.get_facecolor() for patch in hulls}) == 20
    shapes = [c.get_paths()[0].vertices.shape for c in figure.axes[0].collections]
    assert len(shapes) == len(set(shapes)) == 2
    assert "ratio 0.25" in figure.axes[0].get_xlabel()
    assert "perplexity 30, seed 0" in figure.get_supxlabel()


def test_a_person_keeps_its_colour_from_panel_to_panel():
    few, many = of.tsne_panel(persons=[3, 5]), of.tsne_panel(persons=range(10))
    figure = plots.tsne_panels([few, many])
    colours = [[patch.get_facecolor() for patch in axes.patches] for axes in figure.axes[:2]]
    assert colours[0] == [colours[1][3], colours[1][5]]


def test_only_the_persons_asked_for_have_a_colour_and_a_hull():
    panel = of.tsne_panel(persons=range(10))
    figure = plots.tsne_panels([panel], "seed 0", coloured=[3, 5])
    assert len(figure.axes[0].patches) == 2
    marks = figure.axes[0].collections
    grey = sum((np.ptp(c.get_facecolor()[:, :3], 1) == 0).sum() for c in marks)
    assert grey == (~np.isin(panel["pids"], [3, 5])).sum()
    assert "2 of 10 persons" in figure.get_supxlabel()


@pytest.mark.parametrize("points", [1, 2, 5])
def test_persons_whose_points_span_no_area_are_drawn(points):
    xy = np.outer(np.arange(points), [1.0, 2.0])
    ones = np.ones(points, int)
    panel = {"title": "", "xy": xy, "pids": ones, "camids": ones, "intra": 0.0, "inter": 0.0}
    figure = plots.tsne_panels([panel])
    ends = figure.axes[0].patches[0].get_xy()
    np.testing.assert_array_equal([ends.min(0), ends.max(0)], [xy[0], xy[-1]])
    assert "ratio nan" in figure.axes[0].get_xlabel()


def test_red_boxes_and_ticks_are_the_correct_matches_and_junk_is_neither(drawn):
    figure = drawn("ranking")
    cases = [of.a_case("simple"), of.a_case("moderate", seed=1), of.a_case("hard")]
    junk = np.arange(10) % 3 == 1
    right = sum(case["correct"].sum() for case in cases[:2]) + (cases[2]["correct"] & ~junk).sum()
    assert len(frames(figure, "correct")) == right
    assert len(frames(figure, "junk")) == junk.sum()
    assert len(frames(figure, "query")) == 3
    for box in frames(figure, "correct"):
        assert matplotlib.colors.to_hex(box.get_edgecolor()) == style.RED
    written = words(figure)
    assert sum(re.fullmatch(r"\d+ ✓", text) is not None for text in written) == right
    assert written.count("junk") == junk.sum()
    for case in cases:
        for pid, distance in zip(case["pids"], case["sq_distances"], strict=True):
            assert f"pid {pid}" in written
            assert f"d² {distance:.3g}" in written


def test_ranks_do_not_count_junk():
    case = of.a_case(k=4, junk=[True, False, True, False]) | {"correct": [True, False, True, True]}
    found = words(plots.ranking([case]))
    assert [text for text in found if re.fullmatch(r"\d( ✓)?|junk", text)] == [
        "junk",
        "1",
        "junk",
        "2 ✓",
    ]


def test_ten_ranked_images_are_drawn(drawn):
    pictures = [axes.images[0].get_array() for axes in drawn("ranking_of_17").axes if axes.images]
    np.testing.assert_array_equal(pictures[1:], of.noise(17)[:10])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "d² 0"),
        (0.43, "d² 0.43"),
        (97.21, "d² 97.2"),
        (123.4, "d² 123"),
        (1e-4, "d² 0.0001"),
        (2e6, "d² 2000000"),
    ],
)
def test_distances_are_short_at_every_size(value, text):
    case = of.a_case(k=1) | {"sq_distances": [value]}
    assert text in words(plots.ranking([case]))


def test_maps_are_coloured_on_one_scale_that_is_written(drawn):
    figure = drawn("similarity_maps")
    cases = [of.a_mapped_case(seed=i) for i in range(3)]
    every = np.concatenate([case[key].ravel() for case in cases for key in ("query_maps", "maps")])
    bar = figure.axes[-1]
    np.testing.assert_allclose(bar.get_xlim(), (every.min(), every.max()))
    assert any("4 × 2 positions" in text and "mean is the cosine" in text for text in words(figure))
    pictures = [axes.images[0].get_array() for axes in figure.axes if axes.images and axes != bar]
    assert len(pictures) == 3 * 7
    for case, shown in zip(cases, (pictures[:7], pictures[7:14], pictures[14:]), strict=True):
        np.testing.assert_array_equal(shown[0], case["query_image"])
        np.testing.assert_array_equal(shown[3::3], case["images"])
        # Yellow where a map is high: the hottest corner of the first map is that of the picture.
        for picture, values in zip(shown[1::3], case["query_maps"], strict=True):
            yellow = picture[..., :2].sum(-1, dtype=float) - picture[..., 2]
            parts = yellow.reshape(4, 8, 2, 6).mean((1, 3))
            assert np.corrcoef(parts.ravel(), values.ravel())[0, 1] > 0.5


def test_colours_are_those_of_the_scale_from_map_to_map_on_a_white_picture():
    even = np.array([0.2, 1.0])[:, None, None] * np.ones((2, 4, 2))
    white = np.full((2, 32, 12, 3), 255, np.uint8)
    case = {"maps": even, "query_maps": even, "images": white, "query_image": white[0]}
    figure = plots.similarity_maps([of.a_mapped_case() | case])
    pictures = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    ends = (255 * matplotlib.colormaps["viridis"]([0.0, 1.0])[:, :3]).round()
    for where, end in ((1, 0), (2, 0), (4, 1), (5, 1)):
        np.testing.assert_array_equal(
            np.unique(pictures[where].reshape(-1, 3), axis=0), ends[[end]]
        )


def test_the_match_is_marked_twice_in_red_and_cosines_are_the_means_of_the_maps(drawn):
    figure, case = drawn("similarity_maps"), of.a_mapped_case()
    assert len(frames(figure, "correct")) == len(frames(figure, "wrong")) == 3 * 2
    assert len(frames(figure, "query")) == 3 * 3
    written = words(figure)
    assert written.count("rank 3 ✓, d² 70.5, cosine 0.80") == 2
    assert written.count("rank 1, d² 61.2, cosine 0.90") == 1
    assert case["maps"][0].mean() == pytest.approx(0.8)


def test_grids_write_each_value_share_one_scale_and_leave_blank_what_is_missing(drawn):
    figure = drawn("viewpoint_grids")
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == of.ROWS
    for i, axes in enumerate(panels):
        values = np.where(np.eye(8) > i, np.nan, of.a_grid(i))
        written = {text.get_position(): text.get_text() for text in axes.texts}
        wanted = {
            (k + 0.5, j + 0.5): f"{value:.0f}"
            for (j, k), value in np.ndenumerate(values)
            if np.isfinite(value)
        }
        assert written == wanted
        cells = np.ma.filled(axes.collections[0].get_array(), np.nan).reshape(8, 8)
        np.testing.assert_array_equal(cells, values)
        assert axes.yaxis_inverted()
    assert len({axes.collections[0].get_clim() for axes in panels}) == 1
    assert "rank-1 (%)" in words(figure)


def test_the_ends_of_the_scale_can_be_given_and_an_empty_grid_is_drawn():
    figure = plots.viewpoint_grids({"set1": of.a_grid()}, "rank-1 (%)", vmin=0, vmax=100)
    assert figure.axes[0].collections[0].get_clim() == (0, 100)
    figure = plots.viewpoint_grids({"set1": np.full((8, 8), np.nan)}, "rank-1 (%)")
    assert not figure.axes[0].texts


def test_agreement_draws_values_and_intervals_side_by_side(drawn):
    axes = drawn("agreement_by_angle").axes[0]
    assert [line.get_gid() for line in axes.lines] == of.ROWS
    for i, (line, intervals) in enumerate(zip(axes.lines, axes.collections, strict=True)):
        np.testing.assert_array_equal(line.get_ydata(), of.a_curve(90 - i)["value"])
        ends = np.array(intervals.get_segments())[:, :, 1]
        np.testing.assert_array_equal(ends, of.a_curve(90 - i)[["low", "high"]])
        assert np.abs(line.get_xdata() - of.a_curve()["angle"]).max() < 22.5
    assert len({tuple(line.get_xdata()) for line in axes.lines}) == len(of.ROWS)


def test_agreement_leaves_gaps():
    curve = of.a_curve()
    curve.loc[2, ["value", "low", "high"]] = np.nan
    figure = plots.agreement_by_angle({"set3": curve}, "similarity")
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), curve["value"])
    figure.canvas.draw()


def test_the_papers_marks_are_drawn_only_when_given():
    table, paper = of.a_table(), of.a_table().iloc[1:] - 3
    alone = plots.score_bars(table)
    assert {line.get_gid() for axes in alone.axes for line in axes.lines} == {"measured here"}
    both = plots.score_bars(table, paper)
    for axes, column in zip(both.axes, table, strict=True):
        ours, theirs = axes.lines
        np.testing.assert_array_equal(ours.get_xdata(), table[column])
        np.testing.assert_array_equal(theirs.get_xdata(), [np.nan, *paper[column]])
        assert ours.get_marker() != theirs.get_marker()
        written = [text.get_text() for text in axes.texts]
        assert written == [f"{v:.1f}" for v in [*table[column], *paper[column]]]


def test_every_split_is_a_mark_and_every_mean_has_its_interval():
    means = of.splits_of(["resnet18"])
    figure = plots.split_scores(means, "%")
    rank1, _ = figure.axes
    (splits,), (mean,) = (
        [line for line in rank1.lines if line.get_gid() == name] for name in ("one split", "mean")
    )
    wanted = means[means["score"] == "rank-1"].set_index("setting")
    np.testing.assert_array_equal(splits.get_xdata(), np.concatenate(wanted["values"].tolist()))
    np.testing.assert_array_equal(splits.get_ydata(), np.repeat(range(4), 3))
    np.testing.assert_array_equal(mean.get_xydata(), [*zip(wanted["mean"], range(4), strict=True)])
    ends = [tuple(part[:, 0]) for c in rank1.collections for part in c.get_segments()]
    assert ends == list(zip(wanted.low, wanted.high, strict=True))


def test_a_network_shows_only_the_settings_that_it_was_run_with():
    means = of.splits_of(["resnet18", "resnet50"])
    lacks = (means["network"] == "resnet50") & (means["setting"] != "htri")
    figure = plots.split_scores(means[~lacks], "%")
    labels = [[t.get_text() for t in axes.get_yticklabels()] for axes in figure.axes[::2]]
    assert labels == [list(dict.fromkeys(means["setting"])), ["htri"]]


def test_each_effect_stands_at_its_difference_with_its_interval():
    table = of.effects_of(["gamma=1e-07", "crop=none"])
    rank1, mean_ap = plots.effects(table, "points").axes
    for axes, score in ((rank1, "rank-1"), (mean_ap, "mAP")):
        wanted = table[table["score"] == score]
        for setting, part in wanted.groupby("setting"):
            (line,) = [line for line in axes.lines if line.get_gid() == setting]
            np.testing.assert_array_equal(line.get_xdata(), part.difference)
            np.testing.assert_array_equal(line.get_ydata().round(), range(2))  # beside its choice
        ends = [tuple(part[:, 0]) for c in axes.collections for part in c.get_segments()]
        assert sorted(ends) == sorted(zip(wanted.low, wanted.high, strict=True))


def test_each_reading_of_set_3_stands_at_its_share_with_its_interval():
    table = of.a_scatter_study()
    panels = np.reshape(plots.scatter_study(table).axes, (2, 2))
    parts = [part for _, part in table.groupby("network", sort=False)]
    for (left, right), part in zip(panels, parts, strict=True):
        assert left.get_title(loc="left") == part.network.iloc[0]
        for axes, name in ((left, "difference"), (right, "growth")):
            *forms, ring = [line for line in axes.lines if line.get_gid()]
            wanted = part[["last ratio", name]]
            drawn = np.concatenate([line.get_xydata() for line in forms])
            np.testing.assert_array_equal(drawn, wanted)
            np.testing.assert_array_equal(ring.get_xydata(), wanted[part.default])
            assert len({line.get_marker() for line in forms}) == 3
        ends = [tuple(piece[:, 1]) for c in left.collections for piece in c.get_segments()]
        assert ends == list(zip(part.low, part.high, strict=True))


@pytest.mark.parametrize(
    ("draw", "words_of_the_error"),
    [
        (lambda: plots.person_sheet(of.noise(7)), r"\(7, 32, 12, 3\)"),
        (lambda: plots.person_sheet(of.noise(2, 8) / 255), "float64"),
        (
            lambda: plots.split_counts(of.an_index(), [1, 2], [2, 3]),
            "are in both the training and the test set",
        ),
        (lambda: plots.split_counts(of.an_index().drop(columns="camid"), [1], [2]), "camid"),
        (
            lambda: plots.framework(of.a_case() | {"correct": [True]}, [1]),
            r"\(1,\); expected \(10,",
        ),
        (lambda: plots.framework(of.a_case(), np.ones((2, 3))), r"code is float64 \(2, 3\)"),
        (lambda: plots.framework(of.a_case(k=0), [1.0]), "empty"),
        (lambda: plots.losses_in_the_plane([]), "empty"),
        (lambda: plots.losses_in_the_plane([of.plane_panels()[0] | {"after": [[0, 0]]}]), "after"),
        (lambda: plots.losses_in_the_plane([of.plane_panels()[1] | {"radii": [1]}]), "radii"),
        (lambda: plots.training_curves({}), "empty"),
        (lambda: plots.training_curves({"a": pd.DataFrame({"epoch": [1]})}), "loss"),
        (lambda: plots.tsne_panels([of.tsne_panel() | {"pids": [1]}]), r"pids is int64 \(1,"),
        (lambda: plots.ranking([of.a_case() | {"correct": [True]}]), "correct is bool"),
        (lambda: plots.ranking([of.a_case(junk=[True])]), "junk is bool"),
        (lambda: plots.ranking([of.a_case(k=0)]), "empty"),
        (lambda: plots.similarity_maps([]), "empty"),
        (lambda: plots.similarity_maps([of.a_mapped_case() | {"ranks": [1]}]), "ranks is int64"),
        (lambda: plots.similarity_maps([of.a_mapped_case() | {"maps": np.ones((2, 4))}]), "maps"),
        (
            lambda: plots.similarity_maps(
                [of.a_mapped_case() | {"maps": np.full((2, 4, 2), np.inf)}]
            ),
            "NaN or infinity",
        ),
        (lambda: plots.viewpoint_grids({"a": np.ones((2, 8))}, ""), r"\(2, 8\)"),
        (lambda: plots.agreement_by_angle({"a": of.a_curve().drop(columns="low")}, ""), "low"),
        (lambda: plots.score_bars(of.a_table() * 2), "percent"),
        (lambda: plots.split_scores(pd.DataFrame(), "%"), "table is empty"),
    ],
)
def test_wrong_input_is_named_before_anything_is_drawn(draw, words_of_the_error):
    before = plt.get_fignums()
    with pytest.raises(ValueError, match=words_of_the_error):
        draw()
    assert plt.get_fignums() == before
