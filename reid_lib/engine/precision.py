"""What `precision: auto` stands for on this machine."""

import functools
import time

import torch
from torch import Tensor

from reid_lib.config import RunConfig
from reid_lib.model import ReIDNet

BF16_ERROR = 0.3  # of codes, relative; rounding alone leaves up to 0.23 (ResNet-50)


def resolve_precision(config: RunConfig, size: tuple[int, int]) -> str:
    """Resolve `precision: auto` to bf16 where a short trial is faster and correct, else fp32.

    ResNets gain, mobilenet_v2 does not. Some processors' bf16 convolutions are wrong for small
    images (oneDNN on AMX, 64 x 24 pixels: codes 40 % away). The trial depends on timing and may end
    differently when repeated. Because the precision affects the scores, `prepare.resolve` stores
    the choice.

    Args:
        config: configuration of the run.
        size: height and width of the network's input.
    """
    if config.precision != "auto":
        return config.precision
    if torch.cuda.is_available():
        able = torch.cuda.is_bf16_supported()
    else:
        able = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if not able:
        return "fp32"
    shape = config.batch_size, 3, *size
    slow, exact = _trial_step(config.backbone, shape, "fp32")
    fast, rounded = _trial_step(config.backbone, shape, "bf16")
    error = (rounded - exact).norm() / exact.norm()
    return "bf16" if fast < slow and error < BF16_ERROR else "fp32"


@functools.cache
def _trial_step(backbone: str, shape: tuple[int, ...], precision: str) -> tuple[float, Tensor]:
    """Seconds of one training step, the least of three after an uncounted one; its codes."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = ReIDNet(backbone, persons=2, precision=precision)
    net = net.to(device, memory_format=torch.channels_last)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    seconds = []
    for _ in range(4):
        begin = time.perf_counter()
        codes, _ = net(images)
        codes.sum().backward()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:]), codes.detach()
