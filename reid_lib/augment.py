"""Augmentation of a whole batch by tensor work, on any device, from an explicit generator."""

import torch
import torch.nn.functional as F
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability one half.

    Args:
        images: (B, 3, H, W), any type.
        generator: on the CPU; the same draws serve every device.
    Returns:
        (B, 3, H, W), the same type.
    """
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(_on(images, chosen)[:, None, None, None], images.flip(3), images)


def pad_and_crop(images: Tensor, pad: int, generator: torch.Generator) -> Tensor:
    """Surround each image by `pad` black pixels and cut a window of the first size at random.

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
    """Enlarge each image by `factor`, bilinear, and cut a window of the first size at random.

    Args:
        images: (B, 3, H, W) uint8.
        factor: at least 1.
        generator: on the CPU.
    Returns:
        (B, 3, H, W) uint8.
    """
    height, width = images.shape[2:]
    size = (round(height * factor), round(width * factor))
    larger = F.interpolate(images.float(), size=size, mode="bilinear", align_corners=False)
    return _crop(larger.round().to(images.dtype), height, width, generator)


def normalise(images: Tensor) -> Tensor:
    """Scale uint8 images (B, 3, H, W) to float32 with ImageNet's mean and standard deviation."""
    mean = _on(images, torch.tensor(IMAGENET_MEAN))[:, None, None]
    std = _on(images, torch.tensor(IMAGENET_STD))[:, None, None]
    return (images.float() / 255 - mean) / std


def _crop(images: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    batch, spare_y, spare_x = len(images), images.shape[2] - height, images.shape[3] - width
    top = torch.randint(spare_y + 1, (batch, 1), generator=generator)
    left = torch.randint(spare_x + 1, (batch, 1), generator=generator)
    rows = _on(images, top + torch.arange(height))
    columns = _on(images, left + torch.arange(width))
    image = torch.arange(batch, device=images.device)
    # Indices on both sides of the colour axis move it last; put it back.
    window = images[image[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return window.permute(0, 3, 1, 2)


def _on(images: Tensor, drawn: Tensor) -> Tensor:
    """To the images' device, without a wait for what it is at work on."""
    return drawn.to(images.device, non_blocking=True)
