"""What `precision: auto` stands for on this machine."""

import functools
import platform

import torch

from reid_lib.config import RunConfig
from reid_lib.model import ReIDNet

BF16_ERROR = 0.3  # of codes, relative; rounding alone leaves up to 0.24 (ResNet-50)


def resolve_precision(config: RunConfig, size: tuple[int, int]) -> str:
    """Resolve `precision: auto` to bf16 where the hardware multiplies it and it suits, else fp32.

    Nothing is timed, so that the answer, which affects the scores, is the same whatever else a
    machine does. `prepare.resolve` stores it, because another machine may answer differently.

    Args:
        config: configuration of the run.
        size: height and width of the network's input.
    """
    if config.precision != "auto":
        return config.precision
    shape = config.batch_size, 3, *size
    return "bf16" if _has_bf16() and _suits_bf16(config.backbone, shape) else "fp32"


def _has_bf16() -> bool:
    """Whether this hardware has instructions for bf16; emulated, it would be slower than fp32."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if not torch.backends.mkldnn.is_available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    # On x86 oneDNN also says yes where it emulates bf16 by AVX-512.
    return platform.machine() in ("aarch64", "arm64") or torch.cpu._is_avx512_bf16_supported()


@functools.cache
def _suits_bf16(backbone: str, shape: tuple[int, ...]) -> bool:
    """Whether bf16 makes a network faster, and its codes of random images are correct.

    Networks with grouped convolutions, as mobilenet_v2, do not gain. Some processors' bf16
    convolutions are wrong for small images (oneDNN on AMX, 64 x 24 pixels: codes 40 % away).
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    codes = []
    for precision in ("fp32", "bf16"):
        net = ReIDNet(backbone, persons=2, precision=precision)
        if any(getattr(module, "groups", 1) > 1 for module in net.modules()):
            return False
        with torch.no_grad():
            codes.append(net.to(device, memory_format=torch.channels_last)(images)[0])
    exact, rounded = codes
    return bool((rounded - exact).norm() < BF16_ERROR * exact.norm())
