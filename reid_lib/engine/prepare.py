"""From a preset to a run: its data, its complete configuration, and runs that are missing."""

import os
from pathlib import Path

import pandas as pd

from reid_lib.batches import check_batches
from reid_lib.config import Embedded, Preset, RunConfig
from reid_lib.dataset import WHERE, fingerprint, load_pixels, read_pku, split_persons
from reid_lib.engine.files import sha256
from reid_lib.engine.precision import resolve_precision
from reid_lib.engine.process import log
from reid_lib.engine.runs import Run, read_runs, run_folder
from reid_lib.model import ReIDNet, find_weights, load_weights
from reid_lib.training import fit


def data_folder(preset: Preset, root: str | Path, progress: bool = False) -> Path:
    """Find the preset's folder of images; embedded pedestrians are drawn under `root` if missing.

    Raises:
        ValueError: the preset needs a folder that the user has not named.
    """
    if preset.data is None:
        raise ValueError(f"preset {preset.name} needs the folder of the images (DATA=...). {WHERE}")
    if not isinstance(preset.data, Embedded):
        return preset.data
    from reid_lib import pedestrians  # a user's own images need no drawing code

    persons, seed = preset.data.persons, preset.data.seed
    # Images of another drawing version are other data, in another folder.
    folder = Path(root) / f"embedded-{persons}-{seed}-v{pedestrians.DRAWING_VERSION}"
    if not folder.is_dir():
        pedestrians.write_dataset(folder, persons, seed, progress, workers=os.cpu_count() or 1)
    return folder


def resolve(
    preset: Preset, row: str, split: int, index: pd.DataFrame, results: str | Path | None = None
) -> tuple[RunConfig, Path | None]:
    """Complete a row's configuration: split, data, weights, precision; check all of it.

    Args:
        preset: the preset that has the row.
        row: its name.
        split: which split.
        index: the images.
        results: the folder of run folders, where the answer to `precision: auto` is kept.
    Returns:
        The complete config, and the file of the starting weights (None for a random start).
    Raises:
        ValueError: weights that cannot be found, too few images for one batch, an unknown backbone.
    """
    config = preset.row(row)
    net = ReIDNet(config.backbone, persons=2)  # refuses an unknown backbone
    file = None
    if config.start == "imagenet":
        file = find_weights(config.backbone, preset.weights)
    elif config.start == "file":
        if preset.weights is None or not preset.weights.is_file():
            raise ValueError(
                f"row {row} starts from a weights file, but WEIGHTS is {preset.weights}; expected "
                "an existing file"
            )
        file = preset.weights
    if file:
        load_weights(net, file)
    train, test = split_persons(index, split, config.validation, config.train_persons)
    check_batches(config, train)
    if index.camid.nunique() < 2:
        raise ValueError(f"the data have only camera {index.camid.iloc[0]}; scores need two")
    if test.pid.nunique() < 2:
        raise ValueError(f"{test.pid.nunique()} test persons; expected at least two")
    size = config.image_size or load_pixels(index[:1]).shape[2:]
    answers = Path(results) / preset.name / "precision.json" if results else None
    complete = {
        "split": split,
        "data_sha256": fingerprint(index),
        "weights_sha256": sha256(file) if file else "",
        "precision": resolve_precision(config, size, answers),
    }
    return config.model_copy(update=complete), file


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
        ValueError: as `resolve` and `read_runs`.
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
        index = read_pku(data_folder(preset, data_root, progress == "bar"))
        ready = [
            (row, split, *resolve(preset, row, split, index, results)) for row, split in missing
        ]
        for row, split, config, weights in ready:
            pixels = load_pixels(index, config.image_size)
            target = run_folder(results, preset, row, split)
            fit(config, index, pixels, target, weights, progress, len(wanted))
    return read_runs(results, preset)
