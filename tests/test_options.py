"""The options of the likely reading: each does what it says, and leaves old digests alone."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY
from torch.nn.functional import normalize
from torchvision.transforms import functional as TF

from reid_lib import augment, losses, metrics
from reid_lib.config import CONSTANTS, SETTINGS, TERMS, RunConfig, load_preset
from reid_lib.dataset import load_pixels, read_pku, split_persons
from reid_lib.engine.prepare import resolve
from reid_lib.metrics import Protocol, evaluate, rank_gallery
from reid_lib.model import find_weights
from reid_lib.study.records import collect_records
from reid_lib.training import fit

pytestmark = pytest.mark.usefixtures("small")


def trained(preset_file, folder, row="set3", **changes):
    preset = load_preset(str(preset_file))
    index = read_pku(preset.data)
    config, _ = resolve(preset, row, 0, index)
    config = RunConfig.model_validate({**config.model_dump(), **changes})
    return fit(config, index, load_pixels(index), folder, progress="none")


def config(**values):
    return RunConfig(**{"row": "r", "setting": "set1", **values})


def test_the_step_schedule_divides_the_learning_rate_by_ten_after_half_of_the_epochs(
    preset_file, tmp_path
):
    run = trained(preset_file, tmp_path / "run", epochs=5, schedule="step", lr=1e-3)
    assert run.history.lr.tolist() == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-4])


def test_translate_leaves_half_of_the_images_and_cuts_the_others_from_enlarged_ones():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (64, 3, 20, 12), generator=generator).byte()
    moved = augment.translate(images, 1.25, generator)
    same = torch.tensor([torch.equal(m, i) for m, i in zip(moved, images, strict=True)])
    assert 20 < same.sum() < 44
    larger = TF.resize(images, [25, 15], antialias=False)
    for image, large in zip(moved[~same], larger[~same], strict=True):
        windows = [TF.crop(large, y, x, 20, 12) for y in range(6) for x in range(4)]
        assert min((w.int() - image.int()).abs().max() for w in windows) <= 1  # rounding


def test_unit_codes_are_scored_as_codes_divided_by_their_norm():
    rng = np.random.default_rng(0)
    q, g = rng.normal(size=(20, 8)), rng.normal(size=(60, 8)) * rng.uniform(1, 9, (60, 1))
    ids = (np.arange(20) % 10, np.arange(60) % 10, np.zeros(20, int), np.ones(60, int))
    unit = evaluate(q, g, *ids, Protocol(codes="unit"))
    by_hand = evaluate(
        *(x / np.linalg.norm(x, axis=1, keepdims=True) for x in (q, g)), *ids, Protocol()
    )
    assert unit.scores() == pytest.approx(by_hand.scores())
    assert unit.scores() != pytest.approx(evaluate(q, g, *ids).scores())
    assert "L2 norm" in str(unit.protocol)
    ranked = rank_gallery(q[0], g, 0, ids[1], 0, ids[3], Protocol(codes="unit"))
    cosine = normalize(torch.from_numpy(g)) @ normalize(torch.from_numpy(q[:1])).T
    assert ranked.row.tolist() == cosine.flatten().argsort(descending=True).tolist()
    assert ranked.distance.to_numpy() ** 2 == pytest.approx(
        (2 - 2 * cosine.flatten().numpy())[ranked.row], abs=1e-6
    )


def test_unit_codes_rank_viewpoints_too():
    rng = np.random.default_rng(0)
    codes = rng.normal(size=(40, 8)) * rng.uniform(1, 9, (40, 1))
    sides = codes[:20], codes[20:]
    ids = [np.arange(20) // 2] * 2 + [np.zeros(20, int), np.ones(20, int)] + [np.arange(20) % 2] * 2
    unit = metrics.viewpoint_grid(*sides, *ids, Protocol(codes="unit"))
    scaled = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in sides]
    pd.testing.assert_frame_equal(unit, metrics.viewpoint_grid(*scaled, *ids))


def test_a_code_that_is_not_finite_is_refused_before_it_is_normalised():
    codes = np.ones((2, 3))
    codes[1, 1] = np.inf
    with pytest.raises(ValueError, match="1 of 2 codes are not finite"):
        evaluate(codes, codes, [1, 2], [1, 2], [0, 0], [1, 1], Protocol(codes="unit"))


@pytest.mark.parametrize("setting, terms", TERMS.items())
def test_the_loss_of_a_setting_is_the_sum_of_its_terms(preset_file, tmp_path, setting, terms):
    implied = dict.fromkeys(CONSTANTS) | SETTINGS[setting]
    run = trained(preset_file, tmp_path / "run", "htri", setting=setting, **implied)
    last = run.history.iloc[-1]
    assert {name.removeprefix("l_") for name in last.index if name.startswith("l_")} == set(terms)
    sign = {"sr": 1, "tri": 1, "rel": 1, "cl": 5e-5, "sl": -1e-6}
    assert last.loss == pytest.approx(sum(sign[t] * last[f"l_{t}"] for t in terms), rel=1e-5)


def test_softmax_and_triplet_is_both_losses_and_not_one_of_them(preset_file, tmp_path):
    finals = {
        setting: trained(
            preset_file, tmp_path / setting, setting=setting, batches="pk", beta=0, gamma=0
        ).codes["codes"]
        for setting in ("htri", "xent_htri", "set1")
    }
    assert not np.array_equal(finals["xent_htri"], finals["htri"])
    assert not np.array_equal(finals["xent_htri"], finals["set1"])


def test_train_persons_says_how_many_persons_train(folder, preset_file, tmp_path):
    index = read_pku(folder)
    train, test = split_persons(index, 0, train_persons=4)
    assert (train.pid.nunique(), test.pid.nunique()) == (4, 2)
    half, _ = split_persons(index, 0)
    assert set(half.pid) < set(train.pid)  # the first of one order
    with pytest.raises(ValueError, match="train_persons is 6, but there are 6 persons"):
        split_persons(index, 0, train_persons=6)
    run = trained(preset_file, tmp_path / "run", train_persons=4)
    assert run.manifest["persons"] == {"train": 4, "test": 2}
    assert set(run.codes["pids"]) == set(test.pid)


def test_every_tenth_epoch_is_scored_and_the_last_ten_of_these_are_averaged(preset_file, tmp_path):
    scored = [e for e in range(1, 301) if config(score_every=10, score_last=30).is_scored(e)]
    assert scored == list(range(10, 301, 10))
    run = trained(preset_file, tmp_path / "run", epochs=13, score_every=1, score_last=13)
    for prefix, part in (("test", run.metrics), ("unit", run.metrics["unit"])):
        column = run.history[f"{prefix}_mAP"]
        assert part["last_epochs"]["epochs"] == 10
        assert part["last_epochs"]["A->B"]["mAP"] == pytest.approx(column[-10:].mean())
        assert part["test"]["A->B"]["mAP"] == pytest.approx(column.iloc[-1])
    with pytest.raises(ValueError, match="only 4 epochs"):
        config(epochs=4, score_every=2, score_last=3)


def test_the_scores_of_the_last_epochs_are_those_of_camera_a_to_b(preset_file, tmp_path):
    run = trained(preset_file, tmp_path / "run")
    part, first = run.codes, run.codes["camids"] == 1
    for protocol, found in (
        (Protocol(), run.metrics),
        (Protocol(codes="unit"), run.metrics["unit"]),
    ):
        sides = [part[k][side] for k in ("codes", "pids", "camids") for side in (first, ~first)]
        expected = evaluate(*sides, protocol).scores()
        assert found["last_epochs"]["A->B"] == pytest.approx(expected)


def test_new_keys_at_their_defaults_leave_a_digest_alone():
    plain = config()
    assert plain.digest() == config(epoch="images", train_persons=None, score_every=1).digest()
    changed = [
        config(epoch="persons"),
        config(train_persons=4),
        config(score_every=2),
        config(schedule="step"),
    ]
    assert len({plain.digest(), *(c.digest() for c in changed)}) == 1 + len(changed)


def test_every_committed_record_has_the_digest_of_its_configuration():
    paths = sorted((REPOSITORY / "figures" / "pku74").rglob("runs/*.json"))
    assert len(paths) >= 338
    for path in paths:
        content = json.loads(path.read_text("utf-8"))
        digest = RunConfig.model_validate(content["config"]).digest()
        assert digest == content["config_digest"] == path.stem[-12:]


def test_a_record_keeps_a_line_per_query_and_the_scores_by_epoch(preset_file, tmp_path):
    run = trained(preset_file, tmp_path / "results" / "run", epochs=4, score_last=2, score_every=2)
    (path,) = collect_records([tmp_path / "results"], tmp_path / "records")
    content = json.loads(path.read_text("utf-8"))
    assert content["scores by epoch"]["epoch"] == [2, 4]
    assert content["scores by epoch"]["unit_mAP"][-1] == pytest.approx(
        run.metrics["unit"]["test"]["A->B"]["mAP"], rel=1e-5
    )
    lines = pd.read_csv(path.with_suffix(".csv"))
    assert len(lines) == len(run.codes["pids"])
    a_to_b = lines[lines.direction == "A->B"]
    for prefix, part in (("", run.metrics), ("unit_", run.metrics["unit"])):
        scores = part["test"]["A->B"]
        assert a_to_b[f"{prefix}AP"].mean() == pytest.approx(scores["mAP"], abs=1e-5)
        assert (a_to_b[f"{prefix}first_match"] <= 1).mean() == pytest.approx(scores["rank-1"])


def test_weights_in_a_folder_are_found_by_the_backbones_name(tmp_path):
    file = tmp_path / "resnet18_imagenet.safetensors"
    file.touch()
    (tmp_path / "resnet50_imagenet.safetensors").touch()
    assert find_weights("resnet18", tmp_path) == file
    named = tmp_path / "resnet18-f37072fd.pth"
    named.touch()
    assert find_weights("resnet18", tmp_path) == named
    with pytest.raises(ValueError, match="no ImageNet weights for resnet34"):
        find_weights("resnet34", tmp_path)


def test_batch_centres_pass_a_gradient_only_where_the_option_says_so():
    codes = torch.tensor([[0.0], [4.0], [9.0], [9.5]], requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1])
    gradients = []
    for views in (codes, codes.detach()):
        centres = losses.person_centres(views, labels, 2)
        (gradient,) = torch.autograd.grad(losses.scatter_loss(codes, labels, centres), codes)
        gradients.append(gradient)
    assert not torch.equal(*gradients)


def test_the_likely_reading_is_what_the_plan_says():
    preset = load_preset("pku_likely")
    assert Path(REPOSITORY / "figures" / "pku74" / "PLAN.md").is_file()
    assert [row.row for row in preset.rows][:5] == [
        "resnet50_htri",
        "resnet18_htri",
        "set1",
        "set2",
        "set3",
    ]
    for row in preset.rows:
        assert (row.batches, row.images_per_person, row.batch_size) == ("pk", 4, 32)
        assert (row.epochs, row.epoch, row.schedule, row.lr) == (300, "persons", "step", 2e-4)
        assert (row.centres, row.centres_gradient, row.crop) == ("batch", True, "translate")
