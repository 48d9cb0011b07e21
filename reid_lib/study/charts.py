"""Figures of many runs, each with its alt text; the drawing is in `reid_lib.plots`."""

import pandas as pd
from matplotlib.figure import Figure

from reid_lib import plots
from reid_lib.study.choices import effects, orders, scatter_study
from reid_lib.study.records import DECIDING, NEAR, brief
from reid_lib.study.statistics import CONTRASTS, means, one_split_differences, per_split
from reid_lib.study.tables import VIEWS, mean_grids

Pictures = dict[str, tuple[Figure, str]]  # name -> figure and alt text
NEW = "interval: new persons"


def slug(name: str) -> str:
    """A network's short name as a part of a file's name."""
    return "-".join(name.replace(",", " ").replace("/", " ").split())


def _spoken(table: pd.DataFrame, template: str) -> str:
    """One phrase per row, for an alt text."""
    return "; ".join(template.format(**line) for line in table.to_dict("records"))


def split_picture(plain: pd.DataFrame) -> Pictures:
    """Scores of each setting on every split."""
    table = means(plain, DECIDING).replace({"score": DECIDING})
    table[["low", "high"]] = table[["low", "high"]].clip(0, 100)
    keys = ["network", "setting"]
    dots = [
        per_split(part, DECIDING).assign(**dict(zip(keys, values, strict=True)))
        for values, part in plain.groupby(keys, sort=False)
    ]
    scores = pd.concat(dots).rename(columns=DECIDING)
    label = f"%, last epochs; {NEW}"
    spoken = _spoken(table, "{network}, {setting}: {score} {mean:.1f}")
    alt = f"Scores of each setting on every split, with means and intervals. {spoken}."
    return {"splits": (plots.split_scores(scores, table, label), alt)}


def verdict_picture(plain: pd.DataFrame) -> Pictures:
    """The contrasts of claims 1 and 4: paired differences of scores on every split."""
    table = orders(plain, DECIDING, CONTRASTS)
    if table.empty:
        return {}
    dots = []
    which = table[["network", "setting", "over"]].drop_duplicates()
    for network, better, worse in which.itertuples(index=False):
        part = plain[plain.network == network]
        a, b = (per_split(part[part.setting == name], DECIDING) for name in (better, worse))
        dots.append((a - b).dropna().assign(network=network, setting=f"{better} over {worse}"))
    table["setting"] += " over " + table.over
    table = table.rename(columns={"difference": "mean"}).replace({"score": DECIDING})
    dots = pd.concat(dots).rename(columns=DECIDING)
    picture = plots.split_scores(dots, table, f"points; {NEW}", zero=True)
    spoken = _spoken(table[table.score == "rank-1"], "{network}, {setting}: {mean:+.1f}")
    alt = f"Differences between settings on every split, with intervals. {spoken}."
    return {"verdicts": (picture, alt)}


def one_split_picture(plain: pd.DataFrame) -> Pictures:
    """Each contrast's differences on single splits, with the paper's gap marked."""
    table = one_split_differences(plain)
    if table.empty or table.paper.isna().all():
        return {}
    table = table[table.paper.notna()].rename(columns={"difference": "mean"})
    table["setting"] = table.contrast
    dots = table.explode("values").groupby(["network", "setting", "score"], sort=False)
    dots = (
        dots["values"].agg(list).unstack("score", sort=False).explode(table.score.unique().tolist())
    )
    label = "points; diamond: the paper"
    picture = plots.split_scores(dots.reset_index(), table, label, zero=True)
    scores = list(dict.fromkeys(table.score))
    networks = list(dict.fromkeys(table.network))
    for axes, (network, score) in zip(
        picture.axes, [(n, s) for n in networks for s in scores], strict=True
    ):
        part = table[(table.network == network) & (table.score == score)]
        axes.plot(
            part.paper, range(len(part)), ls="none", marker="D", color="k", mfc="w", gid="paper"
        )
    template = "{network}, {contrast}, {score}: {mean:+.1f}, sd {sd:.1f}, paper {paper:+.1f}"
    alt = "One-split differences between settings beside the paper's gaps. "
    alt += _spoken(table, template) + "."
    return {"one-split": (picture, alt)}


def agreement_pictures(plain: pd.DataFrame) -> Pictures:
    """Relative distance within a person by the angle between the views."""
    label = "distance within a person / distance between persons"
    table = means(plain, NEAR).rename(columns={"mean": "value"})
    table["angle"] = table.score.map(NEAR)
    pictures = {}
    for network, part in table.groupby("network", sort=False):
        curves = {name: curve for name, curve in part.groupby("setting", sort=False)}
        spoken = "; ".join(
            f"{name} {curve.value.iloc[0]:.2f} to {curve.value.iloc[-1]:.2f}"
            for name, curve in curves.items()
        )
        alt = f"{network}: {label}, from equal to opposite views. {spoken}."
        name = f"agreement-{slug(brief(plain)[network])}"
        pictures[name] = plots.agreement_by_angle(curves, f"{label} ({NEW})"), alt
    return pictures


def viewpoint_pictures(plain: pd.DataFrame) -> Pictures:
    """Rank-1 of each query orientation against each of the gallery, means over splits."""
    pictures = {}
    for network, part in mean_grids(plain).groupby("network", sort=False):
        cells = {
            setting: 100 * grid.pivot(index=VIEWS[0], columns=VIEWS[1], values="rank1").to_numpy()
            for setting, grid in part.groupby("setting", sort=False)
        }
        picture = plots.viewpoint_grids(cells, "rank-1 (%)")
        alt = f"{network}: rank-1 by query and gallery orientation, for each setting."
        pictures[f"viewpoint-{slug(brief(plain)[network])}"] = picture, alt
    return pictures


def choice_pictures(frame: pd.DataFrame) -> Pictures:
    """What each open choice changes, and the differences between settings under it."""
    shift, order = effects(frame, DECIDING), orders(frame, DECIDING)
    order["setting"] = "from " + order.over + " to " + order.setting
    pictures = {}
    for network, part in shift.groupby("network", sort=False):
        ranked = ["", *part.choice.unique()]  # the unchanged reading, then the largest effect
        gap = order[(order.network == network) & order.choice.isin(ranked)]
        gap = gap.sort_values("choice", key=lambda choice: choice.map(ranked.index), kind="stable")
        gap = gap.replace({"choice": {"": "unchanged"}})
        for name, table, label, what in (
            ("choices", part, "change", "what each open choice changes"),
            ("orders", gap, "difference", "differences between settings under each open choice"),
        ):
            if table.empty:
                continue
            table = table.replace({"score": DECIDING})
            rank1 = table[table.score == "rank-1"]
            alt = f"{network}: {what}, with intervals. Rank-1: "
            alt += _spoken(rank1, "{choice} {setting} {difference:+.1f}") + "."
            picture = plots.effects(table, f"{label} (points, new persons)")
            pictures[f"{name}-{slug(brief(frame)[network])}"] = picture, alt
    return pictures


def scatter_picture(frame: pd.DataFrame) -> Pictures:
    """Score and norm of the codes by the scatter loss's share in the gradient."""
    table = scatter_study(frame)
    alt = (
        "Rank-1 of set 3 less that of set 2, and the growth of the codes' norm, against the share "
        "of the scatter loss in the gradient. "
    )
    alt += _spoken(table, "{scatter} at {gamma:g} {difference:+.1f}") + "."
    return {"scatter": (plots.scatter_study(table), alt)}
