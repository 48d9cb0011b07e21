"""The runs of a preset as an RO-Crate, which archives read, and two crates side by side.

Profile: Process Run Crate 0.5 (https://w3id.org/ro/wfrun/process). Weights, codes and executed
notebooks stay out: weights are large, and the other two may show or describe real people.
"""

import json
import mimetypes
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

from reid_lib.config import Embedded, Preset
from reid_lib.engine.files import write_file
from reid_lib.engine.runs import Run, read_runs

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
TEXTS = ("config.json", "history.csv", "metrics.json", "manifest.json")
CODE = "#reid_lib"
DATA = "#images"


def write_crate(preset: Preset, root: str | Path, out: str | Path) -> None:
    """Write a zip file with the runs of a preset and their metadata.

    Args:
        preset: whose runs are complete.
        root: project folder that contains results/ and figures/.
        out: the .zip file to write.
    Raises:
        ValueError: a run is missing.
    """
    from rocrate.rocrate import ROCrate  # in the extra `share`

    root = Path(root)
    runs = read_runs(root / "results", preset)
    crate = ROCrate(version="1.1")
    crate.name = crate.description = preset.title
    mit = {"name": "MIT licence of the code and its results"}
    crate.license = _add(crate, "https://spdx.org/licenses/MIT", "CreativeWork", mit)
    profile = {"name": "Process Run Crate", "version": "0.5"}
    crate.root_dataset["conformsTo"] = _add(crate, PROFILE, "CreativeWork", profile)
    manifest = runs[0].manifest
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    about = {
        "name": "reid_lib",
        "softwareVersion": f"{manifest['versions']['reid_lib']}, commit {manifest['commit']}",
        "sha256": manifest["code_sha256"],
        "softwareRequirements": versions,
    }
    code = _add(crate, CODE, "SoftwareApplication", about)
    drawn = isinstance(preset.data, Embedded)
    what = f"synthetic persons, seed {preset.data.seed}" if drawn else "photographs, not included"
    about = {"name": f"images: {what}", "sha256": manifest["data_sha256"]}
    images = _add(crate, DATA, "CreativeWork", about)
    crate.root_dataset["mentions"] = [_add_run(crate, run, code, images) for run in runs]
    for path in sorted((root / "figures" / preset.name).glob("*")):
        _add_file(crate, path, f"figures/{path.name}")
    lock = root / "requirements.lock"
    if lock.is_file():
        _add_file(crate, lock, lock.name)
    write_file(Path(out), crate.write_zip)


def _add(crate, identifier: str, kind: str, properties: dict):
    from rocrate.model.contextentity import ContextEntity

    return crate.add(ContextEntity(crate, identifier, properties={"@type": kind, **properties}))


def _add_file(crate, path: Path, name: str):
    kind = mimetypes.guess_type(path.name)[0] or "text/plain"
    return crate.add_file(path, name, properties={"name": name, "encodingFormat": kind})


def _add_run(crate, run: Run, code, images):
    """One training as an action: from the images and the configuration to history and scores."""
    place = f"runs/{run.config.row}/split-{run.config.split}"
    files = {name: _add_file(crate, run.folder / name, f"{place}/{name}") for name in TEXTS}
    ended = datetime.fromtimestamp((run.folder / "manifest.json").stat().st_mtime, UTC)
    began = ended - timedelta(seconds=run.manifest["seconds"])
    state = "FailedActionStatus" if run.failed else "CompletedActionStatus"
    about = {
        "name": f"training of {run.config.row} on split {run.config.split}",
        "description": f"reid train {run.folder.parents[1].name} --row {run.config.row} --split "
        f"{run.config.split}, on {run.manifest['device']}",
        "startTime": began.isoformat(timespec="seconds"),
        "endTime": ended.isoformat(timespec="seconds"),
        "actionStatus": f"http://schema.org/{state}",
    }
    action = _add(crate, f"#{place}", "CreateAction", about)
    action["instrument"] = code
    action["object"] = [images, files["config.json"]]
    action["result"] = [files[name] for name in TEXTS if name != "config.json"]
    return action


def read_scores(crate: str | Path) -> pd.DataFrame:
    """The scores in a crate: one row per run, direction and score, in percent.

    Raises:
        ValueError: the file was not written by `write_crate`.
    """
    lines = []
    try:
        with zipfile.ZipFile(crate) as archive:
            for name in sorted(archive.namelist()):
                if not name.endswith("/metrics.json"):
                    continue
                _, row, split, _ = name.split("/")
                for direction, scores in json.loads(archive.read(name)).get("test", {}).items():
                    line = {"row": row, "split": split, "direction": direction}
                    lines += [line | {"score": s, "value": 100 * v} for s, v in scores.items()]
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise ValueError(f"{crate} was not written by `reid crate` ({error})") from None
    if not lines:
        raise ValueError(f"{crate} holds no scores; expected the file that `reid crate` wrote")
    return pd.DataFrame(lines)


def compare_crates(one: str | Path, other: str | Path, tolerance: float = 0.05) -> str:
    """Say which scores of two crates agree.

    Args:
        one, other: files of `write_crate`.
        tolerance: points by which two equal scores may differ.
    Returns:
        Lines of text: what is in one crate alone, each score that differs by more, and a count.
    Raises:
        ValueError: see `read_scores`.
    """
    keys = ["row", "split", "direction", "score"]
    both = read_scores(one).merge(read_scores(other), "outer", keys, indicator=True)
    lines = []
    for side, file in (("left_only", one), ("right_only", other)):
        runs = both[both["_merge"] == side].drop_duplicates(["row", "split"])
        lines += [f"{row.row} {row.split}: only in {file}" for row in runs.itertuples()]
    common = both[both["_merge"] == "both"]
    differ = common[(common.value_x - common.value_y).abs() > tolerance]
    lines += [
        f"{r.row} {r.split} {r.direction} {r.score}: {r.value_x:.2f} and {r.value_y:.2f}"
        for r in differ.itertuples()
    ]
    agree = len(common) - len(differ)
    return "\n".join([*lines, f"{agree} of {len(common)} scores agree within {tolerance:g} points"])
