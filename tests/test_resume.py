"""Killed, interrupted, damaged, out of space: a run ends in the same bits or says why not."""

import errno
import io
import multiprocessing
import os
import pickle
import random
import signal
import threading
import time
from pathlib import Path

import killed_run
import numpy as np
import pytest
import torch

from reid_lib import training
from reid_lib.config import RunConfig, load_preset
from reid_lib.dataset import load_pixels, read_pku
from reid_lib.engine import checkpoint, results
from reid_lib.engine.checkpoint import read_checkpoint, write_checkpoint
from reid_lib.engine.files import ASIDE, delayed
from reid_lib.engine.locks import lock_run_folder
from reid_lib.engine.prepare import resolve
from reid_lib.engine.results import RunFolder
from reid_lib.engine.runs import FILES, RESULTS, read_run
from reid_lib.training import fit

IDENTITY = {"data": "d", "configuration": "c"}


@pytest.fixture
def processes():
    """Start a function in a process of its own; torch is imported once for all of them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["reid_lib.training", "killed_run"])

    def start(function, *arguments):
        process = context.Process(target=function, args=arguments)
        process.start()
        return process

    return start


def result(folder: Path) -> dict[str, bytes]:
    names = "weights.safetensors", "queries.csv", "metrics.json", "config.json"
    found = {name: (folder / name).read_bytes() for name in names}
    run = read_run(folder)
    found["history"] = run.history.drop(columns="seconds").to_csv().encode()
    return found | {name: array.tobytes() for name, array in run.codes.items()}


def kill_and_resume(start, preset_file, folder, points, row="set3"):
    for point, number in points:
        process = start(killed_run.train, preset_file, folder, point, number, row)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (folder / "manifest.json").exists()
    process = start(killed_run.train, preset_file, folder, "", 0, row)
    process.join()
    assert process.exitcode == 0


def test_killed_in_a_step_in_a_write_and_at_the_end_a_run_ends_in_the_same_bits(
    processes, preset_file, tmp_path
):
    processes(killed_run.train, preset_file, tmp_path / "whole").join()
    points = [("step", 9), ("save", 1), ("finish", 0)]
    kill_and_resume(processes, preset_file, tmp_path / "parts", points)
    assert result(tmp_path / "parts") == result(tmp_path / "whole")
    manifest = read_run(tmp_path / "parts").manifest
    assert manifest["resumes"] == 3
    assert manifest["seconds"] >= read_run(tmp_path / "parts").history.seconds.sum()
    left = {path.name for path in (tmp_path / "parts").iterdir()}
    assert left == {*FILES, *RESULTS, ".lock"}


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["xent_htri_centre", "arcface"])
def test_a_loss_that_learns_ends_in_the_same_bits_after_a_kill(
    processes, preset_file, tmp_path, setting
):
    preset_file.write_text(f"{preset_file.read_text()}  - {{row: r, setting: {setting}}}\n")
    processes(killed_run.train, preset_file, tmp_path / "whole", "", 0, "r").join()
    kill_and_resume(processes, preset_file, tmp_path / "parts", [("step", 9), ("save", 1)], "r")
    assert result(tmp_path / "parts") == result(tmp_path / "whole")


@pytest.mark.slow
def test_killed_at_twenty_random_points_runs_end_in_the_same_bits(processes, preset_file, tmp_path):
    draw = random.Random(0)
    processes(killed_run.train, preset_file, tmp_path / "whole").join()
    for number in range(7):
        # A process dies before its third epoch ends, so that none of the five is left undone.
        most = {"step": 14, "save": 2, "flush": 8}
        points = [(point, draw.randrange(most[point])) for point in draw.choices(list(most), k=2)]
        folder = tmp_path / f"parts-{number}"
        kill_and_resume(processes, preset_file, folder, [*points, ("finish", 0)])
        assert result(folder) == result(tmp_path / "whole"), points


@pytest.fixture
def tiny(preset_file, small):
    preset = load_preset(str(preset_file))
    index = read_pku(preset.data)
    config, _ = resolve(preset, "set3", 0, index)
    return config, index, load_pixels(index)


def identity(config):
    return RunFolder(Path(), config)._identity()


def changed(config, **values):
    return RunConfig.model_validate({**config.model_dump(), **values})


def interrupt(monkeypatch, number, act):
    """Call `act` before a step of the run, once."""
    step = killed_run.counted(training.train_step, number, act)
    monkeypatch.setattr(training, "train_step", step)


@pytest.mark.parametrize("sent, raised", [("INT", KeyboardInterrupt), ("TERM", SystemExit)])
def test_a_signal_costs_the_current_epoch_and_no_more(tiny, tmp_path, monkeypatch, sent, raised):
    config, index, pixels = tiny
    config = changed(config, epochs=4)
    whole = fit(config, index, pixels, tmp_path / "whole", progress="none")
    usual = signal.getsignal(signal.SIGTERM)
    # A shell lets what it starts in the background ignore Ctrl-C.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patch:
        interrupt(patch, 15, lambda *_: signal.raise_signal(signal.Signals[f"SIG{sent}"]))
        with pytest.raises(raised):
            fit(config, index, pixels, tmp_path / "run", progress="none")
    signal.signal(signal.SIGINT, inherited)
    assert signal.getsignal(signal.SIGTERM) is usual
    content = read_checkpoint(tmp_path / "run", identity(config))
    assert content["progress"]["epoch"] == 2
    run = fit(config, index, pixels, tmp_path / "run", progress="none")
    assert np.array_equal(run.codes["codes"], whole.codes["codes"])
    assert run.manifest["resumes"] == 1


def test_a_full_disk_stops_the_run_and_leaves_the_last_checkpoint(tiny, tmp_path, monkeypatch):
    config, index, pixels = tiny
    config = changed(config, epochs=4)
    monkeypatch.setattr(results, "CHECKPOINT_SECONDS", -1)
    save, calls = torch.save, []

    def full(content, file):
        calls.append(file)
        if len(calls) > 1:
            Path(file).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        save(content, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space left on device"):
            fit(config, index, pixels, tmp_path / "run", progress="none")
    assert not list((tmp_path / "run").glob(f"{ASIDE}*"))
    assert read_checkpoint(tmp_path / "run", identity(config))["progress"]["epoch"] == 1
    run = fit(config, index, pixels, tmp_path / "run", progress="none")
    assert run.manifest["resumes"] == 1


def test_a_folder_that_cannot_be_written_is_named_before_training(tiny, tmp_path, monkeypatch):
    config, index, pixels = tiny
    monkeypatch.setattr(training, "start", lambda *_: pytest.fail("training began"))
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        fit(config, index, pixels, tmp_path / "file" / "run", progress="none")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    nobody = 65534
    if os.geteuid() == 0:  # root may write anywhere
        os.seteuid(nobody)
    try:
        with pytest.raises(PermissionError, match="locked"):
            fit(config, index, pixels, locked / "run", progress="none")
    finally:
        os.seteuid(os.getuid())


def test_a_second_process_is_told_who_trains_the_run(processes, preset_file, tiny, tmp_path):
    config, index, pixels = tiny
    folder = tmp_path / "run"
    process = processes(hold, folder)
    try:
        while not (folder / ".holder").exists():
            time.sleep(0.02)
        with pytest.raises(
            BlockingIOError, match=rf"process {process.pid} on \S+ is training the run in .*run;"
        ):
            fit(config, index, pixels, folder, progress="none")
    finally:
        process.kill()
        process.join()
    assert not fit(config, index, pixels, folder, progress="none").failed  # the lock ended with it


def hold(folder):
    with lock_run_folder(folder):
        time.sleep(60)


def test_a_run_may_be_trained_in_another_thread(tiny, tmp_path):
    config, index, pixels = tiny
    thread = threading.Thread(
        target=fit, args=(config, index, pixels, tmp_path / "run", None, "none")
    )
    thread.start()
    thread.join()
    assert read_run(tmp_path / "run").config == config


# --- checkpoints that do not fit ------------------------------------------------------------------


def test_a_checkpoint_reads_back_what_was_written(tmp_path):
    assert read_checkpoint(tmp_path, IDENTITY) is None
    write_checkpoint(tmp_path, IDENTITY, {"a": torch.arange(3), "b": [1, "x", None, 0.1]})
    content = read_checkpoint(tmp_path, IDENTITY)
    assert content["a"].tolist() == [0, 1, 2]
    assert content["b"] == [1, "x", None, 0.1]


@pytest.mark.parametrize("name", IDENTITY)
def test_a_checkpoint_of_something_else_is_refused_by_name(tmp_path, name):
    write_checkpoint(tmp_path, IDENTITY, {})
    with pytest.raises(
        ValueError, match=rf"checkpoint\.pt belongs to another run; what differs: {name}$"
    ):
        read_checkpoint(tmp_path, IDENTITY | {name: "other"})


def test_a_checkpoint_of_another_format_is_refused_by_name(tmp_path, monkeypatch):
    write_checkpoint(tmp_path, IDENTITY, {})
    monkeypatch.setattr(checkpoint, "CHECKPOINT_FORMAT", 9)
    with pytest.raises(ValueError, match=r"belongs to another run; what differs: format$"):
        read_checkpoint(tmp_path, IDENTITY)


def test_a_checkpoint_that_does_not_read_back_does_not_replace_the_one_before(
    tmp_path, monkeypatch
):
    write_checkpoint(tmp_path, IDENTITY, {"epoch": 1})
    save = torch.save

    def short(content, file):
        save(content, file)
        with Path(file).open("rb+") as stream:
            stream.truncate(100)

    monkeypatch.setattr(torch, "save", short)
    with pytest.raises(RuntimeError):
        write_checkpoint(tmp_path, IDENTITY, {"epoch": 2})
    assert read_checkpoint(tmp_path, IDENTITY) == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


class Hostile:
    def __reduce__(self):
        return os.mkdir, (Hostile.where,)


def hostile_files(where: str) -> dict[str, bytes]:
    Hostile.where = where
    archive, whole = io.BytesIO(), io.BytesIO()
    torch.save({"format": 2, "identity": IDENTITY, "content": Hostile()}, archive)
    torch.save({"format": 2, "identity": IDENTITY, "content": {"a": torch.ones(999)}}, whole)
    return {
        "empty": b"",
        "text": b"not an archive",
        "truncated": whole.getvalue()[:-700],
        "a pickle": pickle.dumps(Hostile()),
        "an archive with code": archive.getvalue(),
        "an archive of a list": _saved([1, 2]),
        "an archive without content": _saved({"format": 2}),
    }


def _saved(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.mark.parametrize("kind", hostile_files(""))
def test_a_damaged_or_hostile_checkpoint_is_refused_and_nothing_in_it_runs(tmp_path, kind):
    trap = tmp_path / "trap"
    (tmp_path / "checkpoint.pt").write_bytes(hostile_files(str(trap))[kind])
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a complete checkpoint \("):
        read_checkpoint(tmp_path, IDENTITY)
    assert not trap.exists()


def test_a_refused_checkpoint_is_kept_named_and_not_used(tiny, tmp_path, capsys):
    config, index, pixels = tiny
    whole = fit(config, index, pixels, tmp_path / "whole", progress="none")
    cases = {
        "differs: configuration": (identity(changed(config, seed=1)), {}),
        "differs: data, configuration": (identity(changed(config, data_sha256="0" * 64)), {}),
        "'net'": (identity(config), {"progress": {}}),
    }
    for number, (reason, (kept, content)) in enumerate(cases.items()):
        folder = tmp_path / str(number)
        write_checkpoint(folder, kept, content)
        run = fit(config, index, pixels, folder, progress="lines")
        said = capsys.readouterr().out
        assert reason in said and "refused-checkpoint.pt" in said
        assert (folder / "refused-checkpoint.pt").is_file()
        assert np.array_equal(run.codes["codes"], whole.codes["codes"])
        assert run.manifest["resumes"] == 0


def test_ctrl_c_while_a_checkpoint_is_written_acts_once_it_is():
    written = []
    with pytest.raises(KeyboardInterrupt), delayed(signal.SIGINT, signal.SIGTERM):
        signal.raise_signal(signal.SIGINT)
        written.append(True)
    assert written
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
