"""The command `reid`: a few lines over the functions that the notebooks call."""

import argparse
import json
import os
import sys
import time
from pathlib import Path

from reid_lib.config import PRESETS, load_preset
from reid_lib.retrieval.commands import add_commands

INTERRUPTED = "interrupted; what was finished is kept, and the same command goes on from there"
EXTRAS = {  # module -> the optional dependencies of pyproject.toml that it comes with
    **dict.fromkeys(("matplotlib", "seaborn", "sklearn"), "plots"),
    **dict.fromkeys(("papermill", "nbformat", "ipywidgets", "jinja2", "IPython"), "notebooks"),
    **dict.fromkeys(("onnx", "onnxscript", "onnxruntime"), "onnx"),
    "pytorch_metric_learning": "notebooks",
    **dict.fromkeys(("rocrate", "mlcroissant"), "share"),
    "faiss": "faiss",
    "timm": "timm",
}


def main(argv: list[str] | None = None) -> int:
    """Run `reid ARGUMENTS`; return the exit status (0: success, 1: failure, 2: wrong input).

    130 after Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        message = f"{module} is not installed: pip install 'reid_lib[{EXTRAS[module]}]'"
        print(f"reid {arguments.command}: {message}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"reid {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nreid {arguments.command}: {INTERRUPTED}", file=sys.stderr)
        return 130


def _check(arguments) -> int:
    from reid_lib.engine.checks import check
    from reid_lib.engine.plan import chosen_persons

    persons = chosen_persons(arguments.persons)
    report = check(arguments.folder, pku=arguments.pku or None, persons=persons)
    print(report)
    return 2 if report.errors else 0


def _env(arguments) -> None:
    from reid_lib.engine.environment import environment

    print(environment(arguments.root))


def _synth(arguments) -> None:
    from reid_lib.pedestrians import write_dataset

    workers, layout = os.cpu_count() or 1, arguments.layout
    write_dataset(arguments.folder, arguments.persons, arguments.seed, True, workers, layout)


def _resolve(arguments) -> None:
    """Check all that can be checked before training, and write one configuration per run."""
    preset = _preset(arguments)
    results = arguments.root / "results"

    from reid_lib.engine.plan import check_data, check_plan, data_folder

    check_plan(preset, results)  # before torch is imported, which takes seconds
    if arguments.check:
        return

    from reid_lib.engine.files import write_text
    from reid_lib.engine.locks import lock_folder
    from reid_lib.engine.plan import read_data
    from reid_lib.engine.prepare import resolve_all

    with lock_folder(results / preset.name):
        begin = time.monotonic()
        folder = data_folder(preset, arguments.root / "data", progress=sys.stderr.isatty())
        print(check_data(preset, folder))
        index = read_data(preset, folder)
        changed = resolve_all(preset, index, results, arguments.retrain)
        seconds = results / preset.name / "seconds" / "data.tsv"
        if not seconds.is_file():  # later calls find the images already rendered
            write_text(seconds, f"s\n{time.monotonic() - begin:.4f}\n")
    if changed:
        print(changed)


def _unlock(arguments) -> None:
    from reid_lib.engine.locks import remove_stale_locks

    print(f"{remove_stale_locks(arguments.root)} stale locks removed")


def _train(arguments) -> int:
    preset = _preset(arguments)
    preset.row(arguments.row)  # report a wrong name before the data are read
    results = arguments.root / "results"

    from reid_lib.dataset import load_pixels
    from reid_lib.engine.prepare import open_data, resolve
    from reid_lib.engine.runs import run_folder
    from reid_lib.training import fit

    index = open_data(preset, arguments.root / "data", progress=sys.stderr.isatty())
    run = preset, arguments.row, arguments.split
    keep = not arguments.out  # that folder is not one of the preset's run folders
    config, weights = resolve(*run, index, results, arguments.config, keep)
    folder = arguments.out or run_folder(results, *run)
    pixels = load_pixels(index, config.image_size)
    ended = fit(config, index, pixels, folder, weights, "lines", len(preset.runs))
    if ended.failed:
        print(ended.failed, file=sys.stderr)
        return 1
    print(json.dumps(ended.metrics["test"], indent=2))
    return 0


def _notebook(arguments) -> int:
    from papermill import PapermillExecutionError

    from reid_lib.engine.notebooks import run_notebook

    for assignment in arguments.parameter:
        if "=" not in assignment:
            raise ValueError(f"parameter {assignment!r} is not of the form name=value")
    parameters = dict(assignment.split("=", 1) for assignment in arguments.parameter)
    try:
        run_notebook(arguments.notebook, arguments.executed, parameters)
    except PapermillExecutionError as error:  # its text is the cell's traceback
        print(f"{error}\nThe executed copy: {arguments.executed}", file=sys.stderr)
        return 1
    return 0


def _summary(arguments) -> None:
    from reid_lib.engine.files import write_text
    from reid_lib.study.summary import summary

    preset = _preset(arguments)
    text = summary(preset, arguments.root)
    write_text(arguments.root / "figures" / preset.name / "summary.txt", f"{text}\n")
    print(text)


def _records(arguments) -> None:
    from reid_lib.study.records import collect_records
    from reid_lib.study.summary import write_report

    written = (
        collect_records(arguments.results, arguments.out / "runs") if arguments.results else []
    )
    for path in [*written, *write_report(arguments.out)]:
        print(path)


def _compare(arguments) -> None:
    if arguments.records.suffix == ".zip":
        from reid_lib.study.crate import compare_crates

        print(compare_crates(arguments.records, arguments.one, arguments.tolerance))
        return
    from reid_lib.study.claims import compare

    if arguments.other is None:
        raise ValueError("expected RECORDS and two settings, or two crates (.zip)")
    print(compare(arguments.records, arguments.one, arguments.other, arguments.codes))


def _crate(arguments) -> None:
    from reid_lib.study.crate import write_crate

    write_crate(_preset(arguments), arguments.root, arguments.out)
    print(arguments.out)


def _croissant(arguments) -> None:
    from reid_lib.study.croissant import write_croissant

    print(write_croissant(arguments.data))


def _expect(arguments) -> None:
    from reid_lib.engine.files import write_json
    from reid_lib.engine.runs import find_runs, read_run
    from reid_lib.study.summary import expected_scores

    load_preset(arguments.preset)  # refuses an unknown name
    runs = [list(map(read_run, find_runs(folder))) for folder in arguments.results]
    for folder, found in zip(arguments.results, runs, strict=True):
        if not found:
            raise ValueError(f"no completed run under {folder}")
    write_json(PRESETS / "expected" / f"{arguments.preset}.json", expected_scores(runs))


def _preset(arguments):
    return load_preset(
        arguments.preset,
        data=arguments.data,
        weights=arguments.weights,
        splits=arguments.splits,
        name=arguments.name,
        persons=arguments.persons,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reid", description="Companion to 'What Makes You Look Like You'"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, run, text, preset=False):
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        if preset:
            _preset_arguments(added)
        return added.add_argument

    _data_commands(command)
    _run_commands(command)
    _report_commands(command)
    add_commands(command)
    return parser


def _preset_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("preset", metavar="PRESET", help="name of a preset in presets/, or a .yaml file")
    add("--data", help="folder of images or CSV file (default: the preset's data)")
    add("--persons", help="JSON file with the ids of the persons to use (default: all persons)")
    add(
        "--weights",
        help="weights file, or a folder of files named as in torchvision (default: the preset's)",
    )
    add("--splits", help="numbers of the splits, such as 0,1,2 (default: the preset's)")
    add("--name", help="name of the folders of results and figures (default: the preset's name)")
    _add_root(add, "data/, results/ and figures/")


def _add_root(add, content: str) -> None:
    text = f"folder that contains {content} (default: current directory)"
    add("--root", type=Path, default=Path(), help=text)


def _data_commands(command) -> None:
    add = command("check", _check, "list the contents of a data set, and every error by file")
    add(
        "folder",
        metavar="DIR",
        help="folder in the layout of PKU-ReID, Market-1501 or MSMT17, or a CSV file",
    )
    add("--pku", action="store_true", help="report a missing view as an error, as in PKU-ReID")
    add(
        "--persons",
        type=Path,
        help="JSON file with the ids of the persons to check (default: all persons)",
    )

    add = command("env", _env, "print versions and processor, for a bug report")
    _add_root(add, "requirements.lock")

    add = command("synth", _synth, "generate a data set of synthetic persons")
    add("folder", metavar="DIR", type=Path, help="a new or empty folder")
    add("--persons", type=int, default=114, help="number of persons (default: 114)")
    add(
        "--seed",
        type=int,
        default=0,
        help="random seed; determines which persons are generated (default: 0)",
    )
    layouts = ("pku", "market")
    text = "file names as in PKU-ReID or as in Market-1501 (default: pku)"
    add("--layout", choices=layouts, default="pku", help=text)


def _run_commands(command) -> None:
    text = "check a preset, its data and weights, and write one complete configuration per run"
    add = command("resolve", _resolve, text, preset=True)
    add("--check", action="store_true", help="only report missing data and weights; write nothing")
    text = "rename runs of another software version or configuration, to train them again"
    add("--retrain", action="store_true", help=text)

    add = command("unlock", _unlock, "remove the locks that a killed Snakemake process left")
    _add_root(add, "results/ and .snakemake/")

    add = command("train", _train, "train one row of a preset on one split", preset=True)
    add("--row", required=True, help="name of the row in the preset")
    add("--split", type=int, default=0, help="number of the split (default: 0)")
    add("--config", default="", help="configuration file written by `reid resolve` (default: none)")
    add("--out", type=Path, help="run folder (default: results/<preset>/<row>/split-<k>)")

    add = command("notebook", _notebook, "execute one notebook without a browser")
    add("notebook", type=Path, help="the .ipynb file")
    add("executed", type=Path, help="path of the executed copy")
    text = "name and value of a parameter of its parameters cell; can be repeated"
    add("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help=text)


def _report_commands(command) -> None:
    text = "print output locations, run times, and the scores next to the expected scores"
    command("summary", _summary, text, preset=True)

    text = "store the scores of a preset over several seeds as its expected scores"
    add = command("expect", _expect, text)
    add("preset", metavar="PRESET", help="name of a preset in presets/")
    add("results", type=Path, nargs="+", help="one results folder per seed")

    text = "write a JSON summary (record) of each completed run, and generate the tables"
    add = command("records", _records, text)
    add(
        "results",
        type=Path,
        nargs="*",
        help="folders that contain run folders, at any depth (default: none, only the tables)",
    )
    add(
        "--out",
        type=Path,
        required=True,
        help="output folder; the records are in its subfolder runs/",
    )

    text = "write the runs of a preset, without weights, as an RO-Crate archive"
    add = command("crate", _crate, text, preset=True)
    add("--out", type=Path, required=True, help="the file to write, such as crate.zip")

    text = "write metadata in the Croissant format for synthetic images or a table of records"
    add = command("croissant", _croissant, text)
    add("data", type=Path, help="a folder of `reid synth`, or runs.csv of `reid records`")

    text = "print the paired difference of two settings, or compare the scores of two RO-Crates"
    add = command("compare", _compare, text)
    add(
        "records",
        metavar="RECORDS",
        type=Path,
        help="folder of record JSON files, or an RO-Crate (.zip)",
    )
    add("one", metavar="A", help="a setting, the name of a row, or the other RO-Crate")
    add(
        "other",
        metavar="B",
        nargs="?",
        help="the setting or row that is subtracted from A (not with RO-Crates)",
    )
    text = (
        "scores that differ by at most this many points count as equal (default: 0.05; RO-Crates)"
    )
    add("--tolerance", type=float, default=0.05, help=text)
    add(
        "--codes",
        choices=("raw", "unit"),
        default="raw",
        help="raw codes, or unit codes, divided by their L2 norm (default: raw)",
    )
