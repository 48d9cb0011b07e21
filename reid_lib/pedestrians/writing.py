"""A drawn data set on disk, in PKU-ReID's layout."""

from __future__ import annotations

import errno
import functools
import multiprocessing
import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
from PIL import Image
from tqdm import tqdm

from reid_lib.pedestrians.people import VIEWS, check_request, draw_person
from reid_lib.pedestrians.rendering import render_person

_BYTES_PER_PERSON = VIEWS * 16_384  # a noisy 128 x 48 PNG, rounded up


def write_dataset(
    folder: Path, persons: int, seed: int, progress: bool = False, workers: int = 1
) -> None:
    """Draw a data set into `folder`, and its attributes into `<folder>.persons.csv` beside it.

    Files are named `personId_cameraId_orientationId.png`, the person padded to at least three
    digits. Everything is drawn into a temporary folder beside the target and renamed when it is
    complete. The bytes depend on `persons` and `seed` alone, not on `workers`.

    Args:
        folder: new, or empty; parents are made.
        persons: 1 to 100,000; 16 images each.
        seed: not negative.
        progress: show a bar.
        workers: processes that draw.
    Raises:
        ValueError: persons, seed or workers out of range.
        FileExistsError: `folder` is a file or holds something, or the table's place is a folder.
        OSError: the disk is full, or too small for the set.
    """
    check_request(persons, seed)
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected 1 or more")
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is in use; name a new or an empty folder")
    table_place = folder.with_name(folder.name + ".persons.csv")
    if table_place.is_dir():
        raise FileExistsError(f"{table_place} is a folder; the attributes are written there")
    folder.parent.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(folder.parent).free, persons * _BYTES_PER_PERSON
    if free < needed:
        sizes = f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free"
        raise OSError(errno.ENOSPC, sizes, str(folder))
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as aside:
        images, table = Path(aside, "images"), Path(aside, "persons.csv")
        images.mkdir()
        _write_all(images, table, persons, seed, progress, workers)
        if folder.exists():
            folder.rmdir()
        images.rename(folder)
        table.replace(table_place)


def _write_all(images, table, persons, seed, progress, workers) -> None:
    draw = functools.partial(_write_person, images, seed, max(3, len(str(persons))))
    pids = range(1, persons + 1)
    with (
        tqdm(total=persons, unit="person", disable=not progress) as bar,
        table.open("w", encoding="utf-8", newline="") as file,
    ):

        def note(rows: Iterable[dict]) -> None:
            for row in rows:
                pd.DataFrame([row]).to_csv(file, header=row["pid"] == 1, index=False)
                bar.update()

        if workers == 1:
            note(map(draw, pids))
            return
        # New processes, not forks: a fork of a process with threads can hang. Blocks, since a
        # pool asked for 100,000 persons at once would hold that many results.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            for start in range(0, persons, 32 * workers):
                note(pool.map(draw, pids[start : start + 32 * workers]))


def _write_person(images: Path, seed: int, width: int, pid: int) -> dict:
    row = draw_person(seed, pid)
    for camera, views in enumerate(render_person(row, seed), start=1):
        for orientation, pixels in enumerate(views, start=1):
            name = f"{pid:0{width}d}_{camera}_{orientation}.png"
            Image.fromarray(pixels).save(images / name, compress_level=6)
    return row
