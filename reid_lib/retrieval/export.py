"""A trained network as an ONNX file, or as a small file of weights."""

import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from reid_lib.engine.files import write_file
from reid_lib.model import encode, folded
from reid_lib.retrieval.encoders import open_network

# By how much half precision may change codes, relative to their norm: batch norm amplifies the
# rounding in channels of small variance.
TOLERANCE = 0.05


class _Codes(nn.Module):
    """Images to the codes used for retrieval, in float32."""

    def __init__(self, net):
        super().__init__()
        self.backbone, self.net = folded(net).float(), net

    def forward(self, images):
        return self.net.neck(self.net.global_codes(self.backbone(images)))


def export_onnx(weights: str | Path, out: str | Path) -> None:
    """Write a network as ONNX: normalised images (N, 3, H, W) to codes (N, D).

    The height and width are those of the images that the network takes; N is free. The file takes
    what `reid_lib.augment.normalise` returns.

    Args:
        weights: what `open_network` takes, such as a run folder.
        out: the file to write.
    Raises:
        ValueError: see `open_network`; also if the file is not named .onnx.
    """
    if Path(out).suffix != ".onnx":
        raise ValueError(f"--out is {out}; expected a name that ends in .onnx or .safetensors")
    net, _, _, size = open_network(weights)
    images = torch.zeros(2, 3, *size)
    program = torch.onnx.export(
        _Codes(net).eval(),
        (images,),
        dynamo=True,
        input_names=["images"],
        output_names=["codes"],
        dynamic_shapes={"images": {0: torch.export.Dim("images", min=1)}},
        verbose=False,
    )
    write_file(Path(out), lambda aside: program.save(str(aside), external_data=False))


def export_half(weights: str | Path, out: str | Path) -> None:
    """Write the backbone of a network in half precision, without its classifier.

    Args:
        weights: what `open_network` takes, such as a run folder.
        out: the file to write, which `open_encoder` reads: BACKBONE_words.safetensors.
    Raises:
        ValueError: see `open_network`; also if the file would give other codes, because it holds no
            neck, stripes or size of images, or because its name begins with another backbone's.
    """
    net, _, _, size = open_network(weights)
    backbone = getattr(net.backbone, "feature_map", net.backbone)
    state = {k: v.half() for k, v in backbone.state_dict().items() if v.is_floating_point()}
    pixels = torch.randint(256, (8, 3, *size), generator=torch.Generator().manual_seed(0)).byte()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / Path(out).name
        save_file(state, file)
        again = open_network(file)
        codes = [n.retrieval_codes(encode(n, pixels)) for n in (net, again.net)]
        if again.size != tuple(size) or codes[0].shape != codes[1].shape:
            differ = torch.inf
        else:
            differ = float((codes[0] - codes[1]).norm() / codes[0].norm())
        if not differ < TOLERANCE:
            raise ValueError(
                f"{out} would give other codes than {weights} (relative difference {differ:.2g}); "
                f"expected a network without neck and stripes on images of {again.size}"
            )
        write_file(Path(out), lambda aside: shutil.copyfile(file, aside))
