"""Augmentation of a batch as tensor operations, on any device, from an explicit generator."""

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_lib.config import RunConfig

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def augment(config: RunConfig, images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn training images into network inputs: flip, crop and normalise as the config says.

    Args:
        config: configuration of the run; its fields `flip`, `crop`, `crop_pad` and `crop_enlarge`
            are used.
        images: (B, 3, H, W) uint8.
        generator: a generator on the CPU, so that every device uses the same random numbers.
    Returns:
        (B, 3, H, W) float32, channels last.
    """
    if config.flip:
        images = flip(images, generator)
    if config.crop == "pad":
        images = pad_and_crop(images, config.crop_pad, generator)
    elif config.crop == "enlarge":
        images = enlarge_and_crop(images, config.crop_enlarge, generator)
    elif config.crop == "translate":
        images = translate(images, config.crop_enlarge, generator)
    return normalise(images)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half.

    Args:
        images: (B, 3, H, W), any type.
        generator: on the CPU.
    Returns:
        (B, 3, H, W), the same type.
    """
    chosen = torch.rand(len(images), generator=generator) < 0.5
    rows = torch.arange(len(images)) + len(images) * chosen
    # Copying whole images is four times as fast as selecting pixel by pixel.
    return torch.cat([images, images.flip(3)]).index_select(0, _to(images, rows))


def pad_and_crop(images: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    """Pad each image with `pad` black pixels and crop a random window of the original size.

    Args:
        images: (B, 3, H, W), any type.
        pad: pixels on each side; 0 changes nothing.
        generator: on the CPU.
    Returns:
        (B, 3, H, W), the same type.
    """
    height, width = images.shape[2:]
    return _crop(F.pad(images, (pad, pad, pad, pad)), height, width, generator)


def enlarge_and_crop(images: Tensor, factor: float, generator: torch.Generator) -> Tensor:
    """Enlarge each image (bilinear) and crop a random window of the original size.

    Args:
        images: (B, 3, H, W) uint8.
        factor: at least 1; the enlarged sides are rounded.
        generator: on the CPU.
    Returns:
        (B, 3, H, W) uint8.
    """
    height, width = images.shape[2:]
    size = round(height * factor), round(width * factor)
    larger = F.interpolate(images.float(), size=size, mode="bilinear", align_corners=False)
    return _crop(larger.round_().to(images.dtype), height, width, generator)


def translate(images: Tensor, factor: float, generator: torch.Generator) -> Tensor:
    """Apply `enlarge_and_crop` to each image with probability one half.

    Args:
        images: (B, 3, H, W) uint8.
        factor: at least 1.
        generator: on the CPU.
    Returns:
        (B, 3, H, W) uint8.
    """
    moved = enlarge_and_crop(images, factor, generator)
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(_to(images, chosen)[:, None, None, None], moved, images)


def normalise(images: Tensor) -> Tensor:
    """Scale uint8 images to float with ImageNet's mean and standard deviation.

    Args:
        images: (B, 3, H, W) uint8.
    Returns:
        (B, 3, H, W) float32, channels last, which convolutions process faster.
    """
    mean = _to(images, torch.tensor(IMAGENET_MEAN))[:, None, None]
    std = _to(images, torch.tensor(IMAGENET_STD))[:, None, None]
    scaled = images.float().div_(255).sub_(mean).div_(std)  # in place saves allocations
    return scaled.contiguous(memory_format=torch.channels_last)


def _crop(images: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Crop a window of the given size at a random place of each image."""
    batch, spare_y, spare_x = len(images), images.shape[2] - height, images.shape[3] - width
    top = torch.randint(spare_y + 1, (batch,), generator=generator)
    left = torch.randint(spare_x + 1, (batch,), generator=generator)
    # A view of all windows; one per image is copied.
    windows = images.unfold(2, height, 1).unfold(3, width, 1)
    image = torch.arange(batch, device=images.device)
    return windows[image, :, _to(images, top), _to(images, left)]


def _to(images: Tensor, drawn: Tensor) -> Tensor:
    """Move to the device of the images without waiting for its queue."""
    return drawn.to(images.device, non_blocking=True)
