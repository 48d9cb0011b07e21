"""Scores across data sets: the records of `reid evaluate --record`, and their table."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from reid_lib.engine.files import write_json
from reid_lib.engine.runs import Run
from reid_lib.engine.scores import SCORED
from reid_lib.engine.sides import direction_words, main_direction, sides
from reid_lib.metrics import bootstrap
from reid_lib.retrieval.evaluate import Scored, evaluate_data
from reid_lib.study.records import start_words
from reid_lib.study.tables import NOTES, markdown

DATA = {  # SHA-256 of a data set -> its name
    "b2ec237c1c28935f1f2b5708d26c898a2f3c1dcdaf9b6714a187064498491487": "synthetic persons",
    "01d77f026d732ddf9160f177c01c2befc9730295c17d992bfab1b2c9692bab08": "PKU-ReID",
    "23815426d2d23a321126e32b9c470df6e35df9c75f45c640a753a2dc7eb97f2a": "Market-1501",
}
KIND = "unit"  # the codes that the table compares


def write_record(run: Run, scored: Scored, folder: str | Path) -> Path:
    """Write the scores of one network on one data set as a small JSON file.

    Args:
        run: the network's run.
        scored: the images and their codes.
        folder: the folder of the file, whose name is that of the network and the data set.
    Returns:
        The file.
    Raises:
        ValueError: see `evaluate_data`.
    """
    results = {kind: evaluate_data(scored, protocol) for kind, protocol in SCORED.items()}
    main = main_direction(results[KIND])
    index, result = scored.index, results[KIND][main]
    splits = index["split"].to_numpy() if "split" in index else None
    asked, ranked = (index.iloc[rows] for rows in sides(main, index.camid.to_numpy(), splits))
    limits = bootstrap(result.per_query, ["rank-1", "AP"])[["low", "high"]]
    content = {
        "config_digest": run.config.digest(),
        "config": run.config.model_dump(mode="json"),
        "persons": run.manifest["persons"],
        "data_sha256": scored.data_sha256,
        "direction": main,
        "words": direction_words(results[KIND], main),
        "scored": {
            "persons": int(asked.pid.nunique()),
            "queries": len(asked),
            "gallery": len(ranked),
            "junk": int((ranked.pid == -1).sum()),
        },
        "protocol": str(result.protocol),
        **{kind: found[main].scores() for kind, found in results.items()},
        "interval": limits.rename(index={"AP": "mAP"}).round(6).T.to_dict("list"),
    }
    config = run.config
    parts = config.backbone, config.setting, content["config_digest"], scored.data_sha256[:12]
    path = Path(folder) / ("-".join(parts).replace("/", "-") + ".json")
    write_json(path, content)
    return path


def read_domains(folder: str | Path) -> pd.DataFrame:
    """One row per record of `write_record`, sorted by training data, network and scored data.

    Returns:
        trained (the name of the training data), on (that of the scored data), network (backbone,
        setting, initial weights), words (the direction), scored (counts), own (whether the
        network was trained on persons of the same data), scores of unit codes in percent, and
        low and high of rank-1 and mAP.
    Raises:
        ValueError: there is no record.
    """
    paths = sorted(Path(folder).glob("*.json"))
    if not paths:
        raise ValueError(f"no record in {folder}; expected the files of `reid evaluate --record`")
    rows = []
    for path in paths:
        content = json.loads(path.read_text("utf-8"))
        config, sha256 = content["config"], content["data_sha256"]
        network = f"{config['backbone']}, {config['setting']}, {start_words(config)}"
        limits = {
            f"{score} {end}": 100 * value
            for score, ends in content["interval"].items()
            for end, value in zip(("low", "high"), ends, strict=True)
        }
        rows.append(
            {
                "trained": _name(config["data_sha256"]),
                "persons": content["persons"]["train"],
                "network": network,
                "on": _name(sha256),
                "own": config["data_sha256"] == sha256,
                **{key: content[key] for key in ("words", "scored", "protocol")},
                **{score: 100 * value for score, value in content[KIND].items()},
                **limits,
            }
        )
    frame = pd.DataFrame(rows)
    order = [_place(frame.on), frame.network, _place(frame.trained)]
    return frame.iloc[np.lexsort(order)].reset_index(drop=True)


def _name(sha256: str) -> str:
    return DATA.get(sha256, f"data {sha256[:12]}")


def _place(names: pd.Series) -> pd.Series:
    known = list(DATA.values())
    return names.map(lambda name: known.index(name) if name in known else len(known))


def domains_text(folder: str | Path) -> str:
    """The table of all networks on all data sets as Markdown, and what it says in one paragraph."""
    frame = read_domains(folder)
    cells = pd.DataFrame(index=frame.groupby(["trained", "network"], sort=False).size().index)
    for on, part in frame.groupby("on", sort=False):
        part = part.set_index(["trained", "network"])
        for score in ("rank-1", "mAP"):
            cells[f"{on}, {score}"] = [
                _cell(part.loc[key], score) if key in part.index else "" for key in cells.index
            ]
    cells = cells.reset_index("network").rename_axis(index="trained on")
    scored = "; ".join(
        "{}: {persons:,} persons, {queries:,} queries, {gallery:,} gallery images{}, {}".format(
            on,
            f" of which {first.scored['junk']:,} are junk" if first.scored["junk"] else "",
            first.words,
            **first.scored,
        )
        for on, first in frame.groupby("on", sort=False).first().iterrows()
    )
    note = NOTES["domains"].format(scored)
    return f"{markdown(cells)}\n\n{_paragraph(frame)}\n\n{note}\n"


def _cell(row: pd.Series, score: str) -> str:
    text = f"{row[score]:.1f} [{row[f'{score} low']:.1f}, {row[f'{score} high']:.1f}]"
    return f"*{text}*" if row.own else text


def _paragraph(frame: pd.DataFrame) -> str:
    """For each data set, the range of rank-1 and mAP by the data that the networks saw."""
    sentences = []
    for on, part in frame.groupby("on", sort=False):
        ranges = [
            f"{_range(some['rank-1'])} / {_range(some.mAP)} after training on "
            f"{'its own training persons' if some.own.iloc[0] else trained}"
            for trained, some in part.groupby("trained", sort=False)
        ]
        sentences.append(f"On {on}, rank-1 / mAP is {', '.join(ranges)}.")
    return " ".join(sentences)


def _range(values: pd.Series) -> str:
    low, high = f"{values.min():.1f}", f"{values.max():.1f}"
    return low if low == high else f"{low} to {high}"
