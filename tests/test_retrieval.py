"""Encoding, ranking, scoring and exporting: what the commands do with a network and a folder."""

import dataclasses
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from reid_lib.cli import main
from reid_lib.model import ReIDNet, encode
from reid_lib.retrieval import encode as encoding
from reid_lib.retrieval.encode import encode_folder, list_images, read_codes_file
from reid_lib.retrieval.encoders import Encoder, open_encoder
from reid_lib.retrieval.export import export_onnx
from reid_lib.retrieval.rank import rank, write_page
from reid_lib.study.records import collect_records

ROWS = {  # networks that differ from the plain one, or whose loss learns something too
    "set3": "",
    "neck": "setting: set1, neck: batchnorm",
    "stripes": "setting: set2, stripes: 2",
    "aligned": "setting: aligned, stripes: 2",
    "arcface": "setting: arcface",
    "centre": "setting: xent_htri_centre",
    "timm": "setting: set3, backbone: timm/test_resnet",
}


@pytest.fixture
def run(tmp_path, preset_file, request):
    """The folder of a finished run, of set 3 or of the row of `ROWS` that a test names."""
    row = getattr(request, "param", "set3")
    pytest.importorskip("timm") if row == "timm" else request.getfixturevalue("small")
    with preset_file.open("a") as file:
        file.write(f"  - {{row: {row}, {ROWS[row]}}}\n" if ROWS[row] else "")
    assert main(["train", str(preset_file), "--row", row, "--root", str(tmp_path)]) == 0
    return tmp_path / "results/tiny" / row / "split-0"


def means(calls=None):
    """An encoder whose codes are the images' mean colours."""

    def codes(pixels):
        if calls is not None:
            calls.append(len(pixels))
        return pixels.float().mean((2, 3)).numpy()

    return Encoder("means", "0" * 64, (48, 24), codes)


def test_images_are_listed_sorted_at_any_depth(folder):
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "001_1_1.png").rename(folder / "deep" / "er" / "b.PNG")
    (folder / "notes.txt").write_text("no image")
    names = list_images(folder)
    assert names == sorted(names) and len(names) == 96 and "deep/er/b.PNG" in names


@pytest.mark.parametrize("where, words", [("missing", "is not a folder"), ("", "holds no image")])
def test_a_folder_without_images_is_refused(tmp_path, where, words, capsys):
    out = str(tmp_path / "codes.npz")
    asked = ["encode", str(tmp_path / where), "--out", out, "--weights", "none"]
    assert main(asked) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("codes*"))


@pytest.mark.parametrize("run", ROWS, indirect=True)
def test_codes_of_a_run_are_those_of_its_network(run, folder, tmp_path):
    out = tmp_path / "codes.npz"
    assert main(["encode", str(folder), "--out", str(out), "--weights", str(run)]) == 0
    content, stored = read_codes_file(out), dict(np.load(run / "codes.npz"))
    at = [content["names"].tolist().index(name) for name in stored["names"]]
    np.testing.assert_allclose(content["codes"][at], stored["codes"], rtol=1e-4, atol=1e-5)
    assert content["names"].tolist() == list_images(folder)
    assert open_encoder(run / "weights.safetensors").name == str(run)


def test_images_that_cannot_be_read_are_named_and_skipped(folder, tmp_path, run, capsys):
    whole = (folder / "001_1_1.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "line\nbreak.png").write_bytes(b"")
    out = tmp_path / "codes.npz"
    assert main(["encode", str(folder), "--out", str(out), "--weights", str(run)]) == 3
    said = capsys.readouterr().err
    assert "skipped 'cut.png'" in said and r"skipped 'line\nbreak.png'" in said
    assert len(read_codes_file(out)["names"]) == 96


@pytest.mark.parametrize("end, saved", [(MemoryError, 40), (KeyboardInterrupt, 50)])
def test_a_stopped_encoding_goes_on_from_what_was_saved(folder, tmp_path, monkeypatch, end, saved):
    """Every second batch is saved, and Ctrl-C saves what is finished."""
    monkeypatch.setattr(encoding, "BATCH", 10)
    monkeypatch.setattr(encoding, "SAVE_EVERY", 2)
    out, calls = tmp_path / "codes.npz", []

    def killed(pixels):
        if len(calls) == 5:
            raise end
        return means(calls).encode(pixels)

    with pytest.raises(end):
        encode_folder(folder, out, dataclasses.replace(means(), encode=killed))
    assert not out.exists() and out.with_name("codes.npz.partial").is_file()
    calls.clear()
    encode_folder(folder, out, means(calls))
    assert sum(calls) == 96 - saved
    assert not out.with_name("codes.npz.partial").exists()
    encode_folder(folder, tmp_path / "at_once.npz", means())
    one, two = read_codes_file(out), read_codes_file(tmp_path / "at_once.npz")
    assert (one["names"] == two["names"]).all() and (one["codes"] == two["codes"]).all()


def test_what_other_weights_encoded_is_encoded_again(folder, tmp_path):
    out, calls = tmp_path / "codes.npz", []
    encode_folder(folder, out, means())
    out.rename(out.with_name("codes.npz.partial"))
    encode_folder(folder, out, dataclasses.replace(means(calls), sha256="1" * 64))
    assert sum(calls) == 96


def test_an_image_ranks_first_for_itself_and_distances_rise(folder, tmp_path):
    out = tmp_path / "codes.npz"
    encode_folder(folder, out, means())
    queries = [folder / "003_1_2.png", folder / "005_2_8.png"]
    ranked = rank(queries, out, top=4, encoder=means())
    assert ranked.groupby("query", sort=False).name.first().tolist() == [q.name for q in queries]
    assert ranked["rank"].tolist() == [1, 2, 3, 4] * 2
    assert (ranked.groupby("query").distance.diff().dropna() >= 0).all()
    assert ranked.distance.iloc[0] == 0


def test_the_command_ranks_as_many_as_asked_and_writes_the_page(run, folder, tmp_path, capsys):
    out, page = tmp_path / "codes.npz", tmp_path / "page.html"
    assert main(["encode", str(folder), "--out", str(out), "--weights", str(run)]) == 0
    query = folder / "003_1_2.png"
    capsys.readouterr()
    asked = ["rank", str(query), "--gallery", str(out), "--top", "3", "--html", str(page)]
    assert main(asked) == 0
    _head, *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[0].split()[1:3] == ["1", query.name] and last == str(page)
    assert page.read_text("utf-8").count("<li") == 4  # the query and three


def test_codes_of_other_weights_are_not_compared(folder, tmp_path):
    out = tmp_path / "codes.npz"
    encode_folder(folder, out, means())
    other = dataclasses.replace(means(), name="other", sha256="1" * 64)
    with pytest.raises(
        ValueError, match="was encoded with means, but the queries would be encoded with other"
    ):
        rank([folder / "003_1_2.png"], out, encoder=other)


def test_the_page_shows_each_hit_and_escapes_names(folder, tmp_path):
    nasty = folder / "<img src=x onerror=alert(1)>.png"
    (folder / "001_1_1.png").rename(nasty)
    out = tmp_path / "codes.npz"
    encode_folder(folder, out, means())
    write_page(rank([nasty], out, top=5, encoder=means()), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "<img src=x" not in text and "&lt;img src=x" in text
    assert len(re.findall(r'<img src="data:image/jpeg;base64,', text)) == 6  # the query and five


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_a_damaged_file_of_codes_is_named(tmp_path, content, capsys):
    file, query = tmp_path / "codes.npz", tmp_path / "q.png"
    file.write_bytes(content)
    Image.new("RGB", (24, 48)).save(query)
    assert main(["rank", str(query), "--gallery", str(file)]) == 2
    assert str(file) in capsys.readouterr().err


def test_a_weights_file_without_its_backbone_is_refused(tmp_path):
    file = tmp_path / "mine.pth"
    torch.save({}, file)
    with pytest.raises(ValueError, match="the backbone cannot be inferred from the name of"):
        open_encoder(file)
    with pytest.raises(ValueError, match="expected a run folder"):
        open_encoder(tmp_path / "missing.pth")


def test_a_weights_file_under_torchvisions_name_is_read(tmp_path, small):
    net = ReIDNet("resnet18", persons=2, seed=3).eval()
    file = tmp_path / "resnet18-0123.pth"
    torch.save(net.backbone.state_dict(), file)
    pixels = torch.randint(256, (3, 3, 32, 16), dtype=torch.uint8)
    codes = open_encoder(file).encode(pixels)
    np.testing.assert_allclose(codes, encode(net, pixels).numpy(), rtol=1e-5)


@pytest.mark.parametrize("run", ["timm"], indirect=True)
def test_a_network_of_timm_trains_encodes_and_is_exported(run, folder, tmp_path):
    out, file = tmp_path / "codes.npz", tmp_path / "net.onnx"
    assert main(["encode", str(folder), "--out", str(out), "--weights", str(run)]) == 0
    assert read_codes_file(out)["codes"].shape == (96, 96)  # images, and channels of its last map
    (record,) = collect_records([run], tmp_path / "records")
    assert record.name.startswith("timm-test_resnet-random-set3-") and record.is_file()
    pytest.importorskip("onnxruntime")
    assert main(["export", str(run), "--out", str(file)]) == 0
    pixels = torch.randint(256, (3, 3, *open_encoder(run).size), dtype=torch.uint8)
    difference = open_encoder(run).encode(pixels) - open_encoder(file).encode(pixels)
    assert np.abs(difference).max() < 1e-4


def test_without_timm_one_sentence_says_what_to_install(tmp_path, preset_file, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "timm", None)
    with preset_file.open("a") as file:
        file.write("  - {row: timm, setting: set1, backbone: timm/test_resnet}\n")
    assert main(["train", str(preset_file), "--row", "timm", "--root", str(tmp_path)]) == 2
    assert "timm is not installed: pip install 'reid_lib[timm]'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("run", ["set3", "neck", "aligned"], indirect=True)
def test_the_onnx_file_gives_the_codes_of_the_run_for_any_number_of_images(run, folder, tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(ValueError, match=r"net\.pt; expected a name that ends in \.onnx"):
        export_onnx(run, tmp_path / "net.pt")
    file = tmp_path / "net.onnx"
    assert main(["export", str(run), "--out", str(file)]) == 0
    ours, theirs = open_encoder(run), open_encoder(file)
    for count in (1, 5):
        pixels = torch.randint(256, (count, 3, *ours.size), dtype=torch.uint8)
        difference = np.abs(ours.encode(pixels) - theirs.encode(pixels)).max()
        assert difference < 1e-4 and theirs.size == ours.size
    asked = ["encode", str(folder), "--out", str(tmp_path / "codes.npz"), "--weights", str(file)]
    assert main(asked) == 0
