"""The claims in words, and two settings side by side: verdicts and numbers from the records."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from reid_lib.metrics import paired_test
from reid_lib.study.records import DECIDING, LAST, listed, read_records, splits_words
from reid_lib.study.statistics import (
    ESTIMANDS,
    LEVEL,
    contrasts,
    difference,
    judged,
    one_split_differences,
    planned,
    prediction,
    primary_family,
)
from reid_lib.study.tables import (
    EXPLORATORY,
    change,
    estimands_note,
    markdown,
    notices,
    protocol_notice,
)


def primary_text(frame: pd.DataFrame) -> str:
    """The planned tests as Markdown: verdicts, then every test. "" where no run is theirs."""
    family = primary_family(frame)
    if family.empty:
        return ""
    family["unfitted"] = family.get("unfitted", pd.Series("", family.index)).fillna("")
    verdicts = {}
    for (over, contrast), part in family.groupby(["over", "contrast"], sort=False):
        line = verdicts.setdefault(contrast, {})
        line |= {f"{name}, {over}": part[name].iloc[0] for name in ESTIMANDS}
        if part.unfitted.iloc[0]:
            line["not fitted"] = part.unfitted.iloc[0]
    lines = []
    for _, row in family.iterrows():
        line = {"contrast": row.contrast, "over": row.over, "score": row.score}
        measured = "not measured" if row.splits == 0 else change(row)
        line |= {"difference": measured}
        for name, prefix in ESTIMANDS.items():
            line[f"p, {name}"] = _p(row[f"{prefix}p"])
            line[f"Holm's p, {name}"] = _p(row[f"{prefix}holm"])
        lines.append(line)
    wide = pd.DataFrame(verdicts).T.fillna("").rename_axis("contrast")
    note = (
        "Planned before any of these runs was looked at (PLAN.md): ResNet-18, likely reading, seed "
        "0, codes divided by their L2 norm, means over the last scored epochs, camera A to B. "
        f"Holm's correction over the eight tests of one estimand. A contrast holds if both scores "
        f"rise with corrected p-values below {LEVEL:g}, does not hold if both fall likewise, else "
        f"it is inconclusive. All other tables are exploratory. {estimands_note(frame)}"
    )
    tests = markdown(pd.DataFrame(lines).set_index("contrast"))
    return f"{markdown(wide)}\n\n{tests}\n\n{note}{notices(frame)}{protocol_notice(frame)}\n"


def prediction_text(frame: pd.DataFrame) -> str:
    """The planned prediction as Markdown; "" where it was not measured."""
    table = prediction(frame)
    if table.empty:
        return ""
    cells = table.replace({"score": DECIDING}).set_index("network")
    for name in ("mean", "low", "high"):
        cells[name] = cells[name].map("{:+.1f}".format)
    note = (
        "In points: (set 3 - set 2 with 57 training persons) - (the same with half), per split, "
        "with its 95 % interval for these persons, and the prediction that it falls in the default "
        "reading and not in the likely one (PLAN.md). The galleries differ in size, which this "
        "difference cannot separate from the number of training persons."
    )
    columns = ["score", "splits", "mean", "low", "high", "said"]
    return f"{markdown(cells[columns])}\n\n{note}{notices(frame)}\n"


def _p(value: float) -> str:
    return "" if np.isnan(value) else "< 0.0001" if value < 1e-4 else f"{value:.4f}"


CLAIMS = {
    "1": "set 2 beats set 1, set 3 beats set 2, set 1 and the triplet loss (ResNet-18)",
    "2": "ResNet-18 beats ResNet-50 under the triplet loss",
    "3": "the compact loss makes a person's codes agree across viewpoints",
    "4": "the losses gain on other networks too",
}
OVERTURN = {
    "1": "the authors' code or weights; the remaining persons of PKU-ReID",
    "2": "ResNet-50 trained until it fits its training persons",
    "3": "another measure of agreement across viewpoints",
    "4": "other networks, or more splits of these",
}


def claim_verdicts(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per claim and network: its contrasts, and what they say together.

    A claim holds where all its contrasts hold, does not hold where any of them does not hold, is
    not yet measured where a contrast lacks planned splits, and is inconclusive otherwise. Claim 2
    is judged under the triplet loss alone, claim 3 by the gap of the relative distance. The planned
    tests (`primary_family`) stand in place of the exploratory ones of the same network.

    Args:
        frame: as `read_records` returns it.
    Returns:
        claim, network, which (splits), primary (are these the planned tests?), unfitted, "these
        persons" and "new persons" (verdicts), and by contrast details (its verdicts) and
        differences (of rank-1 and mAP, or of the gap).
    """
    table = contrasts(frame)
    table = table[table.claim.isin(list("14")) | (table.score == "gap") | _under_triplet(table)]
    family = primary_family(frame)
    lines = []
    for (claim, network), part in table.groupby(["claim", "network"], sort=False):
        details = {name: judged(rows) for name, rows in part.groupby("contrast", sort=False)}
        gains = part
        primary = claim == "1" and network in set(planned(frame).network)
        if primary:
            gains = family[family.over == family.over.iloc[0]]
            tests = gains.drop_duplicates("contrast").set_index("contrast")
            details = tests[list(ESTIMANDS)].to_dict("index")
        line = {"claim": claim, "network": network, "which": part.which.iloc[0]}
        line |= {"primary": primary, "details": details}
        line["differences"] = gains.groupby("contrast").difference.agg(list).to_dict()
        runs = [run for text in part.unfitted if text for run in text.split("; ")]
        line["unfitted"] = "; ".join(dict.fromkeys(runs))
        lines.append(line | {name: _together(details, name) for name in ESTIMANDS})
    return pd.DataFrame(lines)


def _under_triplet(table: pd.DataFrame) -> pd.Series:
    return (table.claim == "2") & table.contrast.str.endswith(", htri")


def _together(details: dict, estimand: str) -> str:
    said = {verdicts[estimand] for verdicts in details.values()}
    if "does not hold" in said:
        return "does not hold"
    if any(word.startswith("not yet measured") for word in said):
        return "not yet measured"
    return "holds" if said == {"holds"} else "inconclusive"


def claims_text(frame: pd.DataFrame) -> str:
    """The four claims as a Markdown table, and the main differences as sentences; "" if none."""
    table = claim_verdicts(frame) if len(frame) else pd.DataFrame()
    if table.empty:
        return ""
    least = one_split_differences(frame).query("score == 'rank-1'").groupby("network").detectable
    lines = []
    for claim, words in CLAIMS.items():
        rows = table[table.claim == claim].to_dict("records")
        overturn = [OVERTURN[claim]] if rows else []
        for row in rows:
            if claim in "14" and least.max()[row["network"]] > 0:
                points = f"{least.max()[row['network']]:.1f} points of rank-1"
                overturn.append(f"{row['network']}: differences below {points}, too small to find")
        said = "<br>".join(map(_said, rows)) or "not measured"
        line = {"claim": f"{claim}: {words}", "verdict": said}
        line |= {"contrasts": "<br>".join(filter(None, map(_inner, rows)))}
        lines.append(line | {"what could overturn it": "<br>".join(overturn)})
    note = "A verdict without persons is for these persons and for new ones. "
    note += f"{estimands_note(frame)} {EXPLORATORY}{notices(frame)}"
    rows = markdown(pd.DataFrame(lines).set_index("claim"))
    return "\n\n".join([rows, *sentences(frame), note]) + "\n"


def _said(row: dict) -> str:
    kind = "planned tests" if row["primary"] else "exploratory"
    text = f"{row['network']} ({kind}, {splits_words(row['which'])}): **{_for(row)}**"
    return text + _unfitted(row["unfitted"])


def _inner(row: dict) -> str:
    """The verdicts of a claim's contrasts; "" where there is one alone."""
    if len(row["details"]) < 2:
        return ""
    inner = "; ".join(f"{name}: {_for(said)}" for name, said in row["details"].items())
    return f"{row['network']}: {inner}"


def _unfitted(runs: str) -> str:
    return f"; did not fit the training persons: {runs}" if runs else ""


def _for(said: dict) -> str:
    """Verdicts for these and for new persons in words."""
    these, new = (said[name] for name in ESTIMANDS)
    return these if these == new else f"{these} for these persons, {new} for new persons"


def sentences(frame: pd.DataFrame) -> list[str]:
    """Three to five sentences on the main differences, numbers and verdicts from the records.

    Of the network with the planned tests, or else the first ResNet-18: set 2 - set 1, set 3 - set
    2, set 3 - htri, and claim 3; then ResNet-18 - ResNet-50 under the triplet loss.
    """
    table = contrasts(frame)
    networks = list(dict.fromkeys(table.network[table.claim == "1"]))
    networks.sort(key=lambda name: name not in set(planned(frame).network))
    rows = table[_under_triplet(table)]
    if networks:
        own = table[table.network == networks[0]]
        wanted = ["set2 over set1", "set3 over set2", "set3 over htri"]
        first = own[(own.score == "gap") & (own.contrast == "set2 against set1")]
        rows = pd.concat([own[own.contrast.isin(wanted)], first, rows])
    verdicts = claim_verdicts(frame)
    texts = []
    for (claim, network, contrast), part in rows.groupby(
        ["claim", "network", "contrast"], sort=False
    ):
        said = verdicts[(verdicts.claim == claim) & (verdicts.network == network)].iloc[0]
        form = "{:+.1f} points of rank-1 and {:+.1f} of mAP"
        if claim == "3":
            form = "{:+.3f} in the gap of relative distance, 180 - 0 degrees"
        numbers = form.format(*said.differences[contrast])
        subject = re.sub("set([123])", r"set \1", contrast).replace("resnet", "ResNet-")
        where = f"({network}, {splits_words(part.which.iloc[0])})"
        text = f"{subject[0].upper()}{subject[1:]} {where}: {numbers}; "
        text += _for(said.details[contrast]) + _unfitted(part.unfitted.iloc[0])
        texts.append(f"{text}.")
    return texts


# --- two settings ---------------------------------------------------------------------------------


def compare(folder: str | Path, one: str, other: str, codes: str = "raw") -> str:
    """The paired difference `one` - `other`, with intervals over splits and over persons.

    Args:
        folder: of record JSON files; the CSV files beside them give the interval over persons.
        one, other: settings (of unchanged readings) or row names.
        codes: "raw", or "unit" for codes divided by their L2 norm.
    Returns:
        Lines of text, per network that has both.
    Raises:
        ValueError: no record of one of them, or no split that both have.
    """
    frame = read_records(folder)
    prefix = {"raw": "", "unit": "unit "}[codes]
    columns = {f"{prefix}{LAST} {score}": score for score in ("rank-1", "mAP")}
    if next(iter(columns)) not in frame:
        raise ValueError(f"{folder}: its records hold no scores of {codes} codes; use --codes raw")
    pair = [_named(frame, name, folder) for name in (one, other)]
    shared = [n for n in dict.fromkeys(pair[0].network) if n in set(pair[1].network)]
    lines = []
    for network in shared or [""]:
        a, b = (part[part.network == network] if network else part for part in pair)
        table = difference(a, b, list(columns))
        if table is None:
            raise ValueError(
                f"{one} and {other} share no split; found {listed(a.split)} and {listed(b.split)}"
            )
        common = set(a.split) & set(b.split)
        title = network or " against ".join("; ".join(dict.fromkeys(p.network)) for p in (a, b))
        splits = splits_words(listed(common))
        lines.append(f"{title}: {one} - {other}, {codes} codes, {splits}")
        for column, score in columns.items():
            lines.append(f"  {score:<7} {change(table.loc[column])}")
        lines += _over_persons(Path(folder), a, b, common, prefix.strip())
    note = f"In points, mean over the last scored epochs. {estimands_note(frame)}"
    return "\n".join([*lines, note])


def _named(frame: pd.DataFrame, name: str, folder) -> pd.DataFrame:
    setting = (frame.setting == name) & (frame.changed == "")
    part = frame[setting] if setting.any() else frame[frame.row == name]
    if part.empty:
        known = ", ".join(sorted({*frame.row, *frame.setting}))
        raise ValueError(f"{folder} holds no record of {name!r}; its settings and rows: {known}")
    return part


def _over_persons(folder, a, b, common, prefix) -> list[str]:
    """Lines of the interval over persons, where every record has its CSV file of queries."""
    sides = []
    for part in (a, b):
        part = part[part.split.isin(common)]
        files = [folder / f"{name}.csv" for name in part.record]
        if not all(file.is_file() for file in files):
            return []
        queries = pd.concat([pd.read_csv(file) for file in files])
        queries = queries[queries.direction == "A->B"]
        prefix_ = f"{prefix}_" if prefix else ""
        queries = pd.DataFrame(
            {
                "name": queries["name"],
                "rank-1": 100.0 * (queries[f"{prefix_}first_match"] == 1),
                "mAP": 100 * queries[f"{prefix_}AP"],
            }
        )
        mean = queries.groupby("name").mean().reset_index()
        sides.append(mean.assign(pid=mean["name"].str.partition("_")[0]))
    table = paired_test(sides[1], sides[0], ["rank-1", "mAP"])
    return [
        f"  {score:<7} {row.difference:+.1f} [{row.low:+.1f}, {row.high:+.1f}] over persons "
        "(bootstrap; queries of the last epoch, averaged over splits)"
        for score, row in table.iterrows()
    ]
