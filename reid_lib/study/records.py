"""Records: the numbers of one completed run as a small JSON file, and one frame of all records."""

import functools
import json
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy.spatial.distance import cdist

from reid_lib import config as configuration
from reid_lib.config import PRESETS, RunConfig
from reid_lib.engine.files import write_json, write_text
from reid_lib.engine.runs import Run, find_runs, read_run, table_direction
from reid_lib.engine.sides import BOTH, GIVEN, main_direction
from reid_lib.metrics import Protocol, viewpoint_grid

COMMITTED = PRESETS.parent / "figures" / "pku74"  # records of the runs on real images
SCORES = ("rank-1", "rank-5", "rank-10", "rank-20", "mAP")
DIRECTION = "A->B"
SETTINGS = tuple(configuration.SETTINGS)
LAST = "last epochs"  # the mean over the last scored epochs, which every run records
# The primary scores: of raw codes; in the likely reading, of codes divided by their L2 norm.
DECIDING = {"deciding rank-1": "rank-1", "deciding mAP": "mAP"}
ANGLES = (0, 45, 90, 135, 180)
NEAR = {f"near_{degrees}": degrees for degrees in ANGLES}
FOUND = {"found_all": "all pairs", **{f"found_{a}": f"{a} degrees" for a in ANGLES}}
BY_ANGLE = *NEAR, *FOUND, "gap", "rank1_drop"  # the columns of `_by_angle`
PROTOCOLS = {"viewpoint": Protocol(), "unit viewpoint": Protocol(codes="unit")}
ENDS, KEPT = ("first", "last"), ("grad_sr", "grad_cl", "grad_sl", "code_norm")  # of these epochs
SIDES = ("queries", "gallery", "junk")
NOT_LISTED = (  # in runs.csv
    *("protocol", "direction", "unit mAP_market", "deciding train rank-1"),
    *(*SIDES, *DECIDING, *FOUND),
)
LIKELY = "likely reading"
# Keys in which runs may differ and still be of the default reading.
NOT_CHOICES = frozenset(
    "row setting backbone start split validation train_persons seed epochs precision rerank "
    "score_last score_every deterministic code_norm_limit data_sha256 weights_sha256".split()
)
START = {"imagenet": "ImageNet weights", "random": "random weights", "file": "weights from a file"}
QUANTISED = {
    "resnet18": "776af5b53b2f1e756608ccc9bd06dbdefecd060297ae467cb5a442b881a5b425",
    "resnet50": "d7be9c3138509600fcbeb28e9a3c6c7874103a5376a64c01357872be2da8251c",
}
QUANTISED_WORDS = "product-quantised ImageNet weights"


def view_angle(one, other):
    """Degrees between orientations, 1 to 8 around the person: 0, 45, ..., 180; arrays or series."""
    turn = np.abs(one - other)
    return 45 * np.minimum(turn, 8 - turn)


def start_words(config: dict) -> str:
    """The initial weights of a network in words; quantised weights are known by their SHA-256."""
    known = config["weights_sha256"] in QUANTISED.values()
    return QUANTISED_WORDS if known else START[config["start"]]


def record(run: Run) -> dict:
    """One run's config, scores, scores by epoch, and provenance.

    Also its viewpoint grids, or, where the data define the split, the numbers of queries and of
    gallery images, and how many of the latter are junk.
    """
    history = run.history.drop(columns="seconds")
    columns = [f"{codes}_{score}" for codes in ("test", "unit") for score in ("rank-1", "mAP")]
    ends = {"first": history.iloc[0].dropna(), "last": history.iloc[-1].dropna()}
    return {
        "config_digest": run.config.digest(),
        "config": run.config.model_dump(mode="json"),
        "metrics": run.metrics,
        **(_sides(run) if GIVEN in run.directions else _grids(run)),
        "scores by epoch": _short(history[["epoch", *columns]].dropna()),
        "history": {when: _short(values) for when, values in ends.items()},
        "manifest": run.manifest,
    }


def _sides(run: Run) -> dict:
    query, gallery = run.query_gallery(GIVEN)
    sizes = len(query["pids"]), len(gallery["pids"]), int((gallery["pids"] == -1).sum())
    return {"sides": dict(zip(SIDES, sizes, strict=True))}


def _grids(run: Run) -> dict:
    arrays = run.scored_arrays(DIRECTION, orientations=True)
    return {name: _short(viewpoint_grid(*arrays, protocol)) for name, protocol in PROTOCOLS.items()}


def collect_records(results: list[Path], out: Path) -> list[Path]:
    """Write one small JSON record for each completed run under the folders `results`.

    A CSV file of the same name has one line per query of the last epoch: the name of its image and
    the camera direction (its person, where the data define the split), and, for raw and for unit
    codes, AP and the rank of the first match. A failed run has no scores and leaves no record; a
    warning names it and why it failed.

    Raises:
        ValueError: there is no completed run.
    """
    folders = sorted({path for folder in results for path in find_runs(folder)})
    if not folders:
        raise ValueError(f"no completed run under {', '.join(map(str, results))}")
    written = []
    for folder in folders:
        run = read_run(folder)
        if run.failed:
            warnings.warn(f"{folder} failed and leaves no record: {run.failed}", stacklevel=2)
            continue
        pair = "B->A" in run.directions and len(run.directions) == 2
        if not (GIVEN in run.directions or (pair and is_oriented(run))):
            text = (
                "a record requires exactly two cameras and a known orientation of every image, or "
                "a split that the data define"
            )
            warnings.warn(f"no record written for {folder}: {text}", stacklevel=2)
            continue
        config = run.config
        parts = config.backbone, config.start, config.setting, f"{config.epochs}-epochs"
        name = "-".join([*parts, f"split-{config.split}", config.digest()]).replace("/", "-")
        write_json(out / f"{name}.json", record(run))
        write_text(out / f"{name}.csv", _queries(run))
        written.append(out / f"{name}.json")
    return written


def _queries(run: Run) -> str:
    """One line per query, as `collect_records` describes it."""
    forms = {"AP": "{:.5f}", "first_match": "{:.0f}"}  # digits that count, and whole ranks
    forms |= {f"unit_{name}": form for name, form in forms.items()}
    cells = {name: run.queries[name].map(form.format) for name, form in forms.items()}
    about = ["pid"] if GIVEN in run.directions else ["name", "direction"]
    return run.queries[about].assign(**cells).to_csv(index=False)


def read_records(folder: str | Path) -> pd.DataFrame:
    """One row per record: what the run was, and its scores in percent.

    Args:
        folder: the folder with the JSON files of `collect_records`.
    Returns:
        network (backbone, initial weights, and the likely reading or the number of epochs, in
        words); reading ("" for the default one); persons ("train/test"); changed (the open choices
        that differ from the reading, "" for none); every key of the config; seconds, device,
        threads.
        Scores of the last epoch: "rank-1", ...; "both rank-1", ... over both camera directions;
        "B->A rank-1"; "train rank-1" of the training persons; "mAP_market" by Market-1501's
        trapezoids; "unit rank-1", ... of codes divided by their L2 norm, where recorded. All are
        of `direction`, the one that tables show; queries, gallery, junk: its numbers of images,
        where the data define the split; scores of directions that there are not are NaN. Means
        over the last scored epochs: "last epochs rank-1", "unit last epochs rank-1", ....
        `DECIDING` and "deciding train rank-1" repeat those of the reading's own codes.
        near_0, ..., near_180: the mean distance between codes of one person whose views differ by
        this angle, divided by the mean distance between persons; found_0, ..., found_all: rank-1
        where the gallery is one view of each person; gap: near_180 - near_0; rank1_drop: found_0 -
        found_180. Norms of gradients and codes in the first and last epoch ("first grad_sl", ...).
        Of runs that differ only in the name of their row, the first is kept.
    Raises:
        ValueError: there is no record, or there are records that must not be averaged: of several
            data sets, or of one split and seed.
    """
    paths = sorted(Path(folder).glob("*.json"))
    if not paths:
        raise ValueError(f"no record in {folder}; expected the JSON files of `reid records`")
    frame = pd.DataFrame([_line(path) for path in paths])
    same = ["network", "setting", "changed", "split", "validation", "seed"]
    frame = frame.drop_duplicates([*same, "weights_sha256", "data_sha256"])
    one_each = frame.drop_duplicates("data_sha256").record
    if len(one_each) > 1:
        raise ValueError(
            f"{folder} holds records of several data sets, such as {' and '.join(one_each)}; "
            "expected one: give each a folder of its own"
        )
    several = frame[frame.duplicated(same, keep=False)].record
    if len(several):
        raise ValueError(
            f"{folder} holds several records of one split and seed, {' and '.join(several[:2])}; "
            "expected runs with the same initial weights"
        )
    order = frame.setting.map(SETTINGS.index)
    keys = frame.seed, frame.split, order, frame.network
    return frame.iloc[np.lexsort(keys)].reset_index(drop=True)


def _line(path: Path) -> dict:
    """A record's row of `read_records`."""
    content = json.loads(path.read_text("utf-8"))
    config, metrics, manifest = (content[key] for key in ("config", "metrics", "manifest"))
    reading, changed = _reading(config)
    scores = _scores(metrics)
    kind = "unit " if reading and "unit" in metrics else ""  # the codes that the reading compares
    scores |= {name: scores[f"{kind}{LAST} {score}"] for name, score in DECIDING.items()}
    scores["deciding train rank-1"] = scores[f"{kind}train rank-1"]
    grid = content.get(f"{kind}viewpoint", content.get("viewpoint"))
    network = [config["backbone"], start_words(config), reading or f"{config['epochs']} epochs"]
    if config.get("train_persons"):
        network.append(f"{config['train_persons']} training persons")
    ends = {f"{when} {k}": content["history"][when].get(k) for when in ENDS for k in KEPT}
    return {
        "record": path.stem,
        "network": ", ".join(network),
        "reading": reading,
        "persons": "/".join(str(n) for n in manifest["persons"].values()),
        "changed": changed,
        "train_persons": None,
        **config,
        **{key: manifest[key] for key in ("seconds", "device", "threads")},
        **{name: 100 * value for name, value in scores.items()},
        **(_by_angle(grid) if grid else dict.fromkeys(BY_ANGLE, np.nan)),
        **{name: content.get("sides", {}).get(name) for name in SIDES},
        "direction": main_direction(metrics["test"]),
        "protocol": metrics["protocol"],
        **ends,
    }


def _scores(metrics: dict) -> dict[str, float]:
    """A record's scores as fractions, under the names of `read_records`."""
    test, main = metrics["test"], main_direction(metrics["test"])
    scores = {name: test[main][name] for name in SCORES}
    for other, names in ((BOTH, SCORES), ("B->A", ("rank-1", "mAP"))):
        scores |= {f"{other} {name}": test.get(other, {}).get(name, np.nan) for name in names}
    for kind, part in {"": metrics, "unit ": metrics.get("unit")}.items():
        if part:  # the first records hold scores of raw codes alone
            scores |= {f"{kind}{name}": part["test"][main][name] for name in SCORES}
            scores[f"{kind}mAP_market"] = part["test"][main]["mAP_market"]
            last = part["last_epochs"][main]
            scores |= {f"{kind}{LAST} {name}": last[name] for name in SCORES}
            scores[f"{kind}train rank-1"] = part["train"][main]["rank-1"]
    return scores


def _by_angle(grid: dict) -> dict[str, float]:
    """Relative distances within a person and rank-1 by angle, the gap and the drop."""
    frame = pd.DataFrame(grid).astype(float)
    means = frame.groupby(view_angle(frame.query_orientation, frame.gallery_orientation)).mean()
    near, found = means.same_distance / frame.other_distance.mean(), 100 * means.rank1
    line = {f"near_{degrees}": near[degrees] for degrees in ANGLES}
    line |= {f"found_{degrees}": found[degrees] for degrees in ANGLES}
    line["found_all"] = 100 * frame.rank1.mean()
    drop = 100 * (means.rank1[0] - means.rank1[180])
    return line | {"gap": near[180] - near[0], "rank1_drop": drop}


def _short(values: pd.DataFrame | pd.Series) -> dict:
    """As a dict of six digits, more than a score has; None where there is no number."""
    if isinstance(values, pd.DataFrame):
        return {name: list(_short(column).values()) for name, column in values.items()}
    numbers = values.astype(float).items()
    return {name: float(f"{x:.6g}") if np.isfinite(x) else None for name, x in numbers}


@functools.cache
def _plain(reading: str, setting: str) -> dict:
    """The config of a setting in the likely or in our default reading."""
    likely = yaml.safe_load((PRESETS / "pku_likely.yaml").read_text("utf-8"))["recipe"]
    recipe = likely if reading == LIKELY else {}
    return RunConfig(**recipe, row=setting, setting=setting).model_dump(mode="json")


def _reading(config: dict) -> tuple[str, str]:
    """The reading from which a config differs least, and the choices in which it differs."""
    default = _changed(config, "", NOT_CHOICES)
    likely = _changed(config, LIKELY, NOT_CHOICES - {"epochs"})
    reading, changed = ("", default) if len(default) <= len(likely) else (LIKELY, likely)
    return reading, ", ".join(f"{key}={config[key]}" for key in changed)


def _changed(config: dict, reading: str, ignored: frozenset) -> list[str]:
    plain = dict(_plain(reading, config["setting"]))
    plain["persons_in_sums"] = "batch" if config["centres"] == "batch" else "all"  # implied
    plain["centres_gradient"] &= config["centres"] == "batch"  # no other centres have one
    return [k for k in plain if k not in ignored and config.get(k, plain[k]) != plain[k]]


def listed(splits: Iterable[int]) -> str:
    """How many splits, and which.

    Example:
        >>> listed([0, 1, 2, 3, 3])
        '4 (0 to 3)'
    """
    chosen = sorted(int(split) for split in set(splits))
    whole = len(chosen) > 2 and chosen == list(range(chosen[0], chosen[-1] + 1))
    names = f"{chosen[0]} to {chosen[-1]}" if whole else ", ".join(map(str, chosen))
    return f"{len(chosen)} ({names})"


def splits_words(which: str) -> str:
    """`listed` in words: "splits 0 to 9"."""
    count, names = which.split(" ", 1)
    return f"split{'s' * (count != '1')} {names.strip('()')}"


def brief(frame: pd.DataFrame) -> dict[str, str]:
    """Each network's shortest name that no other network of the frame has."""
    networks = frame.drop_duplicates("network").set_index("network")
    persons = networks.index.str.extract(r"(, \d+ training persons)$")[0].fillna("")
    start = networks.index.str.split(", ").str[1]
    kind = networks.reading.where(networks.reading != "", start)
    short = networks.backbone + persons.to_numpy()
    long = networks.backbone + ", " + kind + persons.to_numpy()
    names = short.mask(short.duplicated(keep=False), long)
    return names.mask(names.duplicated(keep=False), names.index.to_series()).to_dict()


def is_oriented(run: Run) -> bool:
    """Whether the orientation of every test image is known."""
    return bool((run.codes["orientations"] > 0).all())


def viewpoints(run: Run) -> pd.DataFrame:
    """`metrics.viewpoint_grid` in the direction of Table 1, of several cameras the mean over all.

    Its additional column `same_over_other` is the distance within a person divided by the mean
    distance between persons. Images without an orientation do not count.
    """
    main = table_direction([run])
    grids = [
        viewpoint_grid(*run.scored_arrays(direction, orientations=True), Protocol(unmatched="drop"))
        for direction in (run.directions if main == BOTH else [main])
    ]
    views = ["query_orientation", "gallery_orientation"]
    grid = pd.concat(grids).groupby(views, as_index=False).mean() if len(grids) > 1 else grids[0]
    grid = grid[(grid[views] > 0).all(axis=1)].reset_index(drop=True)
    return grid.assign(same_over_other=grid.same_distance / grid.other_distance.mean())


def agreement_by_angle(run: Run, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """How far apart a person's codes lie, by the angle between the two views (claim 3).

    The mean distance between codes of one person from two cameras, divided by the mean distance
    between codes of different persons, so that networks of another scale can be compared.

    Args:
        run: a completed run.
        draws: number of bootstrap samples of the persons, for the interval.
        seed: seed of the generator of the bootstrap samples.
    Returns:
        One row per angle (degrees, 0 to 180): value, low and high (95 %).
    """
    part, pids = run.codes, run.persons
    kept = np.isin(part["pids"], pids)
    codes, views, own, camids = (
        part[name][kept] for name in ("codes", "orientations", "pids", "camids")
    )
    lines, shares = [], []
    for camera in np.unique(camids)[:-1]:  # each pair of cameras once
        q, g = np.flatnonzero(camids == camera), np.flatnonzero(camids > camera)
        dist, same = cdist(codes[q], codes[g]), own[q][:, None] == own[g][None, :]
        angle = view_angle(views[q][:, None], views[g][None, :])
        angle = np.where((views[q] > 0)[:, None] & (views[g] > 0)[None, :], angle, -1)
        shares.append((np.searchsorted(pids, own[q]), dist, same, angle))
    total = sum(dist[~same].sum() for _, dist, same, _ in shares)
    unit = total / sum((~same).sum() for _, _, same, _ in shares)
    drawn = np.random.default_rng(seed).integers(len(pids), size=(draws, len(pids)))
    for degrees in ANGLES:
        sums, counts = np.zeros(len(pids)), np.zeros(len(pids))
        for owner, dist, same, angle in shares:
            chosen = same & (angle == degrees)
            sums += np.bincount(owner, (dist * chosen).sum(1), len(pids)) / unit
            counts += np.bincount(owner, chosen.sum(1), len(pids))
        with np.errstate(invalid="ignore"):  # no pair of this angle
            ratios = sums[drawn].sum(1) / counts[drawn].sum(1)
            value = np.divide(sums.sum(), counts.sum())
        known = ratios[np.isfinite(ratios)]
        low, high = np.quantile(known, [0.025, 0.975]) if len(known) else (np.nan, np.nan)
        lines.append({"angle": degrees, "value": value, "low": low, "high": high})
    return pd.DataFrame(lines)
