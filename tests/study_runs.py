"""Runs that exist only in memory, their records in a folder, and the frame of these."""

import functools
import json
from pathlib import Path

import numpy as np
import pandas as pd

from reid_lib.config import RunConfig, load_preset
from reid_lib.engine.runs import Run
from reid_lib.study.records import QUANTISED, SCORES, read_records, record

LIKELY = {row.setting: row for row in load_preset("pku_likely").rows if row.backbone == "resnet18"}


def a_run(setting="set2", split=0, rank1=0.5, persons=6, unit=None, train=0.99, **config) -> Run:
    """Random codes, all scores alike; `unit`: those of unit codes, `train`: of training persons."""
    run = Run(None)
    scores, unit, train = (
        dict.fromkeys((*SCORES, "mAP_market", "mINP"), value) for value in (rank1, unit, train)
    )
    three = ("A->B", "B->A", "both")
    given = {"row": setting, "setting": setting, "epochs": 15} | config
    run.__dict__["config"] = RunConfig(split=split, **given)
    parts = {
        "test": dict.fromkeys(three, scores),
        "train": dict.fromkeys(three, train),
        "last_epochs": {"epochs": 1, "A->B": scores},
    }
    run.__dict__["metrics"] = {"protocol": "words", **parts}
    if unit["mAP"] is not None:
        run.metrics["unit"] = {
            **parts,
            "test": dict.fromkeys(three, unit),
            "last_epochs": {"epochs": 1, "A->B": unit},
        }
    run.__dict__["manifest"] = {
        "persons": {"train": persons, "test": persons},
        "seconds": 1.0,
        "device": "CPU",
        "threads": 1,
    }
    run.__dict__["history"] = pd.DataFrame(
        {
            "epoch": [1, 2],
            "seconds": [1.0, 1.0],
            "code_norm": [5.0, 7.0],
            **{
                f"{codes}_{score}": [np.nan, 0.5]
                for codes in ("test", "unit")
                for score in ("rank-1", "mAP")
            },
            "grad_sr": [0.1, 0.01],
            "grad_sl": [0.02, 0.03],
        }
    )
    rng = np.random.default_rng(split)
    pids, camids, orientations = (
        x.ravel() for x in np.meshgrid(range(persons), (1, 2), range(1, 9), indexing="ij")
    )
    codes = rng.standard_normal((len(pids), 4)) + 2 * rng.standard_normal((persons, 4))[pids]
    run.__dict__["codes"] = {
        "codes": codes,
        "pids": pids,
        "camids": camids,
        "orientations": orientations,
    }
    return run


@functools.cache
def _of_codes(split: int, persons: int) -> dict:
    """What a record says of the codes of `a_run`, which depend on these alone."""
    return record(a_run(split=split, persons=persons))


def kept(folder: Path, runs: list[Run]) -> Path:
    """The folder, which now holds the records of these runs in runs/."""
    (folder / "runs").mkdir(parents=True)
    for number, run in enumerate(runs):
        content = _of_codes(run.config.split, len(np.unique(run.codes["pids"]))) | {
            "config": run.config.model_dump(mode="json"),
            "metrics": run.metrics,
            "manifest": run.manifest,
        }
        (folder / "runs" / f"{number:03d}.json").write_text(json.dumps(content))
    return folder


def frame_of(folder: Path, runs: list[Run]) -> pd.DataFrame:
    """`read_records` of these runs."""
    return read_records(kept(folder, runs) / "runs")


def several(setting, rank1s, **config) -> list[Run]:
    """One run per score, on splits 0, 1, ...."""
    return [a_run(setting, k, r, **config) for k, r in enumerate(rank1s)]


def likely(setting, scores, splits=None, **config) -> list[Run]:
    """Runs of the likely reading from the quantised weights: scores of unit codes, raw ones 0.1."""
    values = LIKELY[setting].model_dump(exclude={"setting", "split"})
    values |= {"weights_sha256": QUANTISED["resnet18"], **config}
    return [
        a_run(setting, k, 0.1, unit=score, **values)
        for k, score in zip(splits or range(len(scores)), scores, strict=True)
    ]
