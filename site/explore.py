"""What the page's scripts read, computed before: ranked galleries, codes in the plane, thumbnails.

Data are JSON behind `window.<name> =`: a page that is opened from a disk may load scripts only.
"""

import functools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from reid_lib.config import Embedded, Preset, RunConfig
from reid_lib.dataset import fingerprint, read_pku
from reid_lib.engine.plan import data_folder
from reid_lib.engine.runs import Run, read_run, run_folder
from reid_lib.metrics import Protocol, evaluate, rank_gallery

NEAREST = 10
THUMBNAIL = 64, 128  # pixels: width and height of one image on the sheet
ACROSS = 16  # images in one line of the sheet: the views of one person
KEYS = "codes", "pids", "camids"


def write(study: Preset, root: Path, folder: Path) -> None:
    """Write explore_data.js, equations_data.js and the sheet of thumbnails people.webp.

    Args:
        study: a preset of synthetic persons whose runs are complete; its first split is shown.
        root: holds data/, results/ and figures/.
        folder: where the files go.
    Raises:
        ValueError: real people, no run or no coordinates, or other images than the runs saw.
    """
    if not isinstance(study.data, Embedded):
        raise ValueError(f"preset {study.name} shows real people; expected synthetic persons")
    coordinates = root / "figures" / study.name / "tsne.csv"
    if not coordinates.is_file():
        raise ValueError(f"{coordinates} is missing; first: make reproduce PRESET={study.name}")
    of_row = functools.partial(run_folder, root / "results", study, split=study.splits[0])
    found = [read_run(of_row(row)) for row, split in study.runs if split == study.splits[0]]
    runs = {run.config.row: run for run in found if not run.failed}
    first = next(iter(runs.values()))
    index = read_pku(data_folder(study, root / "data"))
    if fingerprint(index) != first.config.data_sha256:
        raise ValueError(f"the images in {root / 'data'} are not those that {first.folder} saw")
    paths = {Path(path).name: path for path in index.path}
    sheet = thumbnails([paths[name] for name in first.codes["names"]])
    sheet.save(folder / "people.webp", quality=80, method=6)
    content = {"preset": study.name, **shown(runs, pd.read_csv(coordinates))}
    for name, data in {"explore_data": content, "equations_data": points()}.items():
        text = json.dumps(data, separators=(",", ":"), allow_nan=False)
        (folder / f"{name}.js").write_text(f"window.{name} = {text};\n", encoding="utf-8")


def shown(runs: dict[str, Run], planes: pd.DataFrame) -> dict:
    """All that the page of ranked galleries says.

    Args:
        runs: row -> its run, all of one split and one data set.
        planes: as notebook 05 saves it: one line per row and image.
    Returns:
        `images`: names, pids, camids and orientations, in the order that numbers them; `across`:
        thumbnails in a line; `rows`: row -> xy, and what `rankings` returns under raw and unit.
    Raises:
        ValueError: runs or coordinates are of different images.
    """
    first = next(iter(runs.values())).codes
    images = {key: first[key].tolist() for key in ("names", "pids", "camids", "orientations")}
    rows = {}
    for row, run in runs.items():
        plane = planes[planes.row == row]
        if run.codes["names"].tolist() != images["names"] or plane.pid.tolist() != images["pids"]:
            raise ValueError(f"tsne.csv or the run of {row} is of other images than the first run")
        rows[row] = {"xy": plane[["x", "y"]].round(2).to_numpy().tolist()}
        rows[row] |= {codes: rankings(run, Protocol(codes=codes)) for codes in ("raw", "unit")}
    return {"images": images, "across": ACROSS, "rows": rows}


def rankings(run: Run, protocol: Protocol) -> dict[str, list]:
    """Rank the other camera's images for every image of a run.

    Returns:
        One entry per image: `nearest`, the numbers of the ten nearest; `distances` to them, to four
        digits; `AP`, a fraction; `first`, the rank of the first correct image.
    """
    found = {key: [0] * len(run.codes["pids"]) for key in ("nearest", "distances", "AP", "first")}
    for direction in ("A->B", "B->A"):
        query, gallery = run.query_gallery(direction)
        scores = evaluate(*run.scored_arrays(direction), protocol).per_query
        for i, row in enumerate(query["rows"]):
            each = (part for key in KEYS for part in (query[key][i], gallery[key]))
            order = rank_gallery(*each, protocol).head(NEAREST)
            found["nearest"][row] = gallery["rows"][order.row].tolist()
            found["distances"][row] = [float(f"{d:.4g}") for d in order.distance]
            found["AP"][row] = round(float(scores.AP[i]), 4)
            found["first"][row] = int(scores.first_match[i])
    return found


def thumbnails(paths: list[str]) -> Image.Image:
    """One sheet of all images in their order, `ACROSS` in a line."""
    width, height = THUMBNAIL
    sheet = Image.new("RGB", (ACROSS * width, -(-len(paths) // ACROSS) * height))
    for number, path in enumerate(paths):
        small = Image.open(path).convert("RGB").resize(THUMBNAIL, Image.Resampling.LANCZOS)
        sheet.paste(small, (number % ACROSS * width, number // ACROSS * height))
    return sheet


def points() -> dict:
    """The 24 points of notebook 02, their persons, and the paper's weights of Eq. 4."""
    labels = torch.arange(3).repeat_interleave(8)
    around = torch.tensor([[-1.0, 0.0], [1.2, 0.4], [0.1, 1.8]])
    noise = torch.randn(24, 2, generator=torch.Generator().manual_seed(0))
    codes = np.round((around[labels] + 0.75 * noise).double().numpy(), 4).tolist()
    weights = RunConfig(row="set3", setting="set3").model_dump(include={"beta", "gamma"})
    return {"codes": codes, "labels": labels.tolist(), **weights}
