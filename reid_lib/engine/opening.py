"""What a notebook opens on: which preset, and where its figures go."""

from pathlib import Path
from typing import NamedTuple

from reid_lib.config import Embedded, Preset, load_preset
from reid_lib.engine.runs import run_folder

DEMO, SMOKE = "demo", "smoke"


class Opened(NamedTuple):
    """A preset and the folders of its figures."""

    study: Preset
    plain: Path  # figures without pixels
    pixels: Path  # figures with pixels


def open_study(root: str | Path, preset: str = "", publish: bool = False, **given: str) -> Opened:
    """Load the preset that a notebook shows, and say so where its scores mean nothing.

    Args:
        root: holds data/, results/ and figures/.
        preset: a name in `presets/` or a YAML file. Empty: the demo if all of its runs have ended
            under `root`, otherwise the smoke preset, whose runs take seconds.
        publish: write figures to `figures/<preset>`, which are committed, instead of
            `results/<preset>/figures`. Pixels of real people stay under `results/` in any case.
        given: data, weights, splits, name and persons, as `load_preset` takes them.
    Returns:
        The preset and the folders of its figures.
    Raises:
        ValueError: as `load_preset`.
    Example:
        >>> open_study("no_such_folder").study.name
        The demo has no results here, so this opens on the smoke preset: its scores mean nothing.
        'smoke'
    """
    results = Path(root) / "results"
    if not preset:
        preset = DEMO if _has_ended(load_preset(DEMO, **given), results) else SMOKE
        if preset == SMOKE:
            print(
                "The demo has no results here, so this opens on the smoke preset: "
                "its scores mean nothing."
            )
    study = load_preset(preset, **given)
    own, public = results / study.name / "figures", Path(root) / "figures" / study.name
    plain = public if publish else own
    return Opened(study, plain, plain if isinstance(study.data, Embedded) else own)


def _has_ended(study: Preset, results: Path) -> bool:
    """Whether every run of the preset has ended."""
    return all(
        (run_folder(results, study, row.row, split) / "manifest.json").is_file()
        for row in study.rows
        for split in study.splits
    )
