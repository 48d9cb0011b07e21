"""Files generated from records or runs: a study's tables and figures, the claims in words, and the
closing report of `make reproduce`."""

import functools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from reid_lib.config import PRESETS, Preset, RunConfig
from reid_lib.engine.files import write_text
from reid_lib.engine.runs import Run, read_runs, scores_frame
from reid_lib.engine.sides import GIVEN
from reid_lib.study import table1, tables
from reid_lib.study.claims import claims_text
from reid_lib.study.domains import domains_text
from reid_lib.study.exploratory import beside_planned
from reid_lib.study.given import given_report
from reid_lib.study.records import COMMITTED, DIRECTION, NOT_LISTED, read_records

TEXTS = {  # a file's name -> its text
    "table": tables.table_text,
    "verdicts": tables.verdicts_text,
    "viewpoint": tables.viewpoint_text,
    "primary": tables.primary_text,
    "beside": lambda frame: "".join(f"{line}\n" for line in beside_planned(frame).splitlines()),
    **{name: functools.partial(tables.simple_text, name) for name in tables.SIMPLE},
}
SEEDS_APART = 3  # a tolerance is this many standard deviations over seeds,
LEAST_TOLERANCE = 5.0  # but no less than these points: one query of 192 is half a point
LEAST_RECORDS = 5  # a tolerance from fewer splits would say next to nothing
NAMES = ["rank-1", "mAP"]
RECORDED = (
    "Expected: the mean of the committed records (figures/) with the same images, starting weights "
    "and configuration.\n±: half the width of a 99 % prediction interval for the mean over the "
    "splits run here, estimated from the\nvariation of the records between splits."
)


# --- a study --------------------------------------------------------------------------------------


def report(frame: pd.DataFrame) -> tuple[dict[str, str], dict]:
    """All tables and figures that some records allow.

    Args:
        frame: the records that `read_records` returns.
    Returns:
        Texts by file name, and figures with their alt texts by name. Always runs.csv. Where
        recipes were scored on held-out training persons, recipes.md. Where open choices were
        varied, choices.md, scoring.md and orders-<network>; where the scatter loss was, scatter.md
        and scatter. Where neither was: `TEXTS`, without those that nothing was measured for, and
        splits, one-split and agreement-<network>.
    """
    from reid_lib.study import charts, choices  # reid summary needs neither

    table = frame.drop(columns=list(NOT_LISTED), errors="ignore").round(6)
    texts, pictures = {"runs.csv": table.to_csv(index=False)}, {}
    of_scatter = frame.changed.str.contains("gamma=|scatter=")
    varied = frame[~of_scatter]
    if frame.validation.any():
        texts["recipes.md"] = choices.recipes_text(frame)
    elif (frame.changed == "").all():
        texts |= {f"{name}.md": text(frame) for name, text in TEXTS.items()}
        for draw in (charts.split_picture, charts.one_split_picture, charts.agreement_pictures):
            pictures |= draw(frame)
    else:
        if (varied.changed != "").any():
            texts["choices.md"] = choices.choices_text(varied)
            texts["scoring.md"] = choices.scoring_text(frame[frame.changed == ""])
            pictures |= charts.order_pictures(varied)
        if of_scatter.any():
            texts["scatter.md"] = choices.scatter_text(frame)
            pictures |= charts.scatter_picture(frame)
    return {name: text for name, text in texts.items() if text}, pictures


def write_report(folder: Path) -> list[Path]:
    """Write `report` of the records in `folder`/runs into `folder`; returns the files.

    Also writes claims.md (`claims_text`), of these records and of the studies in subfolders, and
    domains.md (`domains_text`) of the records in `folder`/domains, if there are any. Records of
    data that define their split have tables of their own (`given_report`).
    """
    from reid_lib import plots

    frame = read_records(folder / "runs")
    if (frame.direction == GIVEN).all():
        texts, pictures, claims = given_report(frame, folder / "runs"), {}, ""
    else:
        texts, pictures = report(frame)
        claims = claims_text(default_choice_records(folder))
    if (folder / "domains").is_dir():
        texts["domains.md"] = domains_text(folder / "domains")
    if claims:
        texts["claims.md"] = claims
    for name, text in texts.items():
        write_text(folder / name, text)
    digests = frame.record.str.rsplit("-", n=1).str[-1]
    about = {"config": " ".join(sorted(set(digests)))}
    paths = [folder / name for name in texts]
    for name, (picture, alt) in pictures.items():
        paths += plots.save(picture, folder, name, alt, about)
    return paths


def read_all_records(folder: Path) -> pd.DataFrame:
    """Records of all studies at or below a folder, each run once.

    Returns:
        The columns of `read_records`, and varied: True if every study that contains this run scores
        held-out training persons or varies choices of the same network.
    Raises:
        ValueError: there is no study, or studies of several data sets.
    """
    studies = []
    for runs in sorted(Path(folder).rglob("runs")):
        frame = read_records(runs)
        varied = frame.network[(frame.changed != "") | frame.validation.any()]
        studies.append(frame.assign(varied=frame.network.isin(varied)))
    if not studies:
        raise ValueError(f"no folder runs/ with records at or below {folder}")
    one = ["network", "setting", "changed", "split", "validation", "seed", "weights_sha256"]
    frame = pd.concat(studies, ignore_index=True).sort_values("varied", kind="stable")
    if frame.data_sha256.nunique() > 1:
        raise ValueError(f"the studies below {folder} contain several data sets; expected one")
    return frame.drop_duplicates(one).reset_index(drop=True)


def default_choice_records(folder: Path) -> pd.DataFrame:
    """Those of `read_all_records` that are not of a study which varies choices of their network."""
    frame = read_all_records(folder)
    return frame[~frame.varied]


# --- presets --------------------------------------------------------------------------------------


def provenance(preset: Preset, runs: list[Run]) -> dict[str, str]:
    """The origin stored in a figure's file: preset, configurations and commits of its runs."""
    return {
        "preset": preset.name,
        "config": " ".join(sorted({run.config.digest() for run in runs})),
        "commit": " ".join(sorted({run.manifest["commit"] for run in runs})),
    }


def expected_scores(runs_by_seed: list[list[Run]]) -> dict:
    """The expected scores of a preset, with tolerances for runs on other machines.

    Args:
        runs_by_seed: the preset's runs under several seeds.
    Returns:
        row -> score -> [mean, tolerance] in points; the tolerance is three standard deviations over
        the seeds, and no less than five points.
    """
    frames = [scores_frame(runs).groupby("row", sort=False)[NAMES].mean() for runs in runs_by_seed]
    mean = sum(frames) / len(frames)
    spread = pd.concat(frames).groupby(level=0, sort=False).std().fillna(0)
    tolerance = (SEEDS_APART * spread).clip(lower=LEAST_TOLERANCE).loc[mean.index]
    return _pairs(mean, tolerance)


def recorded_scores(runs: list[Run], folder: Path) -> dict:
    """The scores to expect of runs, from records of the same images, weights and values.

    Splits and seeds may differ, and the precision, which a machine may choose. The spread over
    splits holds that of a training, so that runs on the records' own splits stray less.

    Args:
        runs: of one preset.
        folder: holds records at any depth.
    Returns:
        As `expected_scores`, for rows that five records or more are of. The tolerance is half a
        99 % prediction interval (Student's t) for the mean over as many splits as the row has here.
    """
    splits = Counter(run.config.row for run in runs)
    rows, found = {_alike(run.config): run.config.row for run in runs}, {}
    for path in sorted(Path(folder).rglob("runs/*.json")):
        content = json.loads(path.read_text("utf-8"))
        row = rows.get(_alike(RunConfig.model_validate(content["config"])))
        if row:  # one record may lie in several studies
            found.setdefault(row, {})[path.name] = content["metrics"]["test"][DIRECTION]
    expected = {}
    for row, records in found.items():
        frame = 100 * pd.DataFrame(list(records.values()))[NAMES]
        if len(frame) >= LEAST_RECORDS:
            wide = np.sqrt(1 / len(frame) + 1 / splits[row]) * t.ppf(0.995, len(frame) - 1)
            line = pd.DataFrame([frame.mean(), frame.std() * wide])
            expected |= _pairs(line[:1].set_axis([row]), line[1:])
    return expected


def _alike(config: RunConfig) -> str:
    same = {"row": "", "split": 0, "seed": 0, "precision": "auto"}
    return config.model_copy(update=same).digest()


def _pairs(mean: pd.DataFrame, tolerance: pd.DataFrame) -> dict:
    """Row -> score -> [mean, tolerance]."""
    both = np.stack([mean.round(1), tolerance.round(1)], axis=-1).tolist()
    by_row = [dict(zip(mean, scores, strict=True)) for scores in both]
    return dict(zip(mean.index, by_row, strict=True))


def summary(preset: Preset, root: str | Path = ".") -> str:
    """The closing report of `make reproduce`: output locations, run times, scores."""
    root = Path(root)
    results, figures = root / "results" / preset.name, root / "figures" / preset.name
    runs = read_runs(root / "results", preset)
    lines = [
        preset.title,
        table1.caption(runs),
        "",
        "Where to look",
        f"  {figures / 'table1.md'}: Table 1 (also .html, .tex, .csv)",
        f"  {figures}: every figure as PNG and PDF",
        f"  {results / 'notebooks'}: the executed notebooks",
        f"  {results / 'training'}: the executed notebook of each training",
        "  make lab: open the notebooks",
        "",
        "How long it took",
    ]
    for path in sorted((results / "seconds").glob("*.tsv")):
        seconds = pd.read_csv(path, sep="\t")["s"].iloc[-1]
        lines.append(f"  {path.stem:<32}{seconds:8.1f} s")

    rows = pd.DataFrame([(r.config.precision, r.config.row) for r in runs]).groupby(0)[1].unique()
    words = "; ".join(f"{precision}: {', '.join(names)}" for precision, names in rows.items())
    lines += ["", f"Precision of the training ({words})"]

    file = PRESETS / "expected" / f"{preset.name}.json"
    own = file.is_file()
    expected = json.loads(file.read_text("utf-8")) if own else recorded_scores(runs, COMMITTED)
    measured = table1.table1(runs)["measured"]
    scores = {(row, s): measured[s][row] for row in measured.index for s in NAMES}
    wide = max(16, *(len(row) + 1 for row in measured.index))
    lines += ["", f"{'Score':<{wide + 10}}measured   expected"]
    outside = 0
    for (row, name), value in scores.items():
        line = f"  {row:<{wide}}{name:<8}{value:8.1f}"
        if row in expected:
            mean, tolerance = expected[row][name]
            inside = abs(value - mean) <= tolerance
            outside += not inside
            line += f"   {mean:5.1f} ± {tolerance:.1f}" + ("" if inside else "   OUTSIDE")
        lines.append(line)
    if expected:
        lines.append(f"{outside} of {len(scores)} scores lie outside their tolerance.")
        lines += [] if own else [RECORDED]
    return "\n".join(lines)
