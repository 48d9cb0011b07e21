"""From a word or a path to an encoder: the weights in the box, a run, a file, or an ONNX file."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import list_models

from reid_lib.augment import normalise
from reid_lib.config import RunConfig
from reid_lib.engine.files import sha256
from reid_lib.model import ReIDNet, encode, load_weights, network_of

PAPER_SIZE = (128, 48)
DRAWN = "drawn"  # the word for the weights that come with the package, see their README.md
DRAWN_FILE = Path(__file__).parents[1] / "weights" / "mobilenet_v2_drawn.safetensors"


@dataclass(frozen=True)
class Encoder:
    """Maps images to codes.

    Attributes:
        name: the words that chose it.
        sha256: SHA-256 of its weights, so that codes of two networks are never compared.
        size: (height, width) that every image is resized to.
        encode: (N, 3, H, W) uint8 tensor -> (N, D) float32 array.
    """

    name: str
    sha256: str
    size: tuple[int, int]
    encode: Callable[[Tensor], np.ndarray]


class Network(NamedTuple):
    """A network in evaluation mode, and where it comes from."""

    net: ReIDNet
    name: str  # the words that open it again
    file: Path  # of its weights
    size: tuple[int, int]  # (height, width) of the images that it takes


def open_encoder(weights: str | Path = DRAWN) -> Encoder:
    """Load the network that turns images into codes.

    Args:
        weights: an .onnx file, or what `open_network` takes; the weights of the package unless
            given.
    Returns:
        The encoder, in evaluation mode.
    Raises:
        ValueError: there is no such file, or it holds no weights of a known backbone.
    """
    path = Path(weights)
    if path.suffix == ".onnx" and path.is_file():
        return _from_onnx(path)
    net, name, file, size = open_network(weights)

    @torch.no_grad()
    def codes(pixels: Tensor) -> np.ndarray:
        return net.retrieval_codes(encode(net, pixels)).numpy()

    return Encoder(name, sha256(file), size, codes)


def open_network(weights: str | Path = DRAWN) -> Network:
    """Load a network that torch computes.

    Args:
        weights: "drawn", the weights that come with the package; a run folder or its
            weights.safetensors; or a file of weights whose name begins with its backbone's (such as
            resnet18-f37072fd.pth, torchvision's name). A folder of the name drawn is ./drawn.
    Raises:
        ValueError: there is no such file, or it holds no weights of a known backbone.
    """
    path = DRAWN_FILE if str(weights) == DRAWN else Path(weights)
    if path.name == "weights.safetensors" and (path.parent / "config.json").is_file():
        path = path.parent
    if path.is_dir():
        net, config = trained_network(path)
        size = config.image_size or size_of(path)
        return Network(net, str(path), path / "weights.safetensors", size)
    if not path.is_file():
        raise ValueError(
            f"weights {weights}: {path} does not exist; expected a run folder, a file of weights, "
            f"an .onnx file, or {DRAWN}"
        )
    return Network(_read(path), str(weights), path, PAPER_SIZE)


def trained_network(folder: Path) -> tuple[ReIDNet, RunConfig]:
    """The trained network of a run folder, in evaluation mode and float32, and its configuration.

    Raises:
        ValueError: the folder contains no completed run.
    """
    config, file = folder / "config.json", folder / "weights.safetensors"
    if not (config.is_file() and file.is_file()):
        raise ValueError(
            f"{folder} contains no completed run; expected config.json and {file.name}"
        )
    config = RunConfig.model_validate_json(config.read_text("utf-8"))
    state = {k: v for k, v in load_file(file).items() if not k.startswith("learned.")}  # the loss's
    net = network_of(config.model_copy(update={"precision": "fp32"}), len(state["classifier.bias"]))
    net.load_state_dict(state)
    return net.eval(), config


def size_of(folder: Path) -> tuple[int, int]:
    """The (height, width) of the images that a run was trained on."""
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    return tuple(manifest.get("image_size", PAPER_SIZE))  # runs of version 0.1 do not state it


def _read(file: Path) -> ReIDNet:
    known = sorted(list_models(), key=len, reverse=True)
    backbone = next((m for m in known if file.name.startswith(m)), "")
    if not backbone:
        raise ValueError(
            f"the backbone cannot be inferred from the name of {file}; expected a name that begins "
            "with it, such as resnet18-....pth"
        )
    net = ReIDNet(backbone, persons=2).eval()
    load_weights(net, file)
    return net


def _from_onnx(file: Path) -> Encoder:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    taken = session.get_inputs()[0]

    def codes(pixels: Tensor) -> np.ndarray:
        images = normalise(pixels).contiguous().numpy()
        return session.run(None, {taken.name: images})[0]

    return Encoder(str(file), sha256(file), tuple(taken.shape[2:]), codes)
