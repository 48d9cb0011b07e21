"""A synthetic data set on disk, in PKU-ReID's or Market-1501's layout."""

import errno
import functools
import multiprocessing
import shutil
import signal
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import resource_tracker
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from reid_lib.pedestrians.people import VIEWS, draw_persons
from reid_lib.pedestrians.rendering import render_person

# `0001_c1s1_000003_00.png`: the orientation in place of the frame. Half of the persons train; of
# the others orientation 1 is the query.
MARKET_PARTS = ("bounding_box_train", "query", "bounding_box_test")
BYTES_PER_PERSON = VIEWS * 16_384  # a noisy 128 x 48 PNG, rounded up


def write_dataset(
    folder: Path,
    persons: int,
    seed: int,
    progress: bool = False,
    workers: int = 1,
    layout: str = "pku",
) -> None:
    """Draw a data set into `folder`, and its attributes into `<folder>.persons.csv` beside it.

    Files are named `personId_cameraId_orientationId.png`, the person padded to at least three
    digits, or as in Market-1501 (`MARKET_PARTS`). Everything is drawn into a temporary folder
    beside the target and renamed when it is complete. The bytes depend on `persons` and `seed`
    alone, not on `workers`.

    Args:
        folder: new or empty; missing parents are created.
        persons: 1 to 100,000; 16 images each.
        seed: not negative.
        progress: show a progress bar.
        workers: number of processes.
        layout: "pku" or "market".
    Raises:
        ValueError: `persons`, `seed` or `workers` is out of range, or no such layout.
        FileExistsError: `folder` is a file or not empty, or `<folder>.persons.csv` is a folder.
        OSError: the disk is full, or has less space than the set needs.
    Example:
        >>> with tempfile.TemporaryDirectory() as root:
        ...     write_dataset(Path(root, "data"), persons=1, seed=0)
        ...     len(list(Path(root, "data").iterdir()))
        16
    """
    if layout not in ("pku", "market"):
        raise ValueError(f"layout is {layout!r}, expected 'pku' or 'market'")
    if workers < 1:
        raise ValueError(f"workers is {workers}, expected 1 or more")
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is not an empty folder; name a new or an empty one")
    table_path = folder.with_name(folder.name + ".persons.csv")
    if table_path.is_dir():
        raise FileExistsError(f"{table_path} is a folder; the attributes are written there")
    table = draw_persons(persons, seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(folder.parent).free, persons * BYTES_PER_PERSON
    if free < needed:
        sizes = f"{needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free"
        raise OSError(errno.ENOSPC, sizes, str(folder))
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        images, csv = Path(temporary, "images"), Path(temporary, "persons.csv")
        images.mkdir()
        table.to_csv(csv, index=False)
        for part in MARKET_PARTS if layout == "market" else ():
            (images / part).mkdir()
        _write_images(images, table, seed, progress, workers, layout)
        if folder.exists():
            folder.rmdir()
        images.rename(folder)
        csv.replace(table_path)


def _write_images(images, table, seed, progress, workers, layout) -> None:
    trains = set(table.pid[: len(table) // 2]) if layout == "market" else None
    digits = max(3, len(str(len(table))))
    write = functools.partial(_write_person, images, seed, digits, trains)
    persons = table.to_dict("records")
    bar = functools.partial(tqdm, total=len(table), unit="person", disable=not progress)
    if workers == 1:
        for person in bar(persons):
            write(person)
        return
    # New processes, not forks: a fork of a process with threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        chunk = 1 + len(table) // (100 * workers)
        resource_tracker.ensure_running()  # when it starts, it unblocks Ctrl-C
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        done = pool.map(write, persons, chunksize=chunk)  # its processes stay deaf to Ctrl-C
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for _ in bar(done):
            pass


def _write_person(images: Path, seed: int, digits: int, trains: set | None, person: dict) -> None:
    pid = person["pid"]
    for camera, views in enumerate(render_person(person, seed), start=1):
        for orientation, pixels in enumerate(views, start=1):
            name = f"{pid:0{digits}d}_{camera}_{orientation}.png"
            if trains is not None:
                part = MARKET_PARTS[0 if pid in trains else 1 if orientation == 1 else 2]
                name = f"{part}/{pid:04d}_c{camera}s1_{orientation:06d}_00.png"
            Image.fromarray(pixels).save(images / name, compress_level=6)
