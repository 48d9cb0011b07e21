"""Score one network on another data set (cross-domain evaluation)."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch

from reid_lib.dataset import fingerprint, load_pixels, split_persons
from reid_lib.engine.checks import only_persons
from reid_lib.engine.plan import chosen_persons
from reid_lib.engine.runs import Run
from reid_lib.engine.scores import results_of
from reid_lib.metrics import Protocol, Result
from reid_lib.retrieval.encoders import Encoder
from reid_lib.retrieval.readers import read_images

BATCH = 512


class Scored(NamedTuple):
    """The images that are scored, and their codes."""

    index: pd.DataFrame  # N images
    codes: torch.Tensor  # (N, D) float
    data_sha256: str  # of the whole data set, as in a run's configuration


def encode_data(
    encoder: Encoder, data: str | Path, split: int | None = None, persons: str | Path | None = None
) -> Scored:
    """Encode the images of a data set that are scored.

    Args:
        encoder: the network.
        data: a folder or CSV file that `read_images` reads. Where it names queries and gallery,
            these are encoded.
        split: else only the test persons of this split (`split_persons`); None: all persons.
        persons: a JSON file with the ids of the persons to use, such as splits/pku74.json.
    Returns:
        The images and their codes.
    Raises:
        ValueError: see `read_images`, `only_persons`, `split_persons` and `load_pixels`.
    """
    index = only_persons(read_images(data), chosen_persons(Path(persons) if persons else None))
    sha256 = fingerprint(index)
    if split is not None or "split" in index:
        index = split_persons(index, split or 0)[1].reset_index(drop=True)
    parts = [index.iloc[i : i + BATCH] for i in range(0, len(index), BATCH)]
    codes = [encoder.encode(load_pixels(part, encoder.size)) for part in parts]
    return Scored(index, torch.cat([torch.from_numpy(part) for part in codes]), sha256)


def own_test_images(run: Run) -> Scored:
    """The test images of a run, with the codes that its folder holds."""
    names = {"pids": "pid", "camids": "camid", "splits": "split"}
    columns = {name: run.codes[key] for key, name in names.items() if key in run.codes}
    codes = torch.from_numpy(run.codes["codes"])
    return Scored(pd.DataFrame(columns), codes, run.config.data_sha256)


def evaluate_data(scored: Scored, protocol: Protocol = Protocol()) -> dict[str, Result]:
    """Score the rankings: queries against the gallery, or every ordered pair of cameras.

    Args:
        scored: what `encode_data` or `own_test_images` returns.
        protocol: how a ranked gallery is scored.
    Returns:
        "query->gallery" -> result, or the results of `evaluate_cameras`. A query without a match is
        left out, and the protocol says so.
    Raises:
        ValueError: no query has a match.
    """
    results = results_of(scored.codes, scored.index, protocol)
    if not results:
        raise ValueError("no query has a match: nobody is seen by two cameras")
    return results


def scores_text(results: dict[str, Result]) -> str:
    """The protocol, and one line of scores in percent per direction."""
    table = pd.DataFrame({name: result.scores() for name, result in results.items()}).T
    protocol = next(iter(results.values())).protocol
    return f"{protocol}\n\n{(100 * table).round(1).to_string()}"
