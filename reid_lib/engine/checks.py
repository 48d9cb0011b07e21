"""Check a folder of images before anything is trained on it."""

import hashlib
import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from reid_lib.dataset import ORIENTATIONS, decode, file_names, fingerprint_of, scan, shorten

PKU_PERSONS, PKU_CAMERAS, PKU_SIZE = 114, 2, (48, 128)  # width, height
VIEW = ["pid", "camid", "orientation"]


@dataclass(frozen=True)
class Check:
    """What a folder holds, errors that would falsify a score, and notices."""

    summary: dict
    errors: list[str]
    notices: list[str]

    def __str__(self) -> str:
        lines = [f"{key:<13} {value}" for key, value in self.summary.items()]
        lines += [f"error: {line}" for line in self.errors]
        lines += [f"notice: {line}" for line in self.notices]
        return "\n".join([*lines, f"{len(self.errors)} errors, {len(self.notices)} notices"])


def check(folder: str | Path, one_size: bool = True) -> Check:
    """Open every image of a folder in PKU-ReID's layout and name every fault by file.

    Errors: an unreadable image, a name that does not fit, a missing or duplicate view, the same
    bytes under two persons or two cameras, a size other than the others', a single person or
    camera. Notices: the same bytes under two orientations of one person and camera, an unfamiliar
    number of persons or cameras, a size other than 48 x 128.

    Args:
        folder: one flat folder of images.
        one_size: whether images of several sizes are an error; a notice where they are resized.
    Returns:
        The check; `errors` is empty where scores can be trusted.
    Raises:
        ValueError: the folder is missing or holds no image.
    """
    index, unrecognised = scan(folder)
    errors = [
        f"{name}: the name does not fit personId_cameraId_orientationId.png"
        for name in unrecognised
    ]
    contents, sizes = [], []
    for path in index.path:
        data = Path(path).read_bytes()
        contents.append(hashlib.sha256(data).hexdigest())
        try:
            sizes.append(decode(data).shape[1::-1])
        except ValueError as error:
            sizes.append(None)
            errors.append(f"{Path(path).name}: {error}")
    counted = Counter(size for size in sizes if size)
    found = [
        _duplicate_images(index.assign(content=contents)),
        _views(index),
        _sizes(index, sizes, counted, one_size),
        _numbers(index),
    ]
    errors += [line for part, _ in found for line in part]
    notices = [line for _, part in found for line in part]
    summary = {
        "folder": Path(folder),
        "images": len(index),
        "persons": index.pid.nunique(),
        "cameras": ", ".join(map(str, sorted(index.camid.unique()))),
        "orientations": ", ".join(map(str, sorted(index.orientation.unique()))),
        "sizes": ", ".join(f"{w} x {h} ({n})" for (w, h), n in sorted(counted.items())),
        "fingerprint": fingerprint_of(index, contents),
    }
    return Check(summary, errors, notices)


def _duplicate_images(index: pd.DataFrame) -> tuple[list[str], list[str]]:
    errors, notices = [], []
    for _, same in index[index.duplicated("content", keep=False)].groupby("content"):
        line = f"{', '.join(file_names(same))}: the same image"
        if same.pid.nunique() > 1:
            errors.append(f"{line} under two persons")
        elif same.camid.nunique() > 1:
            errors.append(f"{line} under two cameras")
        else:
            notices.append(f"{line} under two orientations")
    return errors, notices


def _views(index: pd.DataFrame) -> tuple[list[str], list[str]]:
    views = index.groupby(VIEW)
    errors = [
        f"{', '.join(file_names(same))}: duplicate view" for _, same in views if len(same) > 1
    ]
    persons, cameras = (sorted(index[name].unique()) for name in ("pid", "camid"))
    found = set(views.groups)
    wanted = pd.MultiIndex.from_product([persons, cameras, ORIENTATIONS])
    missing = [view for view in wanted if view not in found]
    for (pid, camid), lacking in itertools.groupby(missing, key=lambda view: view[:2]):
        names = [f"{pid}_{camid}_{orientation}" for _, _, orientation in lacking]
        errors.append(f"{', '.join(names)}: missing view")
    errors += [
        f"{name}: orientation {orientation} is not one of 1 to 8"
        for name, orientation in zip(file_names(index), index.orientation, strict=True)
        if orientation not in ORIENTATIONS
    ]
    return errors, []


def _sizes(index, sizes, counted: Counter, one_size: bool) -> tuple[list[str], list[str]]:
    if not counted:
        return [], []
    usual = counted.most_common(1)[0][0]
    others = [
        f"{name}: {size[0]} x {size[1]} pixels, most have {usual[0]} x {usual[1]}"
        for name, size in zip(file_names(index), sizes, strict=True)
        if size and size != usual
    ]
    errors, notices = [], []
    if one_size:
        advice = "resize it, or set image_size in the preset's recipe"
        errors += [f"{line}; {advice}" for line in others]
    elif others:
        notices.append(f"{len(others)} images have other sizes: {shorten(others)}")
    if usual != PKU_SIZE:
        notices.append(f"images are {usual[0]} x {usual[1]} pixels; PKU-ReID's are 48 x 128")
    return errors, notices


def _numbers(index: pd.DataFrame) -> tuple[list[str], list[str]]:
    errors, notices = [], []
    for what, ids in (("person", index.pid), ("camera", index.camid)):
        if ids.nunique() == 1:
            errors.append(f"only {what} {ids.iloc[0]}; scores need two or more")
    if index.pid.nunique() != PKU_PERSONS:
        notices.append(f"{index.pid.nunique()} persons; the complete PKU-ReID has {PKU_PERSONS}")
    if index.camid.nunique() != PKU_CAMERAS:
        notices.append(f"{index.camid.nunique()} cameras; PKU-ReID has {PKU_CAMERAS}")
    return errors, notices
