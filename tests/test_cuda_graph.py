"""A step does not wait for the device; a recorded step gives the same bits or is not used."""

import pytest
import torch
from conftest import interrupted
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from reid_lib.augment import augment
from reid_lib.centres import centre_source
from reid_lib.config import RunConfig, load_preset
from reid_lib.dataset import load_pixels, read_pku
from reid_lib.engine import cuda_graph
from reid_lib.engine.prepare import resolve
from reid_lib.model import ReIDNet
from reid_lib.training import State, fit, train_step

READINGS = [
    {"setting": "htri"},
    {"setting": "htri", "triplet_distance": "squared", "triplet_normalise": True},
    {"setting": "xent_htri", "crop": "translate"},
    {"setting": "htri_cl"},
    {"setting": "set1", "sr_reduction": "sum", "crop": "enlarge"},
    {"setting": "set2"},
    {"setting": "set3"},
    {"setting": "set3", "memory_start": "empty", "memory_update": "after"},
    {"setting": "set3", "persons_in_sums": "batch"},
    {"setting": "set3", "scatter": "log"},
    {"setting": "set3", "scatter": "unit"},
    {"setting": "set3", "centres": "batch", "centres_gradient": True},
]


class Stub:
    """Stands in for Adam: a backward pass through tensors without values needs a real GPU."""

    def zero_grad(self, set_to_none):
        pass

    def step(self):
        pass


@pytest.mark.parametrize(
    "reading", READINGS, ids=lambda chosen: "-".join(map(str, chosen.values()))
)
def test_from_pixels_to_losses_nothing_waits_for_the_device(reading, small, monkeypatch):
    # Tensors without values, on a GPU that need not exist: reading a value is an error.
    config = RunConfig(**reading, row="r", start="random")
    real = torch.arange(9).repeat_interleave(8)
    centres = centre_source(config, real, 6, lambda: torch.zeros(72, 6))  # its start may wait
    gradients = []

    def grad(loss, codes, retain_graph):
        assert loss.requires_grad and loss.device.type == "cuda"
        gradients.append(loss)
        return (torch.zeros_like(codes),)

    monkeypatch.setattr(torch.autograd, "grad", grad)
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: gradients.append(loss))
    with FakeTensorMode(), torch.device("cuda"):
        net = ReIDNet("resnet18", persons=9)
        labels = torch.arange(9).repeat_interleave(8)
        with pytest.raises(DataDependentOutputException):
            labels[0].item()
        if centres:
            centres.labels = labels
        if centres and centres.memory:
            centres.memory.labels, centres.memory.codes = labels, torch.zeros(72, net.width)
        state = State(net, Stub(), None, None, centres)
        images = torch.zeros(32, 3, 128, 48, dtype=torch.uint8)
        with torch.device("cpu"):  # where augmentation draws
            inputs = augment(config, images, torch.Generator())
        batch = torch.arange(32)
        values = train_step(config, state, inputs, batch, labels[batch])
    assert all(value.device.type == "cuda" and value.ndim == 0 for value in values.values())
    assert len(gradients) == 1 + sum(name.startswith("l_") for name in values)


def stand_in(run):
    """Records as CUDA does: warm-up steps that change everything, then values to be filled."""
    for _ in range(cuda_graph.WARMUP_STEPS):
        run()
    values = {name: value.clone() for name, value in run().items()}

    def replay():
        for name, value in run().items():
            values[name].copy_(value)

    return replay, values


def other(run):
    """As `stand_in`, but what is replayed is not the step."""
    replay, values = stand_in(run)

    def wrong():
        replay()
        values["loss"].mul_(1.01)

    return wrong, values


def fails(run):
    run()
    raise RuntimeError("operation not permitted when stream is capturing")


def bits(run):
    weights = (run.folder / "weights.safetensors").read_bytes()
    return weights, run.codes["codes"].tobytes(), run.history.drop(columns="seconds").to_csv()


@pytest.fixture
def train(preset_file, tmp_path, monkeypatch, small):
    """Trains a row into a folder; `record` takes the place of recording a CUDA graph."""
    preset = load_preset(str(preset_file))
    index = read_pku(preset.data)
    pixels = load_pixels(index)

    def run(folder, record=None, row="set3", **values):
        config, _ = resolve(preset, row, 0, index)
        values = {"epochs": 3, "cuda_graph": record is not None} | values
        config = RunConfig.model_validate(config.model_dump() | values)
        if record:
            monkeypatch.setattr(cuda_graph, "_can_record", lambda *_: True)
            monkeypatch.setattr(cuda_graph, "_record", record)
        return fit(config, index, pixels, tmp_path / folder, progress="none")

    return run


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2"])  # without and with dropout
@pytest.mark.parametrize("row", ["htri", "set3"])
def test_a_recorded_step_leads_to_the_same_bits(row, backbone, train, monkeypatch, capsys):
    plain = bits(train("plain", row=row, backbone=backbone))
    replays = []

    def counted(run):
        replay, values = stand_in(run)
        return lambda: (replays.append(1), replay()), values

    assert bits(train("replayed", counted, row, backbone=backbone)) == plain
    assert len(replays) == cuda_graph.CHECKED_STEPS + 3 * 6  # epochs x steps
    assert "plain steps" not in capsys.readouterr().out

    # Again after a restart, where Adam's moments exist before the warm-up.
    steps = cuda_graph.WARMUP_STEPS + 1 + 2 * cuda_graph.CHECKED_STEPS
    with interrupted(steps + 8):  # in the second epoch
        train("resumed", counted, row, backbone=backbone)
    resumed = train("resumed", counted, row, backbone=backbone)
    assert resumed.manifest["resumes"] == 1
    assert bits(resumed) == plain


@pytest.mark.parametrize(
    "record, message",
    [
        (
            other,
            "the CUDA graph gives other values than ordinary steps; training continues without",
        ),
        (fails, r"cannot be captured as a CUDA graph (operation not permitted"),
    ],
)
def test_a_graph_that_fails_or_differs_is_reported_and_not_used(record, message, train, capsys):
    plain = bits(train("plain"))
    assert bits(train("run", record)) == plain
    assert capsys.readouterr().out.count(message) == 1


def test_without_the_option_no_graph_is_recorded(train, monkeypatch):
    monkeypatch.setattr(cuda_graph, "_can_record", lambda *_: True)
    monkeypatch.setattr(cuda_graph, "_record", lambda run: pytest.fail("a graph was recorded"))
    assert not train("run").failed


@pytest.mark.parametrize(
    "device, centres, expected",
    [("cuda", "memory", True), ("cpu", "memory", False), ("cuda", "all", False)],
)
def test_a_graph_needs_cuda_and_a_step_that_does_not_encode(device, centres, expected):
    config = RunConfig(row="r", setting="set3", centres=centres)
    assert cuda_graph._can_record(config, torch.device(device)) is expected
