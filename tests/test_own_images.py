"""Images of any size, any number of cameras and views, with or without a split: to the end."""

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY, write_images
from PIL import Image

from reid_lib.cli import main
from reid_lib.config import load_preset
from reid_lib.dataset import load_pixels
from reid_lib.engine.checks import check
from reid_lib.engine.notebooks import run_notebook
from reid_lib.engine.plan import open_data
from reid_lib.engine.prepare import resolve
from reid_lib.engine.runs import chance, read_run, table_direction
from reid_lib.engine.sides import directions, is_complete, matched, sides
from reid_lib.metrics import evaluate, evaluate_cameras
from reid_lib.plots.cases import person_views
from reid_lib.retrieval.readers import read_images
from reid_lib.scoring.protocol import Protocol
from reid_lib.study.records import agreement_by_angle, collect_records, viewpoints
from reid_lib.study.summary import summary
from reid_lib.study.table1 import caption, table1
from reid_lib.training import fit

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("0[!8]_*.ipynb"))
RECIPE = "start: random, epochs: 1, batch_size: 8, precision: fp32"
ROWS = "rows:\n  - {row: htri, setting: htri}\n  - {row: set2, setting: set2}\n"


def wide(folder):
    """64 x 160 pixels, one view missing: images are trained on as they are stored."""
    write_images(folder, 8, (64, 160))
    (folder / "003_1_4.png").unlink()
    return folder, ""


def three_cameras(folder):
    """Three cameras, images of several sizes, and one person whom the third never saw."""
    write_images(folder, 8, (24, 48), cameras=(1, 2, 5))
    for path in sorted(folder.glob("*_2_*.png"))[::3]:
        Image.open(path).resize((30, 70)).save(path)
    for path in folder.glob("002_5_*.png"):
        path.unlink()
    return folder, ", image_size: [64, 32], rerank: true"


def market(folder):
    """A split of the data, junk, a distractor, no orientation, and a query without a match."""
    images = write_images(folder.with_name("drawn"), 8)
    for path in sorted(images.iterdir()):
        pid, camid, view = path.stem.split("_")
        part = "bounding_box_train" if int(pid) <= 4 else "query" if view == "1" else "gallery"
        (folder / part).mkdir(parents=True, exist_ok=True)
        path.rename(folder / part / f"{int(pid):04d}_c{camid}s1_{int(view):06d}_00.jpg")
    of = {"-1_c1s1_000000_00.jpg": 5, "0000_c2s1_000000_00.jpg": 5}
    for (name, pid), blue in zip(of.items(), (3, 9), strict=True):
        Image.new("RGB", (24, 48), (pid, pid, blue)).save(folder / "gallery" / name)
    for path in (folder / "gallery").glob("0005_c2*"):
        path.unlink()
    return folder, ", image_size: [64, 32]"


def preset_of(root, case):
    data, more = case(root / "data")
    file = root / "own.yaml"
    file.write_text(f"title: own\ndata: {data}\nrecipe: {{{RECIPE}{more}}}\n{ROWS}")
    return file


# --- One row, with a small network ----------------------------------------------------------------


@pytest.fixture
def trained(small, tmp_path):
    """Trains `set2` on a case; returns the preset and the run."""

    def train(case):
        preset = load_preset(preset_of(tmp_path, case))
        index = open_data(preset, tmp_path)
        for row in ("htri", "set2"):
            config, _ = resolve(preset, row, 0, index)
            folder = tmp_path / "results" / preset.name / row / "split-0"
            pixels = load_pixels(index, config.image_size)
            run = fit(config, index, pixels, folder, progress="none")
        return preset, run

    return train


def scored_slowly(run, direction, unmatched="drop"):
    return evaluate(*run.scored_arrays(direction), Protocol(unmatched=unmatched)).scores()


def test_three_cameras_are_scored_in_all_six_directions(trained, tmp_path):
    preset, run = trained(three_cameras)
    pairs = ["A->B", "A->C", "B->A", "B->C", "C->A", "C->B"]
    assert run.directions == pairs and run.shown == "A->B"
    assert run.queries.direction.unique().tolist() == pairs
    test = run.metrics["test"]
    for direction in pairs:
        assert test[direction] == pytest.approx(scored_slowly(run, direction))
    mean = pd.DataFrame([test[direction] for direction in pairs]).mean()
    assert test["both"] == pytest.approx(mean.to_dict())
    assert set(run.metrics["reranked"]) == {*pairs, "both"}
    assert run.history.test_mAP.iloc[-1] == pytest.approx(test["both"]["mAP"])
    assert run.metrics["last_epochs"]["both"]["mAP"] == pytest.approx(test["both"]["mAP"])
    assert table_direction([run]) == "both"
    assert table1([run]).loc["set2", ("measured", "mAP")] == pytest.approx(100 * mean["mAP"])
    assert "mean over all 6 directions between cameras" in caption([run])
    assert f"{100 * mean['mAP']:.1f}" in summary(preset, tmp_path)
    assert "Precision of the training (fp32: htri, set2)" in summary(preset, tmp_path)
    with pytest.warns(UserWarning, match="a record requires exactly two cameras"):
        collect_records([run.folder], tmp_path / "records")


def test_the_datas_own_queries_are_scored_against_its_own_gallery(trained, tmp_path):
    preset, run = trained(market)
    assert preset.splits == (0,)
    assert run.directions == ["query->gallery"]
    test = run.metrics["test"]["query->gallery"]
    assert test == pytest.approx(scored_slowly(run, "query->gallery"))
    query, gallery = run.query_gallery("query->gallery")
    assert len(query["pids"]) == 8 and set(gallery["pids"]) == {-1, 0, 5, 6, 7, 8}
    assert run.queries.matches.tolist() == [0, 7, 7, 7, 7, 7, 7, 7]
    assert "query without a match: left out of every score" in run.metrics["protocol"]
    assert set(run.metrics["train"]) == {"query->gallery"}  # every image asks all others
    assert run.manifest["persons"] == {"train": 4, "test": 4}
    assert "queries to gallery as the data split them" in caption([run])
    assert chance([run]) == pytest.approx((7 / 50 + 6 * 7 / 43) / 7)
    assert run.persons.tolist() == [5, 6, 7, 8]
    assert viewpoints(run).empty and agreement_by_angle(run).value.isna().all()


def test_a_missing_view_leaves_the_other_scores_and_a_gap(trained):
    _, run = trained(wide)
    assert run.directions == ["A->B", "B->A"]
    assert run.metrics["protocol"] == str(Protocol())
    assert run.metrics["test"]["A->B"] == pytest.approx(scored_slowly(run, "A->B", "raise"))
    grid = viewpoints(run)
    assert len(grid) == 64 and grid["rank1"].notna().all()
    assert "camera A to B" in caption([run])


def test_both_sides_of_a_direction_between_several_cameras_count_in_the_viewpoints(trained):
    _, run = trained(three_cameras)
    grid, part = viewpoints(run), run.codes
    rows = {d: run.scored_arrays(d, orientations=True) for d in run.directions}
    fronts = []
    for q, g, q_pids, g_pids, _, _, q_views, g_views in rows.values():
        near = [
            np.linalg.norm(q[i] - g[j])
            for i in np.flatnonzero(q_views == 7)
            for j in np.flatnonzero(g_views == 3)
            if q_pids[i] == g_pids[j]
        ]
        fronts.append(np.mean(near))
    cell = grid[(grid.query_orientation == 7) & (grid.gallery_orientation == 3)]
    assert cell.same_distance.item() == pytest.approx(np.mean(fronts), rel=1e-5)
    pairs = [
        (i, j)
        for i in range(len(part["pids"]))
        for j in range(len(part["pids"]))
        if part["camids"][i] < part["camids"][j]
    ]
    dist = {(i, j): np.linalg.norm(part["codes"][i] - part["codes"][j]) for i, j in pairs}
    other = np.mean([d for (i, j), d in dist.items() if part["pids"][i] != part["pids"][j]])
    same = np.mean(
        [
            d
            for (i, j), d in dist.items()
            if part["pids"][i] == part["pids"][j]
            and part["orientations"][i] == part["orientations"][j]
        ]
    )
    assert agreement_by_angle(run, draws=5).value[0] == pytest.approx(same / other, rel=1e-5)


# --- Directions -----------------------------------------------------------------------------------


def an_index(views, **more):
    return pd.DataFrame(views, columns=["pid", "camid"]).assign(**more)


def test_directions_are_all_ordered_pairs_of_cameras_that_share_a_person():
    index = an_index([(1, 3), (1, 6), (2, 6), (2, 9)])
    assert directions(index) == ["A->B", "B->A", "B->C", "C->B"]
    assert matched(index).all() and not is_complete(index)
    assert is_complete(an_index([(1, 3), (1, 6), (2, 6), (2, 3)]))
    assert directions(an_index([(1, 3), (2, 6)])) == []
    results = evaluate_cameras(
        np.arange(4.0)[:, None], index.pid, index.camid, Protocol(unmatched="drop")
    )
    assert list(results) == ["A->B", "B->A", "B->C", "C->B", "both"]
    with pytest.raises(ValueError, match="no match left in the gallery"):
        evaluate_cameras(np.arange(4.0)[:, None], index.pid, index.camid)


def test_a_query_needs_its_person_in_another_camera_of_the_gallery():
    index = an_index(
        [(1, 1), (1, 1), (2, 1), (2, 2), (-1, 1), (3, 1), (4, 1), (4, 2)],
        split=["query", "gallery", "query", "gallery", "gallery", "query", "train", "train"],
    )
    assert matched(index).tolist() == [False, False, True, *[False] * 5]
    assert not is_complete(index)
    training = index[index["split"] == "train"]
    assert matched(training).all() and is_complete(training)
    q, g = sides("query->gallery", training.camid.to_numpy(), training["split"].to_numpy())
    assert q.tolist() == g.tolist() == [0, 1]


def test_a_sheet_has_a_line_per_camera_and_white_where_a_view_is_missing(tmp_path):
    data, _ = three_cameras(tmp_path / "data")
    (data / "001_2_3.png").unlink()
    index = read_images(data)
    views = person_views(index, 1)
    assert views["images"].shape == (3, 8, 48, 24, 3) and [
        name[-2] for name in views["cameras"]
    ] == ["1", "2", "5"]
    assert (views["images"][1, 2] == 255).all() and not (views["images"][1, 3] == 255).all()
    unknown = person_views(index.assign(orientation=0)[index.orientation < 5], 1)
    assert unknown["images"].shape == (3, 4, 48, 24, 3) and unknown["columns"] == "images"


# --- From check to the last notebook --------------------------------------------------------------


@pytest.fixture(
    scope="module", params=[wide, three_cameras, market], ids=lambda case: case.__name__
)
def chain(request, tmp_path_factory):
    """A data set after check, resolve, train and all notebooks: its root and their outputs."""
    root = tmp_path_factory.mktemp(request.param.__name__)
    file = preset_of(root, request.param)
    data = load_preset(file).data
    assert check(data, one_size=request.param is wide).errors == []
    given = [str(file), "--root", str(root)]
    assert main(["resolve", *given, "--check"]) == 0
    assert main(["resolve", *given]) == 0
    assert main(["train", *given, "--row", "htri"]) == 0
    printed = {}
    for path in NOTEBOOKS:
        if path.stem == "02_method" and request.param is not wide:
            continue  # it looks at no data
        parameters = {"preset": str(file), "root": str(root), "row": "set2", "progress": "lines"}
        names = {} if path.stem.startswith("03") else {"row": None, "progress": None}
        parameters = {k: v for k, v in parameters.items() if k not in names}
        run_notebook(path, root / path.name, parameters)
        cells = nbformat.read(root / path.name, 4).cells
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        printed[path.stem] = "".join(output.get("text", "") for output in outputs)
    return request.param, root, printed


@pytest.mark.slow
def test_what_the_check_accepts_runs_to_the_end(chain):
    case, root, printed = chain
    figures = root / "results/own/figures"
    names = "sheet split table1 curves tsne fig1 fig3 similarity viewpoint viewpoint_angle".split()
    for name in names:
        with Image.open(figures / f"{name}.png") as image:
            assert np.asarray(image.convert("L")).std() > 1
    stepped = "do not give each image's orientation" in printed["07_viewpoint"]
    assert stepped == (case is market)
    words = {
        wide: "camera A to B",
        three_cameras: "mean over all 6 directions between cameras",
        market: "queries to gallery as the data split them",
    }
    assert words[case] in (figures / "table1.md").read_text()


@pytest.mark.slow
def test_table_1_counts_every_direction(chain):
    _, root, _ = chain
    table = pd.read_csv(root / "results/own/figures/table1.csv", index_col=0)
    for row in ("htri", "set2"):
        run = read_run(root / "results/own" / row / "split-0")
        found = [scored_slowly(run, d)["mAP"] for d in run.directions]
        main = found if len(found) == 6 else found[:1]
        assert table.loc[row, "measured mAP"] == pytest.approx(100 * np.mean(main), abs=0.006)
