"""Score one network on another data set (cross-domain evaluation)."""

from pathlib import Path

import pandas as pd
import torch

from reid_lib.dataset import load_pixels
from reid_lib.metrics import Protocol, Result, evaluate, evaluate_cameras
from reid_lib.retrieval.encoders import Encoder
from reid_lib.retrieval.readers import read_images

BATCH = 512


def evaluate_data(
    encoder: Encoder, data: str | Path, protocol: Protocol = Protocol()
) -> dict[str, Result]:
    """Encode the images of a data set and score the rankings.

    Args:
        encoder: the network.
        data: a folder or CSV file that `read_images` reads. Where it names queries and gallery,
            these are ranked; else each ordered pair of cameras, over all persons.
        protocol: how a ranked gallery is scored.
    Returns:
        "query->gallery" -> result, or the results of `evaluate_cameras`.
    Raises:
        ValueError: as `read_images`, `load_pixels` and `evaluate`.
    """
    index = read_images(data)
    if "split" not in index:
        ids = index.pid.to_numpy(), index.camid.to_numpy()
        return evaluate_cameras(_codes(encoder, index), *ids, protocol)
    sides = [index[index.split == side] for side in ("query", "gallery")]
    codes = [_codes(encoder, side) for side in sides]
    ids = [side[name].to_numpy() for name in ("pid", "camid") for side in sides]
    return {"query->gallery": evaluate(*codes, *ids, protocol)}


def scores_text(results: dict[str, Result]) -> str:
    """The protocol, and one line of scores in percent per direction."""
    table = pd.DataFrame({name: result.scores() for name, result in results.items()}).T
    protocol = next(iter(results.values())).protocol
    return f"{protocol}\n\n{(100 * table).round(1).to_string()}"


def _codes(encoder: Encoder, index: pd.DataFrame) -> torch.Tensor:
    parts = [index.iloc[i : i + BATCH] for i in range(0, len(index), BATCH)]
    return torch.cat(
        [torch.from_numpy(encoder.encode(load_pixels(part, encoder.size))) for part in parts]
    )
