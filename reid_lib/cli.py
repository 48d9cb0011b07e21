"""The command `reid`: a few lines over the functions that the notebooks call."""

import argparse
import json
import os
import sys
from pathlib import Path

from reid_lib.config import PRESETS, load_preset


def main(argv: list[str] | None = None) -> int:
    """Run `reid ARGUMENTS`; returns the exit status (0 done, 1 failed, 2 wrong input)."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except (ValueError, OSError) as error:
        print(f"reid {arguments.command}: {error}", file=sys.stderr)
        return 2


def _check(arguments) -> int:
    from reid_lib.engine.checks import check

    report = check(arguments.folder)
    print(report)
    return 2 if report.errors else 0


def _synth(arguments) -> None:
    from reid_lib.pedestrians import write_dataset

    write_dataset(
        arguments.folder, arguments.persons, arguments.seed, True, workers=os.cpu_count() or 1
    )


def _resolve(arguments) -> None:
    """Everything that can fail before training fails here; the complete configs are written."""
    preset = _preset(arguments)  # a wrong preset need not wait for torch

    from reid_lib.dataset import read_pku
    from reid_lib.engine.checks import check
    from reid_lib.engine.files import write_json
    from reid_lib.engine.prepare import data_folder, resolve

    folder = data_folder(preset, arguments.root / "data", progress=sys.stderr.isatty())
    report = check(folder, one_size=any(row.image_size is None for row in preset.rows))
    if report.errors:
        raise ValueError(f"{folder} has faults that would falsify scores:\n{report}")
    index = read_pku(folder)
    configs = {}
    for row in preset.rows:
        for split in preset.splits:
            config, _ = resolve(preset, row.row, split, index, arguments.root / "results")
            configs[f"{row.row}/split-{split}"] = config.model_dump(mode="json")
    write_json(arguments.out, configs)
    print(report)


def _train(arguments) -> int:
    preset = _preset(arguments)
    preset.row(arguments.row)  # a wrong one need not wait for the data

    from reid_lib.dataset import load_pixels, read_pku
    from reid_lib.engine.prepare import data_folder, resolve
    from reid_lib.engine.runs import run_folder
    from reid_lib.training import fit

    index = read_pku(data_folder(preset, arguments.root / "data", progress=sys.stderr.isatty()))
    config, weights = resolve(
        preset, arguments.row, arguments.split, index, arguments.root / "results"
    )
    folder = arguments.out or run_folder(
        arguments.root / "results", preset, arguments.row, arguments.split
    )
    pixels = load_pixels(index, config.image_size)
    run = fit(
        config, index, pixels, folder, weights, "lines", len(preset.rows) * len(preset.splits)
    )
    if run.failed:
        print(run.failed, file=sys.stderr)
        return 1
    print(json.dumps(run.metrics["test"], indent=2))
    return 0


def _notebook(arguments) -> int:
    from papermill import PapermillExecutionError

    from reid_lib.engine.notebooks import run_notebook

    parameters = {}
    for assignment in arguments.parameter:
        name, sign, value = assignment.partition("=")
        if not sign:
            raise ValueError(f"parameter {assignment!r} is not of the form name=value")
        parameters[name] = value
    try:
        run_notebook(arguments.notebook, arguments.executed, parameters)
    except PapermillExecutionError as error:  # its text is the cell's traceback
        print(f"{error}\nThe executed copy: {arguments.executed}", file=sys.stderr)
        return 1
    return 0


def _summary(arguments) -> None:
    from reid_lib.report import summary

    print(summary(_preset(arguments), arguments.root))


def _records(arguments) -> None:
    from reid_lib.evidence import collect_records, write_report

    written = (
        collect_records(arguments.results, arguments.out / "runs") if arguments.results else []
    )
    for path in [*written, *write_report(arguments.out)]:
        print(path)


def _expect(arguments) -> None:
    from reid_lib.engine.files import write_json
    from reid_lib.engine.runs import read_run
    from reid_lib.report import expected_scores

    load_preset(arguments.preset)  # refuses an unknown name
    runs = [
        [read_run(path.parent) for path in sorted(folder.rglob("manifest.json"))]
        for folder in arguments.results
    ]
    for folder, found in zip(arguments.results, runs, strict=True):
        if not found:
            raise ValueError(f"no finished run under {folder}")
    write_json(PRESETS / "expected" / f"{arguments.preset}.json", expected_scores(runs))


def _preset(arguments):
    return load_preset(
        arguments.preset,
        data=arguments.data,
        weights=arguments.weights,
        splits=arguments.splits,
        name=arguments.name,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="reid", description="Companion to 'What Makes You Look Like You'"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name, run, text):
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    def takes_preset(added):
        added.add_argument("preset", metavar="PRESET", help="a name in presets/, or a .yaml file")
        added.add_argument("--data", help="folder of images, instead of the preset's")
        added.add_argument(
            "--weights", help="weights file, or a folder with torchvision's file names"
        )
        added.add_argument("--splits", help="which splits, such as 0,1,2")
        added.add_argument("--name", help="where results and figures go (the preset's name)")
        added.add_argument(
            "--root", type=Path, default=Path(), help="holds data/, results/, figures/"
        )

    added = command(
        "check", _check, "say what a folder of images holds, and every fault by file name"
    )
    added.add_argument("folder", metavar="DIR")

    added = command("synth", _synth, "draw embedded pedestrians in PKU-ReID's layout")
    added.add_argument("folder", metavar="DIR", type=Path)
    added.add_argument("--persons", type=int, default=114)
    added.add_argument("--seed", type=int, default=0)

    added = command("resolve", _resolve, "check a preset, its data and weights before any training")
    takes_preset(added)
    added.add_argument(
        "--out", type=Path, required=True, help="where the complete configs go (JSON)"
    )

    added = command("train", _train, "train one row of a preset on one split")
    takes_preset(added)
    added.add_argument("--row", required=True)
    added.add_argument("--split", type=int, default=0)
    added.add_argument("--out", type=Path, help="run folder (results/<preset>/<row>/split-<k>)")

    added = command("notebook", _notebook, "execute one notebook headless")
    added.add_argument("notebook", type=Path)
    added.add_argument("executed", type=Path)
    added.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE")

    added = command(
        "summary", _summary, "where to look, how long it took, scores beside the expected"
    )
    takes_preset(added)

    added = command("expect", _expect, "keep a preset's scores under several seeds as the expected")
    added.add_argument("preset", metavar="PRESET")
    added.add_argument("results", type=Path, nargs="+", help="one folder of run folders a seed")

    added = command(
        "records", _records, "keep each finished run as a small record, and tabulate them"
    )
    added.add_argument(
        "results", type=Path, nargs="*", help="folders of run folders; none: tables anew, no more"
    )
    added.add_argument("--out", type=Path, required=True, help="gets runs/ and the tables")
    return parser
