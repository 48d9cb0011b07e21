"""The synthetic persons: properties of the persons, of their images and of the files."""

import doctest
import hashlib
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reid_lib import pedestrians
from reid_lib.cli import main
from reid_lib.config import load_preset
from reid_lib.engine.prepare import data_folder
from reid_lib.pedestrians import (
    ATTRIBUTES,
    draw_persons,
    people,
    render_person,
    rendering,
    write_dataset,
    writing,
)

BACK, FRONT, RIGHTWARD, LEFTWARD = 2, 6, 0, 4  # orientations 3, 7, 1, 5
# Drawing version -> digests of its pixels. NumPy rounds float32 functions differently with AVX-512
# (first digest) and without it.
DRAWINGS = {
    "1": (
        "dd042b8543429b1baa00a0df18eb44c9041fd28430e3ff1c3bb103b1696ae36a",
        "f5a9ac04d0785f3a5c1886d4ae52d736fbd5f123d1e3c24f90ff6ecbeabc980d",
    )
}


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def _person(**attributes) -> dict:
    plain = {
        "top": "jumper", "top_pattern": "plain", "top_colour": "#3a66b0", "accent": "none",
        "front": "closed", "bag": "none", "lower": "trousers", "hair_style": "short",
    }  # fmt: skip
    return draw_persons(1, seed=0).iloc[0].to_dict() | plain | attributes


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    digest.update(folder.with_name(folder.name + ".persons.csv").read_bytes())
    return digest.hexdigest()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pedestrians") / "two"
    write_dataset(folder, persons=2, seed=5)
    return folder


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"),
    reason="pinned for the floating-point functions of Linux on x86-64",
)
def test_the_pixels_are_those_of_the_drawing_version(tmp_path):
    """`reid synth --persons 5 --seed 3` gives names and decoded pixels of the pinned SHA-256.

    Data folders are named by `DRAWING_VERSION`. Whoever changes a pixel must raise the version and
    pin the new digests under it; otherwise runs would read images drawn by older code as new ones.
    """
    assert main(["synth", str(tmp_path / "set"), "--persons", "5", "--seed", "3"]) == 0
    digest = hashlib.sha256()
    for path in sorted((tmp_path / "set").iterdir()):
        with Image.open(path) as image:
            digest.update(path.name.encode() + np.asarray(image).tobytes())
    assert digest.hexdigest() in DRAWINGS[pedestrians.DRAWING_VERSION]


def test_the_data_folder_is_named_by_the_drawing_version(tmp_path, monkeypatch):
    monkeypatch.setattr(pedestrians, "write_dataset", lambda folder, *args, **more: folder.mkdir())
    preset = load_preset("smoke")
    folders = [data_folder(preset, tmp_path)]
    monkeypatch.setattr(pedestrians, "DRAWING_VERSION", "next")
    folders.append(data_folder(preset, tmp_path))
    data = preset.data
    expected = [f"embedded-{data.persons}-{data.seed}-v{v}" for v in (list(DRAWINGS)[-1], "next")]
    assert [folder.name for folder in folders] == expected


@pytest.mark.parametrize("module", [people, rendering, writing], ids=lambda module: module.__name__)
def test_the_examples_in_the_docstrings_hold(module):
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


def test_a_shorter_set_is_a_prefix_of_a_longer_one():
    pd.testing.assert_frame_equal(draw_persons(30, seed=3), draw_persons(60, seed=3).head(30))


def test_a_person_drawn_alone_equals_the_same_person_in_a_set():
    table = draw_persons(60, seed=3)
    for pid in table.pid:
        assert people.draw_person(3, pid) == table.iloc[pid - 1].to_dict()


def test_another_seed_draws_other_persons():
    one, other = (draw_persons(20, seed)[list(ATTRIBUTES)] for seed in (0, 1))
    assert not (one == other).all(axis=1).any()


def test_near_twins_differ_in_exactly_one_attribute():
    table = draw_persons(200, seed=0).set_index("pid")
    twins = table[table.twin_of > 0]
    assert 40 <= len(twins) <= 80
    for pid, twin in twins.iterrows():
        assert twin.twin_of < pid
        original = table.loc[twin.twin_of]
        assert [a for a in ATTRIBUTES if twin[a] != original[a]] == [twin.twin_attribute]


def test_lower_clothing_is_mostly_dark_and_every_choice_occurs():
    table = draw_persons(1000, seed=0)
    dark = table.lower_colour.map(lambda c: people.rgb(c).mean() < 0.3)
    assert 0.6 < dark.mean() < 0.95
    assert (table[table.figure == "man"].lower != "skirt").all()
    for name, values in people.CHOICES.items():
        assert set(table[name]) == set(values)


def test_images_have_the_layout_of_two_cameras_and_eight_orientations():
    images = render_person(_person(), seed=0)
    assert images.shape == (2, 8, 128, 48, 3)
    assert images.dtype == np.uint8


def test_images_depend_on_seed_person_and_attributes_alone():
    row = draw_persons(3, seed=0).iloc[2]
    images = render_person(row, seed=0)
    np.random.default_rng(9).random(100)
    np.testing.assert_array_equal(images, render_person(row.to_dict(), seed=0))
    assert _difference(images, render_person(row, seed=1)) > 5
    assert _difference(images, render_person(row.to_dict() | {"top_colour": "#d9b23c"}, seed=0)) > 2


def test_all_views_of_a_person_differ():
    flat = render_person(_person(), seed=0).reshape(16, -1)
    assert len(np.unique(flat, axis=0)) == 16


def _patch(images: np.ndarray, orientation: int) -> np.ndarray:
    """Mean colour of the chest in both cameras, (2, 3)."""
    return images[:, orientation, 35:55, 19:29].mean((1, 2))


@pytest.mark.parametrize(
    "worn",
    [
        {"top": "tee", "top_pattern": "print", "top_colour": "#17171a", "top_second": "#f0f0ee"},
        {"top": "jacket", "front": "open", "top_colour": "#17171a", "shirt_colour": "#f0f0ee",
         "shirt_pattern": "plain"},
    ],
    ids=["print", "open jacket"],
)  # fmt: skip
def test_a_print_and_an_open_jacket_show_from_the_front_only(worn):
    def difference(**attributes):  # over several images: light and arms come and go
        person = _person(pattern_size=1.0, **attributes)
        images = [render_person(person, seed) for seed in range(6)]
        return np.mean([_patch(i, FRONT) - _patch(i, BACK) for i in images], axis=0)

    assert difference(**worn).min() > 25
    assert np.abs(difference(top="tee", top_colour="#17171a")).max() < 25


@pytest.mark.parametrize("bag", ["shoulder", "crossbody", "carried"])
def test_a_bag_on_the_left_shows_to_the_camera_on_the_left(bag):
    def red(images):  # walking to the left of the image, a person shows their left side
        pixels = images.astype(float)
        return (pixels[..., 0] - pixels[..., 1:].mean(-1)).clip(40, 400).mean((2, 3)).sum(0)

    worn = {"bag": bag, "bag_colour": "#e02020", "lower_colour": "#20283d", "skin": "#6b6b6b"}
    left, right = (red(render_person(_person(bag_side=s, **worn), 0)) for s in ("left", "right"))
    assert left[LEFTWARD] > right[LEFTWARD] + 1
    assert right[RIGHTWARD] > left[RIGHTWARD] + 1


def test_a_backpack_shows_from_behind():
    without, worn = (
        render_person(_person(bag=b), 0)[:, BACK].astype(int) for b in ("none", "backpack")
    )
    changed = np.abs(without - worn)[:, 35:60, 16:32].max(-1) > 30
    assert changed.mean() > 0.3


def test_the_cameras_differ_in_colour_and_contrast_like_the_real_ones():
    table = draw_persons(6, seed=11)
    images = np.stack([render_person(row, 11) for _, row in table.iterrows()]).astype(float)
    colour = images.mean((0, 2, 3, 4))
    # Measured on the photographs: camera 1 (103, 97, 97), camera 2 (137, 130, 147).
    assert ((colour[1] - colour[0] > (17, 17, 25)) & (colour[1] - colour[0] < (68, 66, 100))).all()
    assert colour[1, 2] > colour[1, 1]
    # The spread of an image's pixels: 64 and 59.
    contrast = images.std((3, 4)).mean((0, 2, 3))
    assert 0.8 < contrast[0] / contrast[1] < 1.5
    assert ((contrast > 40) & (contrast < 90)).all()


def test_files_are_png_images_named_by_person_camera_and_orientation(dataset):
    names = sorted(path.name for path in dataset.iterdir())
    expected = [f"{p:03d}_{c}_{o}.png" for p in (1, 2) for c in (1, 2) for o in range(1, 9)]
    assert names == expected
    assert all(re.fullmatch(r"\d+_[12]_[1-8]\.png", name) for name in names)
    with Image.open(dataset / "002_2_7.png") as image:
        assert (image.format, image.size, image.mode) == ("PNG", (48, 128), "RGB")
        row = draw_persons(2, seed=5).iloc[1]
        np.testing.assert_array_equal(np.asarray(image), render_person(row, 5)[1, 6])


def test_the_table_beside_the_folder_holds_the_attributes(dataset):
    table = pd.read_csv(dataset.with_name("two.persons.csv"))
    pd.testing.assert_frame_equal(table, draw_persons(2, seed=5))
    np.testing.assert_array_equal(
        render_person(table.iloc[0], 5), render_person(draw_persons(1, 5).iloc[0], 5)
    )
    assert sorted(p.name for p in dataset.parent.iterdir()) == ["two", "two.persons.csv"]


def test_the_same_seed_gives_the_same_bytes_in_other_processes(dataset, tmp_path):
    write_dataset(tmp_path / "pool", persons=2, seed=5, workers=2)
    script = (
        "import sys; from pathlib import Path; from reid_lib.pedestrians import write_dataset;"
        "write_dataset(Path(sys.argv[1]), 2, 5)"
    )
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "3")
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "alone")],
        check=True,
        timeout=120,
        env=os.environ | threads,
    )
    expected = _digest(dataset)
    assert _digest(tmp_path / "pool") == expected
    assert _digest(tmp_path / "alone") == expected


@pytest.mark.parametrize("persons", [0, -3, 100_001])
def test_a_number_of_persons_out_of_range_raises_and_writes_nothing(tmp_path, persons):
    with pytest.raises(ValueError, match=f"persons is {persons}"):
        write_dataset(tmp_path / "sub" / "set", persons, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_a_seed_or_workers_out_of_range_raises_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="seed is -1"):
        write_dataset(tmp_path / "set", 1, seed=-1)
    with pytest.raises(ValueError, match="workers is 0"):
        write_dataset(tmp_path / "set", 1, seed=0, workers=0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_raises_and_stays_untouched(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("keep")
    (tmp_path / "file").write_text("keep")
    for name in ("set", "file"):
        with pytest.raises(FileExistsError, match=name):
            write_dataset(tmp_path / name, 1, seed=0)
    (tmp_path / "new.persons.csv").mkdir()
    with pytest.raises(FileExistsError, match="is a folder"):
        write_dataset(tmp_path / "new", 1, seed=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "new.persons.csv", "set"]
    assert [p.name for p in (tmp_path / "set").iterdir()] == ["mine.txt"]


def test_missing_parents_are_created_and_an_empty_folder_is_filled(tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    write_dataset(folder, 1, seed=0)
    write_dataset(tmp_path / "c" / "d", 1, seed=0)
    assert len(list(folder.iterdir())) == len(list((tmp_path / "c" / "d").iterdir())) == 16


def test_a_failure_while_writing_leaves_no_files(tmp_path, monkeypatch):
    save, saved = Image.Image.save, []

    def full(image, target, *args, **kwargs):
        if isinstance(target, Path):
            saved.append(target)
            if len(saved) > 5:
                raise OSError(28, "No space left on device")
        return save(image, target, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write_dataset(tmp_path / "set", 1, seed=0)
    assert len(saved) == 6
    assert list(tmp_path.iterdir()) == []


def test_a_disk_too_small_raises_before_anything_is_drawn(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(writing.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="MB needed"):
        write_dataset(tmp_path / "set", 1, seed=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top": "toga"}, "top is 'toga', expected one of tee"),
        ({"skin": "pink"}, "skin is 'pink', expected a colour"),
        ({"height": -1}, "height is -1, expected 1.45"),
        ({"build": "broad"}, "build is 'broad'"),
        ({"bag": None}, "bag is None"),
    ],
)
def test_errors_name_a_missing_attribute_or_an_unknown_value(change, message):
    with pytest.raises(ValueError, match=message):
        render_person(_person(**change), seed=0)
    row = _person()
    del row["shoes"]
    with pytest.raises(ValueError, match="no attribute 'shoes'"):
        render_person(row, seed=0)
