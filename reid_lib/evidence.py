"""What many runs say together: records, means with intervals, paired differences, verdicts.

A record is what outlives `results/`: numbers measured in one run, in one small JSON file. Every
table and picture here is drawn from records alone.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from reid_lib import plots
from reid_lib.config import PRESETS, RunConfig
from reid_lib.engine.files import write_json, write_text
from reid_lib.engine.runs import Run, read_run
from reid_lib.metrics import Protocol, split_test, viewpoint_grid
from reid_lib.report import SCORES, START, markdown, view_angle, viewpoint_table

COMMITTED = PRESETS.parent / "figures" / "pku74"  # records of the real runs, as they came
DIRECTION = "A->B"
SETTINGS = ("htri", "xent_htri", "htri_cl", "set1", "set2", "set3")
# What set 3 subtracts in each form of the scatter loss; the paper's is the first.
FORMS = {"sum": "gamma L_SL", "log": "gamma log L_SL", "unit": "gamma L_SL of unit codes"}
# What beats what, says the paper.
CONTRASTS = (("set2", "set1"), ("set3", "set2"), ("set3", "set1"), ("set3", "htri"))
# What runs may differ in and still be of the default reading.
NOT_CHOICES = frozenset(
    "row setting backbone start split validation train_persons seed epochs precision rerank "
    "score_last score_every cuda_graph deterministic code_norm_limit data_sha256 "
    "weights_sha256".split()
)
# What runs without centres (set 1, the triplet loss) cannot choose.
OF_CENTRES = frozenset(
    "centres centres_gradient persons_in_sums memory_start memory_update".split()
)
PROTOCOLS = {"viewpoint": Protocol(), "unit viewpoint": Protocol(codes="unit")}
LAST = "last epochs"  # the scores that decide: fixed before any run was looked at
DECIDING = {f"{LAST} rank-1": "rank-1", f"{LAST} mAP": "mAP"}
NEAR = {f"near_{degrees}": degrees for degrees in (0, 45, 90, 135, 180)}
KEPT = ("grad_sr", "grad_cl", "grad_sl", "code_norm")  # of the first and of the last epoch


# --- records --------------------------------------------------------------------------------------


def record(run: Run) -> dict:
    """One run's config, scores, viewpoint grids, scores by epoch, and provenance."""
    part = run.codes
    query = part["camids"] == part["camids"].min()
    sides = [(part[k][query], part[k][~query]) for k in ("codes", "pids", "camids", "orientations")]
    arrays = [array for pair in sides for array in pair]
    grids = {
        name: viewpoint_grid(*arrays, protocol).astype(float)
        for name, protocol in PROTOCOLS.items()
    }
    history = run.history.drop(columns="seconds")
    first, last = (history.iloc[at].dropna().to_dict() for at in (0, -1))
    columns = [f"{codes}_{score}" for codes in ("test", "unit") for score in ("rank-1", "mAP")]
    scored = history[["epoch", *columns]].dropna()
    return {
        "config_digest": run.config.digest(),
        "config": run.config.model_dump(mode="json"),
        "metrics": run.metrics,
        **{
            name: {column: [_short(x) for x in values] for column, values in grid.items()}
            for name, grid in grids.items()
        },
        "scores by epoch": {name: [_short(x) for x in scored[name]] for name in scored},
        "history": {
            "first": {name: _short(x) for name, x in first.items()},
            "last": {name: _short(x) for name, x in last.items()},
        },
        "manifest": run.manifest,
    }


def collect_records(results: list[Path], out: Path) -> list[Path]:
    """Write one small JSON record for each finished run under the folders `results`.

    Beside it lies a CSV file with one line per query of the last epoch: the name of its image, the
    camera direction, and, for raw and for unit codes, AP and the rank of the first match.

    Raises:
        ValueError: there is no finished run.
    """
    folders = sorted({m.parent for folder in results for m in folder.rglob("manifest.json")})
    if not folders:
        raise ValueError(f"no finished run under {', '.join(map(str, results))}")
    written = []
    for folder in folders:
        run = read_run(folder)
        if run.failed:
            continue
        config = run.config
        parts = config.backbone, config.start, config.setting, f"{config.epochs}-epochs"
        name = "-".join([*parts, f"split-{config.split}", config.digest()])
        write_json(out / f"{name}.json", record(run))
        write_text(out / f"{name}.csv", _queries(run))
        written.append(out / f"{name}.json")
    return written


def _queries(run: Run) -> str:
    """One line per query, as `collect_records` describes it."""
    columns = ["AP", "first_match", "unit_AP", "unit_first_match"]
    frame = run.queries[["name", "direction", *columns]]
    for name in columns:  # whole ranks, and as many digits of an AP as count
        form = "{:.5f}" if name.endswith("AP") else "{:.0f}"
        frame = frame.assign(**{name: frame[name].map(form.format)})
    return frame.to_csv(index=False)


def read_records(folder: str | Path) -> pd.DataFrame:
    """A row a record: what the run was, and its scores in percent.

    Args:
        folder: holds the JSON files of `collect_records`.
    Returns:
        network (backbone, start and epochs in words), persons, changed (which open choices differ
        from the defaults, "" for none), every key of the config, seconds, device, the scores of
        the last epoch ("rank-1", ...; "B->A rank-1", ...; "both rank-1", ... over both camera
        directions; "train rank-1" of the training persons; "mAP_market" by Market-1501's
        trapezoids), the means over the last epochs that were scored ("last epochs rank-1", ...),
        near_0, ..., near_180: the mean distance between codes of one person whose views lie so
        many degrees apart, over that between persons; and the norms of gradients and codes in the
        first and last epoch ("first grad_sl", ...).
        viewpoint holds the columns of each run's `metrics.viewpoint_grid`. Of runs that differ in
        the name of their row alone the first is kept.
    Raises:
        ValueError: there is no record; two of one split, or of several data sets, which must not
            be averaged: it names them.
    """
    lines = []
    for path in sorted(Path(folder).glob("*.json")):
        content = json.loads(path.read_text("utf-8"))
        config, metrics, manifest = (content[key] for key in ("config", "metrics", "manifest"))
        start = START[config["start"]]
        scores = {name: metrics["test"][DIRECTION][name] for name in SCORES}
        scores |= {f"both {name}": metrics["test"]["both"][name] for name in SCORES}
        scores |= {f"B->A {name}": metrics["test"]["B->A"][name] for name in ("rank-1", "mAP")}
        scores["train rank-1"] = metrics["train"][DIRECTION]["rank-1"]
        scores["mAP_market"] = metrics["test"][DIRECTION]["mAP_market"]
        last = metrics["last_epochs"][DIRECTION]
        scores |= {f"{LAST} {name}": last[name] for name in SCORES}
        if "unit" in metrics:  # records of the first studies have raw codes alone
            unit = metrics["unit"]
            scores |= {f"unit {name}": unit["test"][DIRECTION][name] for name in SCORES}
            last = unit["last_epochs"][DIRECTION]
            scores |= {f"unit {LAST} {name}": last[name] for name in SCORES}
        lines.append(
            {
                "record": path.stem,
                "network": f"{config['backbone']}, {start}, {config['epochs']} epochs",
                "persons": "/".join(str(n) for n in manifest["persons"].values()),
                "changed": _changed(config),
                **config,
                **{key: manifest[key] for key in ("seconds", "device", "threads")},
                **{name: 100 * value for name, value in scores.items()},
                **_near(content["viewpoint"]),
                "viewpoint": content["viewpoint"],
                **{
                    f"{when} {name}": content["history"][when].get(name)
                    for when in ("first", "last")
                    for name in KEPT
                },
            }
        )
    if not lines:
        raise ValueError(f"no record in {folder}")
    same = ["network", "setting", "changed", "split", "validation"]
    frame = pd.DataFrame(lines)
    frame = frame.drop_duplicates([*same, "seed", "weights_sha256", "data_sha256"])
    one_each = frame.drop_duplicates("data_sha256").record
    if len(one_each) > 1:
        raise ValueError(
            f"{folder} holds records of several data sets, such as {' and '.join(one_each)}; "
            "expected one: give each a folder of its own"
        )
    twice = frame[frame.duplicated(same, keep=False)].record
    if len(twice):
        raise ValueError(
            f"{folder} holds several records of one split, {' and '.join(twice[:2])}; expected "
            "runs of one seed and start"
        )
    order = frame.setting.map(SETTINGS.index)
    return frame.iloc[np.lexsort((frame.split, order, frame.network))].reset_index(drop=True)


def _short(value: float) -> float | None:
    """Six digits are more than a score has; None stands where there is no number."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _changed(config: dict) -> str:
    given = {name: config[name] for name in ("row", "setting", "centres")}
    plain = RunConfig(**given).model_dump(mode="json")  # the centres imply who is in the sums
    plain["centres"] = "memory"
    differ = [k for k in plain if k not in NOT_CHOICES and config.get(k, plain[k]) != plain[k]]
    return ", ".join(f"{key}={config[key]}" for key in differ)


def _listed(splits: pd.Series) -> str:
    """ "5 (0 to 4)": how many splits, and which."""
    chosen = sorted(splits)
    whole = len(chosen) > 2 and chosen == list(range(chosen[0], chosen[-1] + 1))
    names = f"{chosen[0]} to {chosen[-1]}" if whole else ", ".join(map(str, chosen))
    return f"{len(chosen)} ({names})"


def _brief(frame: pd.DataFrame) -> dict[str, str]:
    """Each network's short name: its backbone where no other has the same."""
    networks = frame.drop_duplicates("network").set_index("network").backbone
    return {
        n: n if (networks == backbone).sum() > 1 else backbone for n, backbone in networks.items()
    }


def _near(grid: dict) -> dict[str, float]:
    frame = pd.DataFrame(grid).astype(float)
    angle = view_angle(frame.query_orientation, frame.gallery_orientation)
    near = frame.same_distance.groupby(angle).mean() / frame.other_distance.mean()
    return {f"near_{int(degrees)}": value for degrees, value in near.items()}


def _test_share(frame: pd.DataFrame) -> float:
    """Of the persons that train or are scored, how many are scored."""
    train, test = map(int, frame.persons.iloc[0].split("/"))
    return test / (train + test)


# --- what they say --------------------------------------------------------------------------------


def means(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Means over splits with their 95 % intervals.

    Args:
        frame: as `read_records` returns it, one recipe a network and setting.
        columns: which scores.
    Returns:
        A row a network, setting and score: persons, splits (how many, and which), mean, low, high
        (NaN for a single split). Splits share persons, which the interval allows for (Nadeau and
        Bengio).
    """
    lines = []
    for (network, setting, persons), part in frame.groupby(
        ["network", "setting", "persons"], sort=False
    ):
        scores = part[columns].to_dict("records")
        zero = [dict.fromkeys(columns, 0.0)] * len(scores)
        table = split_test(zero, scores, _test_share(part)) if len(scores) > 1 else None
        for name in columns:
            low, high = (np.nan, np.nan) if table is None else table.loc[name, ["low", "high"]]
            mean = part[name].mean()
            line = {"network": network, "setting": setting, "persons": persons, "score": name}
            line |= {"splits": _listed(part.split), "mean": mean, "low": low, "high": high}
            lines.append(line)
    return pd.DataFrame(lines)


def difference(better: pd.DataFrame, worse: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Paired differences over the splits that both have.

    Args:
        better, worse: rows of `read_records`, one a split.
        columns: which scores.
    Returns:
        A row a score: splits, difference, low, high, p (NaN below two splits) and agree: on how
        many splits the difference is above zero.
    """
    common = sorted(set(better.split) & set(worse.split))
    a, b = (part.set_index("split").loc[common, columns] for part in (worse, better))
    gains = b - a
    table = pd.DataFrame({"difference": gains.mean(), "low": np.nan, "high": np.nan, "p": np.nan})
    if len(common) > 1:
        table = split_test(a.to_dict("records"), b.to_dict("records"), _test_share(better))
    return table.assign(splits=len(common), agree=(gains > 0).sum())


def effects(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """What each open choice changes, beside the default reading of the same setting.

    Args:
        frame: as `read_records` returns it.
        columns: which scores.
    Returns:
        A row a network, setting, choice (what `changed` says) and score: splits, difference, low,
        high, p, agree as `difference` has them; the largest effects first.
    """
    lines = []
    for (network, setting), part in frame.groupby(["network", "setting"], sort=False):
        plain = part[part.changed == ""]
        for choice, chosen in part[part.changed != ""].groupby("changed", sort=False):
            if plain.empty:
                continue
            table = difference(chosen, plain, columns).rename_axis("score").reset_index()
            lines.append(table.assign(network=network, setting=setting, choice=choice))
    if not lines:
        raise ValueError("no record differs from the default reading in an open choice")
    table = pd.concat(lines, ignore_index=True)
    size = table.difference.abs().groupby([table.network, table.choice]).transform("max")
    return table.iloc[np.lexsort((table.setting, -size, table.network))].reset_index(drop=True)


def orders(frame: pd.DataFrame, columns: list[str], contrasts=CONTRASTS[:2]) -> pd.DataFrame:
    """How far one setting stands above another under each open choice: does it change the order?

    Args:
        frame: as `read_records` returns it.
        columns: which scores.
        contrasts: pairs of a setting and the one that it is compared with.
    Returns:
        A row a network, choice ("" for the default reading), setting, `over` (which other setting)
        and score: splits, difference, low, high, p, agree as `difference` has them; contrasts with
        no split in common are left out. A setting without centres to choose stands as it is under
        the rest of a choice.
    """
    lines = []
    for network, part in frame.groupby("network", sort=False):
        for choice in part.changed.unique():
            for better, worse in contrasts:
                a, b = (_under(part, name, choice) for name in (worse, better))
                if not set(a.split) & set(b.split):
                    continue
                table = difference(b, a, columns).rename_axis("score").reset_index()
                which = {"network": network, "choice": choice, "setting": better, "over": worse}
                lines.append(table.assign(**which))
    return pd.concat(lines, ignore_index=True) if lines else pd.DataFrame()


def _under(part: pd.DataFrame, setting: str, choice: str) -> pd.DataFrame:
    """A setting's records under a choice, or under that part of it which the setting has."""
    words = choice.split(", ")
    if setting in ("htri", "set1"):
        words = [word for word in words if word.partition("=")[0] not in OF_CENTRES]
    return part[(part.setting == setting) & (part.changed == ", ".join(words))]


def scatter_study(frame: pd.DataFrame) -> pd.DataFrame:
    """Set 3 beside set 2 at each weight and form of the scatter loss, and what its gradient did.

    Args:
        frame: as `read_records` returns it; records of set 3 that differ from the default reading
            in the scatter loss or the weight decay alone count, beside set 2 at the same decay.
    Returns:
        A row a network, form, gamma and weight decay: default (is it the default reading?),
        splits, rank-1 and mAP (means over the last epochs), difference, low, high, agree (rank-1
        less set 2's, paired by split), "first ratio" and "last ratio" (the gradient of -gamma L_SL
        with respect to the codes over that of L_SR, norms, in the first and last epoch) and growth
        (of the codes' norm, last over first).
    Raises:
        ValueError: no such record.
    """
    rank1, mean_ap = DECIDING
    keys = ["scatter", "gamma", "weight_decay"]
    changed = frame.changed.str.split(", ").map(lambda words: {w.partition("=")[0] for w in words})
    alone = frame[changed.map(lambda names: names <= {"", *keys})]
    chosen = alone[alone.setting == "set3"]
    lines = []
    for (network, *values), part in chosen.groupby(["network", *keys], sort=False):
        same = (alone.network == network) & (alone.weight_decay == values[-1])
        set2 = alone[same & (alone.setting == "set2")]
        if set2.empty:
            continue
        table = difference(part, set2, [rank1]).loc[rank1]
        line = {"network": network, **dict(zip(keys, values, strict=True))}
        line["default"] = (part.changed == "").all()
        line |= {"rank-1": part[rank1].mean(), "mAP": part[mean_ap].mean()}
        line |= table[["splits", "difference", "low", "high", "agree"]].to_dict()
        for when in ("first", "last"):
            line[f"{when} ratio"] = (part[f"{when} grad_sl"] / part[f"{when} grad_sr"]).mean()
        lines.append(line | {"growth": (part["last code_norm"] / part["first code_norm"]).mean()})
    if not lines:
        raise ValueError("no record of set 3 beside one of set 2; expected both on one network")
    table = pd.DataFrame(lines)
    form = table.scatter.map(list(FORMS).index)
    order = np.lexsort((table.weight_decay, table.gamma, form, table.network))
    return table.iloc[order].reset_index(drop=True)


def verdict(table: pd.DataFrame) -> str:
    """What intervals of differences say of "better": all above zero, all below it, or neither."""
    if (table.low > 0).all():
        return "holds"
    if (table.high < 0).all():
        return "does not hold"
    return "cannot be told"


def verdicts(frame: pd.DataFrame) -> pd.DataFrame:
    """Each of the paper's four claims as differences on these data, and what they decide.

    Args:
        frame: as `read_records` returns it.
    Returns:
        A row a claim, network and contrast: claim, network, contrast, splits, then text of each
        difference with its interval and of how many splits agree, and the verdict.
    """
    scores = list(DECIDING)
    nears = [name for name in NEAR if NEAR[name]]
    lines = []

    def add(claim, network, contrast, better, worse, columns, sign=1):
        if better.empty or worse.empty:
            return
        better, worse = (part.assign(**(sign * part[columns])) for part in (better, worse))
        table = difference(better, worse, columns)
        shown = {name: _interval(row, sign) for name, row in table.iterrows()}
        line = {"claim": claim, "network": network, "contrast": contrast}
        common = better[better.split.isin(worse.split)].split
        line |= {"splits": _listed(common)} | shown | {"verdict": verdict(table)}
        lines.append(line)

    for network, part in frame.groupby("network", sort=False):
        rows = {name: part[part.setting == name] for name in SETTINGS}
        claim = "1" if part.backbone.iloc[0] == "resnet18" else "4"
        for better, worse in CONTRASTS:
            add(claim, network, f"{better} over {worse}", rows[better], rows[worse], scores)
    for setting in SETTINGS:  # the paper compares them under htri alone
        small, large = (
            frame[(frame.backbone == name) & (frame.setting == setting)]
            for name in ("resnet18", "resnet50")
        )
        contrast = f"resnet18 over resnet50, {setting}"
        add("2", "resnet18, resnet50", contrast, small, large, scores)
    for network, part in frame.groupby("network", sort=False):
        rows = {name: part[part.setting == name] for name in SETTINGS}
        for worse in ("set1", "htri"):
            contrast = f"set2 nearer than {worse}"
            add("3", network, contrast, rows["set2"], rows[worse], nears, sign=-1)
    head = ["claim", "network", "contrast", "splits", "verdict"]
    return pd.DataFrame(lines, columns=None if lines else head).sort_values("claim", kind="stable")


def _interval(row: pd.Series, sign: int) -> str:
    """A difference of a score in points, or of a relative distance, with its interval."""
    digits = 1 if sign > 0 else 3
    low, high = sorted((sign * row.low, sign * row.high))
    bounds = "" if np.isnan(low) else f" [{low:+.{digits}f}, {high:+.{digits}f}]"
    return f"{sign * row.difference:+.{digits}f}{bounds}, {int(row.agree)} of {int(row.splits)}"


# --- as text --------------------------------------------------------------------------------------


def table_text(frame: pd.DataFrame) -> str:
    """Table 1 on these data as Markdown, a table a network, with intervals of what decides."""
    columns = [*DECIDING, *SCORES, "both rank-1", "both mAP", "train rank-1"]
    table = means(frame, columns)
    cells = table["mean"].map("{:.1f}".format)
    bounds = table.low.map(" [{:.1f}, ".format) + table.high.map("{:.1f}]".format)
    table["cell"] = cells.where(~table.score.isin(DECIDING) | table.low.isna(), cells + bounds)
    texts = []
    for (network, persons), part in table.groupby(["network", "persons"], sort=False):
        wide = part.pivot_table(
            index=["setting", "splits"], columns="score", values="cell", aggfunc="first", sort=False
        )
        wide = wide[columns].reset_index("splits")
        train, test = persons.split("/")
        chance = 100 / int(test)  # every person has as many images in the gallery
        head = (
            f"{network}; {train} persons to train, {test} to test (by chance: rank-1 {chance:.1f})"
        )
        if wide.splits.nunique() == 1:
            count, which = wide.pop("splits").iloc[0].split(" ", 1)
            head += f"; {count} split{'s' * (count != '1')} {which}"
        texts.append(f"{head}:\n\n{markdown(wide)}")
    precision = frame.groupby("backbone", sort=False).precision.agg(
        lambda p: " or ".join(sorted(set(p)))
    )
    note = (
        f'In percent; camera {DIRECTION.replace("->", " to ")}, where it says "both" both ways; '
        "train rank-1: of the training persons. "
        "Means over the splits (how many, and which) with 95 % intervals that allow for the "
        "persons that splits share: Nadeau and Bengio's, s^2 (1 / n + test / train) for the "
        f'variance of the mean and n - 1 degrees of freedom. "{LAST}": the mean over the scores of '
        "the last ten epochs, which one step does not decide; all other columns: the last epoch "
        "alone. Computed in "
        f"{', '.join(f'{kind} ({name})' for name, kind in precision.items())} on "
        f"{' and '.join(sorted(set(frame.device)))}."
    )
    return "\n\n".join([*texts, note]) + "\n"


def verdicts_text(frame: pd.DataFrame) -> str:
    """The verdicts as two Markdown tables: scores, then distances within a person (claim 3)."""
    table = verdicts(frame)
    table["network"] = table.network.map(lambda name: _brief(frame).get(name, name))
    names = {f"{LAST} {score}": score for score in SCORES}
    names |= {name: f"{degrees} degrees" for name, degrees in NEAR.items()}
    texts = []
    for chosen in (table.claim != "3", table.claim == "3"):
        part = table[chosen].dropna(axis=1, how="all").rename(columns=names)
        if len(part):
            first = ["claim", "network", "contrast", "verdict", "splits"]
            rest = [name for name in part if name not in first]
            texts.append(markdown(part[first + rest].set_index("claim")))
    missing = [claim for claim in "1234" if claim not in set(table.claim)]
    if missing:
        texts.append(f"Not measured: claim {', '.join(missing)}.")
    return "\n\n".join(texts) + "\n"


def choices_text(frame: pd.DataFrame) -> str:
    """What each open choice changes, and the order of the settings under it, as Markdown."""
    table = effects(frame, list(DECIDING))
    order = orders(frame, list(DECIDING))
    texts = []
    for network, part in table.groupby("network", sort=False):
        shift = _wide(part, "choice", part.setting + " " + part.score.map(DECIDING))
        gap = _gaps(order[order.network == network], "choice")
        columns = [f"{setting} {score}" for setting in SETTINGS for score in DECIDING.values()]
        shift = shift[[name for name in columns if name in shift]]
        gap = gap.reindex(["", *shift.index], fill_value="").rename({"": "default"})
        texts.append(f"{network}; difference to the default reading:\n\n{markdown(shift)}")
        texts.append(f"{network}; between the settings under each choice:\n\n{markdown(gap)}")
    note = (
        "In points (means over the last ten epochs, camera A to B), with 95 % intervals over the "
        "splits that both have, and on how many of them the difference is above zero. Set 1 "
        "has no centres: between the settings it stands as it is under the rest of a choice."
    )
    return "\n\n".join([*texts, note]) + "\n"


def _wide(table: pd.DataFrame, index: str, what: pd.Series) -> pd.DataFrame:
    """Differences with their intervals as text: a row a value of `index`, a column each `what`."""
    cells = [_interval(line, 1) for _, line in table.iterrows()]
    return (
        table.assign(cell=cells, what=what)
        .pivot_table(index=index, columns="what", values="cell", aggfunc="first", sort=False)
        .fillna("")
    )


def _gaps(order: pd.DataFrame, index: str) -> pd.DataFrame:
    """`orders` as text: a row a value of `index`, a column each contrast and score."""
    what = order.setting + " over " + order.over + ": " + order.score.map(DECIDING)
    return _wide(order, index, what)


_VIEWS = ["query_orientation", "gallery_orientation"]


def _grids(plain: pd.DataFrame) -> pd.DataFrame:
    """The viewpoint grids, means over splits: a row a network, setting and pair of orientations."""
    grids = pd.concat(
        [
            pd.DataFrame(run.viewpoint)
            .astype(float)
            .assign(network=run.network, setting=run.setting)
            for run in plain.itertuples()
        ]
    )
    keys = ["network", "setting", *_VIEWS]
    means = grids.groupby(keys, sort=False).rank1.mean().reset_index()
    return means.astype({name: int for name in _VIEWS})


def viewpoint_text(plain: pd.DataFrame) -> str:
    """Which views find each other, means over splits, as Markdown."""
    grids = _grids(plain)
    texts = []
    for network, part in grids.groupby("network", sort=False):
        splits = plain[plain.network == network].groupby("setting", sort=False).split.agg(_listed)
        over = "; ".join(f"{setting} {which}" for setting, which in splits.items())
        table = viewpoint_table(part.assign(row=part.setting))
        texts.append(f"{network}; means over splits: {over}:\n\n{table}")
    note = (
        "Each gallery holds one view of each person, so that these scores lie below those of the "
        "whole gallery; the last epoch alone; the views that fail most are named without intervals."
    )
    return "\n".join([*texts, note]) + "\n"


def scoring_text(plain: pd.DataFrame) -> str:
    """What other ways of scoring make of the same runs (last epoch, default readings)."""
    ways = {
        "AP by trapezoids: mAP": ("mAP_market", "mAP"),
        "camera B to A: rank-1": ("B->A rank-1", "rank-1"),
        "camera B to A: mAP": ("B->A mAP", "mAP"),
        "both cameras: rank-1": ("both rank-1", "rank-1"),
        "both cameras: mAP": ("both mAP", "mAP"),
    }
    lines = []
    for (network, setting), part in plain.groupby(["network", "setting"], sort=False):
        line = {"network": _brief(plain)[network], "setting": setting, "splits": len(part)}
        for words, (name, usual) in ways.items():
            other = part.assign(**{usual: part[name]})
            line[words] = _interval(difference(other, part, [usual]).loc[usual], 1)
        lines.append(line)
    note = (
        "Differences to the plain average precision, camera A to B, of the same runs' last epoch, "
        "in points. No run is trained anew for them."
    )
    return f"{markdown(pd.DataFrame(lines).set_index('network'))}\n\n{note}\n"


def scatter_text(frame: pd.DataFrame) -> str:
    """`scatter_study` as Markdown."""
    table = scatter_study(frame)
    cells = pd.DataFrame(
        {
            "subtracted": table.scatter.map(FORMS),
            "gamma": table.gamma.map("{:g}".format),
            "weight decay": table.weight_decay.map("{:g}".format),
            "splits": table.splits.astype(int),
            "rank-1": table["rank-1"].map("{:.1f}".format),
            "mAP": table["mAP"].map("{:.1f}".format),
            "rank-1 over set 2": [_interval(line, 1) for _, line in table.iterrows()],
            "gradient over L_SR's, first epoch": table["first ratio"].map("{:.2g}".format),
            "last epoch": table["last ratio"].map("{:.2g}".format),
            "code norm grew": table.growth.map("{:.2f} x".format),
        }
    ).set_index(table.network.map(_brief(frame)))
    return f"{markdown(cells)}\n"


def recipes_text(frame: pd.DataFrame) -> str:
    """Recipes on held-out training persons, and what was scored on the test persons, as Markdown.

    The differences are to set 1 as the paper trains it, from the paper's kind of start.
    """
    texts = []
    for validation, title in (
        (True, "Held-out training persons, on whom the recipe was chosen"),
        (False, "Test persons"),
    ):
        part = frame[frame.validation == validation]
        if part.empty:
            continue
        plain = part[(part.setting == "set1") & (part.changed == "") & (part.start != "file")]
        lines = []
        for (network, setting, changed), chosen in part.groupby(
            ["network", "setting", "changed"], sort=False
        ):
            line = {"network": network, "recipe": ", ".join(filter(None, (setting, changed)))}
            line |= {"persons": chosen.persons.iloc[0], "splits": _listed(chosen.split)}
            line |= {name: chosen[column].mean() for column, name in DECIDING.items()}
            table = difference(chosen, plain, list(DECIDING))
            for column, name in DECIDING.items():
                own = chosen.record.isin(plain.record).all()
                line[f"{name} over the paper's set1"] = (
                    "" if own else _interval(table.loc[column], 1)
                )
            lines.append(line)
        table = pd.DataFrame(lines).sort_values("rank-1", ascending=False).set_index("network")
        scores = list(DECIDING.values())
        table[scores] = table[scores].map("{:.1f}".format)
        texts.append(f"{title}:\n\n{markdown(table)}")
        pair = orders(part[part.changed == ""], list(DECIDING))
        if len(pair):
            wide = _gaps(pair, "network")
            texts.append(f"{title}, settings from one start:\n\n{markdown(wide)}")
    note = (
        "Means over the last ten epochs, camera A to B, with 95 % intervals over splits. The "
        "paper's set1 starts from ImageNet weights: the row without a difference."
    )
    return "\n\n".join([*texts, note]) + "\n"


def report(frame: pd.DataFrame) -> tuple[dict[str, str], dict[str, tuple[Figure, str]]]:
    """All tables and pictures that some records allow.

    Args:
        frame: as `read_records` returns it.
    Returns:
        Texts by file name, and figures with their alt texts by name. Always runs.csv. Of default
        readings on test persons table.md, verdicts.md, splits, verdicts, agreement-<network>,
        viewpoint.md and viewpoint-<network>; where open choices were varied choices.md, scoring.md,
        choices-<network> and orders-<network>; where the scatter loss was, scatter.md and scatter;
        where recipes were scored on held-out training persons, recipes.md in place of all these.
    """
    listed = frame.drop(columns="viewpoint")
    texts, pictures = {"runs.csv": listed.round(6).to_csv(index=False)}, {}
    if frame.validation.any():
        return texts | {"recipes.md": recipes_text(frame)}, {}
    plain = frame[frame.changed == ""]
    of_scatter = frame.changed.str.contains("gamma=|scatter=")
    choices = frame[~of_scatter]
    if (choices.changed != "").any():
        texts |= {"choices.md": choices_text(choices), "scoring.md": scoring_text(plain)}
        pictures |= _choice_pictures(choices)
    if of_scatter.any():
        texts["scatter.md"] = scatter_text(frame)
        pictures["scatter"] = _scatter_picture(frame)
    if len(plain):
        texts |= {"table.md": table_text(plain), "verdicts.md": verdicts_text(plain)}
        pictures["splits"] = _split_picture(plain)
        pictures |= _verdict_picture(plain)
        pictures |= _agreement_pictures(plain)
        texts["viewpoint.md"] = viewpoint_text(plain)
        pictures |= _viewpoint_pictures(plain)
    return texts, pictures


def write_report(folder: Path) -> list[Path]:
    """Write `report` of the records in `folder`/runs into `folder`; returns the files."""
    frame = read_records(folder / "runs")
    texts, pictures = report(frame)
    for name, text in texts.items():
        write_text(folder / name, text)
    digests = frame.record.str.rsplit("-", n=1).str[-1]
    about = {"config": " ".join(sorted(set(digests)))}
    paths = [folder / name for name in texts]
    for name, (picture, alt) in pictures.items():
        paths += plots.save(picture, folder, name, alt, about)
    return paths


def _split_picture(plain: pd.DataFrame) -> tuple[Figure, str]:
    table = means(plain, list(DECIDING)).replace({"score": DECIDING})
    scores = plain[["network", "setting", *DECIDING]].rename(columns=DECIDING)
    picture = plots.split_scores(scores, table, "%, mean over the last ten epochs")
    spoken = "; ".join(
        f"{line['network']}, {line['setting']}: {line['score']} {line['mean']:.1f}"
        for line in table.to_dict("records")
    )
    return picture, f"Scores of each setting on every split, with means and intervals. {spoken}."


def _verdict_picture(plain: pd.DataFrame) -> dict:
    """The contrasts of claims 1 and 4: paired differences of scores on every split."""
    table = orders(plain, list(DECIDING), CONTRASTS)
    if table.empty:
        return {}
    dots = []
    which = table[["network", "setting", "over"]].drop_duplicates()
    for network, better, worse in which.itertuples(index=False):
        part = plain[plain.network == network].set_index(["setting", "split"])[list(DECIDING)]
        gains = (part.loc[better] - part.loc[worse]).dropna()
        dots.append(gains.assign(network=network, setting=f"{better} over {worse}"))
    table["setting"] += " over " + table.over
    table = table.rename(columns={"difference": "mean"}).replace({"score": DECIDING})
    picture = plots.split_scores(
        pd.concat(dots).rename(columns=DECIDING), table, "points, paired by split", zero=True
    )
    spoken = "; ".join(
        f"{line['network']}, {line['setting']}: {line['mean']:+.1f}"
        for line in table[table.score == "rank-1"].to_dict("records")
    )
    alt = f"Differences between settings on every split, with intervals. {spoken}."
    return {"verdicts": (picture, alt)}


def _agreement_pictures(plain: pd.DataFrame) -> dict:
    """Claim 3: how far apart a person's codes lie, by the angle between the views."""
    label = "distance within a person / distance between persons"
    table = means(plain, list(NEAR)).rename(columns={"mean": "value"})
    table["angle"] = table.score.map(NEAR)
    pictures = {}
    for network, part in table.groupby("network", sort=False):
        curves = {name: curve for name, curve in part.groupby("setting", sort=False)}
        spoken = "; ".join(
            f"{name} {curve.value.iloc[0]:.2f} to {curve.value.iloc[-1]:.2f}"
            for name, curve in curves.items()
        )
        alt = f"{network}: {label}, from equal to opposite views. {spoken}."
        name = f"agreement-{network.partition(',')[0]}"
        pictures[name] = plots.agreement_by_angle(curves, label), alt
    return pictures


def _viewpoint_pictures(plain: pd.DataFrame) -> dict:
    """Rank-1 of each query orientation against each of the gallery, means over splits."""
    pictures = {}
    for network, part in _grids(plain).groupby("network", sort=False):
        cells = {
            setting: 100 * grid.pivot(index=_VIEWS[0], columns=_VIEWS[1], values="rank1").to_numpy()
            for setting, grid in part.groupby("setting", sort=False)
        }
        picture = plots.viewpoint_grids(cells, "rank-1 (%)")
        alt = f"{network}: rank-1 by query and gallery orientation, for each setting."
        pictures[f"viewpoint-{network.partition(',')[0]}"] = picture, alt
    return pictures


def _choice_pictures(frame: pd.DataFrame) -> dict:
    shift = effects(frame, list(DECIDING))
    order = orders(frame, list(DECIDING))
    order["setting"] = "from " + order.over + " to " + order.setting
    pictures = {}
    for network, part in shift.groupby("network", sort=False):
        ranked = ["", *part.choice.unique()]  # the default reading, then the largest effect
        gap = order[(order.network == network) & order.choice.isin(ranked)]
        gap = gap.sort_values("choice", key=lambda choice: choice.map(ranked.index), kind="stable")
        gap = gap.replace({"choice": {"": "default"}})
        for name, table, label, what in (
            ("choices", part, "difference to the default", "what each open choice changes"),
            ("orders", gap, "difference", "how far the settings lie apart under each open choice"),
        ):
            table = table.replace({"score": DECIDING})
            spoken = "; ".join(
                f"{line['choice']} {line['setting']} {line['difference']:+.1f}"
                for line in table[table.score == "rank-1"].to_dict("records")
            )
            alt = f"{network}: {what}, with intervals. Rank-1: {spoken}."
            picture = plots.effects(table, f"{label} (points)")
            pictures[f"{name}-{network.partition(',')[0]}"] = picture, alt
    return pictures


def _scatter_picture(frame: pd.DataFrame) -> tuple[Figure, str]:
    table = scatter_study(frame)
    spoken = "; ".join(
        f"{line['scatter']} at {line['gamma']:g} {line['difference']:+.1f}"
        for line in table.to_dict("records")
    )
    alt = (
        "Rank-1 of set 3 less that of set 2, and the growth of the codes' norm, against the share "
        f"of the scatter loss in the gradient. {spoken}."
    )
    return plots.scatter_study(table), alt
