"""The preset that a notebook shows, and the folders of its figures."""

from pathlib import Path
from typing import NamedTuple

from reid_lib.config import Embedded, Preset, load_preset
from reid_lib.engine.runs import has_ended, run_folder


class Opened(NamedTuple):
    """A preset and the folders of its figures."""

    study: Preset
    figure_folder: Path  # figures without photographs
    photo_folder: Path  # figures that show images of persons


def open_study(root: str | Path, preset: str = "", publish: bool = False, **given: str) -> Opened:
    """Load the preset that a notebook shows, with a notice if its scores are not meaningful.

    Args:
        root: project folder that contains data/, results/ and figures/.
        preset: a name in `presets/` or a YAML file. Empty: the demo if all its runs are complete
            under `root`, otherwise the smoke preset, whose runs take seconds.
        publish: write figures to `figures/<preset>`, which are committed, instead of
            `results/<preset>/figures`. Pixels of real people stay under `results/` in any case.
        given: data, weights, splits, name and persons, as `load_preset` takes them.
    Returns:
        The preset and the folders of its figures.
    Raises:
        ValueError: see `load_preset`.
    Example:
        >>> open_study("no_such_folder").study.name
        No results of the demo were found, so this notebook uses the smoke preset.
        Its scores are not meaningful.
        'smoke'
    """
    results = Path(root) / "results"
    study = load_preset(preset or "demo", **given)
    if not preset and not all(has_ended(run_folder(results, study, *run)) for run in study.runs):
        study = load_preset("smoke", **given)
        print(
            "No results of the demo were found, so this notebook uses the smoke preset.\n"
            "Its scores are not meaningful."
        )
    own, public = results / study.name / "figures", Path(root) / "figures" / study.name
    figures = public if publish else own
    return Opened(study, figures, figures if isinstance(study.data, Embedded) else own)
