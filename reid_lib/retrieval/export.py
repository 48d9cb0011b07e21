"""A trained network as an ONNX file."""

from pathlib import Path

import torch
from torch import nn

from reid_lib.engine.files import write_file
from reid_lib.model import folded
from reid_lib.retrieval.encoders import size_of, trained_network


class _Codes(nn.Module):
    """Images to the codes used for retrieval, in float32."""

    def __init__(self, net):
        super().__init__()
        self.backbone, self.net = folded(net).float(), net

    def forward(self, images):
        return self.net.neck(self.net.global_codes(self.backbone(images)))


def export_onnx(run: str | Path, out: str | Path) -> None:
    """Write the network of a run as ONNX: normalised images (N, 3, H, W) to codes (N, D).

    The height and width are those of the run's images; N is free. The file takes what
    `reid_lib.augment.normalise` returns.

    Args:
        run: a run folder.
        out: the file to write.
    Raises:
        ValueError: the folder contains no completed run, or the file is not named .onnx.
    """
    if Path(out).suffix != ".onnx":
        raise ValueError(f"--out is {out}; expected a name that ends in .onnx")
    net, config = trained_network(Path(run))
    size = config.image_size or size_of(Path(run))
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
