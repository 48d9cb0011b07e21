"""From index and ranked galleries to what the figures with pictures draw."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from reid_lib.dataset import load_pixels, usual_size

COLUMNS = 8  # of a sheet: as many as there are orientations


def person_views(index: pd.DataFrame, pid: int) -> dict[str, Any]:
    """The images of one person as `plots.person_sheet` takes them.

    Args:
        index: all images.
        pid: which person.
    Returns:
        A mapping with images (C, V, H, W, 3), cameras and columns: by orientation where all are
        known, otherwise the first eight images of each camera. Missing ones are white, and images
        of another size than the commonest are resized to it.
    """
    own = index[index.pid == pid].sort_values(["camid", "orientation"], kind="stable")
    oriented = own.orientation.gt(0).all()
    place = own.orientation - 1 if oriented else own.groupby("camid").cumcount()
    own, place = own[place < COLUMNS], place[place < COLUMNS]
    cameras, line = np.unique(own.camid, return_inverse=True)
    pixels = load_pixels(own, usual_size(index)).permute(0, 2, 3, 1).numpy()
    shape = len(cameras), COLUMNS if oriented else place.max() + 1, *pixels.shape[1:]
    images = np.full(shape, 255, dtype=np.uint8)
    images[line, place] = pixels
    words = "orientation" if oriented else "images"
    return {"images": images, "cameras": cameras.tolist(), "columns": words}


def ranked_case(
    label: str,
    images: np.ndarray,
    query: Mapping[str, np.ndarray],
    gallery: Mapping[str, np.ndarray],
    i: int,
    order: pd.DataFrame,
) -> dict[str, Any]:
    """Collect a query and a part of its ranked gallery, as `plots.ranking` draws them.

    Args:
        label: such as "simple".
        images: (N, H, W, 3) uint8, all test images in the order of the index.
        query, gallery: the two sides as `Run.query_gallery` returns them.
        i: which query.
        order: lines of `metrics.rank_gallery`, nearest first.
    Returns:
        A mapping with label, query_image, query_pid, images, pids, ranks, sq_distances, correct and
        junk.
    Example:
        >>> images = np.zeros((2, 4, 2, 3), dtype=np.uint8)
        >>> query, gallery = ({"rows": np.array([k]), "pids": np.array([7])} for k in (0, 1))
        >>> order = {"row": [0], "rank": [1], "distance": [2.0], "match": [True], "junk": [False]}
        >>> case = ranked_case("simple", images, query, gallery, 0, pd.DataFrame(order))
        >>> case["sq_distances"], case["correct"]
        (array([4.]), array([ True]))
    """
    shown = gallery["rows"][order["row"]]
    return {
        "label": label,
        "query_image": images[query["rows"][i]],
        "query_pid": query["pids"][i],
        "images": images[shown],
        "pids": gallery["pids"][order["row"]],
        "ranks": order["rank"].to_numpy(),
        "sq_distances": order["distance"].to_numpy() ** 2,
        "correct": order["match"].to_numpy(),
        "junk": order["junk"].to_numpy(),
    }
