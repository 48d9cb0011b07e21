"""Small data sets and configs that the tests share."""

import os
import signal
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

from reid_lib import model, training

os.environ.setdefault("MPLBACKEND", "agg")
# A shell's background job ignores Ctrl-C and hands that down to the processes that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
REPOSITORY = Path(__file__).resolve().parent.parent


def write_images(folder: Path, persons: int, size=(24, 48), seed=0, cameras=(1, 2)) -> Path:
    """Persons who differ in the colours of their upper and lower half, in PKU-ReID's layout."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for pid in range(1, persons + 1):
        colours = rng.integers(0, 256, (2, 1, 1, 3))
        for camid in cameras:
            for orientation in range(1, 9):
                noise = rng.integers(-40, 40, (size[1], size[0], 3))
                halves = np.repeat(colours[:, 0], size[1] // 2, axis=0)
                image = np.clip(halves + noise, 0, 255).astype(np.uint8)
                Image.fromarray(image).save(folder / f"{pid:03d}_{camid}_{orientation}.png")
    return folder


def small_backbone(dropout: float = 0.0) -> nn.Module:
    """Images to codes of width 6 in well under a millisecond."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
    )


@pytest.fixture
def small(monkeypatch):
    """Every backbone is a small one; mobilenet_v2 keeps its dropout."""

    def headless(backbone):
        return small_backbone(0.5 if backbone == "mobilenet_v2" else 0.0)

    monkeypatch.setattr(model, "_headless", headless)


@pytest.fixture
def folder(tmp_path):
    """Six persons, 96 images."""
    return write_images(tmp_path / "images", 6)


@pytest.fixture
def preset_file(tmp_path, folder):
    """Two rows that train in a second."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        f"title: tiny\ndata: {folder}\n"
        "recipe: {start: random, epochs: 2, batch_size: 8, images_per_person: 4, precision: fp32}\n"
        "rows:\n  - {row: htri, setting: htri}\n  - {row: set3, setting: set3}\n"
    )
    return path


@contextmanager
def interrupted(steps: int):
    """Ctrl-C comes after so many training steps."""
    step, left = training.train_step, iter(range(steps))

    def stopped(*given):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return step(*given)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "train_step", stopped)
        yield


@pytest.fixture(scope="module")
def browser():
    import chromium

    with chromium.launched() as browser:
        yield browser


def pytest_collection_modifyitems(items):
    """Skip what is marked `gpu` by name where there is no graphics card."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if wanting:
        import torch

        if not torch.cuda.is_available():
            for item in wanting:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
