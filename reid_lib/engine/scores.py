"""The scores of a run: each epoch's, the last one's by direction, and each query's."""

import dataclasses

import numpy as np
import pandas as pd
from torch import Tensor

from reid_lib.engine.sides import BOTH, GIVEN, directions, is_complete, main_direction, sides
from reid_lib.metrics import (
    Protocol,
    Result,
    evaluate,
    evaluate_cameras,
    evaluate_distances,
    rerank,
)
from reid_lib.model import ReIDNet, encode

LAST_EPOCHS = 10  # of the scored ones: one epoch's scores fluctuate by several points
RAW, UNIT = Protocol(), Protocol(codes="unit")
SCORED = {"test": RAW, "unit": UNIT}  # prefix of the history's columns -> protocol


def protocol_of(index: pd.DataFrame, protocol: Protocol = RAW) -> Protocol:
    """A protocol that leaves queries without a match out where the data have such."""
    return protocol if is_complete(index) else dataclasses.replace(protocol, unmatched="drop")


def results_of(codes: Tensor, index: pd.DataFrame, protocol: Protocol = RAW) -> dict[str, Result]:
    """Score every direction of an index: pairs of cameras with their mean, or the data's own.

    Args:
        codes: (N, D) float.
        index: N images.
        protocol: how a ranked gallery is scored.
    Returns:
        direction -> result; empty where no person can be found in another camera.
    """
    protocol, found = protocol_of(index, protocol), directions(index)
    pids, camids, codes = index.pid.to_numpy(), index.camid.to_numpy(), codes.cpu()
    if GIVEN in found:
        q, g = sides(GIVEN, camids, index["split"].to_numpy())
        arrays = [array[side] for array in (codes, pids, camids) for side in (q, g)]
        return {GIVEN: evaluate(*arrays, protocol)}
    return evaluate_cameras(codes, pids, camids, protocol) if found else {}


def score(codes: Tensor, index: pd.DataFrame, protocol: Protocol = RAW) -> dict[str, dict]:
    """`results_of` as plain numbers, fractions: direction -> score -> value."""
    results = results_of(codes, index, protocol)
    return {direction: result.scores() for direction, result in results.items()}


def score_epoch(net: ReIDNet, data) -> dict[str, float]:
    """Scores of the test persons in the main direction, raw and unit codes, for `history.csv`."""
    codes = net.retrieval_codes(encode(net, data.pixels, data.test_rows))
    line = {}
    for prefix, protocol in SCORED.items():
        scores = score(codes, data.test, protocol)
        main = scores[main_direction(scores)]
        line |= {f"{prefix}_{name}": float(value) for name, value in main.items()}
    return line


def score_reranked(codes: Tensor, index: pd.DataFrame) -> dict[str, dict[str, float]]:
    """As `score`, of galleries re-ranked by k-reciprocal neighbours."""
    ids = [index[name].to_numpy() for name in ("pid", "camid")]
    splits = index["split"].to_numpy() if "split" in index else None
    results, codes = {}, codes.cpu()
    for direction in directions(index):
        q, g = sides(direction, ids[1], splits)
        arrays = [array[side] for array in ids for side in (q, g)]
        distances = rerank(codes[q], codes[g])
        results[direction] = evaluate_distances(distances, *arrays, protocol_of(index)).scores()
    if GIVEN in results:
        return results
    return results | {BOTH: pd.DataFrame(results.values()).mean().to_dict()}


def last_epochs(history: pd.DataFrame, prefix: str, direction: str) -> dict:
    """The mean over the last scored epochs, `LAST_EPOCHS` of them or fewer."""
    scored = history.filter(regex=f"^{prefix}_").dropna().tail(LAST_EPOCHS)
    scored = scored.rename(columns=lambda name: name.removeprefix(f"{prefix}_"))
    return {"epochs": len(scored), direction: scored.mean().to_dict()}


def query_lines(results: dict[str, dict[str, Result]], index: pd.DataFrame, names: np.ndarray):
    """One row per query and direction: the scores of raw codes, and AP and rank of unit codes."""
    camids = index.camid.to_numpy()
    splits = index["split"].to_numpy() if "split" in index else None
    parts = []
    for direction in results["test"].keys() - {BOTH}:
        raw, unit = (results[prefix][direction].per_query for prefix in SCORED)
        asked = names[sides(direction, camids, splits)[0]]
        more = unit[["AP", "first_match"]].add_prefix("unit_")
        parts.append(pd.concat([raw.assign(direction=direction, name=asked), more], axis=1))
    return pd.concat(sorted(parts, key=lambda part: part.direction.iloc[0]))
