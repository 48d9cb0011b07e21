"""Run folders: where a preset's runs lie, and what a training left behind."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase

import numpy as np
import pandas as pd

from reid_lib.config import Preset, RunConfig

FILES = ("config.json", "history.csv", "metrics.json", "manifest.json")  # of every ended run
RESULTS = ("weights.safetensors", "codes.npz", "queries.csv")  # of every run that did not fail
ADVICE = "choose another NAME for the results, or RETRAIN=1 to train again beside it"


def run_folder(results: str | Path, preset: Preset, row: str, split: int) -> Path:
    """The folder of one run: `results/<preset>/<row>/split-<k>`."""
    return Path(results) / preset.name / row / f"split-{split}"


def config_file(results: str | Path, preset: Preset, row: str, split: int) -> Path:
    """The file of a run's complete configuration, written before it is trained."""
    return Path(results) / preset.name / "configs" / f"{row}-split-{split}.json"


def stamp_file(results: str | Path, preset: Preset, row: str, split: int) -> Path:
    """A copy of an ended run's manifest: what Snakemake watches in place of the run folder."""
    return Path(results) / preset.name / "stamps" / f"{row}-split-{split}.json"


def has_ended(folder: Path) -> bool:
    """Whether a run folder holds an ended run: the manifest is written last."""
    return (folder / "manifest.json").is_file()


def find_runs(folder: str | Path) -> list[Path]:
    """The folders of all ended runs under a folder, without those that were trained again."""
    manifests = sorted(Path(folder).rglob("manifest.json"))
    return [file.parent for file in manifests if ".replaced-" not in file.parent.name]


@dataclass(frozen=True)
class Run:
    """An ended run; each part of its folder is read when it is first used."""

    folder: Path

    @cached_property
    def config(self) -> RunConfig:
        """The complete configuration."""
        return RunConfig.model_validate_json((self.folder / "config.json").read_text("utf-8"))

    @cached_property
    def metrics(self) -> dict:
        """Scores as fractions, and the protocol in words.

        `test` and `train` by camera direction, `last_epochs`: the mean over the last scored epochs,
        and under `unit` the same of codes divided by their L2 norm.
        """
        return json.loads((self.folder / "metrics.json").read_text("utf-8"))

    @cached_property
    def manifest(self) -> dict:
        """Provenance: data, code, versions, device, seconds, peak memory."""
        return json.loads((self.folder / "manifest.json").read_text("utf-8"))

    @property
    def failed(self) -> str:
        """Why the run was stopped; it then has no scores and no codes. Empty if it was not."""
        return self.manifest.get("failed", "")

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row per epoch."""
        return pd.read_csv(self.folder / "history.csv")

    @cached_property
    def queries(self) -> pd.DataFrame:
        """One row per query of the last epoch: AP, rank of the first match."""
        return pd.read_csv(self.folder / "queries.csv")

    @cached_property
    def codes(self) -> dict[str, np.ndarray]:
        """The test images: codes (N, D), pids, camids, orientations, names; in index order."""
        with np.load(self.folder / "codes.npz", allow_pickle=False) as archive:
            return dict(archive)

    def query_gallery(self, direction: str = "A->B") -> tuple[dict, dict]:
        """Split the test images into the query camera's and the gallery camera's.

        Args:
            direction: such as "A->B", camera A queries the gallery of camera B. Letters name the
                cameras in ascending order of their ids.
        Returns:
            (query, gallery), each a dict with the arrays of `codes` and `rows`, the positions of
            its images among all test images.
        Raises:
            ValueError: no such camera, or one camera on both sides.
        """
        camids = np.unique(self.codes["camids"])
        letters = dict(zip(ascii_uppercase, camids.tolist(), strict=False))
        sides = direction.split("->")
        if len(sides) != 2 or sides[0] == sides[1] or not set(sides) <= set(letters):
            raise ValueError(
                f"direction is {direction!r}; expected two different cameras of "
                f"{', '.join(letters)}, such as 'A->B'"
            )
        parts = []
        for letter in sides:
            rows = np.flatnonzero(self.codes["camids"] == letters[letter])
            parts.append({name: array[rows] for name, array in self.codes.items()} | {"rows": rows})
        return tuple(parts)

    def scored_arrays(self, direction: str = "A->B", orientations: bool = False) -> list:
        """The arguments of `metrics.evaluate`, or of `metrics.viewpoint_grid` with orientations.

        Args:
            direction: as `query_gallery` takes it.
            orientations: append the query and gallery orientations.
        Returns:
            q_codes, g_codes, q_pids, g_pids, q_camids, g_camids[, q_orientations, g_orientations].
        """
        names = ("codes", "pids", "camids", "orientations")[: 4 if orientations else 3]
        return [side[name] for name in names for side in self.query_gallery(direction)]

    def check_config(self, wanted: RunConfig) -> None:
        """Refuse a run of another configuration; the ValueError names each value that differs."""
        if self.config != wanted:
            found = self.config.model_dump()
            differ = [
                f"{name} is {found[name]!r}, expected {value!r}"
                for name, value in wanted.model_dump().items()
                if found[name] != value
            ]
            raise ValueError(
                f"{self.folder} holds a run of another configuration ({'; '.join(differ)}); "
                f"{ADVICE}"
            )


def read_run(folder: str | Path) -> Run:
    """Open an ended run; it may have failed, see `Run.failed`.

    Raises:
        ValueError: a file of an ended run is missing.
    """
    run = Run(Path(folder))
    missing = [name for name in FILES if not (run.folder / name).is_file()]
    if not missing and not run.failed:
        missing = [name for name in RESULTS if not (run.folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} holds no ended run: {', '.join(missing)} missing")
    return run


def read_runs(results: str | Path, preset: Preset) -> list[Run]:
    """Read all runs of a preset, rows in the preset's order, then splits.

    Raises:
        ValueError: a run is missing, or its configuration or its images differ from the preset's.
    """
    runs = [read_run(run_folder(results, preset, *run)) for run in preset.runs]
    for run, (row, split) in zip(runs, preset.runs, strict=True):
        if not made_from(run.config, preset.row(row), split):
            raise ValueError(
                f"{run.folder} has another configuration than preset {preset.name}; {ADVICE}"
            )
        if run.config.data_sha256 != runs[0].config.data_sha256:
            raise ValueError(
                f"{run.folder} and {runs[0].folder} were trained on different images; {ADVICE}"
            )
    return runs


def made_from(config: RunConfig, row: RunConfig, split: int) -> bool:
    """Whether a run's config is this row's, apart from the fields filled in before training."""
    filled = ["data_sha256", "weights_sha256", *["precision"] * (row.precision == "auto")]
    values = {"split": split, **{name: getattr(config, name) for name in filled}}
    return config == row.model_copy(update=values)


def scores_frame(runs: list[Run], direction: str = "A->B", part: str = "test") -> pd.DataFrame:
    """One row per run: row name, split, scores of one direction in percent (NaN if it failed)."""
    lines = []
    for run in runs:
        scores = {} if run.failed else run.metrics[part][direction]
        line = {"row": run.config.row, "split": run.config.split}
        lines.append(line | {name: 100 * value for name, value in scores.items()})
    return pd.DataFrame(lines)
