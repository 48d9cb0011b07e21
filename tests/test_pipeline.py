"""`make reproduce`: what Snakemake would run, and the smoke preset from data to figures."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from PIL import Image

from reid_lib.config import load_preset
from reid_lib.engine.provenance import notebook_files
from reid_lib.engine.runs import FILES, RESULTS, read_run
from reid_lib.study.records import SCORES

BIN = Path(sys.executable).parent
KINDS = ("png", "pdf", "alt.txt")
FIGURES = (
    "sheet split fig1 fig2 centres net_force curves table1 tsne fig3 similarity viewpoint "
    "viewpoint_distance viewpoint_angle related_losses related_ratio"
).split()
TABLES = "table1.csv table1.md table1.tex table1.html tsne.csv viewpoint.csv viewpoint.md".split()
FIGURE_RULES = {"01_data", "02_method", "04_table1", "05_tsne", "06_ranking", "07_viewpoint"}
FIGURE_RULES |= {"09_related_losses"}
RECORDS_RULE = "08_open_choices"
ROWS = [row.row for row in load_preset("smoke").rows]


def checkout(folder):
    """A copy of what `make reproduce` needs, with this Python's environment as its `.venv`."""
    ignore = shutil.ignore_patterns("__pycache__", "smoke", "demo")
    for name in ("reid_lib", "notebooks", "presets", "profiles", "figures"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignore)
    for name in ("Makefile", "Snakefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(REPOSITORY / name, folder)
    old = time.time() - 1000
    for path in folder.rglob("*"):
        os.utime(path, (old, old))
    return folder


@pytest.fixture
def clone(tmp_path):
    return checkout(tmp_path / "clone")


def environment(folder):
    # Under `make test`, make's own variables would turn each inner make into a "make[1]".
    kept = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return {**kept, "PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(folder)}


def started(folder, *words):
    """`make reproduce` as a process group of its own, which a test may kill."""
    stamp = Path(sys.prefix) / "requirements.lock"
    if not stamp.is_file() or stamp.read_bytes() != (folder / "requirements.lock").read_bytes():
        pytest.skip("this Python's environment was not made by `make setup`")
    if not (folder / ".venv").exists():
        (folder / ".venv").symlink_to(sys.prefix)
    older = stamp.stat().st_mtime - 1  # so that make leaves the environment alone
    os.utime(folder / "requirements.lock", (older, older))
    return subprocess.Popen(
        ["make", "reproduce", *words],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def make(folder, *words):
    """What `make reproduce` printed, and its exit status."""
    process = started(folder, *words)
    said = process.communicate()[0]
    return said, process.returncode


def made(folder, *words):
    said, status = make(folder, *words)
    assert status == 0, said
    return said


def snakemake(folder, *arguments, preset="smoke", first=BIN, **more):
    command = [BIN / "snakemake", "--profile", folder / "profiles/default", *arguments]
    given = {"preset": preset, **more}
    command += ["--config", *(f"{key}={value}" for key, value in given.items())]
    return subprocess.run(
        list(map(str, command)),
        cwd=folder,
        env={**environment(folder), "PATH": f"{first}:{environment(folder)['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


def planned(folder, **more):
    """The rules that would run now: name -> number of jobs."""
    done = snakemake(folder, "--dry-run", "--quiet", "host", **more)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    if "Nothing to be done" in said:
        return {}
    jobs = {}
    for line in said.partition("Job stats:")[2].splitlines():
        words = line.split()
        if words[:1] == ["total"]:
            break
        if len(words) == 2 and words[1].isdigit() and words[0] != "all":
            jobs[words[0]] = int(words[1])
    return jobs


# --- What Snakemake would run ---------------------------------------------------------------------


def written(folder, split=0):
    """Empty files in place of what a finished smoke preset leaves, each stage later than the one
    before."""
    results, figures = folder / "results/smoke", folder / "figures/smoke"
    runs = [f"{row}-split-{split}.json" for row in ROWS]
    stages = [
        [results / "configs" / run for run in runs],
        [results / "stamps" / run for run in runs],
        [figures / f"{name}.{kind}" for name in FIGURES for kind in KINDS]
        + [figures / name for name in TABLES]
        + [results / "drawn" / name for name in FIGURE_RULES]
        + [results / "notebooks" / f"{RECORDS_RULE}.ipynb"],
    ]
    for stage, files in enumerate(stages):
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("")
            when = time.time() - 500 + 100 * stage
            os.utime(file, (when, when))


def configured(folder, split):
    for row in ROWS:
        (folder / f"results/smoke/configs/{row}-split-{split}.json").write_text("")


def test_each_run_is_one_job_and_what_is_done_is_not_done_again(clone):
    written(clone)
    assert planned(clone) == {}
    for stamp in (clone / "results/smoke/stamps").iterdir():
        stamp.unlink()
    once = dict.fromkeys(FIGURE_RULES - {"01_data", "02_method"}, 1)
    assert planned(clone) == {"train": 5, **once}


def test_a_figure_stays_until_a_new_one_replaces_it_and_a_missing_one_is_drawn(clone):
    """A stand-in for `reid notebook` fails, then draws what is missing."""
    written(clone)
    figures = clone / "figures/smoke"
    before = {path.name: path.write_text("old") for path in figures.iterdir()}
    (figures / "tsne.csv").unlink()
    (clone / "results/smoke/drawn/07_viewpoint").unlink()
    stand_in = clone / "first" / "reid"
    stand_in.parent.mkdir()
    for end, names in (("exit 1", before.keys() - {"tsne.csv"}), ("true", before)):
        stand_in.write_text(f"#!/bin/sh\n{end} && echo new > figures/smoke/tsne.csv\n")
        stand_in.chmod(0o755)
        assert snakemake(clone, first=stand_in.parent).returncode == (end == "exit 1")
        found = {path.name: path.read_text() for path in figures.iterdir()}
        assert found == dict.fromkeys(names, "old") | {k: "new\n" for k in found if k == "tsne.csv"}
    assert planned(clone) == {}


def test_another_split_trains_that_split_alone(clone):
    written(clone)
    configured(clone, 1)
    assert planned(clone, splits="0,1")["train"] == 5
    assert planned(clone) == {}


def test_a_changed_config_of_one_run_concerns_its_training_alone(clone):
    written(clone)
    (clone / "results/smoke/configs/set3-split-0.json").write_text("changed")
    assert planned(clone)["train"] == 1


def dependents():
    """Each file of the package -> the notebooks that draw and import it, directly or not."""
    found = {path: set() for path in (REPOSITORY / "reid_lib").rglob("*.py")}
    for name in FIGURE_RULES | {RECORDS_RULE}:
        for path in notebook_files(REPOSITORY / "notebooks" / f"{name}.ipynb"):
            found.setdefault(path, set()).add(name)  # data files too
    return {path.relative_to(REPOSITORY): names for path, names in found.items()}


@pytest.mark.parametrize("which", ["the losses", "of one notebook", "of none"])
def test_a_changed_module_draws_again_what_imports_it_and_trains_nothing(clone, which):
    written(clone)
    files = dependents()
    path = {
        "the losses": Path("reid_lib/losses.py"),
        "of one notebook": next(
            file for file, names in files.items() if len(names) == 1 and file.suffix == ".py"
        ),
        "of none": Path("reid_lib/cli.py"),
    }[which]
    (clone / path).write_text((clone / path).read_text() + "\n# changed\n")
    jobs = set(planned(clone))
    assert jobs == files[path]
    if which == "the losses":
        assert jobs >= FIGURE_RULES - {"01_data", "02_method"}
    if which == "of none":
        assert not jobs


def test_a_new_module_that_a_notebook_imports_cannot_be_missed(clone):
    written(clone)
    notebook = clone / "notebooks" / "05_tsne.ipynb"
    times = notebook.stat().st_mtime
    source = notebook.read_text().replace(
        '"from reid_lib import plots\\n"',
        '"from reid_lib import plots\\n",\n    "from reid_lib import brand_new\\n"',
    )
    assert source != notebook.read_text()
    notebook.write_text(source)
    os.utime(notebook, (times, times))
    (clone / "reid_lib" / "brand_new.py").write_text("from reid_lib import newer\n")
    os.utime(clone / "reid_lib" / "brand_new.py", (times, times))
    (clone / "reid_lib" / "newer.py").write_text("")
    assert set(planned(clone)) == {"05_tsne"}


def test_no_rule_declares_a_file_in_a_run_folder(clone):
    written(clone)
    done = snakemake(clone, "--summary")
    files = [line.split("\t")[0] for line in done.stdout.splitlines()[1:]]
    assert len([file for file in files if "/stamps/" in file]) == 5
    assert not [file for file in files if re.search(r"results/smoke/[^/]+/split-\d+/", file)]


def test_snakemake_alone_says_what_must_come_first(clone):
    done = snakemake(clone)
    assert done.returncode != 0
    assert "is missing: `make reproduce` or `reid resolve` writes it" in done.stderr
    done = snakemake(clone, preset="nosuch")
    assert "no preset 'nosuch'" in done.stderr
    assert "Traceback" not in done.stderr


WRONG = [
    (["PRESET=nosuch"], "no preset 'nosuch'; known: "),
    (["PRESET=pku"], "preset pku needs the folder of the images (DATA=...)"),
    (["DATA=/nonexistent"], "/nonexistent is not a folder"),
    (["SPLITS=x"], "SPLITS is 'x'; expected numbers from 0 such as 0,1,2"),
    (["PRESET=pku", "DATA=images", "WEIGHTS=/nonexistent"], "looked for /nonexistent"),
    (["DATA=empty"], "no image named personId_cameraId_orientationId.png"),
    (
        ["PRESET=wrong.yaml"],
        "wrong.yaml: row 'a': beta: Input should be greater than or equal to 0",
    ),
    (["DATA=images"], "batch_size is 32, but the 1 training persons have only 16 images"),
]


@pytest.mark.parametrize("words, message", WRONG)
def test_make_reproduce_names_what_is_wrong_in_one_sentence(clone, folder, words, message):
    for image in folder.iterdir():
        if image.name[:3] > "002":  # two persons are left: one to train, one to test
            image.unlink()
    (clone / "empty").mkdir()
    (clone / "wrong.yaml").write_text(
        "title: t\ndata: empty\nrows: [{row: a, setting: set1, beta: -1}]\n"
    )
    begin = os.times()
    said, status = make(clone, *(word.replace("images", str(folder)) for word in words))
    assert os.times().children_user - begin.children_user < 5
    lines = [line for line in said.splitlines() if not line.startswith("make: ***")]
    assert status != 0
    assert len(lines) == 1, said
    assert lines[0].startswith("reid resolve: ") and message in lines[0]
    assert not (clone / "results").exists()
    assert {path.name for path in (clone / "figures").iterdir()} == {"market", "pku74"}


# --- A run is trained once ------------------------------------------------------------------------


@pytest.fixture
def one(clone):
    """A preset of one short row, and how `make reproduce` trains it without drawing figures."""
    (clone / "one.yaml").write_text(
        "title: one\ndata: {persons: 8, seed: 0}\n"
        "recipe: {start: random, epochs: 1, batch_size: 16, precision: fp32}\n"
        "rows:\n  - {row: set3, setting: set3}\n"
    )
    return ["PRESET=one.yaml", "SNAKEMAKE=--until train"]


def contents(run):
    """Every file of a run folder that decides what it holds, with its time."""
    names = (*FILES, *RESULTS)
    return {name: ((run / name).stat().st_mtime_ns, (run / name).read_bytes()) for name in names}


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again_whatever_else_changed(clone, one):
    run = clone / "results/one/set3/split-0"
    made(clone, *one)
    before = contents(run)
    assert contents(run) == before

    made(clone, *one, "SPLITS=0,1")
    preset = clone / "one.yaml"
    preset.write_text(preset.read_text() + "  - {row: set1, setting: set1}\n")
    made(clone, *one)
    assert contents(run) == before
    others = [clone / "results/one" / name for name in ("set3/split-1", "set1/split-0")]
    assert all((other / "manifest.json").is_file() for other in others)

    said, status = make(clone, *one, "DATA=/nonexistent")
    assert status != 0 and "/nonexistent is not a folder" in said
    said = made(clone, *one)
    assert "RETRAIN" not in said and "rule train" not in said
    assert contents(run) == before

    shutil.rmtree(clone / ".snakemake")  # as on another machine
    for file in (clone / "results/one").rglob("configs/*"):
        file.touch()
    source = clone / "reid_lib" / "losses.py"
    code = source.read_text()
    source.write_text(code + "\n# a comment\n")
    said = made(clone, *one)
    assert "RETRAIN" not in said
    assert contents(run) == before

    source.write_text(code + "\nCHANGED = 1\n")
    said = made(clone, *one)
    assert "2 of 2 runs were trained by another version of the software and are kept" in said
    assert contents(run) == before

    made(clone, *one, "RETRAIN=1")
    assert contents(run.with_name("split-0.replaced-1")) == before
    again = contents(run)
    assert again["codes.npz"][0] > before["codes.npz"][0]
    made(clone, *one, "RETRAIN=1")
    assert contents(run) == again
    assert not run.with_name("split-0.replaced-2").exists()


@pytest.mark.slow
def test_a_removed_run_folder_is_trained_again_and_one_trained_by_hand_is_kept(clone, one):
    run = clone / "results/one/set3/split-0"
    made(clone, *one)
    shutil.rmtree(run)
    command = [BIN / "reid", "train", "one.yaml", "--row", "set3"]
    subprocess.run(command, cwd=clone, env=environment(clone), check=True, capture_output=True)
    before = contents(run)
    made(clone, *one)
    assert contents(run) == before
    stamp = clone / "results/one/stamps/set3-split-0.json"
    assert stamp.read_bytes() == before["manifest.json"][1]
    shutil.rmtree(run)
    made(clone, *one)
    assert (run / "manifest.json").is_file()


# --- Killed and started again ---------------------------------------------------------------------


def killed(folder, when):
    """Start `make reproduce PRESET=smoke` and kill all of it once `when()` holds."""
    process = started(folder, "PRESET=smoke")
    until = time.monotonic() + 900
    while not when() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.2)
    assert process.poll() is None, process.communicate()[0]
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_make_reproduce_goes_on_after_it_was_killed_at_any_point(clone):
    results, figures = clone / "results/smoke", clone / "figures/smoke"
    killed(clone, lambda: (clone / "data").is_dir())
    assert not list(results.rglob("manifest.json"))

    process = started(clone, "PRESET=smoke")  # make alone is killed: Snakemake goes on
    while not list(results.glob("*/split-0/.holder")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.2)
    process.kill()
    holder = (results / ".holder").read_text()
    said = subprocess.run(
        [BIN / "reid", "resolve", "smoke", "--check"],
        cwd=clone,
        env=environment(clone),
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 2
    assert f"{holder} is writing to results/smoke;" in said.stderr
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    killed(clone, lambda: len(list((results / "stamps").glob("*"))) == 5 and figures.is_dir())
    ended = {row: contents(results / row / "split-0") for row in ROWS}
    made(clone, "PRESET=smoke")
    assert {row: contents(results / row / "split-0") for row in ROWS} == ended
    assert all((figures / f"{name}.{kind}").is_file() for name in FIGURES for kind in KINDS)


@pytest.mark.slow
def test_ctrl_c_in_make_reproduce_keeps_the_epochs_and_says_so_in_one_last_line(clone, one):
    preset = clone / "one.yaml"
    preset.write_text(preset.read_text().replace("epochs: 1", "epochs: 500, image_size: [64, 32]"))
    run = clone / "results/one/set3/split-0"
    for started_by in (lambda: (clone / "data").is_dir(), lambda: (run / "history.csv").is_file()):
        process = started(clone, *one)
        while not started_by():
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate()[0]
        assert process.returncode == -signal.SIGINT, said  # a shell says 130
        assert "Traceback" not in said
        lines = [line for line in said.splitlines() if line and not line.startswith("make: ***")]
        assert "interrupted; " in lines[-1] and "kept" in lines[-1] and "same command" in lines[-1]
    assert (run / "checkpoint.pt").is_file()


# --- The smoke preset from data to figures --------------------------------------------------------


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The smoke preset, run once for all tests of this file."""
    folder = checkout(tmp_path_factory.mktemp("smoke") / "clone")
    made(folder, "PRESET=smoke")
    return folder


def slow_scores(run, direction):
    """rank-k and mAP of one direction from the definitions, one query and one image at a time."""
    part = run.codes
    cameras = sorted(set(part["camids"]))[:: 1 if direction == "A->B" else -1]
    found = {name: [] for name in SCORES}
    for code, pid, camid in zip(part["codes"], part["pids"], part["camids"], strict=True):
        if camid != cameras[0]:
            continue
        gallery = [
            (float(((code.astype(float) - other.astype(float)) ** 2).sum()), other_pid == pid)
            for other, other_pid, other_cam in zip(
                part["codes"], part["pids"], part["camids"], strict=True
            )
            if other_cam == cameras[1]
        ]
        hits = [hit for _, hit in sorted(gallery)]
        ranks = [rank for rank, hit in enumerate(hits, 1) if hit]
        for k in (1, 5, 10, 20):
            found[f"rank-{k}"].append(ranks[0] <= k)
        found["mAP"].append(np.mean([n / rank for n, rank in enumerate(ranks, 1)]))
    return {name: 100 * np.mean(values) for name, values in found.items()}


@pytest.mark.slow
def test_table_1_equals_the_slow_oracle_on_the_saved_codes(smoke):
    table = pd.read_csv(smoke / "figures/smoke/table1.csv", index_col=0)
    rows = [row.row for row in load_preset("smoke").rows]
    assert list(table.index) == rows
    for row in rows:
        run = read_run(smoke / "results/smoke" / row / "split-0")
        for name, value in slow_scores(run, "A->B").items():
            assert table.loc[row, f"measured {name}"] == pytest.approx(value, abs=0.011)


@pytest.mark.slow
@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_is_there_opens_and_is_not_blank(smoke, figure):
    folder = smoke / "figures/smoke"
    with Image.open(folder / f"{figure}.png") as image:
        assert np.asarray(image.convert("L")).std() > 5
    assert (folder / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
    assert len((folder / f"{figure}.alt.txt").read_text()) > 20


@pytest.mark.slow
def test_every_notebook_was_executed_without_an_error(smoke):
    executed = sorted((smoke / "results/smoke").rglob("*.ipynb"))
    every = {path.name for path in (REPOSITORY / "notebooks").glob("*.ipynb")}
    assert {path.name for path in executed} >= every - {"03_train.ipynb"}  # once per run: five
    assert len(executed) == len(every) - 1 + 5
    for path in executed:
        for cell in nbformat.read(path, 4).cells:
            kinds = [output.output_type for output in cell.get("outputs", [])]
            assert "error" not in kinds


@pytest.mark.slow
def test_what_is_done_is_not_done_again(smoke):
    assert planned(smoke) == {}


@pytest.mark.slow
def test_the_summary_says_where_to_look_and_how_long_each_stage_took(smoke):
    command = [BIN / "reid", "summary", "smoke"]
    said = subprocess.run(
        command, cwd=smoke, env=environment(smoke), capture_output=True, text=True, check=True
    ).stdout
    assert "figures/smoke/table1.md" in said
    for stage in ("data", "train-set3-split-0", "07_viewpoint"):
        assert f"  {stage} " in said
    metrics = json.loads((smoke / "results/smoke/set3/split-0/metrics.json").read_text())
    assert f"{100 * metrics['test']['A->B']['mAP']:.1f}" in said
    assert (smoke / "figures/smoke/summary.txt").read_text() == said


@pytest.mark.slow
def test_a_failed_notebook_leaves_its_traceback_and_the_figures_of_before(smoke):
    run = smoke / "results/smoke/set3/split-0/codes.npz"
    whole = run.read_bytes()
    before = run.stat()
    figures = {path: path.read_bytes() for path in (smoke / "figures/smoke").iterdir()}
    try:
        run.write_bytes(b"broken")
        done = snakemake(smoke, "--forcerun", "05_tsne", "--until", "05_tsne")
    finally:
        run.write_bytes(whole)
        os.utime(run, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert done.returncode != 0
    executed = nbformat.read(smoke / "results/smoke/notebooks/05_tsne.ipynb", 4)
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert any(output.output_type == "error" for output in outputs)
    assert {path: path.read_bytes() for path in (smoke / "figures/smoke").iterdir()} == figures
    assert not (smoke / "results/smoke/drawn/05_tsne").exists()


@pytest.mark.slow
def test_the_same_snakefile_runs_through_a_clusters_submit_command(clone):
    submit = clone / "submit"
    submit.write_text('#!/bin/sh\nnohup sh "$1" >"$1.log" 2>&1 &\necho $!\n')
    submit.chmod(0o755)
    status = [
        "--executor",
        "cluster-generic",
        "--cluster-generic-submit-cmd",
        submit,
        "--jobs",
        "2",
    ]
    command = [BIN / "reid", "resolve", "smoke"]
    subprocess.run(command, cwd=clone, env=environment(clone), check=True)
    done = snakemake(clone, *status)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (clone / "figures/smoke/table1.md").is_file()
