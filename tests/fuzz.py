"""Fuzz what reads files: any bytes give a result or a ValueError that names the file.

    make fuzz FUZZ_MINUTES=60     the readers share the time; failures are printed as they are found

Most inputs are valid files that were changed a little (bytes flipped, cut, doubled, swapped with
another file's; in archives and PNG files with check sums that fit again), the others are random.
"""

import argparse
import contextlib
import io
import json
import os
import random
import struct
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from reid_lib.config import PRESETS, Preset, load_preset
from reid_lib.dataset import FORMATS, load_pixels, usual_size
from reid_lib.engine.checkpoint import CHECKPOINT, read_checkpoint, write_checkpoint
from reid_lib.engine.checks import check
from reid_lib.engine.layouts import gives_split
from reid_lib.retrieval.encode import read_codes_file
from reid_lib.retrieval.readers import read_images

IDENTITY = {"config": "c", "data": "d"}
LONG = "a" * 5000
JUNK = [None, True, -1, 0, 10**30, 1.5, float("nan"), "", "x", "\0", LONG, [], [[]], {}, {1: 2}]


# Inputs


def changed(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """One small change to a file, in which `other` may lend a part."""
    place, length = rng.randrange(len(data) + 1), rng.choice([1, 2, 4, 16, 200])
    end, start = place + length, rng.randrange(len(other) + 1)
    some = bytes(rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)]) for _ in range(length))
    return rng.choice(
        [
            data[:place],
            data[place:],
            data[:place] + some + data[end:],
            data[:place] + some + data[place:],
            data[:place] + data[end:],
            data[:place] + data[place:end] * 3 + data[end:],
            data[:place] + other[start:],
            data[:place] + other[start : start + length] + data[end:],
        ]
    )


def changed_png(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """A PNG file with one chunk changed and its check sum made to fit."""
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        size = struct.unpack(">I", data[at : at + 4])[0]
        parts.append(data[at + 4 : at + 8 + size])  # kind and content
        at += 12 + size
    k = rng.randrange(1, len(parts))
    parts[k] = parts[k][:4] + changed(parts[k][4:], other, rng)
    packed = [
        struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts[1:]
    ]
    return parts[0] + b"".join(packed)


def changed_zip(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """An archive with one member changed, lost or renamed; the check sums fit."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    k = rng.randrange(len(members))
    name, content = members[k]
    members[k] = rng.choice(
        [(name, changed(content, other, rng)), (name, b""), (f"{name}x", content)]
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


@st.composite
def files(draw, seeds: list[bytes], within=None) -> bytes:
    """A valid file that was changed up to four times, or random bytes."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    if rng.random() < 0.05:
        return draw(st.binary(max_size=300))
    data = rng.choice(seeds)
    for _ in range(rng.choice([0, 1, 1, 1, 2, 4])):
        change = within if within and rng.random() < 0.7 else changed
        with contextlib.suppress(Exception):  # not that kind of file, or no longer
            data = change(data, rng.choice(seeds), rng)
            continue
        data = changed(data, rng.choice(seeds), rng)
    return data


def image_seeds() -> list[bytes]:
    """A small image in every mode and format that is read, and one that is not."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    seeds = []
    for mode in ("RGB", "L", "P", "CMYK", "RGBA", "1", "I;16", "I", "F"):
        image = Image.fromarray(noise)
        if mode == "I;16":
            image = image.convert("L").convert("I")
        image = image.convert(mode)
        for kind in (*FORMATS, "MPO", "PPM"):
            buffer = io.BytesIO()
            with contextlib.suppress(Exception):
                image.save(buffer, kind, exif=exif)
                seeds.append(buffer.getvalue())
    return seeds


def checkpoint_seeds() -> list[bytes]:
    """Checkpoints with what a run keeps: tensors, numbers, texts, dicts and lists."""
    content = {"progress": {"epoch": 1, "scores": [0.5]}, "net": {"w": torch.ones(2, 3)}}
    content |= {"generator": torch.Generator().get_state(), "memory": None}
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), IDENTITY, content)
        return [Path(folder, CHECKPOINT).read_bytes()]


def codes_seeds() -> list[bytes]:
    """Files of codes, stored and compressed."""
    content = {"names": np.array(["a.png", "b.png"]), "codes": np.ones((2, 4), np.float32)}
    content |= {"folder": "images", "weights": "set2", "weights_sha256": "0" * 64}
    seeds = []
    for save in (np.savez, np.savez_compressed):
        save(buffer := io.BytesIO(), **content)
        seeds.append(buffer.getvalue())
    return seeds


def csv_seeds() -> list[bytes]:
    """Tables of images in a few dialects."""
    rows = "a.png,1,1\nb.png,1,2\nc.png,2,1\nd.png,2,2\n"
    split = "a.png,1,1,3,train\nb.png,2,1,,query\nc.png,-1,2,8,gallery\n"
    texts = [f"path,pid,camid\n{rows}", f"path,pid,camid,orientation,split\n{split}"]
    texts += [texts[0].replace("\n", "\r\n"), f"\ufeff{texts[1]}"]
    texts += [f"path,pid,camid\n{name},1,1\n" for name in (LONG, f'"{LONG * 30}"')]
    texts.append(LONG * 30)
    return [text.encode() for text in texts]


names = st.one_of(
    st.from_regex(r"[0-9]{1,25}_[0-9]{1,2}_[0-9]{1,3}\.(png|jpg|PNG|txt)", fullmatch=True),
    st.from_regex(r"(-1|[0-9]{4})_c[0-9](s1)?_[0-9]{3,6}(_0[01])?\.(jpg|png\.jpg)", fullmatch=True),
    st.text(max_size=12).map(lambda text: f"{text}.png"),
    st.sampled_from("list_train.txt list_query.txt list_gallery.txt .x.png query.png".split()),
    st.binary(min_size=1, max_size=9).map(lambda b: os.fsdecode(b) + ".jpg"),
)
FOLDERS = "bounding_box_train query bounding_box_test gallery train test a".split()
places = st.one_of(st.just(""), st.sampled_from(FOLDERS))
lines = st.lists(st.tuples(names, st.sampled_from(["0", "1", "", "x", "9" * 30])), max_size=4).map(
    lambda pairs: "".join(f"{name} {pid}\n" for name, pid in pairs).encode(errors="surrogateescape")
)
entries = st.lists(
    st.tuples(places, names, st.sampled_from(["image", "image", "empty", "folder", "list"]), lines),
    max_size=12,
)


YAML = [  # what a preset never holds: code, dates, deep and often repeated parts
    b"title: !!python/object/apply:os.getcwd []\n",
    b"title: 2001-99-99\n",
    b"title: !!int ''\n",
    b"title: " + b"[" * 500,
    b"".join(
        b"a%d: &a%d [%s]\n" % (k, k, b",".join([b"*a%d" % (k - 1)] * 9)) for k in range(1, 9)
    ).replace(b"*a0", b"1")
    + b"title: *a8\n",
]


@st.composite
def presets(draw) -> bytes:
    """A preset with some values replaced, as YAML, or its text changed."""
    file = draw(st.sampled_from(sorted(PRESETS.glob("*.yaml"))))
    rng = random.Random(draw(st.integers(0, 2**32)))
    if rng.random() < 0.4:
        text = file.read_bytes()
        return changed(rng.choice([text, text, *YAML]), rng.choice([text, *YAML]), rng)
    content = yaml.safe_load(file.read_text("utf-8"))
    for _ in range(rng.choice([1, 1, 2, 3])):
        where = content
        while True:
            keys = list(where) if isinstance(where, dict) else list(range(len(where)))
            key = rng.choice([*keys, "new"]) if isinstance(where, dict) else rng.choice(keys)
            value = where.get(key) if isinstance(where, dict) else where[key]
            if isinstance(value, dict | list) and value and rng.random() < 0.7:
                where = value
                continue
            where[key] = rng.choice(JUNK)
            break
        if not content:
            break
    return yaml.safe_dump(content, allow_unicode=True).encode()


# Readers: each gets the folder that it reads in, and the input


def read_an_image(folder: Path, data: bytes):
    file = folder / "1_1_1.png"
    file.write_bytes(data)
    index = pd.DataFrame({"path": [str(file)]})
    with contextlib.suppress(ValueError):
        height, width = usual_size(index)
        assert height > 0 and width > 0
    yield file
    pixels = load_pixels(index)
    assert pixels.shape[:2] == (1, 3)
    assert load_pixels(index, (8, 4)).shape == (1, 3, 8, 4)


def read_a_table(folder: Path, data: bytes):
    file = folder / "images.csv"
    file.write_bytes(data)
    for name in "abcd":
        (folder / f"{name}.png").touch()
    yield file
    assert isinstance(gives_split(file), bool)
    assert_index(read_images(file))


def read_a_folder(folder: Path, found: list):
    image = io.BytesIO()
    Image.new("RGB", (8, 8)).save(image, "PNG")
    for place, name, kind, text in found:
        with contextlib.suppress(OSError, ValueError):  # a name that no file can have
            path = folder / place / name
            path.parent.mkdir(exist_ok=True)
            path.mkdir() if kind == "folder" else path.write_bytes(
                {"image": image.getvalue(), "empty": b"", "list": text}[kind]
            )
    yield folder
    assert isinstance(gives_split(folder), bool)
    str(check(folder)).encode()  # what it says can be printed
    assert_index(read_images(folder))


def read_a_preset(folder: Path, data: bytes):
    file = folder / "mine.yaml"
    file.write_bytes(data)
    yield file
    assert isinstance(load_preset(str(file)), Preset)


def read_one_checkpoint(folder: Path, data: bytes):
    (folder / CHECKPOINT).write_bytes(data)
    yield folder / CHECKPOINT
    content = read_checkpoint(folder, IDENTITY)
    assert isinstance(content, dict)


def read_codes(folder: Path, data: bytes):
    file = folder / "codes.npz"
    file.write_bytes(data)
    yield file
    content = read_codes_file(file)
    names, codes = content["names"], content["codes"]
    assert names.ndim == 1 and names.dtype.kind == "U" and codes.dtype.kind == "f"
    assert codes.ndim == 2 and len(codes) == len(names)
    json.dumps([content[name].tolist() for name in content if name != "codes"]).encode()


def assert_index(index: pd.DataFrame) -> None:
    assert {"path", "pid", "camid", "orientation"} <= set(index.columns) and len(index)
    assert all(Path(path).exists() for path in index.path)


READERS = {
    "images": (read_an_image, files(image_seeds(), changed_png)),
    "tables": (read_a_table, files(csv_seeds())),
    "folders": (read_a_folder, entries),
    "presets": (read_a_preset, presets()),
    "checkpoints": (read_one_checkpoint, files(checkpoint_seeds(), changed_zip)),
    "codes": (read_codes, files(codes_seeds(), changed_zip)),
}


def holds(reader: str, case) -> bool:
    """The property: a defined result or a ValueError that names the file; nothing is written.

    Returns whether the input was read.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        steps = READERS[reader][0](folder, case)
        file = next(steps)
        before, was_read = sorted(folder.rglob("*")), True
        try:
            next(steps, None)
        except ValueError as error:
            text, was_read = str(error), False
            assert file.name in text, f"{text} names no {file.name}"
            text.encode()  # it can be printed
        assert sorted(folder.rglob("*")) == before
    return was_read


class Counts(NamedTuple):
    """Of one reader: the inputs, how many were read, and a traceback per kind of failure."""

    inputs: int
    read: int
    failures: dict[str, str]


def fuzz(reader: str, seconds: float, first: int = 0, most: int | None = None) -> Counts:
    """Try inputs for so many seconds, or a few more than `most` of them."""
    outcomes, failures, end = [], {}, time.monotonic() + seconds

    def one(case):
        if time.monotonic() < end:
            outcomes.append(False)
            outcomes[-1] = holds(reader, case)

    options = settings(
        max_examples=min(100, most or 100),
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    number = first
    while time.monotonic() < end and (most is None or len(outcomes) < most):
        try:
            seed(number)(options(given(READERS[reader][1])(one)))()
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            kind = f"{type(error).__name__} {frames[-1].name}:{frames[-1].lineno}"
            if kind not in failures:
                failures[kind] = "".join(traceback.format_exception(error))
        number += 1
    return Counts(len(outcomes), sum(outcomes), failures)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60, help="of all readers together (60)")
    parser.add_argument("--seed", type=int, default=0, help="first of many (0)")
    parser.add_argument("readers", nargs="*", help=f"of {', '.join(READERS)} (all)")
    arguments = parser.parse_args()
    chosen, failed = arguments.readers or list(READERS), False
    for reader in chosen:
        found = fuzz(reader, 60 * arguments.minutes / len(chosen), arguments.seed)
        for text in found.failures.values():
            print(f"{reader}:\n{text}", flush=True)
        counts = f"{found.inputs:,} inputs, {found.read:,} of them read"
        print(f"{reader}: {counts}, {len(found.failures)} failures", flush=True)
        failed |= bool(found.failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
