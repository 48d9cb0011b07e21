"""The step: it never waits for the device, and a recorded one gives the same bits."""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from reid_lib import step
from reid_lib.config import RunConfig, load_preset
from reid_lib.dataset import load_pixels, read_pku
from reid_lib.engine.prepare import resolve
from reid_lib.losses import CentreMemory
from reid_lib.model import ReIDNet
from reid_lib.training import fit

READINGS = [
    {"setting": "htri"},
    {"setting": "htri", "triplet_distance": "squared", "triplet_normalise": True},
    {"setting": "set1", "sr_reduction": "sum", "crop": "enlarge"},
    {"setting": "set2"},
    {"setting": "set3"},
    {"setting": "set3", "memory_start": "empty", "memory_update": "after"},
    {"setting": "set3", "persons_in_sums": "batch"},
    {"setting": "set3", "scatter": "log"},
    {"setting": "set3", "scatter": "unit"},
    {"setting": "set3", "centres": "batch", "centres_gradient": True},
]


@pytest.mark.parametrize(
    "reading", READINGS, ids=lambda chosen: "-".join(map(str, chosen.values()))
)
def test_from_pixels_to_losses_nothing_waits_for_the_device(reading):
    # Tensors without values, on a GPU that need not be there: to look at one is an error.
    config = RunConfig(**reading, row="r", start="random")
    with FakeTensorMode(), torch.device("cuda"):
        net = ReIDNet("resnet18", persons=9)
        labels = torch.arange(9).repeat_interleave(8)
        with pytest.raises(DataDependentOutputException):
            labels[0].item()
        memory = None
        if config.setting in ("set2", "set3") and config.centres == "memory":
            memory = CentreMemory.__new__(CentreMemory)  # its start may wait
            memory.labels, memory.persons, memory.codes = labels, 9, torch.zeros(72, net.width)
        images = torch.zeros(32, 3, 128, 48, dtype=torch.uint8)
        with torch.device("cpu"):  # where augmentation draws
            inputs = step.augmented(config, images, (112, 40), torch.Generator())
        codes = net.backbone(inputs)
        terms = step._loss_terms(
            config, codes, net.classifier(codes), labels, torch.arange(32), memory, None
        )
        assert all(term.device.type == "cuda" and term.ndim == 0 for _, term in terms.values())


def stand_in(run):
    """Records as CUDA does: trials that change everything, then values that each replay fills."""
    for _ in range(step.TRIALS):
        run()
    values = {name: value.clone() for name, value in run().items()}

    def replay():
        for name, value in run().items():
            values[name].copy_(value)

    return replay, values


def bits(run):
    weights = (run.folder / "weights.safetensors").read_bytes()
    return weights, run.codes["codes"].tobytes(), run.history.drop(columns="seconds").to_csv()


@pytest.mark.parametrize("reading", [{"row": "htri"}, {"row": "set3"}])
def test_a_recorded_step_leads_to_the_same_bits(reading, preset_file, tmp_path, monkeypatch):
    preset = load_preset(str(preset_file))
    index = read_pku(preset.data)
    config, _ = resolve(preset, reading["row"], 0, index)
    config = RunConfig.model_validate(config.model_dump() | {"epochs": 3, "precision": "fp32"})
    pixels = load_pixels(index)
    plain = bits(fit(config, index, pixels, tmp_path / "plain", progress="none"))

    monkeypatch.setattr(step, "_can_record", lambda *_: True)
    monkeypatch.setattr(step, "_record", stand_in)
    assert bits(fit(config, index, pixels, tmp_path / "replayed", progress="none")) == plain

    # Again after a restart, where Adam's moments are there before the trials.
    begun, folder = step._step, tmp_path / "resumed"
    calls = iter(range(step.TRIALS + 1 + 8))  # into the second epoch

    def stopped(*given):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return begun(*given)

    with monkeypatch.context() as patch:
        patch.setattr(step, "_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            fit(config, index, pixels, folder, progress="none")
    resumed = fit(config, index, pixels, folder, progress="none")
    assert resumed.manifest["resumes"] == 1
    assert bits(resumed) == plain


def test_a_step_that_cannot_be_recorded_runs_as_it_is(preset_file, tmp_path, monkeypatch, capsys):
    preset = load_preset(str(preset_file))
    index = read_pku(preset.data)
    config, _ = resolve(preset, "set3", 0, index)
    pixels = load_pixels(index)
    plain = bits(fit(config, index, pixels, tmp_path / "plain", progress="none"))

    def fails(run):
        run()
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(step, "_can_record", lambda *_: True)
    monkeypatch.setattr(step, "_record", fails)
    assert bits(fit(config, index, pixels, tmp_path / "run", progress="none")) == plain
    assert "could not be recorded as a CUDA graph" in capsys.readouterr().out
