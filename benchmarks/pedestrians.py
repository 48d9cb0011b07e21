"""Do the synthetic persons behave like the real ones? Numbers on both, side by side, as Markdown.

    python benchmarks/pedestrians.py --real DIR --weights FILE --work DIR --output FILE

DIR holds real images in PKU-ReID's layout, FILE the ImageNet weights of mobilenet_v2. The synthetic
persons have the real ones' ids, so that a split divides both alike. Everything trained lies in
run folders under --work: what is done is not done again, and what was broken off goes on. About an
hour and a half on two cores, most of it for the transfer; --parts takes some of the parts.
"""

import argparse
import os
import resource
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reid_lib import model
from reid_lib.config import Preset, RunConfig
from reid_lib.dataset import load_pixels, read_pku, split_persons
from reid_lib.engine.files import write_text
from reid_lib.engine.prepare import resolve
from reid_lib.engine.runs import Run, run_folder
from reid_lib.metrics import evaluate_cameras, viewpoint_grid
from reid_lib.model import encode
from reid_lib.pedestrians import write_dataset
from reid_lib.training import fit

PARTS = ("cameras", "untrained", "trained", "transfer", "cost")
SPLITS, TRAINED_SPLITS = (0, 1, 2), (0,)
TRANSFER_PERSONS = 2000  # a split trains on half of them
GREY = torch.tensor([0.299, 0.587, 0.114])[:, None, None]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="gets data and runs")
    parser.add_argument("--output", type=Path, help="write the tables here too")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--transfer-epochs", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0, help="of the synthetic persons")
    parser.add_argument("--cost", type=int, nargs="+", default=[114, 456], help="persons to time")
    options = parser.parse_args()

    text = []
    if set(options.parts) - {"transfer", "cost"}:
        text.append(_table(compare(options), ["measured on", "score", "real", "synthetic"]))
    if "transfer" in options.parts:
        text.append(_table(transfer(options), ["resnet18 on the real images", "rank-1", "mAP"]))
    if "cost" in options.parts:
        head = ["persons", "images", "wall seconds", "CPU seconds", "CPU seconds per person"]
        text.append(_table(cost(options), head))
    print("\n".join(text))
    if options.output:
        write_text(options.output, "\n".join(text))


# --- real and synthetic ---------------------------------------------------------------------------


def compare(options) -> list[list[str]]:
    """Camera statistics and scores before and after training: rows of the first table."""
    synthetic = _synthetic_like(options)
    sets = {"real": data(options.real), "synthetic": data(synthetic)}
    rows = []

    def add(where: str, score: str, values: dict[str, float], digits: int = 1) -> None:
        rows.append([where, score, *(f"{values[name]:.{digits}f}" for name in sets)])

    if "cameras" in options.parts:
        stats = {name: cameras(*pair) for name, pair in sets.items()}
        for score in stats["real"]:
            add("pixels, 0 to 255", score, {name: s[score] for name, s in stats.items()})
    if "untrained" in options.parts:
        for backbone, start in (("mobilenet_v2", options.weights), ("resnet18", None)):
            net = model.ReIDNet(backbone, persons=2)
            if start:
                model.load_weights(net, start)
            title = f"{backbone}, {'ImageNet' if start else 'random'} weights, not trained"
            means = {name: scores(net, *pair) for name, pair in sets.items()}
            for score in means["real"]:
                add(title, score, {name: m[score] for name, m in means.items()})
    if "trained" in options.parts:
        for setting in ("set1", "set2"):
            row = {"row": f"mobilenet_v2_{setting}", "setting": setting, "epochs": 20}
            row |= {"backbone": "mobilenet_v2", "start": "imagenet", "score_last": 10}
            done = {
                name: [
                    train(options, name, folder, row, k, options.weights) for k in TRAINED_SPLITS
                ]
                for name, folder in (("real", options.real), ("synthetic", synthetic))
            }
            for score in ("rank-1", "mAP"):
                means = {
                    name: 100 * np.mean([run.metrics["test"]["A->B"][score] for run in runs])
                    for name, runs in done.items()
                }
                add(f"mobilenet_v2, 20 epochs of {setting}", score, means)
    return rows


@cache
def data(folder: Path) -> tuple[pd.DataFrame, Tensor]:
    index = read_pku(folder)
    return index, load_pixels(index)


def _synthetic_like(options) -> Path:
    """Synthetic persons with the real ones' ids."""
    folder = options.work / f"drawn-{options.seed}"
    if not folder.is_dir():
        wanted = read_pku(options.real).pid.unique()
        whole = options.work / f"all-{options.seed}"
        if not whole.is_dir():
            write_dataset(whole, max(wanted), options.seed, progress=True, workers=os.cpu_count())
        aside = folder.with_name(f".{folder.name}")
        aside.mkdir(exist_ok=True)
        index = read_pku(whole)
        for path in index[index.pid.isin(wanted)].path:
            (aside / Path(path).name).write_bytes(Path(path).read_bytes())
        aside.rename(folder)
    return folder


def cameras(index: pd.DataFrame, pixels: Tensor) -> dict[str, float]:
    """How the cameras differ: mean colour (Euclidean, RGB) and contrast (spread of grey)."""
    colour, contrast = [], []
    for camera in sorted(index.camid.unique()):
        part = pixels[torch.from_numpy((index.camid == camera).to_numpy().copy())].float()
        colour.append(part.mean((0, 2, 3)))
        contrast.append((part * GREY).sum(1).flatten(1).std(1).mean())
    return {
        "mean colour, camera A to B": float((colour[0] - colour[1]).norm()),
        "contrast, camera A minus camera B": float(contrast[0] - contrast[1]),
    }


def scores(net: model.ReIDNet, index: pd.DataFrame, pixels: Tensor) -> dict[str, float]:
    """Percent, A to B, mean over the splits; same and opposite views from the viewpoint grid."""
    codes = encode(net, pixels).cpu()
    lines = []
    for split in SPLITS:
        _, test = split_persons(index, split)
        rows = torch.from_numpy(test.index.to_numpy().copy())
        pids, camids, views = (test[name].to_numpy() for name in ("pid", "camid", "orientation"))
        result = evaluate_cameras(codes[rows], pids, camids)["A->B"]
        a, b = (camids == camera for camera in sorted(set(camids)))
        q, g = (codes[rows[torch.from_numpy(side)]] for side in (a, b))
        grid = viewpoint_grid(q, g, pids[a], pids[b], camids[a], camids[b], views[a], views[b])
        turn = (grid.gallery_orientation - grid.query_orientation) % 8
        lines.append(
            {
                "rank-1": result.rank[1],
                "mAP": result.mAP,
                "rank-1, same view": grid.rank1[turn == 0].mean(),
                "rank-1, opposite view": grid.rank1[turn == 4].mean(),
            }
        )
    return (100 * pd.DataFrame(lines).mean()).to_dict()


# --- transfer -------------------------------------------------------------------------------------


def transfer(options) -> list[list[str]]:
    """ResNet-18 trained on synthetic persons only, and as a start for the real ones."""
    persons, epochs = TRANSFER_PERSONS, options.transfer_epochs
    folder = options.work / f"transfer-{persons}-{options.seed + 1}"
    if not folder.is_dir():
        write_dataset(folder, persons, options.seed + 1, progress=True, workers=os.cpu_count())
    row = {"row": "set1", "setting": "set1", "start": "random", "epochs": epochs}
    row |= {"schedule": "cosine"}
    name = f"transfer-{epochs}"
    start = train(options, name, folder, row, 0).folder / "weights.safetensors"

    rows = []
    for title, weights in (("random weights, not trained", None), (_learnt(start), start)):
        net = model.ReIDNet("resnet18", persons=2)
        if weights:
            model.load_weights(net, weights)
        mean = scores(net, *data(options.real))
        rows.append([title, f"{mean['rank-1']:.1f}", f"{mean['mAP']:.1f}"])

    row = {"row": "set1", "setting": "set1", "epochs": 60, "score_last": 10}
    for title, more, weights, where in (
        ("60 epochs of set 1 on the real persons, from random weights", "random", None, "scratch"),
        ("the same, from the weights trained on synthetic persons", "file", start, name),
    ):
        runs = [
            train(options, f"real-{where}", options.real, row | {"start": more}, split, weights)
            for split in SPLITS
        ]
        last = pd.DataFrame([run.metrics["last_epochs"]["A->B"] for run in runs])
        cells = [
            f"{100 * last[score].mean():.1f} ({', '.join(f'{100 * v:.1f}' for v in last[score])})"
            for score in ("rank-1", "mAP")
        ]
        rows.append([f"{title}; last ten epochs, each split", *cells])
    return rows


def _learnt(weights: Path) -> str:
    run = Run(weights.parent)
    persons = run.manifest["persons"]["train"]
    return f"{run.config.epochs} epochs of set 1 on {persons:,} synthetic persons only"


def train(options, name, folder, row, split, weights=None) -> Run:
    """One run, by the same functions as any other; kept under the work folder."""
    row = RunConfig.model_validate(row)
    preset = Preset(name=name, title=name, data=folder, weights=weights, rows=(row,))
    where = run_folder(options.work / "runs", preset, row.row, split)
    index, pixels = data(folder)
    config, start = resolve(preset, row.row, split, index, options.work / "runs")
    return fit(config, index, pixels, where, start, "lines")


# --- cost -----------------------------------------------------------------------------------------


def cost(options) -> list[list[str]]:
    """Time to draw sets of several sizes, with one process per core."""
    rows = []
    for persons in options.cost:
        folder = options.work / f"cost-{persons}"
        wall, processor = time.monotonic(), _cpu()
        write_dataset(folder, persons, 0, workers=os.cpu_count())
        wall, processor = time.monotonic() - wall, _cpu() - processor
        for path in (*folder.iterdir(), folder.with_name(f"{folder.name}.persons.csv")):
            path.unlink()
        folder.rmdir()
        cells = f"{persons:,}", f"{16 * persons:,}", f"{wall:.1f}", f"{processor:.1f}"
        rows.append([*cells, f"{processor / persons:.3f}"])
    return rows


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def _table(rows: list[list[str]], head: list[str]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
