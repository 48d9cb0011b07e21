"""Run folders: what a run leaves behind, each file written beside its place and renamed into it."""

import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout

from reid_lib.config import Preset, RunConfig

FILES = ("config.json", "history.csv", "metrics.json", "manifest.json")  # of any ended run,
RESULTS = ("weights.safetensors", "codes.npz", "queries.csv")  # and of one that did not fail
CHECKPOINT, CHECKPOINT_FORMAT = "checkpoint.pt", 1
ASIDE = ".aside-"  # begins the name of a file that is still being written


def run_folder(results: str | Path, preset: Preset, row: str, split: int) -> Path:
    """`results/<preset>/<row>/split-<k>`."""
    return Path(results) / preset.name / row / f"split-{split}"


def write_file(
    path: Path, write: Callable[[Path], object], check: Callable[[Path], object] | None = None
) -> None:
    """Let `write` fill a file beside `path`, flush it to the disk, rename it into place.

    Args:
        path: the file; one that is there stays whole until the new one is.
        write: gets the path to fill.
        check: reads the new file back and raises if it is not whole, before the old one goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(path.suffix, f"{ASIDE}{path.stem}-", path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        write(aside)
        _flush(aside)
        if check:
            check(aside)
        aside.chmod(0o644)
        aside.replace(path)
        _flush(path.parent)  # the new name too survives a loss of power
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    write_file(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: dict) -> None:
    """Write JSON, whole or not at all; NaN is refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run folder, and clear away what a killed one left half-written.

    The system drops the claim when the process ends, however it ends.

    Raises:
        BlockingIOError: another process has the folder; it says which.
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / ".holder"
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        who = holder.read_text("utf-8") if holder.is_file() else "another process"
        raise BlockingIOError(
            f"{folder} is being trained by {who}; wait for it, or end it first"
        ) from None
    try:
        for left in folder.glob(f"{ASIDE}*"):
            left.unlink()
        write_text(holder, f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def write_checkpoint(folder: Path, identity: dict[str, str], content: dict) -> None:
    """Keep what a run needs to go on; the checkpoint before it stays until this one reads back.

    Args:
        folder: the run folder.
        identity: what the checkpoint is of, such as config, data and code; `read_checkpoint`
            wants the same.
        content: tensors, numbers and texts in dicts and lists.
    """
    whole = {"format": CHECKPOINT_FORMAT, "identity": identity, "content": content}
    write_file(folder / CHECKPOINT, lambda aside: torch.save(whole, aside), _load)


def read_checkpoint(folder: Path, identity: dict[str, str]) -> dict | None:
    """What `write_checkpoint` kept, or None where there is none.

    Nothing in the file is run: it may hold tensors, numbers, texts, dicts and lists alone.

    Raises:
        ValueError: the file is no whole checkpoint, or is of another format or identity; it names
            the file and what differs.
    """
    file = folder / CHECKPOINT
    if not file.is_file():
        return None
    try:
        whole = _load(file)
        found = {"format": whole["format"], **whole["identity"]}
        content = dict(whole["content"])
    except Exception as error:  # torch, pickle and zipfile each raise their own
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{file} is no whole checkpoint ({reason})") from None
    wanted = {"format": CHECKPOINT_FORMAT, **identity}
    differ = [name for name in wanted if found.get(name) != wanted[name]]
    if differ:
        raise ValueError(f"{file} is of another {', another '.join(differ)}")
    return content


def _load(file: Path) -> dict:
    return torch.load(file, map_location="cpu", weights_only=True)


@dataclass(frozen=True)
class Run:
    """An ended run, read from its folder; each part is read when it is first asked for."""

    folder: Path

    @cached_property
    def config(self) -> RunConfig:
        """Every value that decided the result."""
        return RunConfig.model_validate_json((self.folder / "config.json").read_text("utf-8"))

    @cached_property
    def metrics(self) -> dict:
        """Scores as fractions: `test` and `train`, each by direction, and the protocol in words."""
        return json.loads((self.folder / "metrics.json").read_text("utf-8"))

    @cached_property
    def manifest(self) -> dict:
        """Where the numbers come from: data, code, versions, device, seconds, peak memory."""
        return json.loads((self.folder / "manifest.json").read_text("utf-8"))

    @property
    def failed(self) -> str:
        """Why the run was stopped (it then has no scores and no codes); empty if it was not."""
        return self.manifest.get("failed", "")

    @cached_property
    def history(self) -> pd.DataFrame:
        """A row an epoch."""
        return pd.read_csv(self.folder / "history.csv")

    @cached_property
    def queries(self) -> pd.DataFrame:
        """A row a query: AP, rank of the first match."""
        return pd.read_csv(self.folder / "queries.csv")

    @cached_property
    def codes(self) -> dict[str, np.ndarray]:
        """The test images: codes (N, D), pids, camids, orientations, names; in index order."""
        with np.load(self.folder / "codes.npz", allow_pickle=False) as archive:
            return dict(archive)


def read_run(folder: str | Path) -> Run:
    """Open an ended run.

    Args:
        folder: a run folder.
    Returns:
        The run; see `Run.failed`.
    Raises:
        ValueError: a file of a finished run is missing.
    """
    run = Run(Path(folder))
    missing = [name for name in FILES if not (run.folder / name).is_file()]
    if not missing and not run.failed:
        missing = [name for name in RESULTS if not (run.folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} holds no finished run: no {', '.join(missing)}")
    return run


def read_runs(results: str | Path, preset: Preset) -> list[Run]:
    """All runs of a preset, rows in the preset's order, then splits.

    Raises:
        ValueError: a run is missing, was made from other values than the preset's, or from other
            images than the first.
    """
    runs = []
    for row in preset.rows:
        for split in preset.splits:
            run = read_run(run_folder(results, preset, row.row, split))
            if not made_from(run.config, row, split):
                raise ValueError(
                    f"{run.folder} was made from another configuration than preset {preset.name}; "
                    "delete it or give the results another NAME"
                )
            if runs and run.config.data_sha256 != runs[0].config.data_sha256:
                raise ValueError(
                    f"{run.folder} was made from other images than {runs[0].folder}; "
                    "delete one of them or give the results another NAME"
                )
            runs.append(run)
    return runs


def made_from(config: RunConfig, row: RunConfig, split: int) -> bool:
    """Whether a run's config is this row's, but for what is filled in before training."""
    filled = {"data_sha256", "weights_sha256", "precision"}
    wanted = row.model_copy(update={"split": split})
    same = config.model_dump(exclude=filled) == wanted.model_dump(exclude=filled)
    return same and wanted.precision in ("auto", config.precision)


def scores_frame(runs: list[Run], direction: str = "A->B", part: str = "test") -> pd.DataFrame:
    """A row a run: row name, split, each score of one direction in percent (NaN if it failed)."""
    lines = []
    for run in runs:
        scores = {} if run.failed else run.metrics[part][direction]
        line = {"row": run.config.row, "split": run.config.split}
        lines.append(line | {name: 100 * value for name, value in scores.items()})
    return pd.DataFrame(lines)
