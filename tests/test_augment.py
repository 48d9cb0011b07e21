"""Augmentation, pixel by pixel against torchvision's functions."""

import pytest
import torch
from torch.nn.functional import interpolate
from torchvision.models import ResNet18_Weights
from torchvision.transforms import functional as TF

from reid_lib import augment
from reid_lib.config import RunConfig


@pytest.fixture
def images():
    return torch.randint(256, (64, 3, 20, 12), generator=torch.Generator().manual_seed(0)).byte()


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_rest(images):
    flipped = augment.flip(images, torch.Generator().manual_seed(1))
    mirrored = torch.tensor(
        [torch.equal(f, TF.hflip(i)) for f, i in zip(flipped, images, strict=True)]
    )
    same = torch.tensor([torch.equal(f, i) for f, i in zip(flipped, images, strict=True)])
    assert (mirrored ^ same).all()
    assert 20 < mirrored.sum() < 44


def test_each_crop_is_a_window_of_the_padded_image(images):
    cropped = augment.pad_and_crop(images, 3, torch.Generator().manual_seed(1))
    places = set()
    for crop, image in zip(cropped, images, strict=True):
        padded = TF.pad(image, [3])
        found = [
            (y, x)
            for y in range(7)
            for x in range(7)
            if torch.equal(TF.crop(padded, y, x, 20, 12), crop)
        ]
        assert len(found) == 1
        places.update(found)
    assert len(places) > 25  # of 49


def test_each_crop_is_a_window_of_the_enlarged_image(images):
    cropped = augment.enlarge_and_crop(images, 1.25, torch.Generator().manual_seed(1))
    larger = TF.resize(images, [25, 15], antialias=False)
    for crop, image in zip(cropped, larger, strict=True):
        windows = [TF.crop(image, y, x, 20, 12) for y in range(6) for x in range(4)]
        assert min((w.int() - crop.int()).abs().max() for w in windows) <= 1  # rounding


def test_translate_moves_about_half_of_the_images_and_leaves_the_rest(images):
    moved = augment.translate(images, 1.25, torch.Generator().manual_seed(1))
    kept = (moved == images).flatten(1).all(1).float().mean()
    assert 0.3 < kept < 0.7 and moved.dtype == torch.uint8


def test_nothing_to_pad_or_enlarge_changes_nothing(images):
    generator = torch.Generator().manual_seed(1)
    assert torch.equal(augment.pad_and_crop(images, 0, generator), images)
    unchanged = augment.enlarge_and_crop(images, 1.0, generator)
    assert torch.equal(unchanged, images) and unchanged.dtype == torch.uint8


def test_normalise_equals_torchvision(images):
    expected = TF.normalize(images.float() / 255, augment.IMAGENET_MEAN, augment.IMAGENET_STD)
    found = augment.normalise(images)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    weights = ResNet18_Weights.IMAGENET1K_V1.transforms()
    assert list(augment.IMAGENET_MEAN) == weights.mean
    assert list(augment.IMAGENET_STD) == weights.std


@pytest.mark.parametrize("change", [augment.flip, lambda i, g: augment.pad_and_crop(i, 4, g)])
def test_the_generator_decides_and_global_state_does_not(images, change):
    first = change(images, torch.Generator().manual_seed(5))
    torch.manual_seed(99)
    assert torch.equal(first, change(images, torch.Generator().manual_seed(5)))
    assert not torch.equal(first, change(images, torch.Generator().manual_seed(6)))


def test_enlarged_images_are_rounded_to_the_nearest_value(images):
    for factor, size in ((1.25, (25, 15)), (1.12, (22, 13))):  # 22.4 x 13.44
        crops = augment.enlarge_and_crop(images, factor, torch.Generator().manual_seed(1))
        larger = interpolate(images.double(), size, mode="bilinear")
        for crop, image in zip(crops, larger, strict=True):
            places = [(y, x) for y in range(size[0] - 19) for x in range(size[1] - 11)]
            windows = [TF.crop(image, y, x, 20, 12) for y, x in places]
            assert min((window - crop).abs().max() for window in windows) < 0.501


def test_every_place_of_a_window_is_drawn(images):
    marked = torch.zeros(4000, 1, 4, 3, dtype=torch.uint8)
    marked[:, 0] = torch.arange(1, 13).view(4, 3)
    crops = augment.pad_and_crop(marked, 1, torch.Generator().manual_seed(0))
    seen = crops[:, 0].flatten(1).unique(dim=0)
    assert len(seen) == 9


@pytest.mark.parametrize(
    "crop, change",
    [
        ("pad", lambda images, g: augment.pad_and_crop(images, 3, g)),
        ("enlarge", lambda images, g: augment.enlarge_and_crop(images, 1.5, g)),
        ("translate", lambda images, g: augment.translate(images, 1.5, g)),
        ("none", lambda images, g: images),
    ],
)
@pytest.mark.parametrize("flip", [True, False])
def test_augment_flips_then_crops_then_normalises_as_the_config_says(images, crop, change, flip):
    options = {"crop": crop, "flip": flip, "crop_pad": 3, "crop_enlarge": 1.5}
    config = RunConfig(row="r", setting="set1", **options)
    found = augment.augment(config, images, torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(2)
    expected = augment.flip(images, generator) if flip else images
    expected = augment.normalise(change(expected, generator))
    assert torch.equal(found, expected)
