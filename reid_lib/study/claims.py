"""The claims in words, and the comparison of two settings, with numbers from the records."""

from pathlib import Path

import pandas as pd

from reid_lib.metrics import paired_test
from reid_lib.study.exploratory import (
    beside_planned,
    subject,
    verdict_words,
    viewpoint_measures,
)
from reid_lib.study.noise import one_split_differences
from reid_lib.study.records import DECIDING, DIRECTION, LAST, listed, read_records, splits_words
from reid_lib.study.statistics import (
    ESTIMANDS,
    NO_VERDICT,
    contrasts,
    differences,
    planned,
    primary_family,
)
from reid_lib.study.tables import (
    NOTES,
    change,
    estimands_note,
    interval,
    markdown,
    notices,
    signed,
)

CLAIMS = {
    "1": "on ResNet-18 the compact loss improves the scores (set 2 > set 1), and the scatter loss "
    "improves them further (set 3 > set 2, set 1 and the triplet loss)",
    "2": "ResNet-18 beats ResNet-50 under the triplet loss",
    "3": "the compact loss makes a person's codes agree across viewpoints (it narrows the gap "
    "between the distances of opposite and of equal views)",
    "4": "the compact and the scatter loss also improve the scores of other networks (our test of "
    "the paper's sentence that they can be integrated into different networks)",
}
OVERTURN = {
    "1": "the authors' code or weights; the remaining persons of PKU-ReID",
    "2": "ResNet-50 trained until it fits its training persons",
    "3": "another measure of agreement across viewpoints, such as the other two",
    "4": "other networks, or more splits of these",
}
WORST = (NO_VERDICT, "does not hold", "not yet measured", "inconclusive", "holds")


def claim_contrasts(frame: pd.DataFrame) -> pd.DataFrame:
    """The contrasts on which the verdicts of the four claims rest.

    Claim 2 rests on the triplet loss only, claim 3 on the gap of the relative distance. The planned
    tests (`primary_family`) replace the exploratory ones of the same network.

    Returns:
        The rows of `contrasts`; kind: "planned tests" or "exploratory, uncorrected"; name: the
        network in words; paper and than_paper, of the planned tests, and detectable: those of
        `one_split_differences`; verdicts and numbers, of claim 3: those of `viewpoint_measures`.
    """
    table = contrasts(frame)
    views = viewpoint_measures(frame, table)
    triplet = (table.claim == "2") & table.contrast.str.endswith(", htri")
    table = table[table.claim.isin(["1", "4"]) | (table.score == "gap") | triplet]
    table = table.assign(kind="exploratory, uncorrected").replace({"score": DECIDING})
    keys, single = ["network", "contrast", "score"], one_split_differences(frame)
    family = primary_family(frame)
    if len(family):
        network = planned(frame).network.iloc[0]
        family = family[family.over == family.over.iloc[0]]
        family = family.assign(claim="1", network=network, kind="planned tests")
        family.loc[family.unfitted != "", list(ESTIMANDS)] = NO_VERDICT
        table = pd.concat([family, table[(table.claim != "1") | (table.network != network)]])
    columns = ["paper", "than_paper", "detectable"]
    table = table.merge(single[keys + columns], "left", on=keys) if len(single) else table
    table = table.reindex(columns=dict.fromkeys([*table, *columns]))
    table.loc[table.kind != "planned tests", columns[:2]] = None
    table["than_paper"] = table.than_paper.fillna("")
    pair = "resnet18, resnet50,", "resnet18 compared with resnet50,"
    table["name"] = table.network.str.replace(*pair, regex=False)
    for words in ("verdicts", "numbers"):
        own = table.network.map({network: said[words] for network, said in views.items()})
        table[words] = own.where(table.claim == "3").fillna("")
    return table.sort_values("claim", kind="stable", ignore_index=True)


def claim_verdicts(frame: pd.DataFrame) -> pd.DataFrame:
    """The verdict of each claim on each network, from the contrasts of `claim_contrasts`.

    A claim has no verdict if a run of one of its contrasts underfits. It holds if all its contrasts
    hold, and does not hold if at least one does not hold; otherwise it is not yet measured if a
    contrast lacks planned splits, else inconclusive.

    Returns:
        Indexed by claim: network, name, kind, splits (in words), unfitted, "these persons" and "new
        persons" (verdicts), parts: the contrasts by verdict; for claim 3, the other measures too.
    """
    lines = []
    for (claim, network), part in claim_contrasts(frame).groupby(["claim", "network"], sort=False):
        line = {"claim": claim, "network": network, "unfitted": _runs(part)}
        line |= {"name": part.name.iloc[0], "kind": part.kind.iloc[0]}
        line["parts"] = _parts(part) + part.verdicts.iloc[0]
        line["splits"] = splits_words(part.split_list.dropna().iloc[0])
        for estimand in ESTIMANDS:
            said = sorted(set(part[estimand]))
            line[estimand] = next(s for first in WORST for s in said if s.startswith(first))
        lines.append(line)
    return pd.DataFrame(lines).set_index("claim") if lines else pd.DataFrame()


def claims_text(frame: pd.DataFrame) -> str:
    """The four claims as a Markdown table, then a sentence on each contrast; "" if none."""
    table = claim_verdicts(frame) if len(frame) else pd.DataFrame()
    if table.empty:
        return ""
    lines = []
    for claim, words in CLAIMS.items():
        rows = table[table.index == claim].to_dict("records")
        line = {"claim": f"{claim}: {words}", "verdict": "<br>".join(map(_short, rows))}
        line |= {"what could overturn it": OVERTURN[claim] if rows else ""}
        line |= {"comparisons": "<br>".join(map(_full, rows))}
        lines.append(line)
    cells = pd.DataFrame(lines).set_index("claim").replace({"verdict": {"": "not measured"}})
    points = "\n".join(f"- {text}" for text in sentences(frame))
    notes = NOTES["meaning"], NOTES["claims"], estimands_note(frame), NOTES["exploratory"]
    note = " ".join(notes) + notices(frame)
    return f"{markdown(cells)}\n\n{points}\n\n{note}\n"


def _runs(part: pd.DataFrame) -> str:
    """The underfitted runs of several contrasts, each once."""
    return "; ".join(dict.fromkeys(filter(None, "; ".join(part.unfitted).split("; "))))


def _parts(part: pd.DataFrame) -> str:
    """The contrasts of one claim on one network, grouped by verdict; "" if these words add none."""
    groups, scores = {}, part.score.nunique()
    for contrast, rows in part.groupby("contrast", sort=False):
        than = [f"{row.score} {row.than_paper}" for row in rows.itertuples() if row.than_paper]
        same = len(than) == scores and rows.than_paper.nunique() == 1
        than = rows.than_paper.iloc[0] if same else ", ".join(than)
        words = subject(contrast, "<" if part.claim.iloc[0] == "3" else ">")
        words += f" ({than} than the paper's)" if than else ""
        groups.setdefault(verdict_words(rows.iloc[0]), []).append(words)
    texts = [f"{verdict[0].upper()}{verdict[1:]}: {', '.join(w)}" for verdict, w in groups.items()]
    return f". {'. '.join(texts)}" if len(texts) > 1 or part.than_paper.any() else ""


def _short(said: dict) -> str:
    """A claim's verdict on one network at a glance; its parts, where they were planned."""
    parts = said["parts"] if said["kind"] == "planned tests" else ""
    return f"{said['name']} ({said['splits']}): {verdict_words(said, '**{}**')}{parts}"


def _full(said: dict) -> str:
    """The comparisons behind a claim's verdict on one network."""
    words = said["parts"].removeprefix(". ") or verdict_words(said)
    text = f"{said['name']} ({said['kind']}): {words}"
    return text + (f". Underfitted: {said['unfitted']}" if said["unfitted"] else "")


def _measured(rows: pd.DataFrame) -> str:
    """The differences of one contrast with their intervals for these persons, in words."""
    if rows.score.iloc[0] == "gap":
        row, where = rows.iloc[0], "the viewpoint gap"
        return f"{signed(row.difference, 3)}{interval(row, 'these_', 3)} in {where}"
    texts = []
    for _, row in rows.iterrows():
        unit = "points of rank-1" if row.score == "rank-1" else f"of {row.score}"
        text = f"{signed(row.difference)}{interval(row, 'these_')} {unit}"
        if row.kind == "planned tests":
            text += f" (paper: {row.paper:+.1f})"
        texts.append(text)
    return " and ".join(texts)


def _power(rows: pd.DataFrame) -> str:
    """The smallest difference that a test of each contrast is likely to find; "" if unknown."""
    found = rows.dropna(subset="detectable")
    sizes = [
        f"{' / '.join(map('{:.1f}'.format, part.detectable))} for {subject(contrast)}"
        for contrast, part in found.groupby("contrast", sort=False)
    ]
    if not sizes:
        return ""
    return f" {NOTES['power'].format(', '.join(sizes))}"


def sentences(frame: pd.DataFrame) -> list[str]:
    """What was measured of each claim on each network: numbers and verdicts from the records."""
    texts = []
    for (claim, _), rows in claim_contrasts(frame).groupby(["claim", "network"], sort=False):
        parts = []
        for contrast, part in rows.groupby("contrast", sort=False):
            numbers = f" = {_measured(part)}" if part.splits.iloc[0] else ""
            parts.append(f"{subject(contrast)}{numbers}: {verdict_words(part.iloc[0])}")
        which, kind = splits_words(rows.split_list.dropna().iloc[0]), rows.kind.iloc[0]
        text = f"Claim {claim}, {rows.name.iloc[0]} ({kind}, {which}): {'; '.join(parts)}."
        text += _power(rows) + rows.numbers.iloc[0]
        unfitted, more = _runs(rows), beside_planned(frame) if kind == "planned tests" else ""
        text += f" Underfitted runs: {unfitted}." if unfitted else ""
        text += f"\n  - {more}" if more else ""
        texts.append(text)
    return texts


# --- two settings ---------------------------------------------------------------------------------


def compare(folder: str | Path, one: str, other: str, codes: str = "raw") -> str:
    """The paired difference `one` - `other`, with intervals over splits and over persons.

    Args:
        folder: the folder of the record JSON files; the interval over persons needs the CSV files
            in the same folder.
        one, other: names of settings (records without changed choices) or of rows.
        codes: "raw", or "unit" for codes divided by their L2 norm.
    Returns:
        Lines of text, per network that has both.
    Raises:
        ValueError: no record of one of them, or no split that both have.
    """
    frame = read_records(folder)
    kind = {"raw": "", "unit": "unit "}[codes]
    columns = {f"{kind}{LAST} {score}": score for score in ("rank-1", "mAP")}
    if not set(columns) <= set(frame):
        raise ValueError(f"{folder}: its records hold no scores of {codes} codes; use --codes raw")
    pair = [_named(frame, name, folder) for name in (one, other)]
    shared = [n for n in pair[0].network.unique() if n in set(pair[1].network)]
    lines = []
    for network in shared or [""]:
        a, b = (part[part.network == network] if network else part for part in pair)
        table = differences([({}, a, b)], list(columns))
        if table.empty:
            raise ValueError(
                f"{one} and {other} share no split; found {listed(a.split)} and {listed(b.split)}"
            )
        title = network or " against ".join("; ".join(p.network.unique()) for p in (a, b))
        lines.append(
            f"{title}: {one} - {other}, {codes} codes, {splits_words(table.split_list[0])}"
        )
        for _, row in table.iterrows():
            lines.append(f"  {columns[row.score]:<7} {change(row)}")
        common = set(a.split) & set(b.split)
        sides = [query_scores(folder, p[p.split.isin(common)], kind) for p in (b, a)]
        if all(side is not None for side in sides):
            for score, row in paired_test(*sides, ["rank-1", "mAP"]).iterrows():
                ends = f"{row.difference:+.1f} [{row.low:+.1f}, {row.high:+.1f}]"
                lines.append(f"  {score:<7} {ends} over persons {NOTES['over persons']}")
    note = f"Differences in points, of means over the last scored epochs. {estimands_note(frame)}"
    return "\n".join([*lines, note])


def _named(frame: pd.DataFrame, name: str, folder) -> pd.DataFrame:
    setting = (frame.setting == name) & (frame.changed == "")
    part = frame[setting] if setting.any() else frame[frame.row == name]
    if part.empty:
        known = ", ".join(sorted({*frame.row, *frame.setting}))
        raise ValueError(f"{folder} holds no record of {name!r}; its settings and rows: {known}")
    return part


def query_scores(
    folder: str | Path, part: pd.DataFrame, kind: str = "unit "
) -> pd.DataFrame | None:
    """Rank-1 and AP of each query that has a match, in percent.

    Args:
        folder: the folder of the records and their CSV files.
        part: rows of `read_records`, of which means are returned.
        kind: "unit " for codes divided by their L2 norm, "" for raw ones.
    Returns:
        One row per query of camera A, or of the data's own queries: name (else number), rank-1,
        mAP, pid. None where a record has no CSV file.
    """
    files = [Path(folder) / f"{name}.csv" for name in part.record]
    if not all(file.is_file() for file in files):
        return None
    table = pd.concat(map(pd.read_csv, files))
    if "direction" in table:
        table = table.query(f"direction == {DIRECTION!r}")
        table = table.assign(pid=table.name.str.partition("_")[0])
    else:
        table = table.rename_axis(index="name").reset_index()
    kind = kind.replace(" ", "_")
    table = table.dropna(subset=f"{kind}AP")
    table["rank-1"] = 100.0 * (table[f"{kind}first_match"] == 1)
    table["mAP"] = 100 * table[f"{kind}AP"]
    return table.groupby(["name", "pid"])[["rank-1", "mAP"]].mean().reset_index()
