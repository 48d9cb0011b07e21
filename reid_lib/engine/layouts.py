"""Which layout a data set has, told from names alone."""

import csv
import re
from pathlib import Path

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}
PKU_NAME = re.compile(r"(\d+)_(\d+)_(\d+)\.[A-Za-z]+", re.ASCII)
# Person and camera, as in 0001_c1s1_001051_00.jpg (Market-1501) and 0000_c14_0030.jpg (MSMT17).
MARKET_NAME = re.compile(r"(-1|\d+)_c(\d+)(?:s\d+)?(?:_\d+)+(?:\.[A-Za-z]+)+", re.ASCII)
FOLDERS = {  # the part of the split -> the names under which its folder is known
    "train": ("bounding_box_train", "train", "mask_train_v2"),
    "query": ("query",),
    "gallery": ("bounding_box_test", "gallery", "test", "mask_test_v2"),
}
LISTS = {"train": ("list_train.txt", "list_val.txt"), "query": ("list_query.txt",)}
LISTS["gallery"] = ("list_gallery.txt",)
WORDS = {
    "pku": "PKU-ReID's pattern, personId_cameraId_orientationId.png, in one folder",
    "market": "Market-1501's pattern, personId_cCamera_frame.jpg",
    "msmt17": "MSMT17's lists, list_train.txt, list_query.txt and list_gallery.txt",
    "csv": "a CSV file with the columns path, pid and camid",
}


def layout(data: str | Path) -> str:
    """Recognise a layout: a key of `WORDS`, "pku" where nothing else fits.

    Example:
        >>> layout("images.csv")
        'csv'
    """
    data = Path(data)
    if data.suffix.lower() == ".csv":
        return "csv"
    if not data.is_dir():
        return "pku"
    if (data / LISTS["query"][0]).is_file():
        return "msmt17"
    names = [path.name for path in data.iterdir()]
    fits = [any(map(pattern.fullmatch, names)) for pattern in (PKU_NAME, MARKET_NAME)]
    return "market" if not fits[0] and (fits[1] or split_folders(data)) else "pku"


def split_folders(data: Path) -> dict[str, Path]:
    """The folders of train, query and gallery images, as far as they exist."""
    found = {part: [data / name for name in names] for part, names in FOLDERS.items()}
    there = {part: [f for f in folders if f.is_dir()] for part, folders in found.items()}
    return {part: folders[0] for part, folders in there.items() if folders}


def gives_split(data: str | Path) -> bool:
    """Whether the data say themselves which images train, query and form the gallery."""
    data, kind = Path(data), layout(data)
    if kind == "csv" and data.is_file():
        with data.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            try:
                return "split" in next(csv.reader(file), [])
            except csv.Error as error:
                raise ValueError(f"{data} is not a CSV file: {error}") from None
    return kind == "msmt17" or (kind == "market" and bool(split_folders(data)))
