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
    rows = torch.arange(len(images)) + len(images) * chosen
    # Whole images are copied: four times as fast as a choice for each pixel.
    return torch.cat([images, images.flip(3)]).index_select(0, _on(images, rows))


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
    return crop(F.pad(images, (pad, pad, pad, pad)), height, width, generator)


def enlarge(images: Tensor, factor: float) -> Tensor:
    """Enlarge images, bilinear.

    Args:
        images: (N, 3, H, W) uint8.
        factor: at least 1.
    Returns:
        (N, 3, factor H, factor W) uint8, sides rounded.
    """
    size = tuple(round(side * factor) for side in images.shape[2:])
    parts = []
    for part in images.split(256):  # as floats they take four times the room
        larger = F.interpolate(part.float(), size=size, mode="bilinear", align_corners=False)
        parts.append(larger.round_().to(images.dtype))
    return torch.cat(parts)


def enlarge_and_crop(images: Tensor, factor: float, generator: torch.Generator) -> Tensor:
    """`enlarge`, then cut a window of the first size at random.

    Args:
        images: (B, 3, H, W) uint8.
        factor: at least 1.
        generator: on the CPU.
    Returns:
        (B, 3, H, W) uint8.
    """
    return crop(enlarge(images, factor), *images.shape[2:], generator)


def translate(images: Tensor, factor: float, generator: torch.Generator) -> Tensor:
    """With probability one half `enlarge_and_crop` an image, otherwise leave it as it is.

    Args:
        images: (B, 3, H, W) uint8.
        factor: at least 1.
        generator: on the CPU.
    Returns:
        (B, 3, H, W) uint8.
    """
    moved = enlarge_and_crop(images, factor, generator)
    chosen = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(_on(images, chosen)[:, None, None, None], moved, images)


def crop(images: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Cut a window out of each image at random.

    Args:
        images: (B, 3, H, W), any type.
        height, width: of the window.
        generator: on the CPU.
    Returns:
        (B, 3, height, width), the same type.
    """
    batch, spare_y, spare_x = len(images), images.shape[2] - height, images.shape[3] - width
    top = torch.randint(spare_y + 1, (batch,), generator=generator)
    left = torch.randint(spare_x + 1, (batch,), generator=generator)
    # A view of every window; of each image one is copied, row by row.
    windows = images.unfold(2, height, 1).unfold(3, width, 1)
    image = torch.arange(batch, device=images.device)
    return windows[image, :, _on(images, top), _on(images, left)]


def normalise(images: Tensor) -> Tensor:
    """Scale uint8 images (B, 3, H, W) to float32 with ImageNet's mean and standard deviation."""
    mean = _on(images, torch.tensor(IMAGENET_MEAN))[:, None, None]
    std = _on(images, torch.tensor(IMAGENET_STD))[:, None, None]
    return images.float().div_(255).sub_(mean).div_(std)  # in place: new memory costs more


def _on(images: Tensor, drawn: Tensor) -> Tensor:
    """To the images' device, without a wait for what it is at work on."""
    return drawn.to(images.device, non_blocking=True)
