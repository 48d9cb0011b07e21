"""Run folders: where a preset's runs lie, and what a training left behind."""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from reid_lib.config import Preset, RunConfig
from reid_lib.engine.sides import BOTH, main_direction, sides

FILES = (
    "config.json",
    "history.csv",
    "metrics.json",
    "manifest.json",
)  # of every run that completed or failed
RESULTS = ("weights.safetensors", "codes.npz", "queries.csv")  # of every run that did not fail
ADVICE = "set another NAME, or set RETRAIN=1 to rename the existing run and train again"


def run_folder(results: str | Path, preset: Preset, row: str, split: int) -> Path:
    """The folder of one run: `results/<preset>/<row>/split-<k>`."""
    return Path(results) / preset.name / row / f"split-{split}"


def config_file(results: str | Path, preset: Preset, row: str, split: int) -> Path:
    """The file of a run's complete configuration, written before it is trained."""
    return Path(results) / preset.name / "configs" / f"{row}-split-{split}.json"


def stamp_file(results: str | Path, preset: Preset, row: str, split: int) -> Path:
    """A copy of the manifest of a completed or failed run: what Snakemake watches for it."""
    return Path(results) / preset.name / "stamps" / f"{row}-split-{split}.json"


def has_ended(folder: Path) -> bool:
    """Whether a run completed or failed: the manifest is written last."""
    return (folder / "manifest.json").is_file()


def find_runs(folder: str | Path) -> list[Path]:
    """The folders of all completed or failed runs under a folder, without replaced ones."""
    manifests = sorted(Path(folder).rglob("manifest.json"))
    return [file.parent for file in manifests if ".replaced-" not in file.parent.name]


@dataclass(frozen=True)
class Run:
    """A completed or failed run; each part of its folder is read when it is first used."""

    folder: Path

    @cached_property
    def config(self) -> RunConfig:
        """The complete configuration."""
        return RunConfig.model_validate_json((self.folder / "config.json").read_text("utf-8"))

    @cached_property
    def metrics(self) -> dict:
        """Scores as fractions, and the protocol in words.

        `test` and `train` by direction (`engine.sides`), `last_epochs`: the mean over the last
        scored epochs, and under `unit` the same of codes divided by their L2 norm.
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
        """The test images: codes (N, D), pids, camids, orientations, names; in index order.

        And `splits`, query or gallery, where the data name them.
        """
        with np.load(self.folder / "codes.npz", allow_pickle=False) as archive:
            return dict(archive)

    @property
    def directions(self) -> list[str]:
        """The directions in which the test images were scored, without their mean."""
        return [name for name in self.metrics["test"] if name != BOTH]

    @property
    def persons(self) -> np.ndarray:
        """The test persons, without Market-1501's junk and distractors."""
        splits = self.codes.get("splits", np.zeros(0, str))
        asks = splits == "query" if "query" in splits else slice(None)
        return np.unique(self.codes["pids"][asks])

    @property
    def shown(self) -> str:
        """The direction of single rankings: A to B, or the data's own queries."""
        return self.directions[0]

    def query_gallery(self, direction: str = "A->B") -> tuple[dict, dict]:
        """Split the test images into queries and gallery.

        Args:
            direction: one of `directions`, as `engine.sides.sides` takes it.
        Returns:
            (query, gallery), each a dict with the arrays of `codes` and `rows`, the positions of
            its images among all test images.
        Raises:
            ValueError: no such camera, or one camera on both sides.
        """
        parts = sides(direction, self.codes["camids"], self.codes.get("splits"))
        return tuple(
            {name: array[rows] for name, array in self.codes.items()} | {"rows": rows}
            for rows in parts
        )

    def scored_arrays(self, direction: str = "A->B", orientations: bool = False) -> list:
        """The arguments of `metrics.evaluate`, or of `metrics.viewpoint_grid` with orientations.

        Args:
            direction: one of the directions that `query_gallery` takes.
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
    """Open a completed or failed run, see `Run.failed`.

    Raises:
        ValueError: a file of such a run is missing.
    """
    run = Run(Path(folder))
    missing = [name for name in FILES if not (run.folder / name).is_file()]
    if not missing and not run.failed:
        missing = [name for name in RESULTS if not (run.folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} contains no completed run: {', '.join(missing)} missing")
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


def table_direction(runs: list[Run]) -> str:
    """The direction that tables of these runs show: `sides.main_direction` of what was scored."""
    return main_direction({name for run in runs if not run.failed for name in run.metrics["test"]})


def scores_frame(runs: list[Run], direction: str = "", part: str = "test") -> pd.DataFrame:
    """One row per run: row name, split, scores of one direction in percent (NaN if it has none).

    Args:
        runs: completed or failed runs.
        direction: one of `Run.directions` or "both"; empty: `table_direction`.
        part: "test", "train" or "reranked".
    """
    direction = direction or table_direction(runs)
    lines = []
    for run in runs:
        scores = {}
        if not run.failed:
            names = next(iter(run.metrics["test"].values()))
            scores = run.metrics[part].get(direction, dict.fromkeys(names, np.nan))
        line = {"row": run.config.row, "split": run.config.split}
        lines.append(line | {name: 100 * value for name, value in scores.items()})
    return pd.DataFrame(lines)


def chance(runs: list[Run]) -> float:
    """Rank-1 of a random order of the gallery: the mean share of matches in what a query ranks."""
    run = next((run for run in runs if not run.failed), None)
    shares = []
    for parts in map(run.query_gallery, run.directions) if run else ():
        asked, ranked = (pd.DataFrame({k: s[k] for k in ("pids", "camids")}) for s in parts)
        own = Counter(ranked.pids)
        of_camera = Counter(ranked.itertuples(index=False, name=None))
        for view in asked.itertuples(index=False, name=None):
            same, pid = of_camera[view], view[0]  # own person, own camera: neither match nor wrong
            if own[pid] > same:
                shares.append((own[pid] - same) / (len(ranked) - same - own[-1]))  # -1: junk
    return float(np.mean(shares)) if shares else np.nan
