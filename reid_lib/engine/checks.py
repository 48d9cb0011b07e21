"""Check a data set before anything is trained on it."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from reid_lib.dataset import (
    ORIENTATIONS,
    decode,
    file_names,
    fingerprint_of,
    persons_of,
    printable,
    shorten,
)
from reid_lib.engine.layouts import WORDS
from reid_lib.engine.sides import matched
from reid_lib.retrieval.readers import scan_images

PKU_PERSONS, PKU_CAMERAS, PKU_SIZE = 114, 2, (48, 128)  # width, height
MOST_CAMERAS = 26  # a camera is a letter
LEAST = 8  # pixels: no person is seen in fewer
VIEW = ["pid", "camid", "orientation"]


@dataclass(frozen=True)
class Check:
    """The contents of a folder, errors that would make scores invalid, and notices."""

    summary: dict
    errors: list[str]
    notices: list[str]

    def __str__(self) -> str:
        lines = [f"{key:<13} {value}" for key, value in self.summary.items()]
        lines += [f"error: {line}" for line in self.errors]
        lines += [f"notice: {line}" for line in self.notices]
        return "\n".join([*lines, f"{len(self.errors)} errors, {len(self.notices)} notices"])


def check(
    data: str | Path,
    one_size: bool = True,
    pku: bool | None = None,
    persons: Iterable[int] | None = None,
) -> Check:
    """Open every image of a data set in any layout and name every error by file.

    Errors: an unreadable or tiny image, a name that does not match, the same bytes under two
    persons or two cameras, a size other than the others', too few persons or cameras, a person in
    both the training and the test set, no query with a match. Where PKU-ReID's protocol is claimed
    also a missing view. Notices: what is unusual but harmless, such as a person in one
    camera only, whose images are no queries.

    Args:
        data: a folder of images or a CSV file, as `retrieval.readers.read_images` takes it.
        one_size: whether images of several sizes are an error; a notice where they are resized.
        pku: whether the data claim to be PKU-ReID: two cameras, eight orientations of each person.
            None: where they have its layout and its 114 persons.
        persons: look at these persons alone.
    Returns:
        The check; `errors` is empty where training and scores can be trusted.
    Raises:
        ValueError: nothing to read: no such folder or file, no image, a CSV without a column.
    """
    kind, index, errors = scan_images(data)
    index = only_persons(index, persons)
    contents, sizes, unreadable = _open_all(index)
    errors = [*errors, *unreadable]
    counted = Counter(size for size in sizes if size)
    if pku is None:
        pku = kind == "pku" and index.pid.nunique() == PKU_PERSONS
    found = [
        _duplicate_images(index.assign(content=contents)),
        _views(index, pku) if kind == "pku" or pku else _orientations(index),
        _sizes(index, sizes, counted, one_size),
        _numbers(index, kind),
        _matches(index),
    ]
    errors += [line for part, _ in found for line in part]
    notices = [line for _, part in found for line in part]
    trains = index[index["split"] == "train"] if "split" in index else index
    summary = {
        "data": Path(data),
        "layout": WORDS[kind],
        "images": len(index),
        "persons": len({*persons_of(index), *persons_of(trains)}),
        "cameras": ", ".join(map(str, sorted(index.camid.unique()))),
        "orientations": ", ".join(map(str, sorted(set(index.orientation) - {0}))) or "not known",
        "split": _split_words(index),
        "sizes": ", ".join(f"{w} x {h} ({n})" for (w, h), n in sorted(counted.items())),
        "fingerprint": fingerprint_of(index, contents),
    }
    return Check(summary, errors, notices)


def _open_all(index: pd.DataFrame) -> tuple[list[str], list[tuple[int, int] | None], list[str]]:
    """Of each image its SHA-256 and its width and height, None if it cannot be read; and errors."""
    contents, sizes, faults = [], [], []
    for name, path in zip(map(printable, file_names(index)), index.path, strict=True):
        contents.append(path)
        sizes.append(None)
        try:
            content = Path(path).read_bytes()
            contents[-1] = hashlib.sha256(content).hexdigest()
            sizes[-1] = decode(content).shape[1::-1]
        except (ValueError, OSError) as error:
            faults.append(f"{name}: {error}")
    return contents, sizes, faults


def only_persons(index: pd.DataFrame, persons: Iterable[int] | None) -> pd.DataFrame:
    """The images of some persons; of all if `persons` is None.

    Raises:
        ValueError: a person has no image.
    """
    if persons is None:
        return index
    missing = sorted(set(persons) - set(index.pid))
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(set(persons))} persons in PERSONS have no image: "
            f"{_shorten(missing)}"
        )
    return index[index.pid.isin(persons)].reset_index(drop=True)


def _split_words(index: pd.DataFrame) -> str:
    if "split" not in index:
        return "none; persons are divided at random"
    parts = index["split"].value_counts().reindex(["train", "query", "gallery"]).dropna()
    return ", ".join(f"{part} {count:.0f}" for part, count in parts.items())


def _duplicate_images(index: pd.DataFrame) -> tuple[list[str], list[str]]:
    errors, notices = [], []
    index = index[index.pid != -1]
    for _, same in index[index.duplicated("content", keep=False)].groupby("content"):
        line = f"{shorten(file_names(same))}: the same image"
        if same.pid.nunique() > 1:
            errors.append(f"{line} under two persons")
        elif same.camid.nunique() > 1:
            errors.append(f"{line} under two cameras")
        else:
            notices.append(f"{line} under two {'orientations' if 'name' not in same else 'names'}")
    return errors, notices


def _views(index: pd.DataFrame, pku: bool) -> tuple[list[str], list[str]]:
    views = index.groupby(VIEW)
    errors = [f"{shorten(file_names(same))}: duplicate view" for _, same in views if len(same) > 1]
    persons, cameras = (sorted(index[name].unique()) for name in ("pid", "camid"))
    found = set(views.groups)
    wanted = pd.MultiIndex.from_product([persons, cameras, ORIENTATIONS])
    missing = [view for view in wanted if view not in found]
    lines = []
    if pku and len(cameras) != PKU_CAMERAS:
        errors.append(f"{len(cameras)} cameras; PKU-ReID has {PKU_CAMERAS}")
    for (pid, camid), lacking in itertools.groupby(missing, key=lambda view: view[:2]):
        names = [f"{pid}_{camid}_{orientation}" for _, _, orientation in lacking]
        lines.append(f"{', '.join(names)}: missing view")
    if lines and not pku:
        share = f"{len(missing)} of {len(wanted)} views are missing"
        lines = [f"{share}, the first {shorten(lines, 1)}; an error in PKU-ReID"]
    errors += [
        f"{name}: orientation {orientation} is not one of 1 to 8"
        for name, orientation in zip(file_names(index), index.orientation, strict=True)
        if orientation not in ORIENTATIONS
    ]
    return (errors + lines, []) if pku else (errors, lines)


def _orientations(index: pd.DataFrame) -> tuple[list[str], list[str]]:
    unknown = int((index.orientation == 0).sum())
    if not unknown:
        return [], []
    line = f"{unknown} images have no orientation: notebook 07 shows no viewpoint analysis"
    return [], [line]


def _sizes(index, sizes, counted: Counter, one_size: bool) -> tuple[list[str], list[str]]:
    if not counted:
        return [], []
    usual = counted.most_common(1)[0][0]
    named = [
        (printable(name), size) for name, size in zip(file_names(index), sizes, strict=True) if size
    ]
    errors, notices = [], []
    tiny = [f"{name}: {w} x {h} pixels are too few" for name, (w, h) in named if min(w, h) < LEAST]
    others = [
        f"{name}: {size[0]} x {size[1]} pixels, most have {usual[0]} x {usual[1]}"
        for name, size in named
        if size != usual
    ]
    if one_size:
        advice = "resize it, or set image_size in the preset's recipe"
        errors += [f"{line}; {advice}" for line in others]
    elif others:
        notices.append(f"{len(others)} images have other sizes: {shorten(others)}")
    if usual != PKU_SIZE:
        notices.append(f"images are {usual[0]} x {usual[1]} pixels; PKU-ReID's are 48 x 128")
    return tiny + errors, notices


def _numbers(index: pd.DataFrame, kind: str) -> tuple[list[str], list[str]]:
    errors, notices = [], []
    for what, ids in (("person", index.pid), ("camera", index.camid)):
        if ids.nunique() == 1:
            errors.append(f"only {what} {ids.iloc[0]}; scores need two or more")
    if "split" in index:
        train, query = (index.pid[index["split"] == part].nunique() for part in ("train", "query"))
        if min(train, query) < 2:
            errors.append(f"{train} persons to train, {query} as queries; expected two or more")
    else:
        if 1 < index.pid.nunique() < 4:
            errors.append(
                f"{index.pid.nunique()} persons; expected at least four: two for training and two "
                "for testing"
            )
        if index.camid.nunique() > MOST_CAMERAS:
            errors.append(
                f"{index.camid.nunique()} cameras; at most {MOST_CAMERAS} can be scored unless the "
                "data say which images are queries"
            )
    if kind == "pku" and index.pid.nunique() != PKU_PERSONS:
        notices.append(f"{index.pid.nunique()} persons; the complete PKU-ReID has {PKU_PERSONS}")
    if kind == "pku" and index.camid.nunique() != PKU_CAMERAS:
        notices.append(f"{index.camid.nunique()} cameras; PKU-ReID has {PKU_CAMERAS}")
    return errors, notices


def _matches(index: pd.DataFrame) -> tuple[list[str], list[str]]:
    errors, notices = [], []
    found = matched(index)
    if "split" in index:
        trains = index["split"] == "train"
        both = sorted(set(index.pid[trains]) & set(index.pid[~trains]))
        if both:
            errors.append(f"persons {_shorten(both)} are in both the training and the test set")
        lost = index[(index["split"] == "query") & ~found]
        if len(lost):
            names = shorten(file_names(lost))
            notices.append(f"{len(lost)} queries without a match in another camera: {names}")
    else:
        groups = index.groupby("pid")
        for what, count in (("camera", groups.camid.nunique()), ("image", groups.size())):
            if (count == 1).any():
                notices.append(f"persons {_shorten(count.index[count == 1])}: in one {what} only")
    if not found.any() and index.camid.nunique() > 1:
        errors.append("no query has a match: nobody is seen by two cameras")
    return errors, notices


def _shorten(pids: Iterable[int]) -> str:
    return shorten([str(pid) for pid in pids])
