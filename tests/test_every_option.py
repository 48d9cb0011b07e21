"""Every option of a run's configuration does something: a new one without a test fails here."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY, interrupted
from safetensors.torch import load_file

from reid_lib import training
from reid_lib.config import SETTINGS, TERMS, RunConfig, load_preset
from reid_lib.dataset import load_pixels, read_pku
from reid_lib.engine import scores
from reid_lib.engine.prepare import resolve, train_missing
from reid_lib.model import ReIDNet, encode
from reid_lib.training import fit, prepare_data, start, train_epoch, train_step

LARGE = {"beta": 0.1, "gamma": 0.01}  # so that each term of set3 matters on short codes
BATCH = LARGE | {"centres": "batch", "persons_in_sums": "batch"}
SET1 = {"setting": "set1", "beta": 0.0, "gamma": 0.0}
HTRI = {"setting": "htri", "batches": "pk", "beta": 0.0, "gamma": 0.0}
RIVAL = HTRI | {"triplet_distance": "squared", "margin": 1.0}
QUADRUPLET = RIVAL | {"setting": "quadruplet", "second_margin": 0.5}
IMPROVED = RIVAL | {"setting": "triplet_improved", "second_margin": 0.01, "second_weight": 0.002}
CIRCLE = HTRI | {"setting": "circle", "margin": 0.4, "scale": 80.0}

# option -> (what else is set, values that each give other codes)
CHANGES = {
    "setting": ({"beta": 0.0, "gamma": 0.0, "batches": "pk"}, ["set1", "htri", "xent_htri"]),
    "second_margin": (IMPROVED | {"second_weight": 1.0}, [0.01, 0.5]),
    "second_weight": (IMPROVED, [0.002, 1.0]),
    "adaptive_margin": (QUADRUPLET, [False, True]),
    "scale": (CIRCLE, [80.0, 8.0]),
    "stripes": ({}, [1, 2, 4, 8]),
    "neck": ({}, ["none", "batchnorm"]),
    "validation": ({}, [False, True]),
    "train_persons": ({}, [None, 4]),
    "split": ({}, [0, 1]),
    "seed": ({}, [0, 1]),
    "epoch": ({}, ["images", "persons"]),
    "batch_size": ({}, [8, 12]),
    "lr": ({}, [2e-4, 1e-3]),
    "schedule": ({"epochs": 3}, ["constant", "cosine", "step"]),
    "weight_decay": ({}, [5e-4, 0.0]),
    "beta": (LARGE, [0.1, 0.0]),
    "gamma": (LARGE, [0.01, 0.0]),
    "sr_reduction": (LARGE, ["mean", "sum"]),
    "label_smoothing": ({}, [0.0, 0.2]),
    "scatter": (LARGE, ["sum", "log", "unit"]),
    "centres": (LARGE | {"persons_in_sums": "batch"}, ["memory", "batch", "all"]),
    "centres_gradient": (BATCH, [False, True]),
    "persons_in_sums": (LARGE, ["all", "batch"]),
    "memory_start": (LARGE | {"persons_in_sums": "all"}, ["encoded", "empty"]),
    "memory_update": (LARGE, ["before", "after", "epoch"]),
    "margin": (HTRI, [0.0, 1.0]),
    "triplet_distance": (HTRI, ["euclidean", "squared"]),
    "triplet_normalise": (HTRI, [False, True]),
    "batches": ({}, ["random", "pk"]),
    "images_per_person": (SET1 | {"batches": "pk", "batch_size": 4}, [4, 2]),
    "flip": ({"crop": "none"}, [True, False]),
    "crop": ({"flip": False}, ["pad", "enlarge", "translate", "none"]),
    "crop_pad": ({}, [5, 0]),
    "crop_enlarge": ({"crop": "enlarge"}, [1.125, 1.25]),
}

# option -> the test that fails if it does nothing
ELSEWHERE = {
    "row": "test_resume::test_a_refused_checkpoint_is_kept_named_and_not_used",
    "backbone": "test_model::test_codes_and_logits_have_the_papers_shapes",
    "start": "test_training::test_a_start_from_a_file_begins_with_its_weights",
    "epochs": "test_options::"
    "test_the_step_schedule_divides_the_learning_rate_by_ten_after_half_of_the_epochs",
    "precision": "test_training::test_codes_in_bf16_are_near_those_in_fp32_and_their_scores_too",
    "rerank": "test_training::test_a_reranked_column_exists_only_with_the_option",
    "score_every": "test_options::"
    "test_every_tenth_epoch_is_scored_and_the_last_ten_of_these_are_averaged",
    "score_last": "test_options::"
    "test_every_tenth_epoch_is_scored_and_the_last_ten_of_these_are_averaged",
    "cuda_graph": "test_cuda_graph::test_without_the_option_no_graph_is_recorded",
    "code_norm_limit": "test_training::test_codes_that_diverge_stop_the_run",
    "data_sha256": "test_resume::test_a_refused_checkpoint_is_kept_named_and_not_used",
    "image_size": "test_every_option::test_images_are_trained_on_at_the_size_that_is_set",
    "deterministic": "test_every_option::test_deterministic_kernels_are_used_where_they_are_set",
    "weights_sha256": "test_every_option::test_a_run_from_other_weights_is_not_returned",
}


@pytest.fixture
def tiny(preset_file):
    preset = load_preset(str(preset_file))
    index = read_pku(preset.data)
    return preset, index, load_pixels(index)


def changed(tiny, **values):
    preset, index, _ = tiny
    config, _ = resolve(preset, "set3", 0, index)
    return RunConfig.model_validate({**config.model_dump(), **values})


def test_every_option_has_a_test():
    assert CHANGES.keys() | ELSEWHERE.keys() == RunConfig.model_fields.keys()
    assert not CHANGES.keys() & ELSEWHERE.keys()
    for place in ELSEWHERE.values():
        module, name = place.split("::")
        file = REPOSITORY / "tests" / f"{module}.py"
        assert f"def {name}(" in file.read_text("utf-8"), place


@pytest.mark.parametrize("option", CHANGES)
def test_each_value_of_an_option_leads_to_other_weights(option, tiny, small):
    base, values = CHANGES[option]
    courses = []
    for value in values:
        config = changed(tiny, **{"lr": 0.01, **base, option: value})
        data = prepare_data(config, *tiny[1:])
        state = start(config, data)
        for _ in range(2):
            train_epoch(config, state, data)
        courses.append(state.net.backbone[0].weight.detach())
    for a, b in itertools.combinations(courses, 2):
        assert not torch.allclose(a, b, rtol=1e-4, atol=1e-6)


RIVALS = [setting for setting in SETTINGS if "rel" in TERMS[setting]]


def test_each_loss_of_section_2_leads_to_other_weights(tiny, small):
    courses = {}
    wide = {"margin": 3.0}  # so that the stripes, which differ much here, violate it
    for setting in ("set1", "htri", "xent_htri", *RIVALS):
        more = wide if setting in ("aligned", "xent_htri") else {}
        config = rival(tiny, setting, lr=0.01, **more)
        data = prepare_data(config, *tiny[1:])
        state = start(config, data)
        for _ in range(2):
            train_epoch(config, state, data)
        courses[setting] = state.net.backbone[0].weight.detach()
    for (one, a), (two, b) in itertools.combinations(courses.items(), 2):
        assert not torch.allclose(a, b, rtol=1e-4, atol=1e-6), (one, two)


def rival(tiny, setting, **values):
    """The resolved config of a setting with what it implies."""
    taken = changed(tiny).model_dump()
    given = {name: taken[name] for name in ("batch_size", "epochs", "precision", "data_sha256")}
    return RunConfig(row="r", setting=setting, start="random", **given | {"batches": "pk"} | values)


@pytest.mark.parametrize("setting", ["arcface", "xent_htri_centre", "aligned", "circle"])
def test_what_a_loss_learns_resumes_too(setting, tiny, tmp_path, small):
    config = rival(tiny, setting, epochs=4)
    whole = fit(config, *tiny[1:], tmp_path / "whole", progress="none")
    with interrupted(15):  # in the third epoch
        fit(config, *tiny[1:], tmp_path / "run", progress="none")
    torch.rand(3)
    run = fit(config, *tiny[1:], tmp_path / "run", progress="none")
    assert run.manifest["resumes"] == 1
    ended = [load_file(r.folder / "weights.safetensors") for r in (run, whole)]
    learned = [name for name in ended[0] if name.startswith("learned.")]
    assert learned == {"arcface": ["learned.W"], "xent_htri_centre": ["learned.centres"]}.get(
        setting, []
    )
    for name, tensor in ended[0].items():
        assert torch.equal(tensor, ended[1][name]), name
    for name in learned:  # and it has moved
        at_first = start(config, prepare_data(config, *tiny[1:])).net.state_dict()[name]
        assert not torch.allclose(ended[0][name], at_first)
    lines = [r.history.drop(columns="seconds") for r in (run, whole)]
    assert lines[0].equals(lines[1])
    assert lines[0][["l_rel", "grad_rel"]].notna().all(axis=None)


def test_the_setting_aligned_ranks_by_the_global_code_alone(tiny, tmp_path, small):
    config = rival(tiny, "aligned", stripes=4)
    run = fit(config, *tiny[1:], tmp_path / "run", progress="none")
    data = prepare_data(config, *tiny[1:])
    net = start(config, data).net
    net.load_state_dict(load_file(run.folder / "weights.safetensors"))
    striped = encode(net, data.pixels, data.test_rows)
    assert striped.shape[1] == 4 * 6 and run.codes["codes"].shape[1] == 6
    wanted = striped.view(-1, 6, 4).mean(2)
    assert np.allclose(run.codes["codes"], wanted.numpy(), atol=1e-6)
    with pytest.raises(ValueError, match="requires stripes 2, 4 or 8, found 1"):
        rival(tiny, "aligned", stripes=1)


def test_images_are_trained_on_at_the_size_that_is_set(preset_file, tmp_path, small, monkeypatch):
    shapes = set()

    def recorded(config, state, images, *given):
        shapes.add(tuple(images.shape[2:]))
        return train_step(config, state, images, *given)

    monkeypatch.setattr(training, "train_step", recorded)
    text = preset_file.read_text().replace("recipe: {", "recipe: {image_size: [20, 16], ")
    preset_file.write_text(text)
    train_missing(load_preset(str(preset_file)), tmp_path, tmp_path / "results", "none")
    assert shapes == {(20, 16)}


@pytest.mark.parametrize("wanted", [False, True])
def test_deterministic_kernels_are_used_where_they_are_set(
    wanted, tiny, tmp_path, small, monkeypatch
):
    found = set()

    def recorded(*given):
        found.add(torch.are_deterministic_algorithms_enabled())
        return train_step(*given)

    monkeypatch.setattr(training, "train_step", recorded)
    before = torch.are_deterministic_algorithms_enabled()
    config = changed(tiny, deterministic=wanted)
    fit(config, *tiny[1:], tmp_path / "run", progress="none")
    assert found == {wanted or before}
    assert torch.are_deterministic_algorithms_enabled() == before


def test_a_run_from_other_weights_is_not_returned(tiny, tmp_path, small):
    fit(changed(tiny), *tiny[1:], tmp_path / "run", progress="none")
    other = changed(tiny, weights_sha256="1" * 64)
    with pytest.raises(ValueError, match="weights_sha256 is '', expected '1111"):
        fit(other, *tiny[1:], tmp_path / "run", progress="none")


def test_what_the_backbone_draws_at_random_resumes_too(tiny, tmp_path, small):
    config = changed(tiny, backbone="mobilenet_v2", epochs=4)  # with dropout
    whole = fit(config, *tiny[1:], tmp_path / "whole", progress="none")
    with interrupted(15):  # in the third epoch
        fit(config, *tiny[1:], tmp_path / "run", progress="none")
    torch.rand(3)
    run = fit(config, *tiny[1:], tmp_path / "run", progress="none")
    assert run.manifest["resumes"] == 1
    assert np.array_equal(run.codes["codes"], whole.codes["codes"])
    lines = [r.history.drop(columns="seconds") for r in (run, whole)]
    assert lines[0].equals(lines[1])


def test_dropout_draws_from_the_seed_alone(tiny, tmp_path, small):
    config = changed(tiny, backbone="mobilenet_v2")
    runs = []
    for name in "ab":
        torch.rand(3)
        runs.append(fit(config, *tiny[1:], tmp_path / name, progress="none"))
    assert np.array_equal(*(run.codes["codes"] for run in runs))


def test_epochs_are_scored_from_the_first_camera_to_the_second(monkeypatch):
    index = pd.DataFrame({"pid": [1, 2, 3, 1, 2, 3], "camid": [1, 1, 1, 2, 2, 2]})
    # From A to B each query finds its match first; from B to A only two of three do.
    angles = torch.tensor([0.0, 1.0, 2.0, 0.1, 1.1, 1.2])
    codes = torch.stack([angles.cos(), angles.sin()], 1)
    both = scores.score(codes, index)
    assert both["A->B"] != both["B->A"]
    monkeypatch.setattr(scores, "encode", lambda net, pixels, rows: codes[rows])
    rows = torch.arange(6)
    data = training.Data(None, None, rows, None, None, index)
    net = ReIDNet("squeezenet1_1", persons=2)
    found = scores.score_epoch(net, data)
    for prefix, protocol in scores.SCORED.items():
        expected = scores.score(codes, index, protocol)["A->B"]
        for name, value in expected.items():
            assert found[f"{prefix}_{name}"] == value
