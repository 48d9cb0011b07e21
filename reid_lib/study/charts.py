"""Figures of many runs, each with its alt text; the drawing is in `reid_lib.plots`."""

import pandas as pd
from matplotlib.figure import Figure

from reid_lib import plots
from reid_lib.study.choices import orders, scatter_study
from reid_lib.study.noise import one_split_differences
from reid_lib.study.records import DECIDING, NEAR, brief
from reid_lib.study.statistics import means

Pictures = dict[str, tuple[Figure, str]]  # name -> figure and alt text
NEW = "95 % interval for new persons"
NEWS = NEW.replace("interval", "intervals")


def slug(name: str) -> str:
    """A network's short name as a part of a file's name."""
    return "-".join(name.replace(",", " ").replace("/", " ").split())


def _spoken(table: pd.DataFrame, template: str) -> str:
    """One phrase per row, for an alt text."""
    return "; ".join(template.format(**line) for line in table.to_dict("records")) + "."


def split_picture(plain: pd.DataFrame) -> Pictures:
    """Scores of each setting on every split."""
    table = means(plain, DECIDING).replace({"score": DECIDING})
    table[["low", "high"]] = table[["low", "high"]].clip(0, 100)
    spoken = _spoken(table, "{network}, {setting}: {score} {mean:.1f}")
    alt = f"Scores of each setting on every split, with means and {NEWS}. {spoken}"
    return {"splits": (plots.split_scores(table, f"%, mean of the last epochs; {NEW}"), alt)}


def one_split_picture(plain: pd.DataFrame) -> Pictures:
    """Each contrast's differences on single splits; on ResNet-18 also the paper's difference."""
    table = one_split_differences(plain)
    if table.empty:
        return {}
    table = table.rename(columns={"difference": "mean", "contrast": "setting"})
    picture = plots.split_scores(table, f"difference in points; {NEW}", zero=True)
    alt = f"Differences between settings on single splits, with means and {NEWS}. "
    alt += _spoken(table, "{network}, {setting}, {score}: {mean:+.1f}, sd {sd:.1f}")
    paper = table[table.paper.notna()].drop_duplicates(["setting", "score"])
    if len(paper):
        alt += " Differences that the paper reports: " + _spoken(
            paper, "{setting}, {score}: {paper:+.1f}"
        )
    return {"one-split": (picture, alt)}


def agreement_pictures(plain: pd.DataFrame) -> Pictures:
    """Relative distance within a person by the angle between the views."""
    label = "relative distance (same person / different persons)"
    table = means(plain, NEAR).rename(columns={"mean": "value"})
    table["angle"] = table.score.map(NEAR)
    pictures = {}
    for network, part in table.groupby("network", sort=False):
        curves = {name: curve for name, curve in part.groupby("setting", sort=False)}
        ends = part.groupby("setting", sort=False).value.agg(["first", "last"]).reset_index()
        spoken = _spoken(ends, "{setting} {first:.2f} to {last:.2f}")
        alt = f"{network}: {label}, from equal to opposite views. {spoken}"
        name = f"agreement-{slug(brief(plain)[network])}"
        pictures[name] = plots.agreement_by_angle(curves, f"{label} ({NEW})"), alt
    return pictures


def order_pictures(frame: pd.DataFrame) -> Pictures:
    """The differences between settings under each open choice."""
    table = orders(frame, DECIDING).replace({"score": DECIDING, "choice": {"": "unchanged"}})
    table = table.rename(columns={"contrast": "setting"})
    names, pictures = brief(frame), {}
    for network, part in table.groupby("network", sort=False):
        if part.choice.nunique() < 2:
            continue
        rank1 = part[part.score == "rank-1"]
        alt = f"{network}: differences between settings under each open choice, with {NEWS}. "
        alt += "Rank-1: " + _spoken(rank1, "{choice}, {setting} {difference:+.1f}")
        picture = plots.effects(part, f"difference (points; {NEW})")
        pictures[f"orders-{slug(names[network])}"] = picture, alt
    return pictures


def scatter_picture(frame: pd.DataFrame) -> Pictures:
    """Score and norm of the codes against the ratio of two gradient norms."""
    table = scatter_study(frame)
    alt = (
        "Rank-1 of set 3 minus that of set 2, and the codes' norm in the last epoch divided by "
        "that in the first, against the gradient norm of the scatter loss divided by that of the "
        "classification loss. "
    )
    alt += _spoken(table, "{scatter} at {gamma:g} {difference:+.1f}")
    return {"scatter": (plots.scatter_study(table), alt)}
