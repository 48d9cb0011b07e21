"""What some records or runs say, put together: the study's files, the claims in words, the report
of `make reproduce`, the README's generated parts."""

import json
from pathlib import Path

import pandas as pd

from reid_lib.config import PRESETS, Preset
from reid_lib.engine.files import write_text
from reid_lib.engine.runs import Run, read_runs, scores_frame
from reid_lib.study.claims import claims_text, prediction_text, primary_text
from reid_lib.study.records import NOT_LISTED, read_records
from reid_lib.study.tables import (
    caption,
    one_split_text,
    seeds_text,
    table1,
    table_text,
    verdicts_text,
    viewpoint_text,
)

SEEDS_APART = 3  # a tolerance is so many standard deviations over seeds,
LEAST_TOLERANCE = 5.0  # but no less than these points: one query of 192 is half a point


# --- a study --------------------------------------------------------------------------------------


def report(frame: pd.DataFrame) -> tuple[dict[str, str], dict]:
    """All tables and figures that some records allow.

    Args:
        frame: as `read_records` returns it.
    Returns:
        Texts by file name, and figures with their alt texts by name. Always runs.csv. Where
        recipes were scored on held-out training persons only recipes.md beside it. Of unchanged
        readings on test persons: table.md, verdicts.md, viewpoint.md, splits, verdicts,
        agreement-<network> and viewpoint-<network>. Where open choices were varied: choices.md,
        scoring.md, choices-<network>, orders-<network>; where the scatter loss was, scatter.md and
        scatter; where neither was, one-split.md, one-split, primary.md and prediction.md (of
        the planned tests) and seeds.md (of several seeds).
    """
    from reid_lib.study import charts, choices  # reid summary needs neither

    listed = frame.drop(columns=list(NOT_LISTED))
    texts, pictures = {"runs.csv": listed.round(6).to_csv(index=False)}, {}
    if frame.validation.any():
        return texts | {"recipes.md": choices.recipes_text(frame)}, {}
    plain = frame[frame.changed == ""]
    of_scatter = frame.changed.str.contains("gamma=|scatter=")
    varied = frame[~of_scatter]
    if (varied.changed != "").any():
        texts |= {"choices.md": choices.choices_text(varied)}
        texts |= {"scoring.md": choices.scoring_text(plain)}
        pictures |= charts.choice_pictures(varied)
    if of_scatter.any():
        texts["scatter.md"] = choices.scatter_text(frame)
        pictures |= charts.scatter_picture(frame)
    if len(plain):
        texts |= {"table.md": table_text(plain), "verdicts.md": verdicts_text(plain)}
        texts["viewpoint.md"] = viewpoint_text(plain)
        pictures |= charts.split_picture(plain) | charts.verdict_picture(plain)
        pictures |= charts.agreement_pictures(plain) | charts.viewpoint_pictures(plain)
    if len(plain) == len(frame):
        texts |= {"one-split.md": one_split_text(plain), "primary.md": primary_text(plain)}
        texts |= {"seeds.md": seeds_text(plain), "prediction.md": prediction_text(plain)}
        pictures |= charts.one_split_picture(plain)
    return {name: text for name, text in texts.items() if text}, pictures


def write_report(folder: Path) -> list[Path]:
    """Write `report` of the records in `folder`/runs into `folder`; returns the files.

    Beside it claims.md (`claims_text`), of these records and of the studies in folders below.
    """
    from reid_lib import plots

    frame = read_records(folder / "runs")
    texts, pictures = report(frame)
    claims = claims_text(unchanged(folder))
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


def unchanged(folder: Path) -> pd.DataFrame:
    """Records of the studies at or below a folder, of networks whose choices they do not vary.

    A study that scores held-out persons is left out.

    Raises:
        ValueError: the studies are of several data sets.
    """
    plain = []
    for runs in sorted(Path(folder).rglob("runs")):
        frame = read_records(runs)
        varied = frame.network[(frame.changed != "") | frame.validation.any()]
        plain.append(frame[~frame.network.isin(varied)])
    one = ["network", "setting", "split", "seed", "weights_sha256", "data_sha256"]
    frame = pd.concat(plain, ignore_index=True).drop_duplicates(one)
    if frame.data_sha256.nunique() > 1:
        raise ValueError(f"the studies below {folder} are of several data sets; expected one")
    return frame


# --- presets --------------------------------------------------------------------------------------


def provenance(preset: Preset, runs: list[Run]) -> dict[str, str]:
    """What a figure's file says of its origin: preset, configs and commits of its runs."""
    return {
        "preset": preset.name,
        "config": " ".join(sorted({run.config.digest() for run in runs})),
        "commit": " ".join(sorted({run.manifest["commit"] for run in runs})),
    }


def expected_scores(runs_by_seed: list[list[Run]]) -> dict:
    """The scores to expect of a preset, and how far a run on another machine may stray.

    Args:
        runs_by_seed: the preset's runs under several seeds.
    Returns:
        row -> score -> [mean, tolerance] in points; the tolerance is three standard deviations over
        the seeds, and no less than five points.
    """
    frames = [
        scores_frame(runs).groupby("row", sort=False)[["rank-1", "mAP"]].mean()
        for runs in runs_by_seed
    ]
    mean = sum(frames) / len(frames)
    spread = pd.concat(frames).groupby(level=0, sort=False).std().fillna(0)
    tolerance = (SEEDS_APART * spread).clip(lower=LEAST_TOLERANCE)
    return {
        row: {
            s: [round(float(mean.loc[row, s]), 1), round(float(tolerance.loc[row, s]), 1)]
            for s in mean
        }
        for row in mean.index
    }


def summary(preset: Preset, root: str | Path = ".") -> str:
    """The closing words of `make reproduce`: where to look, how long it took, each score."""
    root = Path(root)
    results, figures = root / "results" / preset.name, root / "figures" / preset.name
    runs = read_runs(root / "results", preset)
    lines = [
        preset.title,
        caption(runs),
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
    seconds = {
        path.stem: pd.read_csv(path, sep="\t")["s"].iloc[-1]
        for path in sorted((results / "seconds").glob("*.tsv"))
    }
    lines += [f"  {stage:<32}{value:8.1f} s" for stage, value in seconds.items()]

    file = PRESETS / "expected" / f"{preset.name}.json"
    expected = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    table = table1(runs)["measured"]
    wide = max(16, *(len(row) + 1 for row in table.index))
    lines += ["", f"{'Score':<{wide + 10}}measured   expected"]
    outside = 0
    for row, values in table.iterrows():
        for name in ("rank-1", "mAP"):
            line = f"  {row:<{wide}}{name:<8}{values[name]:8.1f}"
            if row in expected:
                mean, tolerance = expected[row][name]
                inside = abs(values[name] - mean) <= tolerance
                outside += not inside
                line += f"   {mean:5.1f} ± {tolerance:.1f}" + ("" if inside else "   OUTSIDE")
            lines.append(line)
    if expected:
        lines.append(f"{outside} of {2 * len(table)} scores lie outside their tolerance.")
    return "\n".join(lines)
