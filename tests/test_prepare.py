"""From a preset to complete configurations: what is kept, what is compared, what is moved aside."""

import itertools
import platform
import time

import pytest
import torch

from reid_lib.config import RunConfig, load_preset
from reid_lib.dataset import read_pku
from reid_lib.engine import precision, prepare
from reid_lib.engine.files import write_json
from reid_lib.engine.runs import config_file, find_runs, run_folder, stamp_file


@pytest.fixture
def auto(preset_file, monkeypatch):
    """A preset whose precision is auto, its index, and whether bf16 suits its networks."""
    preset_file.write_text(preset_file.read_text().replace("fp32", "auto"))
    preset = load_preset(str(preset_file))
    suits = [True]
    monkeypatch.setattr(precision, "_has_bf16", lambda: True)
    monkeypatch.setattr(precision, "_suits_bf16", lambda backbone, shape: suits[0])
    return preset, read_pku(preset.data), suits


def test_what_precision_auto_stands_for_is_kept_in_the_configs(auto, tmp_path):
    preset, index, suits = auto
    results = tmp_path / "results"
    config, _ = prepare.resolve(preset, "set3", 0, index, results)
    assert config.precision == "bf16"
    file = config_file(results, preset, "set3", 0)
    assert RunConfig.model_validate_json(file.read_text()) == config
    suits[:] = [False]
    assert prepare.resolve(preset, "set3", 0, index, results)[0] == config
    assert prepare.resolve(preset, "htri", 0, index, results)[0].precision == "bf16"
    assert prepare.resolve(preset, "htri", 0, index)[0].precision == "fp32"  # nothing was kept
    assert not list(results.rglob("precision.json"))


def test_the_precision_of_an_ended_run_counts_first(auto, tmp_path):
    preset, index, _ = auto
    results = tmp_path / "results"
    config, _ = prepare.resolve(preset, "set3", 0, index, results)
    elsewhere = config.model_copy(update={"precision": "fp32"})
    folder = run_folder(results, preset, "set3", 0)
    write_json(folder / "config.json", elsewhere.model_dump(mode="json"))
    assert prepare.resolve(preset, "set3", 0, index, results)[0] == elsewhere
    other = preset.row("set3").model_copy(update={"seed": 1})
    changed = preset.model_copy(update={"rows": (preset.row("htri"), other)})
    (config_file(results, preset, "set3", 0)).unlink()
    assert prepare.resolve(changed, "set3", 0, index, results)[0].precision == "bf16"


def test_a_precision_that_a_row_states_answers_for_no_other_row(auto, tmp_path):
    preset, index, _ = auto
    stated = preset.row("htri").model_copy(update={"precision": "fp32"})
    preset = preset.model_copy(update={"rows": (stated, preset.row("set3"))})
    results = tmp_path / "results"
    assert prepare.resolve(preset, "htri", 0, index, results)[0].precision == "fp32"
    assert prepare.resolve(preset, "set3", 0, index, results)[0].precision == "bf16"


def auto_of(backbone, size=(128, 48)):
    config = RunConfig(row="a", setting="set1", backbone=backbone, batch_size=4)
    precision._suits_bf16.cache_clear()
    return precision.resolve_precision(config, size)


def test_precision_auto_is_told_by_the_hardware_and_the_network_not_by_the_time(monkeypatch):
    """Ever slower clocks, as on a busy machine, change nothing."""
    squares = (float(n) ** 2 for n in itertools.count())
    monkeypatch.setattr(time, "perf_counter", lambda: next(squares))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for native, found in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native)
        assert auto_of("resnet18") == found
        assert auto_of("mobilenet_v2") == "fp32"


def test_bf16_whose_codes_are_far_away_gives_fp32(monkeypatch):
    monkeypatch.setattr(precision, "_has_bf16", lambda: True)

    class Net(torch.nn.Module):
        def __init__(self, backbone, persons, precision):
            super().__init__()
            self.code = 1.0 + float(backbone) * (precision == "bf16")

        def forward(self, images):
            return torch.full((4, 1), self.code), None

    monkeypatch.setattr(precision, "ReIDNet", Net)
    assert [auto_of(error) for error in ("0.25", "0.35", "nan")] == ["bf16", "fp32", "fp32"]
    precision._suits_bf16.cache_clear()


def test_a_stamp_stays_only_as_a_copy_of_its_runs_manifest(preset_file, tmp_path):
    preset = load_preset(str(preset_file))
    place = tmp_path / "results", preset, "set3", 0
    manifest = run_folder(*place) / "manifest.json"
    for kept, left in ((1, 1), (1, 2), (1, None)):  # the run was trained by hand, then removed
        write_json(stamp_file(*place), {"number": kept})
        if left:
            write_json(manifest, {"number": left})
        else:
            manifest.unlink()
        prepare.resolve(preset, "set3", 0, read_pku(preset.data), place[0])
        assert stamp_file(*place).is_file() == (kept == left)


def test_runs_are_moved_aside_under_the_next_free_name_and_not_found_there(tmp_path):
    for number in (1, 2):
        folder = tmp_path / "set3" / "split-0"
        write_json(folder / "manifest.json", {"number": number})
        assert find_runs(tmp_path) == [folder]
        assert prepare.set_aside(folder) == folder.with_name(f"split-0.replaced-{number}")
        assert find_runs(tmp_path) == []
