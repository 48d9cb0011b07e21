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
