"""A training process that is killed at a point chosen beforehand; run by test_resume.py."""

import os
import signal
from pathlib import Path

import torch
from conftest import small_backbone

from reid_lib import model, training
from reid_lib.config import RunConfig, load_preset
from reid_lib.dataset import load_pixels, read_pku
from reid_lib.engine import files, results
from reid_lib.engine.prepare import resolve
from reid_lib.training import fit


def die(*_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def counted(function, number: int, before):
    """`function`, but that `before` gets the arguments of its call number `number`."""
    calls = iter(range(number))

    def wrapper(*arguments, **named):
        if next(calls, None) is None:
            before(*arguments, **named)
        return function(*arguments, **named)

    return wrapper


def half_saved(content, file) -> None:
    SAVE(content, file)
    with Path(file).open("rb+") as stream:
        stream.truncate(Path(file).stat().st_size // 2)
    die()


SAVE = torch.save


def train(
    preset_file: Path, folder: Path, point: str = "", number: int = 0, row: str = "set3"
) -> None:
    """Train a small network for five epochs, a checkpoint at each; be killed at a point.

    Points, each at its call number `number`: "step" of the optimiser, "save" (a checkpoint half
    written), "flush" (written, not renamed), "finish" (while the run folder is written).
    """
    torch.set_num_threads(1)
    model._headless = lambda backbone: small_backbone(dropout=0.5)
    results.CHECKPOINT_SECONDS = -1
    if point == "step":
        training.train_step = counted(training.train_step, number, die)
    elif point == "save":
        torch.save = counted(torch.save, number, half_saved)
    elif point == "flush":
        files._flush = counted(files._flush, number, die)
    elif point == "finish":
        results.RunFolder.finish = lambda *arguments: (
            setattr(results, "write_text", die),
            FINISH(*arguments),
        )
    preset = load_preset(str(preset_file))
    index = read_pku(preset.data)
    config, _ = resolve(preset, row, 0, index)
    config = RunConfig.model_validate({**config.model_dump(), "epochs": 5, "score_last": 2})
    fit(config, index, load_pixels(index), folder, progress="none")


FINISH = results.RunFolder.finish
