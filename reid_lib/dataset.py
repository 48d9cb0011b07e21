"""Images on disk to an index, its faults, splits by person, and pixels.

An *index* is a DataFrame with one row an image and the columns path, pid, camid, orientation.
"""

import functools
import hashlib
import io
import itertools
import math
import re
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, UnidentifiedImageError

ORIENTATIONS = tuple(range(1, 9))
PIXEL_BUDGET = 4 * 2**30  # bytes
PKU_PERSONS, PKU_CAMERAS, PKU_SIZE = 114, 2, (48, 128)  # width, height
WHERE = (
    "PKU-ReID is handed out by its authors (L. Ma et al., arXiv:1605.02464): "
    "https://github.com/charliememory/PKU-Reid-Dataset. "
    "Unpack it and name the folder that holds the images, such as PKUv1a_128x48."
)
_NAME = re.compile(r"(\d+)_(\d+)_(\d+)\.[A-Za-z]+", re.ASCII)
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}


def read_pku(folder: str | Path) -> pd.DataFrame:
    """Index a folder in PKU-ReID's layout, `personId_cameraId_orientationId.png`, any zero padding.

    Args:
        folder: one flat folder of images.
    Returns:
        An index sorted by pid, camid, orientation; images are not opened.
    Raises:
        ValueError: the folder is missing (with where to get PKU-ReID), holds no image, holds a file
            whose name does not fit, or the same view twice.
    """
    index, strangers = _scan(folder)
    if strangers:
        raise ValueError(
            f"{len(strangers)} names in {folder} do not fit personId_cameraId_orientationId.png: "
            f"{_some(strangers)}"
        )
    twice = index[index.duplicated(["pid", "camid", "orientation"], keep=False)]
    if len(twice):
        raise ValueError(f"views that are there twice in {folder}: {_some(_names(twice))}")
    return index


@dataclass(frozen=True)
class Check:
    """What is in a folder, the faults that would falsify a score, and mere oddities."""

    summary: dict
    errors: list[str]
    notices: list[str]

    def __str__(self) -> str:
        lines = [f"{key:<13} {value}" for key, value in self.summary.items()]
        lines += [f"error: {line}" for line in self.errors]
        lines += [f"notice: {line}" for line in self.notices]
        faults = (len(self.errors), len(self.notices))
        return "\n".join([*lines, "{} errors, {} notices".format(*faults)])


def check(folder: str | Path, one_size: bool = True) -> Check:
    """Open every image of a folder in PKU-ReID's layout and name every fault by file.

    Errors: an unreadable image, a name that does not fit, a view that is missing or there twice,
    the same bytes under two persons or two cameras, a size other than the others', a single person
    or camera. Notices: the same bytes under two orientations of one person and camera, an
    unfamiliar number of persons or cameras, a size other than 48 x 128.

    Args:
        folder: one flat folder of images.
        one_size: whether images of several sizes are an error; a notice where they are resized.
    Returns:
        The check; `errors` is empty where scores can be trusted.
    Raises:
        ValueError: the folder is missing or holds no image.
    """
    index, strangers = _scan(folder)
    errors = [
        f"{name}: the name does not fit personId_cameraId_orientationId.png" for name in strangers
    ]
    notices = []

    contents, sizes = [], []
    for path in index.path:
        data = Path(path).read_bytes()
        contents.append(hashlib.sha256(data).hexdigest())
        try:
            sizes.append(_decode(data).shape[1::-1])
        except ValueError as error:
            sizes.append(None)
            errors.append(f"{Path(path).name}: {error}")
    index = index.assign(content=contents, size=sizes)

    for _, same in index[index.duplicated("content", keep=False)].groupby("content"):
        line = f"{', '.join(_names(same))}: the same image"
        if same.pid.nunique() > 1:
            errors.append(f"{line} under two persons")
        elif same.camid.nunique() > 1:
            errors.append(f"{line} under two cameras")
        else:
            notices.append(f"{line} under two orientations")

    views = index.groupby(["pid", "camid", "orientation"])
    for _, same in views:
        if len(same) > 1:
            errors.append(f"{', '.join(_names(same))}: the same view twice")
    cameras = sorted(index.camid.unique())
    wanted = pd.MultiIndex.from_product([sorted(index.pid.unique()), cameras, ORIENTATIONS])
    found = set(views.groups)
    missing = [view for view in wanted if view not in found]
    for (pid, camid), views in itertools.groupby(missing, key=lambda view: view[:2]):
        names = [f"{pid}_{camid}_{orientation}" for _, _, orientation in views]
        errors.append(f"{', '.join(names)}: the view is missing")
    errors += [
        f"{name}: orientation {orientation} is not one of 1 to 8"
        for name, orientation in zip(_names(index), index.orientation, strict=True)
        if orientation not in ORIENTATIONS
    ]

    counted = Counter(size for size in sizes if size)
    usual = counted.most_common(1)[0][0] if counted else None
    others = [
        f"{name}: {size[0]} x {size[1]} pixels, most have {usual[0]} x {usual[1]}"
        for name, size in zip(_names(index), sizes, strict=True)
        if size and size != usual
    ]
    if one_size:
        errors += [
            f"{line}; resize it, or set image_size in the preset's recipe" for line in others
        ]
    elif others:
        notices.append(f"{len(others)} images are of other sizes: {_some(others)}")
    for what, ids in (("person", index.pid), ("camera", index.camid)):
        if ids.nunique() == 1:
            errors.append(f"only {what} {ids.iloc[0]}; scores need two or more")
    if usual and usual != PKU_SIZE:
        notices.append(f"images are {usual[0]} x {usual[1]} pixels; PKU-ReID's are 48 x 128")
    if index.pid.nunique() != PKU_PERSONS:
        notices.append(f"{index.pid.nunique()} persons; the whole of PKU-ReID has {PKU_PERSONS}")
    if len(cameras) != PKU_CAMERAS:
        notices.append(f"{len(cameras)} cameras; PKU-ReID has {PKU_CAMERAS}")

    summary = {
        "folder": Path(folder),
        "images": len(index),
        "persons": index.pid.nunique(),
        "cameras": ", ".join(map(str, cameras)),
        "orientations": ", ".join(map(str, sorted(index.orientation.unique()))),
        "sizes": ", ".join(f"{w} x {h} ({n})" for (w, h), n in sorted(counted.items())),
        "fingerprint": _fingerprint(index, contents),
    }
    return Check(summary, errors, notices)


def fingerprint(index: pd.DataFrame) -> str:
    """SHA-256 over each image's person, camera, orientation and bytes; padding drops out."""
    stats = [Path(path).stat() for path in index.path]
    contents = [
        _sha256(path, stat.st_size, stat.st_mtime_ns)
        for path, stat in zip(index.path, stats, strict=True)
    ]
    return _fingerprint(index, contents)


@functools.lru_cache(maxsize=1_000_000)
def _sha256(path: str, size: int, changed: int) -> str:
    """Of a file's bytes; a study of many runs reads each image once."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def split_persons(
    index: pd.DataFrame,
    seed: int = 0,
    validation: bool = False,
    train_persons: int | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide the persons at random into those to train and those to test on, by default halves.

    The order is that of SHA-256("seed/pid"): a function of the ids and the seed alone, the same
    with every version of every library.  An odd person goes to the test half.

    Args:
        index: an index with at least two persons.
        seed: which split.
        validation: leave the test half out and set a third of the training half apart instead, so
            that a recipe can be chosen on persons who are not the test's.
        train_persons: how many persons train; half of them unless given.
    Returns:
        (train, test), each sorted as the index is, with its row labels kept.
    Raises:
        ValueError: fewer than two persons, or none left to test on.
    """
    sides = split_pids(index.pid.unique(), seed, train_persons)
    if validation:
        order = _shuffled(sides[0], seed)
        cut = len(order) - len(order) // 3
        sides = order[:cut], order[cut:]
    train, test = (index[index.pid.isin(side)] for side in sides)
    return train, test


def split_pids(pids, seed: int, train_persons: int | None = None) -> tuple[list[int], list[int]]:
    """The ids of `split_persons`, each side sorted."""
    pids = sorted({int(pid) for pid in pids})
    if len(pids) < 2:
        raise ValueError(f"{len(pids)} persons; a split needs at least two")
    shuffled = _shuffled(pids, seed)
    count = len(pids) // 2 if train_persons is None else train_persons
    if not 0 < count < len(pids):
        raise ValueError(
            f"train_persons is {train_persons}, but there are {len(pids)} persons; expected 1 to "
            f"{len(pids) - 1}, so that some are left to test on"
        )
    return sorted(shuffled[:count]), sorted(shuffled[count:])


def _shuffled(pids: list[int], seed: int) -> list[int]:
    return sorted(pids, key=lambda pid: hashlib.sha256(f"{seed}/{pid}".encode()).digest())


def load_pixels(
    index: pd.DataFrame, size: tuple[int, int] | None = None, budget: int = PIXEL_BUDGET
) -> torch.Tensor:
    """Decode every image of an index once, by content and not by suffix.

    Args:
        index: an index with at least one image.
        size: (height, width) to resize to, bilinear; None leaves the images as stored.
        budget: bytes to hold in memory; more lie in a temporary file that is mapped into it.
    Returns:
        (N, 3, H, W) uint8, in the order of the index.
    Raises:
        ValueError: an image cannot be read, or the images differ in size and `size` is None.
    """
    images = None
    for row, path in enumerate(index.path):
        try:
            image = _decode(Path(path).read_bytes(), size).transpose(2, 0, 1)
        except ValueError as error:
            raise ValueError(f"{path}: {error}; `reid check` lists every fault") from None
        if images is None:
            images = _room((len(index), *image.shape), budget)
        if image.shape != images.shape[1:]:
            raise ValueError(
                f"{path}: {image.shape[2]} x {image.shape[1]} pixels, but those before it have "
                f"{images.shape[3]} x {images.shape[2]}; set image_size"
            )
        images[row] = image
    return torch.from_numpy(images)


def _room(shape: tuple[int, ...], budget: int) -> np.ndarray:
    if math.prod(shape) <= budget:
        return np.empty(shape, dtype=np.uint8)
    with tempfile.TemporaryFile() as file:  # gone from the disk with the last array that maps it
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)


def _scan(folder: str | Path) -> tuple[pd.DataFrame, list[str]]:
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder. {WHERE}")
    rows, strangers = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in _IMAGE_SUFFIXES:
            continue
        if match := _NAME.fullmatch(path.name):
            rows.append((str(path), *map(int, match.groups())))
        else:
            strangers.append(path.name)
    if not rows:
        there = f" (there are {_some(strangers)})" if strangers else ""
        raise ValueError(
            "no image named personId_cameraId_orientationId.png, three numbers, in "
            f"{folder}{there}. {WHERE}"
        )
    index = pd.DataFrame(rows, columns=["path", "pid", "camid", "orientation"])
    return index.sort_values(["pid", "camid", "orientation", "path"], ignore_index=True), strangers


def _decode(data: bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    """(H, W, 3) uint8; ValueError for bytes that are no whole image."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image = image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"cannot be read ({reason})") from None
    if size:
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _fingerprint(index: pd.DataFrame, contents: list[str]) -> str:
    digest = hashlib.sha256()
    for row, content in zip(index.itertuples(), contents, strict=True):
        digest.update(f"{row.pid}_{row.camid}_{row.orientation} {content}\n".encode())
    return digest.hexdigest()


def _names(index: pd.DataFrame) -> list[str]:
    return [Path(path).name for path in index.path]


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
