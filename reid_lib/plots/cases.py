"""From ranked galleries to what `ranking`, `framework` and `activation_maps` draw."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd


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
