"""From image files to an index, a split by person, and pixels.

An *index* is a DataFrame with one row per image and the columns path, pid, camid, orientation
(0: unknown). If the data set defines a split, the index also has the column `split`: train, query
or gallery. Layouts other than PKU-ReID's add `name` (`reid_lib.retrieval.readers`).
"""

import contextlib
import functools
import hashlib
import io
import math
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from reid_lib.config import RunConfig
from reid_lib.engine.layouts import PKU_NAME, SUFFIXES, WORDS

if TYPE_CHECKING:  # `reid check` answers without waiting for torch
    import torch

ORIENTATIONS = tuple(range(1, 9))
PIXEL_BUDGET = 4 * 2**30  # bytes
WHERE = (
    "PKU-ReID is available from its authors (L. Ma et al., arXiv:1605.02464): "
    "https://github.com/charliememory/PKU-Reid-Dataset. "
    "Unpack it and pass the folder that holds the images, such as PKUv1a_128x48."
)
ADVICE = f"Expected {'; or '.join(WORDS.values())}. {WHERE}"
MAX_PIXELS = 50_000_000  # of one image; a person needs far fewer
FORMATS = "PNG JPEG BMP WEBP GIF TIFF".split()  # for some others Pillow runs programs


def read_pku(folder: str | Path) -> pd.DataFrame:
    """Read the names of a folder in PKU-ReID's layout, `personId_cameraId_orientationId.png`.

    Args:
        folder: one flat folder of images; numbers may be padded with zeros.
    Returns:
        An index sorted by pid, camid, orientation; images are not opened.
    Raises:
        ValueError: the folder is missing (with where to get PKU-ReID), holds no image, a file whose
            name does not match, or a duplicate view.
    """
    index, unrecognised = scan(folder)
    if unrecognised:
        raise ValueError(
            f"{len(unrecognised)} names in {folder} do not match "
            f"personId_cameraId_orientationId.png: {shorten(unrecognised)}"
        )
    duplicates = index[index.duplicated(["pid", "camid", "orientation"], keep=False)]
    if len(duplicates):
        raise ValueError(f"duplicate views in {folder}: {shorten(file_names(duplicates))}")
    return index


def fingerprint(index: pd.DataFrame) -> str:
    """SHA-256 over each image's person, camera, orientation and bytes, however names are padded."""
    stats = [Path(path).stat() for path in index.path]
    contents = [
        _sha256(path, stat.st_size, stat.st_mtime_ns)
        for path, stat in zip(index.path, stats, strict=True)
    ]
    return fingerprint_of(index, contents)


@functools.lru_cache(maxsize=1_000_000)
def _sha256(path: str, size: int, changed: int) -> str:
    """SHA-256 of a file's bytes; a study of many runs reads each image once."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def split_persons(
    index: pd.DataFrame,
    seed: int = 0,
    validation: bool = False,
    train_persons: int | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Divide the persons at random into those to train and those to test on, by default halves.

    The order is that of SHA-256("seed/pid"): a function of the ids and the seed alone, the same
    with every version of every library.  An odd person goes to the test half.  If the
    data set defines a split (column `split`), that split is used.

    Args:
        index: an index with at least two persons.
        seed: number of the split; 0 if the data set defines its split.
        validation: leave out the test persons and hold out a third of the training persons in their
            place, so that a recipe is not chosen on test persons.
        train_persons: number of training persons; half of all persons unless given.
    Returns:
        (train, test), each sorted as the index is, with its row labels kept.
    Raises:
        ValueError: fewer than two persons, or none left to test on; another split than the data's.
    """
    if "split" in index:
        if train_persons is not None or seed:
            raise ValueError(
                "the data set defines its own split; expected split 0 and train_persons null, "
                f"found split {seed} and train_persons {train_persons or 'null'}"
            )
        trains = index["split"] == "train"
        if not validation:
            return index[trains], index[~trains]
        sides = [sorted(index.pid[trains].unique().tolist())]
        index = index[trains]
    else:
        sides = split_pids(index.pid.unique(), seed, train_persons)
    if validation:
        order = _shuffled(sides[0], seed)
        cut = len(order) - len(order) // 3
        sides = order[:cut], order[cut:]
    train, test = (index[index.pid.isin(side)] for side in sides)
    return train, test


def persons_of(part: pd.DataFrame) -> np.ndarray:
    """The person ids of a part of an index.

    If the part contains query images, only the ids of the queries are returned, because gallery
    images may be junk (pid -1) or distractors (pid 0).
    """
    asks = part["split"] == "query" if "split" in part else pd.Series(False, part.index)
    return part.pid[asks if asks.any() else slice(None)].unique()


def split_pids(pids, seed: int, train_persons: int | None = None) -> tuple[list[int], list[int]]:
    """The ids of `split_persons`, each side sorted."""
    pids = sorted({int(pid) for pid in pids})
    if len(pids) < 2:
        raise ValueError(f"the data have {len(pids)} persons; a split needs at least two")
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


def check_batches(config: RunConfig, train: pd.DataFrame) -> None:
    """Refuse training data that cannot fill one batch.

    Args:
        config: configuration of the run.
        train: the index of the training images.
    Raises:
        ValueError: too few images, or too few persons with K images.
    """
    persons = train.pid.nunique()
    if config.batch_size > len(train):
        raise ValueError(
            f"row {config.row}: batch_size is {config.batch_size}, but the {persons} training "
            f"persons have only {len(train)} images; choose a smaller batch_size"
        )
    wanted = config.batch_size // config.images_per_person
    enough = int((train.pid.value_counts() >= config.images_per_person).sum())
    if (config.batches == "pk" or config.epoch == "persons") and enough < wanted:
        raise ValueError(
            f"row {config.row}: a batch holds {wanted} persons with {config.images_per_person} "
            f"images each, but only {enough} of {persons} training persons have that many; choose "
            "a smaller batch_size or images_per_person"
        )


def load_pixels(
    index: pd.DataFrame, size: tuple[int, int] | None = None, budget: int = PIXEL_BUDGET
) -> "torch.Tensor":
    """Decode every image of an index once; the format is detected from the content.

    Args:
        index: an index with at least one image.
        size: (height, width) to resize to, bilinear; None leaves the images as stored.
        budget: bytes to hold in memory; larger data are stored in a memory-mapped temporary file.
    Returns:
        (N, 3, H, W) uint8, in the order of the index.
    Raises:
        ValueError: an image cannot be read, or the images differ in size and `size` is None.
    """
    import torch

    images = None
    for row, path in enumerate(index.path):
        try:
            image = decode(Path(path).read_bytes(), size).transpose(2, 0, 1)
        except (ValueError, OSError) as error:
            raise ValueError(f"{path}: {error}; `reid check` lists every error") from None
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
    with tempfile.TemporaryFile() as file:  # deleted with the last array that maps it
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)


def scan(folder: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """List a folder: the index of its images, and names that do not match.

    Raises:
        ValueError: the folder is missing or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder. {ADVICE}")
    rows, unrecognised = [], []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix.lower() not in SUFFIXES:
            continue
        if match := PKU_NAME.fullmatch(path.name):
            rows.append((str(path), *map(int, match.groups())))
        else:
            unrecognised.append(path.name)
    if not rows:
        there = f"; it holds {shorten(unrecognised)}" if unrecognised else ""
        raise ValueError(
            "no image named personId_cameraId_orientationId.png (three numbers) in "
            f"{folder}{there}. {ADVICE}"
        )
    index = pd.DataFrame(rows, columns=["path", "pid", "camid", "orientation"])
    return index.sort_values(
        ["pid", "camid", "orientation", "path"], ignore_index=True
    ), unrecognised


def usual_size(index: pd.DataFrame) -> tuple[int, int]:
    """The commonest (height, width) of an index's images, from the file headers."""
    counted = Counter()
    for path in index.path:
        with contextlib.suppress(ValueError), _opened(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) > 4
            counted[image.size if turned else image.size[::-1]] += 1
    if not counted:
        raise ValueError(f"none of {len(index)} images can be read; `reid check` lists every error")
    return counted.most_common(1)[0][0]


@contextlib.contextmanager
def _opened(file):
    """An image whose pixels are not decoded yet; how many are too many is `decode`'s to say."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                yield image
    except ValueError:
        raise
    except Exception as error:  # each format of Pillow raises its own for a damaged file
        wrong = "not an image" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"cannot be read ({wrong})") from None


def decode(data: bytes, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode an image file to (H, W, 3) uint8, turned upright as its EXIF data say.

    Grey, palette and CMYK images become RGB; 16 bits a channel become 8.

    Raises:
        ValueError: the file is damaged, has more than `MAX_PIXELS`, or holds numbers of another
            kind, such as floating-point ones.
    """
    with _opened(io.BytesIO(data)) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(
                f"{image.width} x {image.height} pixels; at most {MAX_PIXELS:,} can be read"
            )
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode in ("I", "F"):
            raise ValueError(f"mode {image.mode!r}; expected 8 or 16 bits a channel")
        image = ImageOps.exif_transpose(image).convert("RGB")
    if size:
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image)


def fingerprint_of(index: pd.DataFrame, contents: list[str]) -> str:
    """`fingerprint`, from the SHA-256 of each image."""
    digest = hashlib.sha256()
    for row, content in zip(index.itertuples(), contents, strict=True):
        part = f" {row.split}" if "split" in index else ""
        digest.update(f"{row.pid}_{row.camid}_{row.orientation} {content}{part}\n".encode())
    return digest.hexdigest()


def file_names(index: pd.DataFrame) -> list[str]:
    """The file names of an index; unique, so with their folders where there are several."""
    return index["name"].tolist() if "name" in index else [Path(path).name for path in index.path]


def printable(name: str) -> str:
    """A file name on one line: what cannot be printed, such as a line break, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def shorten(names: list[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more
