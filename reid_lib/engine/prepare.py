"""From a preset to a run: its complete configuration, and runs that are missing."""

import functools
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from reid_lib.config import Preset, RunConfig
from reid_lib.dataset import fingerprint, load_pixels
from reid_lib.engine.files import sha256, write_json
from reid_lib.engine.locks import lock_run_folder
from reid_lib.engine.plan import check_run, check_start, data_folder, open_data, read_data
from reid_lib.engine.precision import resolve_precision
from reid_lib.engine.process import log
from reid_lib.engine.provenance import code_sha256
from reid_lib.engine.runs import (
    Run,
    config_file,
    has_ended,
    made_from,
    read_run,
    read_runs,
    run_folder,
    stamp_file,
)
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
    keep: bool = True,
) -> tuple[RunConfig, Path | None]:
    """Complete a row's configuration: split, data, weights, precision; check all of it.

    Args:
        preset: the preset that has the row.
        row: its name.
        split: number of the split.
        index: the images.
        results: the folder of run folders, where `precision: auto` is answered as it was before.
        file: the configuration as `reid resolve` wrote it; it is read and compared with the data
            and weights at hand, and nothing is written.
        keep: write the configuration to `results`, so that a second call gives the same.
    Returns:
        The complete config, and the file of the starting weights (None for a random start).
    Raises:
        ValueError: weights that cannot be found, too few images for one batch, an unknown backbone,
            or `file` is of another row, other images or other weights.
    """
    config, weights = preset.row(row), None
    known = _read_config(Path(file)) if file else None
    if file and not (known and made_from(known, config, split)):
        raise ValueError(
            f"{file} does not hold the configuration of {row} on split {split}; run `reid resolve` "
            "again"
        )
    check_run(config, split, index)
    check_start(config, preset.weights)
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
        precision = known.precision if known else _known_precision(config, preset, results)
        precision = precision or resolve_precision(config, size)
        config = config.model_copy(update={"precision": precision})
    if known and config != known:
        raise ValueError(
            f"the images or the weights have changed since {file} was written; run `reid resolve` "
            "again"
        )
    if results and keep and not file:
        _write_config(results, preset, config)
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

    A completed run counts first: it may have been trained on another machine.
    """
    if results is None:
        return None
    own = config.row, config.split
    ended = _read_config(run_folder(results, preset, *own) / "config.json")
    if ended and ended.model_copy(update={"precision": "auto"}) == config:
        return ended.precision
    shape = ("backbone", "batch_size", "image_size", "data_sha256")
    for row, split in [own, *preset.runs]:
        known = _read_config(config_file(results, preset, row, split))
        same = known and all(getattr(known, name) == getattr(config, name) for name in shape)
        if same and preset.row(row).precision == "auto":
            return known.precision
    return None


def _read_config(file: Path) -> RunConfig | None:
    try:
        return RunConfig.model_validate_json(file.read_text("utf-8"))
    except (OSError, ValidationError):
        return None


def _write_config(results: str | Path, preset: Preset, config: RunConfig) -> None:
    """Keep a complete configuration; an equal file keeps its time, which Snakemake compares.

    A stamp file that differs from the run's manifest is deleted, so that Snakemake re-examines the
    run; this happens if the run folder was deleted or retrained manually.
    """
    place = results, preset, config.row, config.split
    if _read_config(config_file(*place)) != config:
        write_json(config_file(*place), config.model_dump(mode="json"))
    stamp, manifest = stamp_file(*place), run_folder(*place) / "manifest.json"
    if stamp.is_file() and not (manifest.is_file() and manifest.read_bytes() == stamp.read_bytes()):
        stamp.unlink()


def resolve_all(
    preset: Preset, index: pd.DataFrame, results: str | Path, retrain: bool = False
) -> str:
    """Complete and keep the configuration of every run of a preset, and compare completed ones.

    Args:
        preset: what to run.
        index: the images.
        results: the folder of run folders; nothing is written there before all is checked.
        retrain: rename each completed run that differs, so that it is trained again.
    Returns:
        One line: how many runs are of another software version or were renamed; empty if none.
    Raises:
        ValueError: see `resolve`; also if a completed run has other values, images or weights.
    """
    configs = [resolve(preset, *run, index, results, keep=False)[0] for run in preset.runs]
    other_code, moved = 0, 0
    for config in configs:
        folder = run_folder(results, preset, config.row, config.split)
        if not has_ended(folder):
            continue
        run = read_run(folder)
        changed = run.manifest["code_sha256"] != code_sha256()
        if retrain and (changed or run.config != config):
            set_aside(folder)
            moved += 1
        else:
            run.check_config(config)
            other_code += changed
    for config in configs:
        _write_config(results, preset, config)
    if moved:
        return f"{moved} of {len(configs)} runs are trained again; the earlier ones were renamed"
    if other_code:
        return (
            f"{other_code} of {len(configs)} runs were trained by another version of the software "
            "and are kept; RETRAIN=1 trains them again"
        )
    return ""


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
        data_root: folder in which synthetic data sets are rendered.
        results: the folder of run folders.
        progress: how progress is shown, see `training.fit`.
    Returns:
        The runs, rows in the preset's order, then splits.
    Raises:
        ValueError: see `open_data`, `resolve` and `read_runs`.
    """
    missing = [run for run in preset.runs if not has_ended(run_folder(results, preset, *run))]
    if missing:
        names = ", ".join(f"{row} (split {split})" for row, split in missing)
        log(progress, f"not trained yet, so training now: {names}")
        index = open_data(preset, data_root, progress == "bar")
        ready = [resolve(preset, *run, index, results) for run in missing]  # errors come first
        for config, weights in ready:
            pixels = load_pixels(index, config.image_size)
            folder = run_folder(results, preset, config.row, config.split)
            fit(config, index, pixels, folder, weights, progress, len(preset.runs))
    return read_runs(results, preset)
