"""Seeded inputs for every figure function of reid_lib.plots, and the figures drawn from them."""

import numpy as np
import pandas as pd

from reid_lib import plots

ROWS = ["resnet50_htri", "resnet18_htri", "set1", "set2", "set3"]
HOSTILE = ["$x$", "<img>", "_a_b$"]


def noise(*shape, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (*shape, 4, 2, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=-3).repeat(6, axis=-2)


def a_case(label="simple", pids=None, k=10, junk=None, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "label": label,
        "query_image": noise(seed=seed),
        "query_pid": 7,
        "images": noise(k, seed=seed),
        "pids": rng.integers(1, 99, k) if pids is None else pids,
        "sq_distances": np.sort(rng.random(k)) * 9,
        "correct": rng.random(k) < 0.5,
        "junk": junk,
    }


def a_mapped_case(label="simple", pids=(7, 9), seed=0):
    rng = np.random.default_rng(seed)
    maps, query_maps = (rng.uniform(0.3, 1.2, (2, 4, 2)) for _ in range(2))
    ranked = {"pids": pids, "ranks": (3, 1), "sq_distances": (70.5, 61.25)}
    means = [case.mean((1, 2), keepdims=True) for case in (maps, query_maps)]
    return a_case(label, pids, 2, seed=seed) | {
        **ranked,
        "correct": (True, False),
        "query_maps": query_maps / means[1] * (0.8, 0.9)[seed % 2],
        "maps": maps / means[0] * (0.8, 0.9)[seed % 2],
    }


def an_index(persons=range(1, 13), views=8):
    cells = [(p, c, o) for p in persons for c in (1, 2) for o in range(1, views + 1)]
    return pd.DataFrame(cells, columns=["pid", "camid", "orientation"])


def a_framework(k=30, pids=None):
    case = a_case("query", pids, k)
    return case, np.random.default_rng(0).gamma(1, 1, 512)


def plane_panels(titles=("classification loss", "compact loss", "scatter loss")):
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [4.0, 1.0], [1.0, 4.0]])
    before = np.repeat(centres, 6, axis=0) + rng.normal(size=(18, 2))
    base = {"before": before, "after": before * 0.8, "labels": np.repeat(range(3), 6)}
    lines = np.array([[-9.0, 9, 9, -9], [2, -9, 2, 9]])
    extra = (
        {"centres": None, "radii": None, "boundary": lines},
        {"centres": centres, "radii": np.array([2.06, 2.0, 1.5])},
        {"centres": centres, "radii": None, "boundary": None},
    )
    return [base | {"title": t} | more for t, more in zip(titles, extra, strict=True)]


def a_history(terms, epochs=20, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"epoch": np.arange(1, epochs + 1), "loss": rng.random(epochs) + 1})
    for i, term in enumerate(terms):
        frame[f"l_{term}"] = rng.random(epochs) * 1000 ** (i + 1)
        frame[f"grad_{term}"] = rng.random(epochs) * 10.0**-i
    return frame.assign(code_norm=20.0, lr=2e-4, train_accuracy=rng.random(epochs))


def histories(names=ROWS):
    terms = (("tri",), ("tri",), ("sr",), ("sr", "cl"), ("sr", "cl", "sl"))
    return {n: a_history(t, seed=i) for i, (n, t) in enumerate(zip(names, terms, strict=False))}


def tsne_panel(title="set3", persons=range(20), camids=(1, 2), seed=0):
    persons = list(persons)
    rng = np.random.default_rng(seed)
    where = np.repeat(np.arange(len(persons)), 8)
    return {
        "title": title,
        "xy": rng.normal(size=(len(persons), 2))[where] * 9 + rng.normal(size=(len(where), 2)),
        "pids": np.array(persons)[where],
        "camids": np.tile(np.repeat(camids, 4), len(persons)),
        "intra": 1.25,
        "inter": 5.0,
    }


def a_grid(seed=0):
    return np.random.default_rng(seed).random((8, 8)) * 100


def a_curve(start=90.0):
    value = start - 10 * np.arange(5.0)
    angle = [0, 45, 90, 135, 180]
    return pd.DataFrame({"angle": angle, "value": value, "low": value - 3, "high": value + 4})


def a_table(rows=ROWS):
    scores = np.random.default_rng(0).uniform(30, 99, (len(rows), 5)).round(1)
    return pd.DataFrame(scores, rows, ["rank-1", "rank-5", "rank-10", "rank-20", "mAP"])


def splits_of(networks, settings=("htri", "set1", "set2", "set3")):
    means = {"rank-1": 61.0, "mAP": 51.0}
    table = pd.DataFrame(
        [(n, s, score, means[score]) for n in networks for s in settings for score in means],
        columns=["network", "setting", "score", "mean"],
    )
    table["values"] = [mean + np.arange(-1, 2) for mean in table["mean"]]
    return table.assign(low=table["mean"] - 4, high=table["mean"] + 4)


def effects_of(choices, settings=("set1", "set2", "set3")):
    table = pd.DataFrame(
        [(c, s, n) for n in ("rank-1", "mAP") for c in choices for s in settings],
        columns=["choice", "setting", "score"],
    )
    table["difference"] = np.linspace(-9, 5, len(table))
    return table.assign(low=table.difference - 2, high=table.difference + 2)


def a_scatter_study(networks=("mobilenet_v2, 20 epochs", "resnet18, 30 epochs")):
    lines = [
        (n, form, gamma) for n in networks for form in ("sum", "log", "unit") for gamma in "abc"
    ]
    table = pd.DataFrame(lines, columns=["network", "scatter", "gamma"])
    table["last ratio"] = np.geomspace(1e-4, 5, len(table))
    table["difference"] = np.linspace(3, -15, len(table))
    table["growth"] = np.geomspace(1, 3, len(table))
    table["default"] = table.scatter.eq("sum") & table.gamma.eq("b")
    return table.assign(low=table.difference - 2, high=table.difference + 2)


DRAWINGS = {
    "person_sheet": lambda: plots.person_sheet(noise(2, 8), "person 3"),
    "split_counts": lambda: plots.split_counts(an_index(), range(1, 7), range(7, 11)),
    "framework": lambda: plots.framework(*a_framework()),
    "losses_in_the_plane": lambda: plots.losses_in_the_plane(plane_panels()),
    "training_curves": lambda: plots.training_curves(histories()),
    "training_curves_of_one_row": lambda: plots.training_curves({"mine": a_history(("sr",))}),
    "training_curves_of_one_epoch": lambda: plots.training_curves(
        {name: history.iloc[:1] for name, history in histories().items()}
    ),
    "tsne_panels": lambda: plots.tsne_panels(
        [tsne_panel(name) for name in ("resnet18_htri", "set1", "set3")],
        note="t-SNE, perplexity 30, seed 0.",
    ),
    "ranking": lambda: plots.ranking(
        [a_case("simple"), a_case("moderate", seed=1), a_case("hard", junk=np.arange(10) % 3 == 1)]
    ),
    "ranking_of_17": lambda: plots.ranking([a_case(k=17, pids=np.arange(1490, 1507))]),
    "ranking_of_1": lambda: plots.ranking([a_case("hard", k=1, junk=[True])]),
    "similarity_maps": lambda: plots.similarity_maps(
        [a_mapped_case(name, seed=i) for i, name in enumerate(("simple", "moderate", "hard"))]
    ),
    "viewpoint_grids": lambda: plots.viewpoint_grids(
        {name: np.where(np.eye(8) > i, np.nan, a_grid(i)) for i, name in enumerate(ROWS)},
        "rank-1 (%)",
    ),
    "viewpoint_grids_wide": lambda: plots.viewpoint_grids(
        {"set1": a_grid(), "set3": np.where(np.eye(8), np.nan, a_grid(1))}, "mAP (%)", "{:.2f}"
    ),
    "agreement_by_angle": lambda: plots.agreement_by_angle(
        {name: a_curve(90 - i) for i, name in enumerate(ROWS)}, "rank-1 (%)"
    ),
    "score_bars": lambda: plots.score_bars(a_table(), a_table() - 5),
    "split_scores": lambda: plots.split_scores(splits_of(["resnet18", "resnet50"]), "%"),
    "effects": lambda: plots.effects(effects_of(["gamma=1e-07", "crop=none"]), "points"),
    "scatter_study": lambda: plots.scatter_study(a_scatter_study()),
}

HOSTILE_DRAWINGS = {
    "person_sheet": lambda: plots.person_sheet(noise(2, 8), " ".join(HOSTILE)),
    "framework": lambda: plots.framework(*a_framework(3, HOSTILE), "a_b $x$"),
    "losses_in_the_plane": lambda: plots.losses_in_the_plane(plane_panels(HOSTILE)),
    "training_curves": lambda: plots.training_curves(histories(HOSTILE)),
    "tsne_panels": lambda: plots.tsne_panels(
        [tsne_panel(name, HOSTILE, HOSTILE[:2]) for name in HOSTILE], note="$x$"
    ),
    "ranking": lambda: plots.ranking([a_case(name, HOSTILE, 3) for name in HOSTILE]),
    "similarity_maps": lambda: plots.similarity_maps(
        [a_mapped_case(name, HOSTILE[:2]) for name in HOSTILE]
    ),
    "viewpoint_grids": lambda: plots.viewpoint_grids(dict.fromkeys(HOSTILE, a_grid()), "$x$"),
    "agreement_by_angle": lambda: plots.agreement_by_angle(
        dict.fromkeys(HOSTILE, a_curve()), "$x$"
    ),
    "score_bars": lambda: plots.score_bars(a_table(HOSTILE).rename(columns={"mAP": "$x$"})),
    "split_scores": lambda: plots.split_scores(splits_of(HOSTILE[:2], HOSTILE), "$x$"),
    "effects": lambda: plots.effects(effects_of(HOSTILE, HOSTILE[:3]), "$x$"),
    "scatter_study": lambda: plots.scatter_study(a_scatter_study(HOSTILE)),
    "split_counts": lambda: plots.split_counts(an_index(HOSTILE), HOSTILE[:2], HOSTILE[2:]),
}
