"""How many distances are held at once, and the fastest way to make and count a block of them.

Each function does what its docstring says on any device; the branches differ in speed alone.
"""

import numpy as np
import torch
from torch import Tensor

WIDTH = 8160  # gallery images in one part
BLOCK = 2**22  # distances held at once
CACHED = 2**19  # of these, as many as stay in the processor's cache while they are counted


def part_width(images: int) -> int:
    """The width of equally wide gallery parts, a multiple of what `count_below` adds at once."""
    words = -(-images // -(-images // WIDTH) // 8)
    lanes = -(-words // 255)
    return 8 * lanes * -(-words // lanes)


def add_products(addend: Tensor, a: Tensor, b: Tensor, out: Tensor) -> None:
    """Write addend + a @ b.T into `out`."""
    if out.device.type != "cpu":
        torch.addmm(addend, a, b.T, out=out)
    else:  # NumPy's product was up to 1.2 times as fast as torch's on AMD processors
        np.matmul(a.numpy(), b.numpy().T, out=out.numpy())
        out += addend


def least(block: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Each row's smallest value: its column and the value."""
    if block.device.type != "cpu":
        value, column = block.min(1)
        return column.cpu().numpy(), value.cpu().numpy()
    column = block.numpy().argmin(1)  # ten times as fast as torch's
    return column, block.numpy()[np.arange(len(column)), column]


def count_below(block: Tensor, bounds: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """How many values in each row of the (B, W) block are below each of its (B, T) bounds.

    The block may come back sorted. `flags` is (B or more, W) bool, overwritten.
    """
    if block.device.type != "cpu":
        on_device = torch.from_numpy(bounds).to(block.device)
        below = [(block < bound[:, None]).sum(1) for bound in on_device.T]
        return torch.stack(below, 1).cpu().numpy() if below else np.zeros(bounds.shape, np.int64)
    if block.shape[1] <= 512:  # sorting short rows costs less than comparing them
        block.numpy().sort(axis=1)
        return torch.searchsorted(block, torch.from_numpy(bounds)).numpy()
    # NumPy adds flags up one at a time. As 64-bit words it adds eight at once, each in a byte of
    # its own, and within 255 words no byte overflows.
    values, flags = block.numpy(), flags[: len(block)]
    words = flags.view(np.uint64)
    words = words.reshape(len(words), -(-words.shape[1] // 255), -1)
    counts = np.empty(bounds.shape, np.int64)
    for t in range(bounds.shape[1]):
        np.less(values, bounds[:, t : t + 1], out=flags)
        counts[:, t] = np.add.reduce(words, axis=2).view(np.uint8).sum(1, dtype=np.int64)
    return counts
