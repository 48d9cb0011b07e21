"""A short run of `make fuzz`, what it found before, and that it notices each kind of fault."""

import io
import random
import zipfile

import fuzz
import numpy as np
import pytest
from PIL import Image

from reid_lib.config import load_preset
from reid_lib.dataset import decode
from reid_lib.retrieval.encode import read_codes_file

PRESET = b"data: null\ntitle: a\nrows: [{row: a, setting: set1}]\n"
MANY = next(text for text in fuzz.YAML if b"&a8" in text)  # 9 ** 8 numbers in 300 bytes
FOUND = [  # what once ended otherwise than in a ValueError by name
    ("images", b"BM" + b"\0" * 12 + b"(\0\0\0" + b"\xff\xff\0\0" * 2 + b"\1\0\x18" + b"\0" * 25),
    ("images", b"BLP2" + b"\0" * 200),
    ("tables", b"path,pid,camid\n" + b"a" * 5000 + b".png,1,1\n"),
    ("tables", b"a" * 150_000),
    ("folders", [("", "1_1_1.png", "folder", b"")]),
    ("folders", [("", "list_query.txt", "list", b"\x89")]),
    ("presets", PRESET + b"\x80"),
    ("presets", PRESET.replace(b"[{row: a, setting: set1}]", b"1.5")),
    ("presets", PRESET.replace(b"set1", b"{1: 2}")),
    ("presets", PRESET.replace(b"null", b"a" * 5000)),
    ("presets", PRESET.replace(b"null", b"a.csv")),
    ("presets", PRESET.replace(b"title: a", b"title: 2001-99-99")),
    ("presets", PRESET + b"more: " + b"[" * 500),
    ("presets", PRESET.replace(b"title: a", MANY)),
]


@pytest.mark.parametrize("number", range(len(FOUND)))
def test_what_was_found_stays_mended(number):
    fuzz.holds(*FOUND[number])


def test_a_file_of_codes_whose_parts_do_not_fit_is_refused_by_name(tmp_path):
    file = tmp_path / "codes.npz"
    about = {"folder": "a", "weights": "b", "weights_sha256": "c"}
    good, names = np.ones((2, 4), np.float32), np.array(["a", "b"])
    np.savez(file, names=names, codes=good, **about)
    assert read_codes_file(file)["codes"].tolist() == good.tolist()
    for codes in (good[:1], good[0], good.astype(float), good > 0, b"no array"):
        np.savez(file, names=names, codes=codes, **about)
        with pytest.raises(ValueError, match=r"codes\.npz holds names .U1 \(2,\) and codes"):
            read_codes_file(file)


def test_a_message_stays_short_however_often_yaml_repeats_a_part(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_bytes(PRESET.replace(b"title: a\n", MANY))
    with pytest.raises(ValueError, match="title: Input should be a valid string") as error:
        load_preset(str(file))
    assert len(str(error.value)) < 2000


def test_a_format_for_which_pillow_starts_a_program_stays_closed(monkeypatch):
    picture = io.BytesIO()
    Image.new("L", (9, 9)).save(picture, "EPS")
    monkeypatch.setattr("subprocess.check_call", lambda *words, **options: pytest.fail(str(words)))
    with pytest.raises(ValueError, match="not an image"):
        decode(picture.getvalue())


@pytest.mark.parametrize("reader", fuzz.READERS)
def test_changed_and_random_files_are_read_or_refused_by_name(reader):
    inputs, read, failures = fuzz.fuzz(reader, seconds=60, most=25)
    assert not failures, "\n".join(failures.values())
    assert inputs >= 25 and 0 < read < inputs


def crashes(folder, data):
    yield folder / "a.csv"
    raise TypeError(len(data))


def names_nothing(folder, data):
    yield folder / "a.csv"
    raise ValueError("wrong")


def says_what_cannot_be_printed(folder, data):
    yield folder / "a.csv"
    raise ValueError("a.csv: \udcff")


def writes(folder, data):
    yield folder / "a.csv"
    (folder / "left").touch()


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
@pytest.mark.parametrize("reader", [crashes, names_nothing, says_what_cannot_be_printed, writes])
def test_each_kind_of_fault_is_a_failure(monkeypatch, reader):
    monkeypatch.setitem(fuzz.READERS, "tables", (reader, fuzz.READERS["tables"][1]))
    assert len(fuzz.fuzz("tables", seconds=60, most=1).failures) == 1


def test_a_change_leaves_check_sums_that_fit():
    rng = random.Random(0)
    data, _ = fuzz.codes_seeds()
    for _ in range(20):
        with zipfile.ZipFile(io.BytesIO(fuzz.changed_zip(data, data, rng))) as archive:
            assert archive.testzip() is None
