"""From a query image and a file of codes to a ranked gallery, as a table and as a page."""

import base64
import io
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from reid_lib.dataset import decode
from reid_lib.engine.files import write_text
from reid_lib.retrieval.encode import read_codes_file
from reid_lib.retrieval.encoders import Encoder, open_encoder
from reid_lib.scoring.search import search

THUMBNAIL = 256  # pixels: the height of a picture on the page


def rank(
    queries: list[str | Path], gallery: str | Path, top: int = 10, encoder: Encoder | None = None
) -> pd.DataFrame:
    """Rank the gallery for each query image.

    Args:
        queries: image files.
        gallery: a file of `encode_folder`.
        top: how many images per query.
        encoder: the network; the one named in the gallery's file unless given.
    Returns:
        One row per query and rank: query, rank (from 1), name, distance (Euclidean, of codes). Its
        `attrs["folder"]` is the folder that the gallery's names are relative to.
    Raises:
        ValueError: a query cannot be read, or another network made the gallery's codes.
    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from reid_lib.retrieval.encode import encode_folder
        >>> def colours(pixels):  # in the place of a network
        ...     return pixels.float().mean((2, 3)).numpy()
        >>> encoder = Encoder("mean colours", "0", (4, 2), colours)
        >>> with TemporaryDirectory() as folder:
        ...     names = [f"{folder}/{shade}.png" for shade in (10, 15, 60)]
        ...     for name, shade in zip(names, (10, 15, 60)):
        ...         Image.new("RGB", (2, 4), (shade, 0, 0)).save(name)
        ...     skipped = encode_folder(folder, f"{folder}/codes.npz", encoder)
        ...     ranked = rank(names[:1], f"{folder}/codes.npz", top=2, encoder=encoder)
        >>> ranked[["rank", "name", "distance"]].values.tolist()
        [[1, '10.png', 0.0], [2, '15.png', 5.0]]
    """
    for query in queries:
        if not Path(query).is_file():
            raise ValueError(f"{query} is not a file; expected a query image")
    content = read_codes_file(gallery)
    encoder = encoder or open_encoder(str(content["weights"]))
    if encoder.sha256 != content["weights_sha256"]:
        raise ValueError(
            f"{gallery} was encoded with {content['weights']}, but the queries would be encoded "
            f"with {encoder.name}, whose weights differ; encode the folder again"
        )
    images = []
    for query in map(Path, queries):
        try:
            images.append(decode(query.read_bytes(), encoder.size))
        except ValueError as error:
            raise ValueError(f"{query}: {error}") from None
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    distances, rows = search(encoder.encode(pixels), content["codes"], top)
    count = rows.shape[1]
    ranked = pd.DataFrame(
        {
            "query": np.repeat([str(query) for query in queries], count),
            "rank": np.tile(np.arange(1, count + 1), len(queries)),
            "name": content["names"][rows.ravel()],
            "distance": distances.ravel(),
        }
    )
    ranked.attrs["folder"] = str(content["folder"])
    return ranked


def write_page(ranked: pd.DataFrame, out: Path) -> None:
    """Write a ranked gallery as one HTML file that holds its pictures.

    Args:
        ranked: the frame that `rank` returns.
        out: the file to write.
    """
    import jinja2  # in the extra `notebooks`

    folder = Path(ranked.attrs["folder"])
    pages = jinja2.Environment(loader=jinja2.PackageLoader(__package__, ""), autoescape=True)
    lines = [
        {
            "query": query,
            "picture": _picture(Path(query)),
            "found": [
                hit | {"picture": _picture(folder / hit["name"])} for hit in part.to_dict("records")
            ],
        }
        for query, part in ranked.groupby("query", sort=False)
    ]
    write_text(out, pages.get_template("ranked.html.j2").render(lines=lines, folder=folder))


def _picture(path: Path) -> str:
    """The picture as a data address; empty where the file is no longer there or readable."""
    try:
        image = Image.fromarray(decode(path.read_bytes()))
    except (OSError, ValueError):
        return ""
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
