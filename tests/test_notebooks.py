"""The notebooks: short cells, one parameters cell, no outputs, things to try; 02, 03 and 09 run."""

import json
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from study_runs import kept, likely

from reid_lib.config import load_preset
from reid_lib.engine.notebooks import run_notebook
from reid_lib.engine.opening import open_study
from reid_lib.engine.runs import read_run, run_folder
from reid_lib.losses import compact_loss, total_loss
from reid_lib.plots import method
from reid_lib.plots.pictures import ranked_case
from reid_lib.study.answer import answer_text
from reid_lib.study.claims import claims_text
from reid_lib.study.records import COMMITTED
from reid_lib.study.summary import default_choice_records, read_all_records

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("0[1-79]_*.ipynb"))
LONGEST = 15  # lines of a cell
COMMON = ("preset", "data", "weights", "splits", "name", "persons", "root", "publish")
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path, kind):
    return [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == kind]


def test_there_are_eight_notebooks_of_the_method():
    assert [path.stem[:2] for path in NOTEBOOKS] == [f"0{k}" for k in (*range(1, 8), 9)]


@by_name
def test_no_cell_is_longer_than_fifteen_lines(path):
    for cell in cells(path, "code"):
        assert len(cell.source.splitlines()) <= LONGEST, f"{cell.id}:\n{cell.source}"


@by_name
def test_one_cell_holds_the_parameters_and_nothing_else(path):
    tagged = [c for c in cells(path, "code") if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    values = {}
    exec(tagged[0].source, {}, values)
    assert set(COMMON) <= set(values)
    assert values["preset"] == "" and values["root"] == ".." and values["publish"] is False


@by_name
def test_it_is_stored_without_outputs_and_with_stable_ids(path):
    content = json.loads(path.read_text("utf-8"))
    ids = [cell["id"] for cell in content["cells"]]
    assert ids == [f"{path.stem[:2]}-{k:02d}" for k in range(1, len(ids) + 1)]
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None, cell["id"]


@by_name
def test_it_begins_with_title_and_section_and_ends_with_things_to_try_and_what_was_saved(path):
    first, *_, try_, last = nbformat.read(path, 4).cells
    assert first.source.startswith(f"# {int(path.stem[:2])}. ")
    assert "Section" in first.source and "paper" in first.source
    assert try_.source.startswith("## Things to try\n")
    assert 2 <= try_.source.count("\n* ") <= 3
    assert last.cell_type == "code" and "saved: " in last.source


def test_notebook_2_shows_the_body_of_every_loss():
    shown = "\n".join(cell.source for cell in cells(NOTEBOOKS[1], "code"))
    for name in "classification compact scatter total batch_hard_triplet".split():
        assert f"method.body(losses.{name}_loss)" in shown


def test_a_body_is_the_functions_code_without_its_docstring():
    shown = method.body(compact_loss)
    assert shown.startswith("```python\ndef compact_loss(") and shown.endswith("\n```")
    assert "0.5 * F.relu(sq_dist - sq_radius).sum()" in shown
    assert '"""' not in shown and "Penalise" not in shown
    assert "# without one" in method.body(_without_docstring)
    assert compact_loss.__doc__ and total_loss.__doc__  # the functions keep theirs


def _without_docstring():
    return None  # without one


def test_the_boundaries_are_where_two_logits_are_equal_and_above_the_third():
    weight = np.random.default_rng(0).normal(size=(3, 2))
    segments = method.boundaries(weight, 3.0)
    assert len(segments) == 3
    for x0, y0, *end in segments:
        assert (x0, y0) == (0, 0) and np.hypot(*end) == pytest.approx(3)
        third, second, first = np.sort(weight @ end)
        assert first == pytest.approx(second) and second > third


def test_the_definitions_of_the_centre_need_one_entry_per_code():
    codes = np.zeros((4, 2))
    case = {"title": "t", "codes": codes, "averaged": codes, "labels": np.zeros(4, int)}
    case |= {"batch": np.ones(3, bool), "steps": codes, "centres": codes[:1], "radii": np.ones(1)}
    with pytest.raises(ValueError, match=r"batch is bool \(3,\); expected \(4,\)"):
        method.centre_definitions([case])
    with pytest.raises(ValueError, match="cases is empty"):
        method.centre_definitions([])
    case |= {"batch": np.ones(4, bool), "centres": np.full((1, 2), np.nan), "radii": [np.inf]}
    assert method.centre_definitions([case]).axes  # a person who takes part in no sum


def test_the_net_force_is_drawn_apart_inside_and_outside_the_sphere():
    x = np.array([0.25, 0.75, 1.25, 2.0])
    outside = np.array([4.3e-5, -6.3e-5])
    profiles = pd.DataFrame({8: x * 1e-5, 114: -x * 1e-5}, index=x)
    coefficients = pd.DataFrame({"inside": outside - 5e-5, "outside": outside}, index=[8, 114])
    figure = method.net_force(profiles, coefficients, 51)
    left, right = figure.axes
    for line, sign in zip(left.lines[:2], (1, -1), strict=True):
        before, gap, after = np.split(np.ma.filled(line.get_ydata(), np.nan), [2, 3])
        assert np.isnan(gap).all()
        assert np.allclose(np.r_[before, after], sign * x)
    assert [line.get_xdata()[0] for line in right.lines[:2]] == [8, 114]
    assert [line.get_ydata()[0] for line in right.lines[:2]] == pytest.approx([4.3, -6.3])
    assert "P = 1 + β/γ = 51" in [text.get_text() for text in figure.legends[0].get_texts()]
    with pytest.raises(ValueError, match="no column"):
        method.net_force(profiles, coefficients[["inside"]], 51)


def test_a_ranked_case_holds_the_images_of_its_order():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    query = {"rows": np.array([4]), "pids": np.array([7])}
    gallery = {"rows": np.array([1, 3]), "pids": np.array([7, 8])}
    order = {"row": [1, 0], "rank": [1, 2], "distance": [0.5, 2.0]}
    order |= {"match": [False, True], "junk": [False, False]}
    case = ranked_case("simple", images, query, gallery, 0, pd.DataFrame(order))
    assert case["images"][:, 0, 0, 0].tolist() == [3, 1]
    assert case["pids"].tolist() == [8, 7] and case["correct"].tolist() == [False, True]
    assert case["sq_distances"].tolist() == [0.25, 4.0]
    assert case["query_pid"] == 7 and case["query_image"].max() == 4


# Notebook 08, on records


OPEN_CHOICES = REPOSITORY / "notebooks" / "08_open_choices.ipynb"


def test_notebook_8_has_short_cells_and_opens_with_the_answer():
    assert all(len(cell.source.splitlines()) <= LONGEST for cell in cells(OPEN_CHOICES, "code"))
    first = cells(OPEN_CHOICES, "code")[2]
    assert first.source.endswith("display(Markdown(answer.answer_text(frame)))")


def test_notebook_8_adapts_to_few_records_and_its_things_to_try_work(tmp_path, capsys):
    runs = [r for s in ("htri", "set1", "set2", "set3") for r in likely(s, [0.5, 0.6])]
    kept(tmp_path / "likely", runs)
    values = {}
    for cell in cells(OPEN_CHOICES, "code"):
        exec(cell.source, values)
        if "parameters" in cell.metadata.get("tags", []):
            values["records"] = str(tmp_path)
    (try_,) = (
        c for c in cells(OPEN_CHOICES, "markdown") if c.source.startswith("## Things to try")
    )
    codes = re.findall(r"^\* `(.+?)`: ", try_.source, re.MULTILINE)
    assert 2 <= len(codes) <= 3 == try_.source.count("\n* ")
    for code in codes:
        exec(code, values)
    assert values["table"].order.tolist() == ["not yet measured (2 of 10 splits)"]
    assert values["text"] == "" and not values["of_scatter"].any()
    assert "The scatter loss at several weights: not yet measured." in capsys.readouterr().out


@pytest.mark.slow
def test_notebook_8_runs_on_the_committed_records(tmp_path):
    run_notebook(OPEN_CHOICES, tmp_path / "done.ipynb", {})
    done = nbformat.read(tmp_path / "done.ipynb", 4)
    outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
    texts = [o["data"]["text/markdown"] for o in outputs if "text/markdown" in o.get("data", {})]
    frame = read_all_records(COMMITTED)
    assert texts[0].strip() == answer_text(frame).strip()
    assert claims_text(default_choice_records(COMMITTED)).strip() in [
        text.strip() for text in texts
    ]
    shown = [o.get("data", {}).get("text/plain", "") for o in outputs]
    assert sum(text.startswith("<Figure") for text in shown) >= 5


# What a notebook opens on


def end_all_runs(root, preset, but=0):
    study = load_preset(preset)
    for row in study.rows[but:]:
        for split in study.splits:
            folder = run_folder(root / "results", study, row.row, split)
            folder.mkdir(parents=True)
            (folder / "manifest.json").write_text("{}")


def test_by_hand_a_notebook_opens_on_the_demo_once_all_its_runs_have_ended(tmp_path, capsys):
    assert open_study(tmp_path).study.name == "smoke"
    assert "scores are not meaningful" in capsys.readouterr().out
    end_all_runs(tmp_path / "some", "demo", but=1)
    assert open_study(tmp_path / "some").study.name == "smoke"
    capsys.readouterr()
    end_all_runs(tmp_path, "demo")
    assert open_study(tmp_path).study.name == "demo"
    assert capsys.readouterr().out == ""


def test_a_preset_that_is_named_is_the_one_that_is_opened(tmp_path):
    end_all_runs(tmp_path, "demo")
    assert open_study(tmp_path, "smoke", name="mine", splits="1,2").study.splits == (1, 2)
    with pytest.raises(ValueError, match="no preset 'nosuch'"):
        open_study(tmp_path, "nosuch")


def test_figures_are_committed_only_if_published_and_pictures_of_real_people_never(tmp_path):
    own = tmp_path / "results" / "smoke" / "figures"
    assert open_study(tmp_path, "smoke")[1:] == (own, own)
    public = tmp_path / "figures" / "smoke"
    assert open_study(tmp_path, "smoke", publish=True)[1:] == (public, public)
    assert open_study(tmp_path, "demo", publish=True).photo_folder.parts[-2:] == ("figures", "demo")
    real = open_study(tmp_path, "pku", publish=True, data=str(tmp_path))
    assert real.figure_folder == tmp_path / "figures" / "pku"
    assert real.photo_folder == tmp_path / "results" / "pku" / "figures"


# Running them


def executed(name, tmp_path, **parameters):
    path = next(path for path in NOTEBOOKS if path.stem.startswith(name))
    given = {"preset": "smoke", "root": str(tmp_path), **parameters}
    run_notebook(path, tmp_path / path.name, given)
    return nbformat.read(tmp_path / path.name, 4).cells


def printed(cells):
    return "".join(o.text for c in cells for o in c.get("outputs", []) if o.output_type == "stream")


@pytest.mark.slow
def test_notebook_2_runs_without_any_trained_run(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the tests' own hides figures
    done = executed("02", tmp_path)
    assert "the sign changes at P = 51" in printed(done)
    drawn = {path.stem for path in (tmp_path / "results/smoke/figures").glob("*.png")}
    assert drawn == {"fig2", "centres", "net_force"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["02_method.ipynb", "results"]
    assert list((tmp_path / "results/smoke").iterdir()) == [tmp_path / "results/smoke/figures"]
    bodies = [
        o.data["text/markdown"]
        for c in done
        for o in c.get("outputs", [])
        if "data" in o and "text/markdown" in o.data
    ]
    assert sum(text.count("```python\ndef ") for text in bodies) == 6


@pytest.mark.slow
def test_notebook_3_trains_the_same_epoch_by_hand_and_by_fit(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    done = executed("03", tmp_path, progress="lines", row="set3")
    by_hand, by_fit = printed(done).partition("mean loss by hand ")[2].split()[:4:3]
    assert by_hand.rstrip(",") == by_fit
    run = read_run(tmp_path / "results/smoke/set3/split-0")
    assert not run.failed and len(run.history) == load_preset("smoke").row("set3").epochs


def test_notebook_9_shows_the_body_of_every_loss_of_its_own():
    shown = "\n".join(cell.source for cell in cells(NOTEBOOKS[-1], "code"))
    names = "contrastive triplet_all improved_triplet quadruplet msml centre".split()
    for name in names:
        assert f"method.body(related.{name}_loss)" in shown
    assert "method.body(aligned.aligned_distance)" in shown


@pytest.mark.slow
def test_notebook_9_moves_the_points_and_says_what_is_not_yet_measured(tmp_path, monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)
    done = executed("09", tmp_path, preset="related_smoke", records=str(tmp_path))
    assert "not yet measured on real persons" in printed(done)
    drawn = {path.stem for path in (tmp_path / "results/related_smoke/figures").glob("*.png")}
    assert drawn == {"related_losses", "related_ratio"}
    texts = [
        o.data["text/markdown"]
        for c in done
        for o in c.get("outputs", [])
        if "data" in o and "text/markdown" in o.data
    ]
    table = next(text for text in texts if text.startswith("| row | loss |"))
    for row in load_preset("related_smoke").rows:
        assert f"| {row.row} | " in table
    assert "Not yet measured: quadruplet_adaptive." in table
    assert "set 2 compared with the 12 related losses: not yet measured 12" in texts[-1]
