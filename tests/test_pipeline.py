"""The smoke preset from data to figures through Snakemake, and what its DAG promises."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY
from PIL import Image

from reid_lib.config import load_preset
from reid_lib.engine.runs import read_run
from reid_lib.study.records import SCORES

BIN = Path(sys.executable).parent
FIGURES = (
    "sheet split fig1 fig2 curves table1 tsne fig3 activation viewpoint viewpoint_distance "
    "viewpoint_angle"
).split()


def snakemake(folder, *arguments, preset="smoke"):
    """Run a copy of the Snakefile with `folder` as the root of data, results and figures."""
    code = folder / "code"  # whose modules a test may change
    if not code.exists():
        code.mkdir()
        shutil.copy(REPOSITORY / "Snakefile", code)
        shutil.copytree(REPOSITORY / "reid_lib", code / "reid_lib")
        shutil.copytree(REPOSITORY / "notebooks", code / "notebooks")
        shutil.copytree(REPOSITORY / "presets", code / "presets")
    command = [BIN / "snakemake", "--snakefile", code / "Snakefile", "--directory", folder]
    command += ["--profile", REPOSITORY / "profiles" / "default", *arguments]
    command += ["--config", f"preset={preset}"]
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    return subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, check=False
    )


def planned(folder, *arguments, preset="smoke"):
    """The rules that would run now: name -> number of jobs."""
    done = snakemake(folder, "--dry-run", "--quiet", "host", *arguments, preset=preset)
    assert done.returncode == 0, done.stderr
    if "Nothing to be done" in done.stdout + done.stderr:
        return {}
    lines = (done.stdout + done.stderr).partition("Job stats:")[2].splitlines()
    jobs = {}
    for line in lines:
        words = line.split()
        if len(words) == 2 and words[1].isdigit():
            jobs[words[0]] = int(words[1])
        if words[:1] == ["total"]:
            break
    return {name: count for name, count in jobs.items() if name not in ("all", "total")}


FIGURE_RULES = {"01_data", "02_method", "04_table1", "05_tsne", "06_ranking", "07_viewpoint"}
RECORDS_RULE = "08_open_choices"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The smoke preset, run once for all tests of this file."""
    folder = tmp_path_factory.mktemp("smoke")
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout + done.stderr
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


def test_table_1_equals_the_slow_oracle_on_the_saved_codes(smoke):
    table = pd.read_csv(smoke / "figures/smoke/table1.csv", index_col=0)
    rows = [row.row for row in load_preset("smoke").rows]
    assert list(table.index) == rows
    for row in rows:
        run = read_run(smoke / "results/smoke" / row / "split-0")
        for name, value in slow_scores(run, "A->B").items():
            assert table.loc[row, f"measured {name}"] == pytest.approx(value, abs=0.011)


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_is_there_opens_and_is_not_blank(smoke, figure):
    folder = smoke / "figures/smoke"
    with Image.open(folder / f"{figure}.png") as image:
        assert np.asarray(image.convert("L")).std() > 5
    assert (folder / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
    assert len((folder / f"{figure}.alt.txt").read_text()) > 20


def test_every_notebook_was_executed_without_an_error(smoke):
    executed = sorted((smoke / "results/smoke").rglob("*.ipynb"))
    assert len(executed) == 12
    for path in executed:
        for cell in nbformat.read(path, 4).cells:
            kinds = [output.output_type for output in cell.get("outputs", [])]
            assert "error" not in kinds


def test_what_is_done_is_not_done_again(smoke):
    assert planned(smoke) == {}


def test_the_summary_says_where_to_look_and_how_long_each_stage_took(smoke):
    command = [BIN / "reid", "summary", "smoke", "--root", smoke]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "figures/smoke/table1.md" in said
    for stage in ("data", "train-set3-split-0", "07_viewpoint"):
        assert f"  {stage} " in said
    metrics = json.loads((smoke / "results/smoke/set3/split-0/metrics.json").read_text())
    assert f"{100 * metrics['test']['A->B']['mAP']:.1f}" in said


@pytest.mark.parametrize(
    "module, rerun",
    [
        ("figures", FIGURE_RULES | {RECORDS_RULE}),
        ("study/choices", {RECORDS_RULE}),
        ("losses", FIGURE_RULES - {"01_data"} | {"train"}),
        ("execute", set()),
    ],
)
def test_a_changed_module_reruns_only_what_depends_on_it(smoke, module, rerun):
    path = smoke / "code" / "reid_lib" / f"{module}.py"
    before, times = path.read_text(), path.stat()
    path.write_text(before + "\n# changed\n")
    jobs = planned(smoke)
    path.write_text(before)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert set(jobs) == rerun


def test_a_failed_notebook_leaves_its_traceback_and_no_result(smoke):
    run = smoke / "results/smoke/set3/split-0/codes.npz"
    whole = run.read_bytes()
    before = run.stat()
    figure = smoke / "figures/smoke/tsne.png"
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
    assert not figure.exists()


def test_wrong_input_stops_before_any_training(tmp_path):
    (tmp_path / "empty").mkdir()
    preset = tmp_path / "wrong.yaml"
    preset.write_text("title: t\ndata: empty\nrows: [{row: a, setting: set1, beta: -1}]\n")
    done = snakemake(tmp_path, preset=preset)
    assert done.returncode != 0
    assert "beta" in done.stderr
    preset.write_text(f"title: t\ndata: {tmp_path}/empty\nrows: [{{row: a, setting: set1}}]\n")
    done = snakemake(tmp_path, preset=preset)
    assert done.returncode != 0
    assert "no image named" in done.stdout + done.stderr
    assert not (tmp_path / "figures").exists()


@pytest.mark.slow
def test_the_same_snakefile_runs_through_a_clusters_submit_command(tmp_path):
    submit = tmp_path / "submit"
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
    done = snakemake(tmp_path, *status)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "figures/smoke/table1.md").is_file()
