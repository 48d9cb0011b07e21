"""Tables of runs on data that define their own split, such as Market-1501: one run per row."""

from pathlib import Path

import pandas as pd

from reid_lib.metrics import bootstrap, paired_test
from reid_lib.study.claims import query_scores
from reid_lib.study.statistics import CONTRASTS, FITTED
from reid_lib.study.tables import NOTES, markdown, notices

SCORES = ["rank-1", "mAP"]
NAMED = ["changed", "seed"]  # shown where runs differ in it


def given_report(frame: pd.DataFrame, records: Path) -> dict[str, str]:
    """All tables that the records of such runs allow, by file name.

    Args:
        frame: the records that `read_records` returns.
        records: the folder of these records, which also has the scores of each query.
    Returns:
        table.md with the scores of each run, and differences.md between the settings of `CONTRASTS`
        (the paper's weights and one seed alone); where held-out training persons were scored, only
        weights.md.
    """
    if frame.validation.any():
        return {"weights.md": weights_text(frame)}
    of_weights = frame.changed.str.contains("beta=|gamma=")
    one_seed = frame.seed == frame.seed.min()
    queries = {}
    for name in frame.record:
        queries[name] = query_scores(records, frame[frame.record == name])
    texts = {
        "table.md": table_text(frame, queries),
        "differences.md": differences_text(frame[~of_weights & one_seed], queries),
    }
    return {name: text for name, text in texts.items() if text}


def table_text(frame: pd.DataFrame, queries: dict[str, pd.DataFrame]) -> str:
    """Scores of each run as Markdown, intervals over the test persons."""
    cells = frame[["setting", *NAMED]].copy()
    limits = [bootstrap(queries[name], SCORES) for name in frame.record]
    for score in SCORES:
        means = frame[f"unit {score}"]
        ends = [table.loc[score, ["low", "high"]] for table in limits]
        cells[score] = [
            f"{mean:.1f} [{low:.1f}, {high:.1f}]"
            for mean, (low, high) in zip(means, ends, strict=True)
        ]
    plain = {
        "rank-10": "unit rank-10",
        "mAP, trapezoids": "unit mAP_market",
        "train rank-1": "unit train rank-1",
        "raw rank-1": "rank-1",
        "raw rank-10": "rank-10",
        "raw mAP": "mAP",
        "raw mAP, trapezoids": "mAP_market",
    }
    for name, column in plain.items():
        cells[name] = frame[column].map("{:.1f}".format)
    first = frame.iloc[0]
    note = NOTES["given"].format(
        train=first.persons.split("/")[0],
        test=first.persons.split("/")[1],
        queries=first.queries,
        ranked=first.gallery - first.junk,
        junk=first.junk,
        epochs=first.epochs,
        computed=f"{' or '.join(frame.precision.unique())} on {' and '.join(set(frame.device))}",
    )
    unfitted = frame[frame["unit train rank-1"] < FITTED]
    if len(unfitted):
        note += f" {NOTES['given unfitted'].format(', '.join(unfitted.setting.unique()))}"
    return f"{_shown(cells)}\n\n{note}{notices(frame)}\n"


def differences_text(frame: pd.DataFrame, queries: dict[str, pd.DataFrame]) -> str:
    """Paired differences between settings as Markdown, intervals over the test persons."""
    runs, lines = frame.set_index("setting").record, []
    for better, worse in CONTRASTS:
        if not {better, worse} <= set(runs.index):
            continue
        table = paired_test(queries[runs[worse]], queries[runs[better]], SCORES)
        line = {"contrast": f"{better} - {worse}"}
        for score in SCORES:
            change = table.loc[score]
            line[score] = f"{change.difference:+.1f} [{change.low:+.1f}, {change.high:+.1f}]"
        rises = set(table.difference > 0)
        line["signs"] = (
            "mixed" if len(rises) == 2 else "both rise" if True in rises else "both fall"
        )
        lines.append(line)
    if not lines:
        return ""
    return (
        f"{markdown(pd.DataFrame(lines).set_index('contrast'))}\n\n{NOTES['given differences']}\n"
    )


def weights_text(frame: pd.DataFrame) -> str:
    """Scores of held-out persons by weight of Eq. 4 as Markdown, the chosen ones marked."""
    frame = frame.sort_values(["setting", "beta", "gamma"])
    changes = frame.changed.str.len()  # idxmax takes the first of equal ones, here the paper's
    best = frame.loc[changes.sort_values(kind="stable").index].groupby("setting")
    best = best["unit mAP"].idxmax()
    cells = frame[["setting", "beta", "gamma"]].assign(
        **{score: frame[f"unit {score}"].map("{:.1f}".format) for score in SCORES},
        chosen=["chosen" if row in set(best) else "" for row in frame.index],
    )
    return f"{_shown(cells, beta='{:g}', gamma='{:g}')}\n\n{NOTES['given weights']}\n"


def _shown(cells: pd.DataFrame, **forms: str) -> str:
    same = [name for name in NAMED if name in cells and cells[name].nunique() == 1]
    return markdown(cells.drop(columns=same).set_index("setting"), **forms)
