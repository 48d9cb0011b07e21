"""From a preset to a run: its complete configuration, and runs that are missing."""

import functools
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from reid_lib.config import Preset, RunConfig
from reid_lib.dataset import fingerprint, load_pixels
from reid_lib.engine.files import sha256, write_json
from reid_lib.engine.locks import lock_run_folder
from reid_lib.engine.plan import (
    check_run,
    check_start,
    config_file,
    data_folder,
    open_data,
    read_data,
)
from reid_lib.engine.precision import resolve_precision
from reid_lib.engine.process import log
from reid_lib.engine.provenance import code_sha256
from reid_lib.engine.runs import Run, made_from, read_run, read_runs, run_folder
from reid_lib.model import ReIDNet, find_weights, load_weights
from reid_lib.training import fit

__all__ = ["data_folder", "open_data", "read_data", "resolve", "train_missing"]


def resolve(
    preset: Preset,
    row: str,
    split: int,
    index: pd.DataFrame,
    results: str | Path | None = None,
    file: str | Path = "",
) -> tuple[RunConfig, Path | None]:
    """Complete a row's configuration: split, data, weights, precision; check all of it.

    Args:
        preset: the preset that has the row.
        row: its name.
        split: which split.
        index: the images.
        results: the folder of run folders; the configuration is written there, so that a second
            call cannot answer `precision: auto` otherwise.
        file: the configuration as `reid resolve` wrote it; it is read and compared with the data
            and weights at hand, and nothing is written.
    Returns:
        The complete config, and the file of the starting weights (None for a random start).
    Raises:
        ValueError: weights that cannot be found, too few images for one batch, an unknown backbone,
            or `file` is of another row, other images or other weights.
    """
    if not file:
        config, weights = complete_config(preset, row, split, index, results)
        if results:
            write_config(config_file(results, preset, row, split), config)
        return config, weights
    known = _read_config(Path(file))
    if known is None or not made_from(known, preset.row(row), split):
        raise ValueError(
            f"{file} does not hold the configuration of {row} on split {split}; run `reid resolve` "
            "again"
        )
    fixed = preset.row(row).model_copy(update={"precision": known.precision})
    preset = preset.model_copy(update={"rows": (fixed,)})
    config, weights = complete_config(preset, row, split, index)
    if config != known:
        raise ValueError(
            f"the images or the weights have changed since {file} was written; run `reid resolve` "
            "again"
        )
    return config, weights


def complete_config(
    preset: Preset, row: str, split: int, index: pd.DataFrame, results: str | Path | None = None
) -> tuple[RunConfig, Path | None]:
    """As `resolve`, and nothing is written."""
    config = preset.row(row)
    check_run(config, split, index)
    check_start(config, preset.weights)
    weights = None
    if config.start == "imagenet":
        weights = find_weights(config.backbone, preset.weights)
    elif config.start == "file":
        weights = preset.weights
    complete = {
        "split": split,
        "data_sha256": fingerprint(index),
        "weights_sha256": _weights_sha256(config.backbone, weights),
    }
    config = config.model_copy(update=complete)
    if config.precision == "auto":
        size = config.image_size or tuple(load_pixels(index[:1]).shape[2:])
        precision = _known_precision(config, preset, results) or resolve_precision(config, size)
        config = config.model_copy(update={"precision": precision})
    return config, weights


@functools.cache
def _weights_sha256(backbone: str, file: Path | None) -> str:
    """SHA-256 of a weights file that fits a backbone; also refuses an unknown backbone."""
    net = ReIDNet(backbone, persons=2)
    if file is None:
        return ""
    load_weights(net, file)
    return sha256(file)


def _known_precision(config: RunConfig, preset: Preset, results: str | Path | None) -> str | None:
    """What `precision: auto` was resolved to before, for this run or one of the same shape.

    A run that has ended counts first: it may have been trained on another machine.
    """
    if results is None:
        return None
    place = results, preset, config.row, config.split
    own = [run_folder(*place) / "config.json", config_file(*place)]
    automatic = [row.row for row in preset.rows if row.precision == "auto"]
    others = [
        config_file(results, preset, row, split) for row in automatic for split in preset.splits
    ]
    shape = ("backbone", "batch_size", "image_size", "data_sha256")
    for file in own + others:
        known = _read_config(file)
        keys = shape if file in others else set(RunConfig.model_fields) - {"precision"}
        if known and all(getattr(known, key) == getattr(config, key) for key in keys):
            return known.precision
    return None


def _read_config(file: Path) -> RunConfig | None:
    try:
        return RunConfig.model_validate_json(file.read_text("utf-8"))
    except (OSError, ValidationError):
        return None


def write_config(file: Path, config: RunConfig) -> None:
    """Write a complete configuration; an equal file keeps its time, which Snakemake compares."""
    if _read_config(file) != config:
        write_json(file, config.model_dump(mode="json"))


def check_ended_runs(
    preset: Preset, configs: list[RunConfig], results: str | Path, retrain: bool = False
) -> str:
    """Compare ended runs with what would be trained now; nothing is written unless `retrain`.

    Args:
        preset: that the runs belong to.
        configs: one complete config per run.
        results: the folder of run folders.
        retrain: move each run aside that differs, so that it is trained again.
    Returns:
        One line: how many runs were trained by other code or moved aside; empty if none.
    Raises:
        ValueError: a run has another configuration, other images or other weights.
    """
    other_code, moved = 0, 0
    for config in configs:
        folder = run_folder(results, preset, config.row, config.split)
        if not (folder / "manifest.json").is_file():
            continue
        run = read_run(folder)
        differ = _differences(run.config, config)
        changed = run.manifest["code_sha256"] != code_sha256()
        if retrain and (differ or changed):
            set_aside(folder)
            moved += 1
        elif differ:
            raise ValueError(
                f"{folder} holds a run of another configuration ({differ}); choose another NAME "
                "for the results, or RETRAIN=1 to train again beside it"
            )
        else:
            other_code += changed
    if moved:
        return f"{moved} of {len(configs)} runs are trained again; the earlier are kept aside"
    if other_code:
        return (
            f"{other_code} of {len(configs)} runs were trained by another version of the code and "
            "are kept; RETRAIN=1 trains them again"
        )
    return ""


def _differences(found: RunConfig, wanted: RunConfig) -> str:
    found, wanted = found.model_dump(), wanted.model_dump()
    return "; ".join(
        f"{key} is {found[key]!r}, expected {value!r}"
        for key, value in wanted.items()
        if found[key] != value
    )


def set_aside(folder: Path) -> Path:
    """Rename a run folder to `<name>.replaced-<n>`, so that its run can be trained again.

    Raises:
        BlockingIOError: a process is training this run.
    """
    with lock_run_folder(folder):
        number = 1
        while (aside := folder.with_name(f"{folder.name}.replaced-{number}")).exists():
            number += 1
        return folder.rename(aside)


def train_missing(
    preset: Preset, data_root: str | Path, results: str | Path, progress: str = "bar"
) -> list[Run]:
    """Return all runs of a preset; missing ones are named and trained first.

    Args:
        preset: what to run.
        data_root: where embedded data are drawn.
        results: the folder of run folders.
        progress: as in `fit`.
    Returns:
        The runs, rows in the preset's order, then splits.
    Raises:
        ValueError: as `open_data`, `resolve` and `read_runs`.
    """
    wanted = [(row.row, split) for row in preset.rows for split in preset.splits]
    missing = [
        (row, split)
        for row, split in wanted
        if not (run_folder(results, preset, row, split) / "manifest.json").is_file()
    ]
    if missing:
        names = ", ".join(f"{row} (split {split})" for row, split in missing)
        log(progress, f"not trained yet, so training now: {names}")
        index = open_data(preset, data_root, progress == "bar")
        ready = [
            (row, split, *resolve(preset, row, split, index, results)) for row, split in missing
        ]
        for row, split, config, weights in ready:
            pixels = load_pixels(index, config.image_size)
            target = run_folder(results, preset, row, split)
            fit(config, index, pixels, target, weights, progress, len(wanted))
    return read_runs(results, preset)
