"""The command line: exit status, messages, and that wrong input costs no training."""

import json
import subprocess
import sys

import pytest

from reid_lib.cli import main


@pytest.mark.parametrize(
    "command",
    ["check", "synth", "resolve", "train", "notebook", "summary", "expect", "records", "compare"],
)
def test_each_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "usage: reid" in capsys.readouterr().out


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "reid_lib", "train", "dmo", "--row", "set3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("reid train: no preset 'dmo'; known: best, demo")


def test_a_wrong_row_is_named_before_any_data_are_drawn(tmp_path, capsys):
    arguments = ["train", "smoke", "--row", "nope", "--root", str(tmp_path)]
    assert main(arguments) == 2
    assert "no row 'nope'; its rows: resnet50_htri" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_expected_scores_need_a_known_preset_and_finished_runs(tmp_path, capsys):
    assert main(["expect", "nope", str(tmp_path)]) == 2
    assert "no preset 'nope'" in capsys.readouterr().err
    assert main(["expect", "smoke", str(tmp_path)]) == 2
    assert "no finished run under" in capsys.readouterr().err


def test_train_leaves_a_run_folder_and_prints_its_scores(preset_file, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", str(preset_file), "--row", "set3", "--out", str(out)]) == 0
    assert "epoch   1/2" in capsys.readouterr().out
    assert (out / "manifest.json").is_file()


def test_resolve_checks_everything_and_writes_the_complete_configs(preset_file, tmp_path):
    out = tmp_path / "configs.json"
    assert main(["resolve", str(preset_file), "--splits", "0,1", "--out", str(out)]) == 0
    configs = json.loads(out.read_text())
    assert list(configs) == ["htri/split-0", "htri/split-1", "set3/split-0", "set3/split-1"]
    assert len(configs["set3/split-1"]["data_sha256"]) == 64


@pytest.mark.parametrize(
    "change, arguments, message",
    [
        (("setting: set3", "setting: set4"), [], "'set4'"),
        (("batch_size: 8", "batch_size: 400"), [], "batch_size is 400"),
        (("precision", "precison"), [], "unknown key 'precison'"),
        (("start: random", "start: imagenet"), ["--weights", "nowhere"], "no ImageNet weights"),
        (("tiny", "tiny"), ["--data", "nowhere"], "is no folder"),
    ],
)
def test_wrong_input_is_named_before_training_and_leaves_nothing(
    preset_file, tmp_path, capsys, change, arguments, message
):
    preset_file.write_text(preset_file.read_text().replace(*change))
    out = tmp_path / "configs.json"
    assert main(["resolve", str(preset_file), "--out", str(out), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_faulty_data_stop_a_run_before_training(preset_file, folder, tmp_path, capsys):
    (folder / "002_1_3.png").unlink()
    out = tmp_path / "configs.json"
    assert main(["resolve", str(preset_file), "--out", str(out)]) == 2
    assert "2_1_3: the view is missing" in capsys.readouterr().err
