"""The command line: exit status, messages, and that wrong input costs no training."""

import argparse
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import REPOSITORY, write_images

from reid_lib import cli
from reid_lib.cli import main
from reid_lib.config import RunConfig
from reid_lib.engine.runs import read_run

COMMANDS = (
    "check env synth resolve unlock train notebook summary expect records crate croissant compare "
    "encode rank evaluate export"
).split()


def python(program, *arguments):
    """Run a program in a new process of this Python."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "usage: reid" in capsys.readouterr().out


def test_every_option_has_a_help_text():
    parsers = next(
        action.choices
        for action in cli._parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    assert list(parsers) == COMMANDS
    for name, parser in parsers.items():
        assert parser.description
        for action in parser._actions:
            assert action.help, f"reid {name}: {action.dest}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["check", "nowhere"],
        ["resolve", "nosuch"],
        ["resolve", "pku", "--check"],
        ["resolve", "demo", "--data", "nowhere", "--check"],
        ["resolve", "best", "--data", "images", "--weights", "nowhere", "--check"],
        ["resolve", "pku", "--data", "images", "--weights", "nowhere", "--check"],
        ["resolve", "demo", "--splits", "x", "--check"],
        ["train", "smoke", "--row", "nosuch"],
    ],
)
def test_help_and_wrong_input_are_answered_without_torch(tmp_path, arguments):
    write_images(tmp_path / "images", 3)
    arguments = [str(tmp_path / "images") if word == "images" else word for word in arguments]
    program = (
        "import sys; from reid_lib.cli import main\n"
        "try: status = main(sys.argv[1:])\n"
        "except SystemExit as end: status = end.code\n"
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    done = python(program, *arguments)
    if arguments == ["--help"]:
        assert done.returncode == 0
    else:
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith(f"reid {arguments[0]}: ")


@pytest.mark.parametrize(
    "arguments, module, extra",
    [
        (["notebook", "a.ipynb", "b.ipynb"], "papermill", "notebooks"),
        (["records", "--out", "out"], "matplotlib", "plots"),
    ],
)
def test_what_needs_an_extra_names_it(arguments, module, extra):
    program = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from reid_lib.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = python(program, *arguments)
    assert done.returncode == 2
    message = f"{module} is not installed: pip install 'reid_lib[{extra}]'"
    assert done.stderr == f"reid {arguments[0]}: {message}\n"


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


@pytest.mark.parametrize(
    "arguments, expected",
    [
        ("rank missing --gallery codes.npz", "is not a file; expected a query image"),
        ("rank here.png --gallery missing", "is not a file; expected one of `reid encode`"),
        ("encode missing --weights run --out o.npz", "is not a folder; expected one that holds"),
        ("encode images --weights missing --out o.npz", "does not exist; expected a run folder"),
        ("evaluate missing --data images", "does not exist; expected a run folder"),
        ("evaluate run --data missing", "is not a folder. Expected PKU-ReID's "),
        ("export missing --out o.onnx", "missing does not exist; expected a run folder"),
        ("records missing --out out", "no completed run under"),
        ("records --out missing", "expected the JSON files of `reid records`"),
        ("compare missing set1 set2", "expected the JSON files of `reid records`"),
        ("compare missing.zip missing.zip", "was not written by `reid crate`"),
        ("crate missing.yaml --out o.zip", "or the path of a .yaml file"),
        ("croissant missing", "is neither a folder of `reid synth` nor a CSV file"),
        ("notebook missing out.ipynb", "is not a file; expected a notebook (.ipynb)"),
        ("notebook here.png out.ipynb", "here.png is no notebook (.ipynb): "),
        ("check missing", "is not a folder. Expected PKU-ReID's "),
        ("check images --persons missing", "expected a JSON file with a list of ids"),
        ("expect smoke missing", "no completed run under"),
    ],
)
def test_a_missing_file_is_named_with_what_was_expected(
    tmp_path, monkeypatch, capsys, arguments, expected
):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images", 1)
    (tmp_path / "here.png").write_text("no image")
    assert main(arguments.split()) == 2
    said = capsys.readouterr().err
    assert "missing" in said or "here.png" in said
    assert said.count("\n") == 1 and expected in said


def test_expected_scores_need_a_known_preset_and_finished_runs(tmp_path, capsys):
    assert main(["expect", "nope", str(tmp_path)]) == 2
    assert "no preset 'nope'" in capsys.readouterr().err
    assert main(["expect", "smoke", str(tmp_path)]) == 2
    assert "no completed run under" in capsys.readouterr().err


def test_train_leaves_a_run_folder_and_prints_its_scores(preset_file, tmp_path, capsys):
    out, root = tmp_path / "run", tmp_path / "root"
    arguments = ["train", str(preset_file), "--row", "set3", "--root", str(root)]
    assert main([*arguments, "--out", str(out)]) == 0
    assert "epoch   1/2" in capsys.readouterr().out
    assert (out / "manifest.json").is_file()
    assert not root.exists()  # that folder is none of the preset's runs


def test_ctrl_c_in_train_is_answered_in_one_line_and_the_same_command_goes_on(
    preset_file, tmp_path, capsys, small, monkeypatch
):
    from reid_lib.engine import results

    def write(*given):  # a second Ctrl-C and what kernels and schedulers send cannot stop it
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        return write_checkpoint(*given)

    write_checkpoint = results.write_checkpoint
    monkeypatch.setattr(results, "write_checkpoint", write)
    arguments = ["train", str(preset_file), "--row", "set3", "--root", str(tmp_path)]
    with monkeypatch.context() as patch:
        from reid_lib import training

        step, left = training.train_step, iter(range(7))  # an epoch has six steps

        def stopped(*given):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return step(*given)

        patch.setattr(training, "train_step", stopped)
        assert main(arguments) == 130
    said = capsys.readouterr().err
    assert said.strip() == f"reid train: {cli.INTERRUPTED}"
    assert main(arguments) == 0
    assert "set3 split 0: resumes after epoch 1" in capsys.readouterr().out


@pytest.mark.parametrize("wait", [0, 0.3])  # before and while the workers are started
def test_ctrl_c_while_persons_are_drawn_leaves_one_line_and_no_folder(tmp_path, wait):
    command = [sys.executable, "-m", "reid_lib", "synth", tmp_path / "drawn"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while not list(tmp_path.glob(".drawn-*/images")):
        time.sleep(0.01)
    time.sleep(wait)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130
    assert "Traceback" not in said and said.endswith(f"\nreid synth: {cli.INTERRUPTED}\n")
    assert not list(tmp_path.iterdir())


def test_resolve_checks_everything_and_writes_one_complete_config_per_run(preset_file, tmp_path):
    arguments = ["resolve", str(preset_file), "--root", str(tmp_path)]
    assert main([*arguments, "--splits", "0,1"]) == 0
    files = sorted((tmp_path / "results/tiny/configs").iterdir())
    rows = ("htri", "set3")
    assert [f.name for f in files] == [f"{r}-split-{k}.json" for r in rows for k in (0, 1)]
    config = RunConfig.model_validate_json(files[-1].read_text())
    assert (config.row, config.split, config.precision) == ("set3", 1, "fp32")
    assert len(config.data_sha256) == 64


def test_resolve_leaves_a_config_alone_unless_its_content_changes(preset_file, tmp_path):
    arguments = ["resolve", str(preset_file), "--root", str(tmp_path)]
    assert main(arguments) == 0
    files = {f.name: f for f in (tmp_path / "results/tiny/configs").iterdir()}
    for file in files.values():
        os.utime(file, (1, 1))
    text = preset_file.read_text()
    preset_file.write_text(text.replace("setting: set3}", "setting: set3, seed: 1}"))
    assert main([*arguments, "--splits", "0,1"]) == 0
    assert files["htri-split-0.json"].stat().st_mtime == 1
    assert files["set3-split-0.json"].stat().st_mtime > 1


def test_resolve_writes_no_config_before_every_run_was_checked(preset_file, tmp_path, capsys):
    text = preset_file.read_text()
    preset_file.write_text(text.replace("setting: set3}", "setting: set3, backbone: nosuch}"))
    assert main(["resolve", str(preset_file), "--root", str(tmp_path)]) == 2
    assert "no classification model 'nosuch'" in capsys.readouterr().err
    assert not list((tmp_path / "results").rglob("*.json"))


def test_resolve_check_writes_nothing(preset_file, tmp_path):
    assert main(["resolve", str(preset_file), "--root", str(tmp_path), "--check"]) == 0
    assert not (tmp_path / "results").exists()


WRONG = [
    (("setting: set3", "setting: set4"), [], "'set4'"),
    (("batch_size: 8", "batch_size: 400"), [], "batch_size is 400"),
    (("precision", "precison"), [], "unknown key 'precison'"),
    (("start: random", "start: imagenet"), ["--weights", "nowhere"], "no ImageNet weights"),
    (("start: random", "start: file"), [], "WEIGHTS is None"),
    (("tiny", "tiny"), ["--data", "nowhere"], "is not a folder"),
    (("tiny", "tiny"), ["--splits", "x"], "SPLITS is 'x'"),
    (("data:", "splits: [-1]\ndata:"), [], "splits.0: Input should be greater than or equal to 0"),
    (("tiny", "tiny"), ["--splits=-1"], "SPLITS is '-1'; expected numbers from 0"),
    (("tiny", "tiny"), ["--weights", "nofile"], "nofile, which does not exist"),
    (("tiny", "tiny"), ["--persons", "nofile"], "nofile; expected a JSON file"),
]


@pytest.mark.parametrize("options", [[], ["--check"]])
@pytest.mark.parametrize("change, arguments, message", WRONG)
def test_wrong_input_is_named_in_one_sentence_and_leaves_nothing(
    preset_file, tmp_path, capsys, change, arguments, message, options
):
    preset_file.write_text(preset_file.read_text().replace(*change))
    command = ["resolve", str(preset_file), "--root", str(tmp_path), *arguments, *options]
    assert main(command) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert not said.out
    assert not (tmp_path / "results").exists()


def test_too_few_persons_are_refused_before_any_work(preset_file, folder, tmp_path, capsys):
    for image in folder.iterdir():
        if not image.name.startswith("001"):
            image.unlink()
    assert main(["resolve", str(preset_file), "--root", str(tmp_path), "--check"]) == 2
    assert (
        capsys.readouterr().err
        == "reid resolve: the data have 1 persons; a split needs at least two\n"
    )


@pytest.mark.parametrize("command", [["resolve"], ["train", "--row", "set3"]])
def test_faulty_data_are_refused_by_check_resolve_and_train_alike(
    preset_file, folder, tmp_path, capsys, command
):
    (folder / "002_1_3.png").write_bytes((folder / "001_1_3.png").read_bytes())
    assert main(["check", str(folder)]) == 2
    fault = "001_1_3.png, 002_1_3.png: the same image under two persons"
    assert f"error: {fault}" in capsys.readouterr().out
    arguments = [command[0], str(preset_file), "--root", str(tmp_path), *command[1:]]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"reid {command[0]}: {folder} has 1 errors")
    assert fault in said
    assert not list((tmp_path / "results").rglob("*.json"))


def test_train_reads_the_config_that_resolve_wrote(preset_file, folder, tmp_path, capsys):
    root = ["--root", str(tmp_path)]
    assert main(["resolve", str(preset_file), *root]) == 0
    file = tmp_path / "results/tiny/configs/set3-split-0.json"
    train = ["train", str(preset_file), *root, "--row", "set3", "--config", str(file)]
    assert main(train) == 0
    run = tmp_path / "results/tiny/set3/split-0"
    assert read_run(run).config == RunConfig.model_validate_json(file.read_text())
    capsys.readouterr()
    assert main([*train[:5], "htri", *train[6:]]) == 2
    assert "does not hold the configuration of htri on split 0" in capsys.readouterr().err
    (folder / "001_1_1.png").write_bytes((folder / "001_1_2.png").read_bytes())
    assert main(train) == 2
    assert "the images or the weights have changed" in capsys.readouterr().err


def test_a_run_of_other_values_is_kept_or_moved_aside_never_overwritten(
    preset_file, tmp_path, capsys
):
    root = ["--root", str(tmp_path)]
    assert main(["train", str(preset_file), *root, "--row", "set3"]) == 0
    run = tmp_path / "results/tiny/set3/split-0"
    before = (run / "manifest.json").read_bytes()
    preset_file.write_text(preset_file.read_text().replace("epochs: 2", "epochs: 1"))
    resolve = ["resolve", str(preset_file), *root]
    assert main(resolve) == 2
    said = capsys.readouterr().err
    assert "epochs is 2, expected 1" in said and "NAME" in said and "RETRAIN=1" in said
    assert (run / "manifest.json").read_bytes() == before
    assert main([*resolve, "--retrain"]) == 0
    assert "1 of 2 runs are trained again" in capsys.readouterr().out
    assert (run.with_name("split-0.replaced-1") / "manifest.json").read_bytes() == before
    assert not run.exists()


def test_a_run_of_other_code_is_kept_and_named_in_one_line(preset_file, tmp_path, capsys):
    root = ["--root", str(tmp_path)]
    assert main(["train", str(preset_file), *root, "--row", "set3"]) == 0
    manifest = tmp_path / "results/tiny/set3/split-0/manifest.json"
    resolve = ["resolve", str(preset_file), *root]
    assert main(resolve) == 0
    assert "RETRAIN" not in capsys.readouterr().out
    text = manifest.read_text()
    start = text.index('"code_sha256": "') + len('"code_sha256": "')
    manifest.write_text(text[:start] + "0" * 64 + text[start + 64 :])
    assert main(resolve) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "RETRAIN" in line]
    assert lines == [
        "1 of 2 runs were trained by another version of the software and are kept; RETRAIN=1 "
        "trains them again"
    ]
    assert manifest.is_file()
    assert main([*resolve, "--retrain"]) == 0
    assert not manifest.exists()


def test_a_live_process_is_named_and_a_dead_ones_locks_are_removed(preset_file, tmp_path, capsys):
    results = tmp_path / "results" / "tiny"
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from reid_lib.engine.locks import lock_folder\n"
        "with lock_folder(Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)"
    )
    stale = tmp_path / ".snakemake" / "locks" / "0.output.lock"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    command = [sys.executable, "-c", program, str(results)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        for arguments in (["resolve", str(preset_file), "--check"], ["unlock"]):
            assert main([*arguments, "--root", str(tmp_path)]) == 2
            assert f"process {process.pid} on " in capsys.readouterr().err
        assert stale.is_file()
        process.kill()
    assert main(["unlock", "--root", str(tmp_path)]) == 0
    assert not stale.exists()
    assert main(["resolve", str(preset_file), "--check", "--root", str(tmp_path)]) == 0


def test_env_says_what_a_bug_report_needs(tmp_path, capsys):
    from importlib.metadata import version

    lock = tmp_path / "requirements.lock"
    lock.write_text(f"torch==0.1\n    --hash=sha256:0\nnumpy==0.2\nnumpy=={version('numpy')}\n")
    assert main(["env", "--root", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    for words in (version("torch"), "threads", "commit", "instead of 0.1"):
        assert words in said
    assert "numpy" not in said.partition("lock file")[2]  # one of the two pinned versions is here
