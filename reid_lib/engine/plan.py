"""What a preset's runs need; checked before any work and without torch."""

import itertools
import json
import os
from pathlib import Path

import pandas as pd

from reid_lib.config import Embedded, Preset, RunConfig
from reid_lib.dataset import ORIENTATIONS, WHERE, check_batches, shorten, split_persons
from reid_lib.engine.checks import Check, check, only_persons
from reid_lib.engine.files import weights_files
from reid_lib.engine.locks import TRAINING, check_unlocked
from reid_lib.engine.runs import run_folder
from reid_lib.engine.sides import matched
from reid_lib.retrieval.readers import read_images, scan_images


def data_folder(preset: Preset, root: str | Path, progress: bool = False) -> Path:
    """Find the preset's folder of images; synthetic persons are rendered under `root` if missing.

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


def data_report(preset: Preset, folder: str | Path) -> Check:
    """`reid check` of a preset's images, which lie in `folder`.

    Args:
        preset: images of different sizes are reported as errors unless every row sets `image_size`;
            missing views are reported as errors if the preset lists the persons to use.
        folder: folder that contains the images, or a CSV file.
    Returns:
        The check.
    Raises:
        ValueError: see `check`.
    """
    persons = chosen_persons(preset.persons)
    one_size = any(row.image_size is None for row in preset.rows)
    return check(folder, one_size, pku=None if persons is None else True, persons=persons)


def check_data(preset: Preset, folder: str | Path) -> Check:
    """Check the images as `reid check` does; return its report if there are no errors.

    Raises:
        ValueError: see `check`; also if there are errors, of which the first are named.
    """
    report = data_report(preset, folder)
    if report.errors:
        raise ValueError(
            f"{folder} has {len(report.errors)} errors that would make the scores invalid "
            f"({shorten(report.errors, 3)}); run `reid check` for the complete list"
        )
    return report


def open_data(preset: Preset, root: str | Path, progress: bool = False) -> pd.DataFrame:
    """The index of a preset's images, which are rendered if necessary, and checked.

    Raises:
        ValueError: see `data_folder` and `check_data`.
    """
    folder = data_folder(preset, root, progress)
    check_data(preset, folder)
    return read_data(preset, folder)


def read_data(preset: Preset, folder: str | Path) -> pd.DataFrame:
    """The index of a preset's images, which lie in `folder`; no image is opened.

    Raises:
        ValueError: see `read_images`; also if a person that the preset lists has no image.
    """
    return only_persons(read_images(folder), chosen_persons(preset.persons))


def chosen_persons(file: Path | None) -> list[int] | None:
    """The ids that a file such as splits/pku74.json lists; None, all persons, without a file.

    Raises:
        ValueError: the file is missing or lists no persons.
    """
    if file is None:
        return None
    try:
        persons = json.loads(file.read_text("utf-8"))["persons"]
        return [int(pid) for pid in persons]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"PERSONS is {file}; expected a JSON file with a list of ids under "
            f'"persons", such as splits/pku74.json ({error!r})'
        ) from None


def check_run(config: RunConfig, split: int, index: pd.DataFrame) -> None:
    """Refuse data that are too small for a run.

    Raises:
        ValueError: too few persons, cameras, or images for one batch.
    """
    train, test = split_persons(index, split, config.validation, config.train_persons)
    check_batches(config, train)
    if index.camid.nunique() < 2:
        raise ValueError(f"the data have only camera {index.camid.iloc[0]}; scores need two")
    if test.pid.nunique() < 2:
        raise ValueError(f"{test.pid.nunique()} test persons; expected at least two")
    if train.pid.nunique() < 2:
        raise ValueError(f"{train.pid.nunique()} training persons; expected at least two")
    if not matched(test).any():
        raise ValueError(
            f"split {split}: no test person is seen by two cameras, so no query has a match; "
            "choose other SPLITS"
        )


def check_start(config: RunConfig, weights: Path | None) -> None:
    """Refuse starting weights that do not exist, as far as that shows without torch.

    Raises:
        ValueError: it names the file or folder that was expected.
    """
    if config.start == "file" and (weights is None or not weights.is_file()):
        raise ValueError(
            f"row {config.row} starts from a weights file, but WEIGHTS is {weights}; expected "
            "an existing file"
        )
    if config.start == "imagenet" and weights is not None:
        folder = weights if weights.is_dir() else None
        if not (weights.is_file() or (folder and weights_files(folder, config.backbone))):
            wanted = f"{folder}/{Path(config.backbone).name}-*" if folder else weights
            raise ValueError(
                f"no ImageNet weights for {config.backbone}: looked for {wanted}; download "
                "torchvision's or timm's file and pass it or its folder as WEIGHTS"
            )
    elif weights is not None and not weights.exists():
        raise ValueError(f"WEIGHTS is {weights}, which does not exist; expected a weights file")


def check_plan(preset: Preset, results: str | Path) -> None:
    """Find what would stop a preset's runs, in a second and without torch.

    Raises:
        ValueError: missing data or weights, or too few images for a run; named in one sentence.
        BlockingIOError: another process writes these results; it is named.
    """
    persons = chosen_persons(preset.persons)
    if isinstance(preset.data, Embedded):
        views = itertools.product(range(preset.data.persons), (1, 2), ORIENTATIONS)
        index = pd.DataFrame(list(views), columns=["pid", "camid", "orientation"])
    else:
        _, index, _ = scan_images(data_folder(preset, ""))
        index = only_persons(index, persons)
    check_unlocked(Path(results) / preset.name)
    for row, split in preset.runs:
        check_start(preset.row(row), preset.weights)
        check_run(preset.row(row), split, index)
        check_unlocked(run_folder(results, preset, row, split), TRAINING)
