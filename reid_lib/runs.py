"""Run folders: what a run leaves behind, each file written beside its place and renamed into it."""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from reid_lib.config import Preset, RunConfig

FILES = (
    "config.json",
    "history.csv",
    "weights.safetensors",
    "codes.npz",
    "queries.csv",
    "metrics.json",
    "manifest.json",
)


def run_folder(results: str | Path, preset: Preset, row: str, split: int) -> Path:
    """`results/<preset>/<row>/split-<k>`."""
    return Path(results) / preset.name / row / f"split-{split}"


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file beside `path`, flush it to the disk, rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    try:
        write(Path(name))
        with Path(name).open("rb+") as stream:
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    write_file(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: dict) -> None:
    """Write JSON, whole or not at all; NaN is refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder; each part is read when it is first asked for."""

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
    """Open a finished run.

    Args:
        folder: a run folder.
    Returns:
        The run.
    Raises:
        ValueError: a file of a finished run is missing.
    """
    missing = [name for name in FILES if not (Path(folder) / name).is_file()]
    if missing:
        raise ValueError(f"{folder} holds no finished run: no {', '.join(missing)}")
    return Run(Path(folder))


def read_runs(results: str | Path, preset: Preset) -> list[Run]:
    """All runs of a preset, rows in the preset's order, then splits.

    Raises:
        ValueError: a run is missing, or was made from other values than the preset's.
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
            runs.append(run)
    return runs


def made_from(config: RunConfig, row: RunConfig, split: int) -> bool:
    """Whether a run's config is this row's, but for what is filled in before training."""
    filled = {"data_sha256", "weights_sha256", "precision"}
    wanted = row.model_copy(update={"split": split})
    same = config.model_dump(exclude=filled) == wanted.model_dump(exclude=filled)
    return same and wanted.precision in ("auto", config.precision)


def scores_frame(runs: list[Run], direction: str = "A->B", part: str = "test") -> pd.DataFrame:
    """A row a run: row name, split, and each score of one direction in percent."""
    lines = [
        {"row": run.config.row, "split": run.config.split}
        | {name: 100 * value for name, value in run.metrics[part][direction].items()}
        for run in runs
    ]
    return pd.DataFrame(lines)
