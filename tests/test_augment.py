"""Augmentation, pixel by pixel against torchvision's functions."""

import pytest
import torch
from torchvision.transforms import functional as TF

from reid_lib import augment


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


def test_nothing_to_pad_or_enlarge_changes_nothing(images):
    generator = torch.Generator().manual_seed(1)
    assert torch.equal(augment.pad_and_crop(images, 0, generator), images)
    assert torch.equal(augment.enlarge_and_crop(images, 1.0, generator), images)


def test_normalise_equals_torchvision(images):
    expected = TF.normalize(images.float() / 255, augment.IMAGENET_MEAN, augment.IMAGENET_STD)
    torch.testing.assert_close(augment.normalise(images), expected)


@pytest.mark.parametrize("change", [augment.flip, lambda i, g: augment.pad_and_crop(i, 4, g)])
def test_the_generator_decides_and_global_state_does_not(images, change):
    first = change(images, torch.Generator().manual_seed(5))
    torch.manual_seed(99)
    assert torch.equal(first, change(images, torch.Generator().manual_seed(5)))
    assert not torch.equal(first, change(images, torch.Generator().manual_seed(6)))
