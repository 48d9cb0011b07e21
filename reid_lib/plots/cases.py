"""From an index to what the sheet of one person draws."""

from typing import Any

import numpy as np
import pandas as pd

from reid_lib.dataset import load_pixels, usual_size
from reid_lib.plots import style

COLUMNS = 8  # of a sheet: as many as there are orientations


def person_views(index: pd.DataFrame, pid: int) -> dict[str, Any]:
    """The images of one person as `plots.person_sheet` takes them.

    Args:
        index: all images.
        pid: id of the person.
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
    names = style.camera_names(index.camid.tolist())
    return {"images": images, "cameras": [names[c] for c in cameras], "columns": words}
