"""A run: equal seeds give equal numbers, each option acts, bad input is refused."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import write_images
from safetensors.torch import load_file

from reid_lib import augment, losses, training
from reid_lib.config import RunConfig, load_preset
from reid_lib.dataset import load_pixels, read_pku, split_persons
from reid_lib.engine.prepare import data_folder, resolve, train_missing
from reid_lib.engine.runs import FILES, read_run
from reid_lib.engine.scores import score
from reid_lib.metrics import evaluate_cameras, evaluate_distances, rerank
from reid_lib.model import ReIDNet, encode, load_weights
from reid_lib.study.table1 import table1, table_texts
from reid_lib.training import fit


def opened(preset_file):
    preset = load_preset(str(preset_file))
    index = read_pku(preset.data)
    return preset, index, load_pixels(index)


@pytest.fixture
def tiny(preset_file, small):
    return opened(preset_file)


@pytest.fixture
def tiny_resnet(preset_file):
    """As `tiny`, with a real ResNet-18."""
    return opened(preset_file)


@pytest.fixture(scope="module")
def usual():
    """Filled by the first test that needs it, for the others."""
    return []


def trained(tiny, folder, row="set3", **changes):
    preset, index, pixels = tiny
    config, _ = resolve(preset, row, 0, index)
    config = RunConfig.model_validate({**config.model_dump(), **changes})
    return fit(config, index, pixels, folder, progress="none")


def test_one_seed_gives_the_same_history_weights_and_scores(tiny, tmp_path):
    torch.manual_seed(1)
    one = trained(tiny, tmp_path / "one")
    torch.manual_seed(2)  # global state must not matter
    two = trained(tiny, tmp_path / "two")
    other = trained(tiny, tmp_path / "other", seed=1)
    seconds = ["seconds"]
    pd.testing.assert_frame_equal(
        one.history.drop(columns=seconds), two.history.drop(columns=seconds)
    )
    assert np.array_equal(one.codes["codes"], two.codes["codes"])
    assert one.metrics == two.metrics
    assert one.history.loss.tolist() != other.history.loss.tolist()


def test_scores_are_those_of_the_saved_codes(tiny, tmp_path):
    run = trained(tiny, tmp_path / "run")
    part = run.codes
    results = evaluate_cameras(part["codes"], part["pids"], part["camids"])
    for direction, result in results.items():
        assert run.metrics["test"][direction] == pytest.approx(result.scores())
    assert len(run.queries) == 48
    assert run.queries[run.queries.direction == "A->B"].AP.mean() == pytest.approx(
        run.metrics["test"]["A->B"]["mAP"]
    )
    assert set(run.queries.name) == set(part["names"])


def test_only_training_persons_are_trained_on(tiny, tmp_path):
    _, index, _ = tiny
    _, test = split_persons(index, 0)
    run = trained(tiny, tmp_path / "run")
    assert set(run.codes["pids"]) == set(test.pid)
    assert run.manifest["persons"] == {"train": 3, "test": 3}


def test_training_on_easy_persons_learns_them(tiny_resnet, tmp_path):
    run = trained(tiny_resnet, tmp_path / "run", "set3", epochs=8)
    assert run.history.loss.iloc[-1] < run.history.loss.iloc[0]
    assert run.metrics["train"]["both"]["mAP"] > 0.9


@pytest.mark.parametrize("row, terms", [("htri", {"tri"}), ("set3", {"sr", "cl", "sl"})])
def test_the_history_holds_each_term_its_gradient_norm_and_the_code_norm(
    tiny, tmp_path, row, terms
):
    history = trained(tiny, tmp_path / "run", row).history
    for term in terms:
        assert (history[f"l_{term}"] >= 0).all()
        assert (history[f"grad_{term}"] >= 0).all()
    assert (history.code_norm > 0).all()
    assert history.lr.tolist() == [2e-4, 2e-4]
    assert history["test_rank-1"].notna().tolist() == [False, True]
    if row == "set3":
        total = history.l_sr + 5e-5 * history.l_cl - 1e-6 * history.l_sl  # Eq. 4
        assert history.loss.to_numpy() == pytest.approx(total.to_numpy(), rel=1e-4)


@pytest.mark.parametrize(
    "option",
    [
        {"centres": "batch"},
        {"centres": "batch", "centres_gradient": True},
        {"centres": "all"},
        {"persons_in_sums": "batch"},
        {"memory_start": "empty"},
        {"memory_update": "after"},
        {"memory_update": "epoch"},
        {"memory_start": "empty", "memory_update": "after"},
        {"sr_reduction": "sum"},
        {"crop": "enlarge"},
        {"crop": "none", "flip": False},
        {"schedule": "cosine"},
        {"batches": "pk"},
        {"beta": 1e-3},
        {"gamma": 1e-8},
        {"scatter": "log"},
        {"scatter": "unit"},
        {"neck": "batchnorm"},
        {"label_smoothing": 0.1},
        {"validation": True},
    ],
    ids=str,
)
def test_each_open_choice_is_an_option_that_changes_the_run(tiny, tmp_path, usual, small, option):
    base = {"epochs": 2, "beta": 0.01, "gamma": 0.001}
    if not usual:  # one run for all options
        usual.append(trained(tiny, tmp_path / "usual", **base).codes["codes"])
    sums = {"persons_in_sums": "batch"} if option.get("centres") == "batch" else {}
    run = trained(tiny, tmp_path / "option", **{**base, **sums, **option})
    assert np.isfinite(run.codes["codes"]).all()
    assert not np.array_equal(run.codes["codes"], usual[0])


@pytest.mark.parametrize("option", [{"triplet_distance": "squared"}, {"triplet_normalise": True}])
def test_each_open_choice_of_the_triplet_loss_changes_the_run(tiny, tmp_path, option):
    usual = trained(tiny, tmp_path / "usual", "htri")
    run = trained(tiny, tmp_path / "option", "htri", **option)
    assert not np.array_equal(run.codes["codes"], usual.codes["codes"])


def test_a_finished_run_is_returned_and_one_of_another_config_is_refused(tiny, tmp_path):
    first = trained(tiny, tmp_path / "run")
    written = (tmp_path / "run" / "manifest.json").stat().st_mtime_ns
    again = trained(tiny, tmp_path / "run")
    assert again.metrics == first.metrics
    assert (tmp_path / "run" / "manifest.json").stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="seed is 0, expected 1"):
        trained(tiny, tmp_path / "run", seed=1)


def from_step(step, function, replacement):
    """`function`, and from its call number `step` on `replacement`."""
    calls = iter(range(step))
    return lambda *given: (function if next(calls, None) is not None else replacement)(*given)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_epoch_term_and_last_good_numbers(
    tiny, tmp_path, monkeypatch
):
    bad = from_step(8, losses.compact_loss, lambda codes, *_: codes.sum() * torch.nan)
    monkeypatch.setattr(training, "compact_loss", bad)
    run = trained(tiny, tmp_path / "run", epochs=5)
    assert run.failed.startswith(
        "set3: l_cl is nan in epoch 2, step 3 of 6; the last valid epoch: "
    )
    assert f"loss {run.history.loss[0]:.4g}" in run.failed
    assert run.history.epoch.tolist() == [1]
    assert run.manifest["failed"] == run.failed
    assert {path.name for path in run.folder.iterdir()} == {*FILES, ".lock"}
    again = trained(tiny, tmp_path / "run", epochs=5)  # it would fail again, so it is not repeated
    assert again.failed == run.failed


def test_codes_that_diverge_stop_the_run(tiny, tmp_path):
    run = trained(tiny, tmp_path / "run", gamma=10.0, lr=0.01, epochs=9, code_norm_limit=2)
    assert "code_norm is " in run.failed
    assert "code_norm_limit = 2 times its initial value of " in run.failed
    assert len(run.history) < 9
    assert (run.history.code_norm < 2 * run.history.code_norm[0]).all()


def test_a_failed_run_stops_neither_the_others_nor_the_table(
    preset_file, tmp_path, monkeypatch, small
):
    nan = from_step(0, None, lambda codes, *_: codes.sum() * torch.nan)
    monkeypatch.setattr(training, "scatter_loss", nan)
    preset = load_preset(str(preset_file))
    runs = train_missing(preset, tmp_path, tmp_path / "results", "none")
    assert [bool(run.failed) for run in runs] == [False, True]
    table = table1(runs)
    assert table.loc["set3", "measured"].isna().all()
    text = table_texts(table, "note", runs)
    assert "| set3 | failed | failed | failed | failed | failed |" in text["md"]
    assert text["html"].count("failed") == text["tex"].count("failed") == 5


def test_a_reranked_column_exists_only_with_the_option(tiny, tmp_path):
    usual, run = (trained(tiny, tmp_path / str(on), rerank=on) for on in (False, True))
    assert "reranked" not in usual.metrics
    assert run.metrics["test"] == usual.metrics["test"]  # it changes nothing else
    part = run.codes
    a = part["camids"] == 1
    distances = rerank(part["codes"][a], part["codes"][~a])
    ids = part["pids"][a], part["pids"][~a], part["camids"][a], part["camids"][~a]
    assert run.metrics["reranked"]["A->B"] == evaluate_distances(distances, *ids).scores()
    assert "re-ranked" not in table1([usual])
    assert table1([run])["re-ranked"].columns.tolist() == ["rank-1", "mAP"]
    assert "paper" not in table1([run])["re-ranked"]
    assert "re-ranked mAP" in table_texts(table1([run]), "note", [run])["md"]


def test_pixels_above_the_budget_are_trained_on_from_the_disk(tiny, tmp_path, monkeypatch):
    _, index, pixels = tiny
    mapped = load_pixels(index, budget=pixels.nbytes - 1)
    assert torch.equal(mapped, pixels)
    whole = trained(tiny, tmp_path / "whole")
    monkeypatch.setattr(training, "PIXEL_BUDGET", pixels.nbytes - 1)
    run = trained((tiny[0], index, mapped), tmp_path / "run")
    assert np.array_equal(run.codes["codes"], whole.codes["codes"])


def test_codes_in_bf16_are_near_those_in_fp32_and_their_scores_too(tiny_resnet, tmp_path):
    _, index, pixels = tiny_resnet
    run = trained(tiny_resnet, tmp_path / "run", epochs=6)
    nets = [ReIDNet("resnet18", persons=3, precision=kind) for kind in ("fp32", "bf16")]
    for net in nets:
        load_weights(net, run.folder / "weights.safetensors")
        net.train()
    rows = torch.arange(16, 80)  # four whole persons
    # Some processors compute bf16 wrongly for images as small as these.
    pixels = torch.nn.functional.interpolate(pixels, (128, 64))
    exact, short = (encode(net, pixels, rows) for net in nets)
    assert all(net.training for net in nets)
    plain = nets[0].eval().backbone(augment.normalise(pixels[rows])).detach()
    assert torch.allclose(exact, plain, rtol=1e-3, atol=1e-4)
    away = (short - exact).norm() / exact.norm()
    assert 1e-6 < away < 0.03
    scores = [score(codes, index.iloc[16:80])["both"]["mAP"] for codes in (exact, short)]
    assert scores[0] == pytest.approx(scores[1], abs=0.02)


def test_too_few_images_or_persons_for_a_batch_are_refused_before_training(tiny):
    preset, index, _ = tiny
    rows = tuple(row.model_copy(update={"batch_size": 64}) for row in preset.rows)
    larger = preset.model_copy(update={"rows": rows})
    with pytest.raises(ValueError, match="row set3: batch_size is 64, but the 3 training persons"):
        resolve(larger, "set3", 0, index)
    rows = tuple(row.model_copy(update={"batch_size": 16}) for row in preset.rows)
    with pytest.raises(ValueError, match=r"row htri: a batch holds 4 persons .* only 3 of 3"):
        resolve(preset.model_copy(update={"rows": rows}), "htri", 0, index)
    with pytest.raises(ValueError, match="only camera 1; scores need two"):
        resolve(preset, "set3", 0, index[index.camid == 1])


def test_missing_imagenet_weights_are_an_error_and_never_replaced_by_random_ones(tiny, tmp_path):
    preset, index, _ = tiny
    rows = tuple(row.model_copy(update={"start": "imagenet"}) for row in preset.rows)
    wanting = preset.model_copy(update={"rows": rows, "weights": tmp_path / "none.pth"})
    with pytest.raises(
        ValueError, match=r"no ImageNet weights for resnet18: looked for .*none\.pth"
    ):
        resolve(wanting, "set3", 0, index)


def test_a_start_from_a_file_begins_with_its_weights(tiny, tmp_path):
    first = trained(tiny, tmp_path / "first", "set3")
    preset, index, pixels = tiny
    file = first.folder / "weights.safetensors"
    rows = tuple(r.model_copy(update={"start": "file", "lr": 1e-12}) for r in preset.rows)
    again = preset.model_copy(update={"rows": rows, "weights": file})
    config, weights = resolve(again, "set3", 0, index)
    assert config.weights_sha256
    run = fit(config, index, pixels, tmp_path / "second", weights, "none")
    random = ReIDNet("resnet18", persons=3).state_dict()["backbone.0.weight"]
    one, two = (
        load_file(r.folder / "weights.safetensors")["backbone.0.weight"] for r in (first, run)
    )
    assert torch.allclose(one, two, atol=1e-6) and not torch.allclose(one, random, atol=1e-4)
    assert run.metrics["train"]["both"]["mAP"] == pytest.approx(
        first.metrics["train"]["both"]["mAP"], abs=0.1
    )


def test_missing_runs_are_named_and_trained_and_then_left_alone(
    preset_file, tmp_path, capsys, small
):
    preset = load_preset(str(preset_file))
    runs = train_missing(preset, tmp_path, tmp_path / "results", "lines")
    assert [run.config.row for run in runs] == ["htri", "set3"]
    said = capsys.readouterr().out
    assert "not trained yet, so training now: htri (split 0), set3 (split 0)" in said
    assert "; the preset's 2 runs, if each took as long, " in said  # rows differ in length
    train_missing(preset, tmp_path, tmp_path / "results", "lines")
    assert capsys.readouterr().out == ""


def test_a_run_of_other_values_is_not_reused_for_a_table(preset_file, tmp_path, small):
    train_missing(load_preset(str(preset_file)), tmp_path, tmp_path / "results", "none")
    preset_file.write_text(preset_file.read_text().replace("epochs: 2", "epochs: 1"))
    with pytest.raises(ValueError, match="has another configuration than preset tiny"):
        train_missing(load_preset(str(preset_file)), tmp_path, tmp_path / "results", "none")


def test_the_embedded_data_are_drawn_once(tmp_path, monkeypatch):
    from reid_lib import pedestrians

    drawn = []

    def draw(folder, persons, seed, progress, workers):
        drawn.append((persons, seed))
        write_images(folder, persons)

    monkeypatch.setattr(pedestrians, "write_dataset", draw)
    preset = load_preset("smoke")
    for _ in range(2):
        folder = data_folder(preset, tmp_path)
    assert drawn == [(16, 0)]
    assert len(read_pku(folder)) == 256
    with pytest.raises(ValueError, match=r"preset pku needs the folder.*DATA"):
        data_folder(load_preset("pku"), tmp_path)


def test_the_config_of_a_run_says_what_decided_it(tiny, tmp_path):
    run = trained(tiny, tmp_path / "run")
    config = json.loads((run.folder / "config.json").read_text())
    assert len(config["data_sha256"]) == 64
    assert config["precision"] == "fp32"
    assert run.manifest["config_digest"] == read_run(run.folder).config.digest()
    assert run.manifest["versions"]["torch"] == torch.__version__.partition("+")[0]
