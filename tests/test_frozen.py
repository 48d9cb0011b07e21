"""What no change of the code's shape may change: bits of smoke runs, public names, make targets."""

import hashlib
import importlib
import json
import os
import platform
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REPOSITORY
from safetensors.torch import load_file

from reid_lib.config import load_preset
from reid_lib.dataset import load_pixels, read_pku
from reid_lib.engine.prepare import data_folder, resolve
from reid_lib.training import fit

RECORDS = "5702ccbbaa0b8e7cd88a824e84dcb249c20fc51b1b7e496ca7ed95546e7edf57"
BITS = Path(__file__).with_name("frozen_bits.json")


def processor() -> str:
    """What the last bits depend on: the processor's model, the instructions in use, torch."""
    lines = Path("/proc/cpuinfo")
    words = lines.read_text("utf-8").splitlines() if lines.is_file() else [platform.processor()]
    names = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
    found = {line.split(":")[0].strip(): line.split(":")[-1].strip() for line in words}
    text = json.dumps([found.get(name) for name in names]) + torch.__version__
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def bits(run) -> dict[str, str]:
    """SHA-256 of a run's weights, codes, queries, and of its history without the seconds."""
    weights, codes, queries = (hashlib.sha256() for _ in range(3))
    for name, tensor in sorted(load_file(run.folder / "weights.safetensors").items()):
        weights.update(name.encode() + tensor.numpy().tobytes())
    for name, array in sorted(run.codes.items()):
        codes.update(name.encode() + np.ascontiguousarray(array).tobytes())
    for name in sorted(run.queries.columns):
        queries.update(f"{name} {run.queries[name].tolist()}".encode())
    history = {
        name: run.history[name].tolist() for name in sorted(run.history) if name != "seconds"
    }
    return {
        "weights": weights.hexdigest(),
        "codes": codes.hexdigest(),
        "queries": queries.hexdigest(),
        "history": hashlib.sha256(json.dumps(history).encode()).hexdigest(),
    }


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Trains rows of the smoke preset, changed as a test asks, on one thread."""
    root = tmp_path_factory.mktemp("smoke")
    preset = load_preset("smoke")
    index = read_pku(data_folder(preset, root))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def train(row, changes):
        config, _ = resolve(preset, row, 0, index)
        config = type(config).model_validate({**config.model_dump(), **changes})
        folder = root / f"{row}-{config.digest()}"
        return fit(config, index, load_pixels(index, config.image_size), folder, progress="none")

    yield train
    torch.set_num_threads(threads)


CASES = {
    "resnet18_htri": {},
    "set1": {"crop": "enlarge", "flip": False, "schedule": "cosine", "label_smoothing": 0.1},
    "set2": {"neck": "batchnorm", "memory_update": "epoch", "batches": "pk"},
    "set3": {},
}
MORE = {
    "set3, batch": {"centres": "batch", "centres_gradient": True, "persons_in_sums": "batch"},
    "set3, all": {"centres": "all"},
    "set3, likely": {
        "centres": "batch",
        "centres_gradient": True,
        "persons_in_sums": "batch",
        "batches": "pk",
        "epoch": "persons",
        "crop": "translate",
        "schedule": "step",
    },
    "set3, after": {"memory_update": "after", "memory_start": "empty", "scatter": "unit"},
    "resnet50_htri": {"epochs": 1},
}


@pytest.mark.parametrize(
    "case, changes",
    [*CASES.items(), *(pytest.param(*more, marks=pytest.mark.slow) for more in MORE.items())],
)
def test_smoke_runs_end_in_the_same_bits(smoke, case, changes):
    known = json.loads(BITS.read_text("utf-8")) if BITS.is_file() else {}
    key = processor()
    rewrite = os.environ.get("REID_FREEZE")
    if key not in known and not rewrite:
        pytest.skip(f"no bits were kept for this processor and torch ({key})")
    found = bits(smoke(case.partition(",")[0], changes))
    if rewrite:
        known.setdefault(key, {})[case] = found
        BITS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    assert found == known[key][case]


PUBLIC = {
    "reid_lib.config": ("load_preset", "Preset", "RunConfig"),
    "reid_lib.dataset": ("read_pku", "split_persons", "load_pixels", "fingerprint"),
    "reid_lib.losses": (
        "classification_loss",
        "compact_loss",
        "scatter_loss",
        "total_loss",
        "batch_hard_triplet_loss",
        "sq_radii",
    ),
    "reid_lib.model": ("ReIDNet", "load_weights", "find_weights"),
    "reid_lib.metrics": ("Protocol", "Result", "evaluate", "rank_gallery"),
    "reid_lib.training": ("fit",),
}


@pytest.mark.parametrize("module, names", PUBLIC.items())
def test_public_names_stay_where_they_are(module, names):
    found = vars(importlib.import_module(module))
    assert set(names) <= set(found)


@pytest.mark.parametrize("command", ["check", "synth", "train"])
def test_the_commands_stay(command):
    from reid_lib.cli import main

    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0


def test_the_make_targets_stay():
    wanted = "help setup reproduce lab site test test-slow test-browser lint format lock".split()
    for target in wanted:
        command = ["make", "--dry-run", "--always-make", target]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, f"make {target}: {done.stderr}"


def test_every_committed_record_keeps_its_name_and_scores():
    """A digest over the names and contents of the records of the first studies."""
    folder = REPOSITORY / "figures" / "pku74"
    digest = hashlib.sha256()
    paths = [
        p for part in ("", "choices", "recipes") for p in (folder / part / "runs").glob("*.json")
    ]
    for path in sorted(paths):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    assert digest.hexdigest() == RECORDS


def test_a_history_read_back_is_the_one_that_was_written(smoke):
    run = smoke("set3", {})
    assert isinstance(run.history, pd.DataFrame) and run.history.epoch.tolist() == [1, 2]
