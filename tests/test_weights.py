"""The weights that come with the package: used where none are named, small, and described."""

import json
import sys

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from PIL import Image
from safetensors.torch import load_file

from reid_lib.cli import main
from reid_lib.engine.files import sha256
from reid_lib.engine.runs import read_run
from reid_lib.model import ReIDNet, encode
from reid_lib.retrieval import encoders
from reid_lib.retrieval.encode import read_codes_file
from reid_lib.retrieval.encoders import DRAWN_FILE, open_encoder
from reid_lib.retrieval.evaluate import encode_data, evaluate_data, scores_text
from reid_lib.retrieval.export import TOLERANCE, export_half

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
import drawn

MEASURED = json.loads(drawn.SCORES.read_text("utf-8"))


def pixels(size=(48, 24), count=4):
    return torch.randint(256, (count, 3, *size), generator=torch.Generator().manual_seed(1)).byte()


# --- Used where none are named --------------------------------------------------------------------


def test_without_weights_a_folder_is_encoded_and_ranked_by_those_of_the_package(
    folder, tmp_path, monkeypatch, capsys
):
    out, query = tmp_path / "codes.npz", folder / "003_1_2.png"
    assert main(["encode", str(folder), "--out", str(out)]) == 0
    content = read_codes_file(out)
    assert str(content["weights"]) == "drawn" and content["codes"].shape == (96, 1280)
    assert str(content["weights_sha256"]) == sha256(DRAWN_FILE)
    by_name = open_encoder("drawn").encode(pixels())
    np.testing.assert_array_equal(by_name, open_encoder(DRAWN_FILE).encode(pixels()))
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["rank", str(query), "--gallery", "codes.npz", "--top", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[1:] == ["1", query.name, "0.000"]


def test_evaluate_takes_them_by_name(folder, capsys):
    assert main(["evaluate", "drawn", "--data", str(folder)]) == 0
    assert capsys.readouterr().out.strip() == scores_text(
        evaluate_data(encode_data(open_encoder(), folder))
    )


@pytest.mark.slow
def test_export_takes_them_by_name(tmp_path):
    pytest.importorskip("onnxruntime")
    file = tmp_path / "net.onnx"
    assert main(["export", "drawn", "--out", str(file)]) == 0
    ours, theirs = open_encoder(), open_encoder(file)
    given = pixels(ours.size)
    assert np.abs(ours.encode(given) - theirs.encode(given)).max() < 1e-4


def test_a_missing_file_is_named(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(encoders, "DRAWN_FILE", tmp_path / "gone.safetensors")
    asked = ["encode", str(folder), "--out", str(tmp_path / "codes.npz")]
    assert main(asked) == 2
    said = capsys.readouterr().err
    assert "weights drawn: " in said and str(tmp_path / "gone.safetensors") in said
    assert not list(tmp_path.glob("codes*"))


# --- Half precision -------------------------------------------------------------------------------


def test_a_file_in_half_precision_gives_the_codes_of_its_network(tmp_path):
    net = ReIDNet("mobilenet_v2", persons=2, seed=3)
    for _ in range(3):
        net.train()(torch.randn(8, 3, 64, 32))  # so that batch norm has statistics
    whole, half = tmp_path / "mobilenet_v2-whole.pth", tmp_path / "mobilenet_v2_half.safetensors"
    torch.save(net.backbone.state_dict(), whole)
    assert main(["export", str(whole), "--out", str(half)]) == 0
    wanted, found = encode(net, pixels()).numpy(), open_encoder(half).encode(pixels())
    difference = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    assert 0 < difference < TOLERANCE
    assert half.stat().st_size < 0.55 * whole.stat().st_size
    again = tmp_path / "again" / half.name
    export_half(whole, again)
    assert again.read_bytes() == half.read_bytes()


@pytest.mark.parametrize(
    "row, name",
    [
        ("neck: batchnorm", "resnet18_half"),
        ("stripes: 2", "resnet18_half"),
        ("image_size: [64, 32]", "resnet18_half"),
        ("flip: true", "half"),
    ],
)
def test_a_file_that_would_give_other_codes_is_not_written(
    row, name, small, preset_file, tmp_path, capsys
):
    with preset_file.open("a") as file:
        file.write(f"  - {{row: x, setting: set1, {row}}}\n")
    assert main(["train", str(preset_file), "--row", "x", "--root", str(tmp_path)]) == 0
    out = tmp_path / f"{name}.safetensors"
    assert main(["export", str(tmp_path / "results/tiny/x/split-0"), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "would give other codes" in said or "begins with it, such as" in said
    assert not out.exists()


# --- What ships -----------------------------------------------------------------------------------


def test_the_shipped_file_is_a_backbone_in_half_precision():
    state = load_file(DRAWN_FILE)
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert not [name for name in state if name.startswith("classifier")]
    assert DRAWN_FILE.stat().st_size < 4.8e6
    assert MEASURED["half_precision"] < TOLERANCE


def test_the_card_is_what_was_measured_of_the_shipped_file_and_of_weights_under_a_licence():
    assert MEASURED["sha256"] == sha256(DRAWN_FILE)
    assert MEASURED["config"]["weights_sha256"] == drawn.START
    text = drawn.CARD.read_text("utf-8")
    assert text == drawn.card(MEASURED)  # else: python benchmarks/drawn.py
    text = " ".join(text.split())
    for words in (MEASURED["sha256"], drawn.START, "MIT licence", "not for surveillance"):
        assert words in text
    for line in MEASURED["scores"]:
        assert f"| {line['weights']} | {100 * line['rank-1']:.1f} | " in text


def test_the_scores_of_the_card_are_those_of_evaluate(small, preset_file, tmp_path):
    rng = np.random.default_rng(0)
    for path in sorted((tmp_path / "images").iterdir()):  # no two images of a person are alike
        Image.fromarray(rng.integers(0, 256, (48, 24, 3), dtype=np.uint8)).save(path)
    start, shipped = tmp_path / "mobilenet_v2_start.pth", tmp_path / "mobilenet_v2_x.safetensors"
    torch.save(ReIDNet("mobilenet_v2", persons=2, seed=5).backbone.state_dict(), start)
    with preset_file.open("a") as file:
        file.write("  - {row: x, setting: set1, start: imagenet, backbone: mobilenet_v2}\n")
    given = ["--row", "x", "--weights", str(start), "--root", str(tmp_path)]
    assert main(["train", str(preset_file), *given]) == 0
    run, images = tmp_path / "results/tiny/x/split-0", tmp_path / "images"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders, "PAPER_SIZE", encoders.size_of(run))
        export_half(run, shipped)
        for module in (encoders, drawn):
            patch.setattr(module, "DRAWN_FILE", shipped)
        for name in ("SCORES", "CARD"):
            patch.setattr(drawn, name, tmp_path / name)
        asked = {"--run": run, "--images": images, "--imagenet": start}
        asked |= {"--pku": images, "--market": images}
        words = [str(word) for pair in asked.items() for word in pair]
        patch.setattr(sys, "argv", ["drawn.py", *words])
        with pytest.raises(ValueError, match="whose licence the card states"):
            drawn.main()
        patch.setattr(drawn, "START", sha256(start))
        drawn.main()
        whole = evaluate_data(encode_data(open_encoder("drawn"), images))["A->B"].scores()
        found = json.loads((tmp_path / "SCORES").read_text())
        assert (tmp_path / "CARD").read_text() == drawn.card(found)
    assert [line["weights"] for line in found["scores"]] == ["ImageNet", "drawn"] * 3
    own = found["scores"][1]
    test = read_run(run).metrics["test"]["A->B"]
    assert own["data"].startswith("3 other") and own["queries"] == 24
    assert own["mAP"] == pytest.approx(test["mAP"], abs=0.02) and own["mAP"] != whole["mAP"]
    assert all(found["scores"][-1][name] == value for name, value in whole.items())
    assert found["scores"][-2]["mAP"] != whole["mAP"]
