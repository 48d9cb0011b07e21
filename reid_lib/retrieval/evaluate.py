"""Score one network on another data set (cross-domain evaluation)."""

from pathlib import Path

import pandas as pd
import torch

from reid_lib.dataset import load_pixels
from reid_lib.engine.scores import results_of
from reid_lib.metrics import Protocol, Result
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
        "query->gallery" -> result, or the results of `evaluate_cameras`. A query without a match is
        left out, and the protocol says so.
    Raises:
        ValueError: see `read_images` and `load_pixels`; also if no query has a match.
    """
    index = read_images(data)
    if "split" in index:
        index = index[index["split"] != "train"].reset_index(drop=True)
    results = results_of(_codes(encoder, index), index, protocol)
    if not results:
        raise ValueError(f"{data}: no query has a match, nobody is seen by two cameras")
    return results


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
