"""Read images in several layouts as one index; `read_images` recognises which it is.

Every index has the columns path, pid, camid and orientation (0 where it is not known). Outside
PKU-ReID's layout it also has `name`, unique and relative to the data's folder, and, where the data
give a split, `split`: train, query or gallery. Among gallery images the pid -1 is junk, which no
ranking counts, and 0 a distractor, which is always a wrong answer.
"""

import csv
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from reid_lib.dataset import printable, read_pku, scan, shorten
from reid_lib.engine import layouts
from reid_lib.engine.layouts import WORDS, layout, split_folders

PARTS = ("train", "query", "gallery")
COLUMNS = ("path", "pid", "camid", "orientation", "name", "split")


class Images(NamedTuple):
    """A data set as it was found."""

    layout: str  # a key of `layouts.WORDS`
    index: pd.DataFrame
    faults: list[str]  # one line per file that cannot be used


def read_images(data: str | Path) -> pd.DataFrame:
    """Read a folder of images or a CSV file in any layout that is known.

    Args:
        data: a folder in PKU-ReID's, Market-1501's or MSMT17's layout, or a CSV file.
    Returns:
        The index, sorted by pid, camid, orientation and name; `index.attrs["layout"]` says in words
        which layout was taken.
    Raises:
        ValueError: nothing is there, or a file whose name, person or camera cannot be read.
    Example:
        >>> read_images("none.csv")
        Traceback (most recent call last):
        ValueError: none.csv is not a file
    """
    if layout(data) == "pku":
        index = read_pku(data)
    else:
        _, index, faults = scan_images(data)
        if faults:
            raise ValueError(f"{len(faults)} errors in {data}: {shorten(faults, 3)}")
    index.attrs["layout"] = WORDS[layout(data)]
    return index


def scan_images(data: str | Path) -> Images:
    """Read images as `read_images` does, but list the files that cannot be used instead of raising.

    Raises:
        ValueError: there is nothing to read: no folder, no image, or a CSV without a column.
    """
    kind, data = layout(data), Path(data)
    if kind == "pku":
        index, unrecognised = scan(data)
        names = "the name does not match personId_cameraId_orientationId.png"
        return Images(kind, index, [f"{printable(name)}: {names}" for name in unrecognised])
    readers = {"csv": _csv, "market": _market, "msmt17": _msmt17}
    rows, faults = readers[kind](data)
    if not rows and not faults:
        raise ValueError(f"no images found in {data}; expected {WORDS[kind]}")
    index = pd.DataFrame(rows, columns=COLUMNS)
    junk = index["name"][(index.pid == -1) & (index["split"] != "gallery")]
    faults += [f"{printable(name)}: junk (pid -1) outside a gallery" for name in junk]
    twice = index["name"][index.duplicated("path")].unique()
    faults += [f"{printable(name)}: the same file is listed more than once" for name in twice]
    if index["split"].eq("").all():
        index = index.drop(columns="split")
    order = ["pid", "camid", "orientation", "name"]
    return Images(kind, index.sort_values(order, ignore_index=True), faults)


def read_market(folder: str | Path) -> pd.DataFrame:
    """Read Market-1501, or MSMT17 with its names or its lists.

    Args:
        folder: holds the folders of train, query and gallery images under the names of either data
            set (`bounding_box_train`, `query`, `bounding_box_test`; also `train` and `gallery`), or
            the images themselves, which then have no split.
    Returns:
        The index, as `read_images`.
    Raises:
        ValueError: see `read_images`; also if the folder has another layout.
    """
    if layout(folder) not in ("market", "msmt17"):
        raise ValueError(f"{folder} holds no images with {WORDS['market']}")
    return read_images(folder)


def read_csv(file: str | Path) -> pd.DataFrame:
    """Read a table of images: columns path, pid and camid, optionally orientation and split.

    Args:
        file: a CSV file in UTF-8. A path is relative to the file's folder; pid and camid are whole
            numbers; orientation is 1 to 8 or empty; split is train, query or gallery.
    Returns:
        The index, as `read_images`; `name` is the path as the file states it.
    Raises:
        ValueError: see `read_images`; also if a column is missing.
    """
    if layout(file) != "csv":
        raise ValueError(f"{file} is not a CSV file; expected {WORDS['csv']}")
    return read_images(file)


def _market(folder: Path) -> tuple[list[tuple], list[str]]:
    parts = split_folders(folder)
    if parts and ("query" in parts) != ("gallery" in parts):
        raise ValueError(
            f"{folder}: found only the folders {', '.join(path.name for path in parts.values())}; "
            "expected both query and a gallery folder (bounding_box_test, gallery or test)"
        )
    rows, faults = [], []
    for part, place in (parts or {"": folder}).items():
        for path in sorted(place.iterdir()):
            if path.name.startswith(".") or path.suffix.lower() not in layouts.SUFFIXES:
                continue
            name = path.relative_to(folder).as_posix()
            if found := layouts.PKU_NAME.fullmatch(path.name):
                rows.append((str(path), *map(int, found.groups()), name, part))
            elif found := layouts.MARKET_NAME.fullmatch(path.name):
                rows.append((str(path), *map(int, found.groups()), 0, name, part))
            else:
                faults.append(f"{printable(name)}: the name does not match {WORDS['market']}")
    return rows, faults


def _msmt17(folder: Path) -> tuple[list[tuple], list[str]]:
    """Each list holds lines such as `0000/0000_000_01_0303morning_0015_0.jpg 0`."""
    rows, faults, places, first = [], [], split_folders(folder), 0
    for part in PARTS:
        lists = [folder / name for name in layouts.LISTS[part] if (folder / name).is_file()]
        place = places.get("gallery" if part == "query" else part)
        if part == "query":  # MSMT17 counts the persons to test on from 0 anew
            first = 1 + max((pid for _, pid, *_ in rows), default=-1)
        for line in [line for file in lists for line in _lines(file)]:
            name, _, pid = line.rpartition(" ")
            numbers = Path(name).name.split("_")
            path = place / name if place else folder / name
            if not (pid.isdecimal() and len(numbers) > 3 and numbers[2].isdecimal()):
                faults.append(f"{printable(line)}: the line does not match {WORDS['msmt17']}")
            elif not _is_file(path):
                faults.append(f"{printable(name)}: no such file")
            else:
                known = path.relative_to(folder).as_posix()
                rows.append((str(path), first + int(pid), int(numbers[2]), 0, known, part))
    return rows, faults


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not a UTF-8 text file: {error}") from None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # longer than a name can be
        return False


def _csv(file: Path) -> tuple[list[tuple], list[str]]:
    if not file.is_file():
        raise ValueError(f"{file} is not a file")
    with file.open(encoding="utf-8-sig", newline="") as opened:
        try:
            lines = csv.DictReader(opened, restval="")
            head, lines = lines.fieldnames or [], list(lines)
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{file} is not a CSV file in UTF-8: {error}") from None
    missing = [name for name in ("path", "pid", "camid") if name not in head]
    if missing:
        raise ValueError(f"{file} has no column {', '.join(missing)}; it has {', '.join(head)}")
    rows, faults = [], []
    for number, line in enumerate(lines, start=2):
        name = line["path"]
        path, split = file.parent / name, line.get("split", "")
        words = [line["pid"], line["camid"], line.get("orientation") or "0"]
        try:
            ids = [int(word) for word in words]
        except ValueError:
            ids = []
        here = f"row {number}, {printable(name)}"
        if not ids or ids[0] < -1 or ids[1] < 0 or not 0 <= ids[2] <= 8:
            faults.append(
                f"{here}: pid is {line['pid']!r}, camid {line['camid']!r}, orientation "
                f"{line.get('orientation') or ''!r}; expected integers for pid (-1 or more) and "
                "camid (0 or more), and an orientation of 1 to 8 or empty"
            )
        elif "split" in head and split not in PARTS:
            faults.append(f"{here}: split is {split!r}; expected {', '.join(PARTS)}")
        elif not name or not _is_file(path):
            faults.append(f"{here}: no such file")
        else:
            rows.append((str(path), *ids, name, split))
    return rows, faults
