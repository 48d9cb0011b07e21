"""Which gallery images show a query's person, and an explanation where none is a match."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reid_lib.scoring import blocks
from reid_lib.scoring.inputs import Identities, is_any
from reid_lib.scoring.protocol import Protocol


@dataclass(frozen=True)
class Pairs:
    """Every query with every gallery image of its person: a match or junk, never wrong."""

    persons: list[tuple[np.ndarray, np.ndarray]]  # (n, q) queries and (n, g) images of n persons
    query: np.ndarray  # (P,)
    row: np.ndarray  # (P,) of the gallery
    junk: np.ndarray  # (P,) bool


def matched_pairs(ids: Identities, protocol: Protocol) -> Pairs:
    """The pairs; ValueError with the cause where the protocol does not allow unmatched queries."""
    pairs = find_pairs(ids, protocol)
    matches = np.bincount(pairs.query[~pairs.junk], minlength=len(ids.q_pids))
    unmatched = np.flatnonzero(matches == 0)
    some_matched = len(unmatched) < len(matches)
    if not len(unmatched) or (some_matched and protocol.unmatched != "raise"):
        return pairs
    words = [
        f"{len(unmatched)} of {len(matches)} queries have no match left in the gallery: "
        f"{_causes(unmatched, pairs, ids, protocol)}.",
        *_hints(ids),
    ]
    if some_matched:
        words.append("Correct the split, or choose unmatched='drop' or 'zero' in the protocol.")
    listed = [f"row {i} (pid {ids.q_pids[i]}, camid {ids.q_camids[i]})" for i in unmatched]
    raise ValueError(" ".join([*words, f"These are: {_some(listed)}."]))


def find_pairs(ids: Identities, protocol: Protocol) -> Pairs:
    """Pair every query with the gallery images of its person."""
    if not isinstance(protocol, Protocol):
        raise ValueError(
            f"protocol is {protocol!r}; expected a Protocol, as Protocol(ap='market')."
        )
    persons = _equally_many(ids)
    none = np.zeros(0, np.int64)
    query = [np.repeat(q.ravel(), g.shape[1]) for q, g in persons]
    row = [np.repeat(g, q.shape[1], axis=0).ravel() for q, g in persons]
    query, row = np.concatenate([none, *query]), np.concatenate([none, *row])
    junk = is_any(ids.g_pids, protocol.junk_pids)[row]
    if protocol.same_camera_junk:
        junk |= ids.q_camids[query] == ids.g_camids[row]
    return Pairs(persons, query, row, junk)


def _equally_many(ids: Identities) -> list[tuple[np.ndarray, np.ndarray]]:
    """`Pairs.persons`: persons with equally many images on both sides go through one product."""
    common = np.intersect1d(ids.q_pids, ids.g_pids)
    orders, starts, counts = [], [], []
    for pids in (ids.q_pids, ids.g_pids):  # sorted by person, a person is a slice of each side
        orders.append(np.argsort(pids, kind="stable"))
        ends = [np.searchsorted(pids[orders[-1]], common, side) for side in ("left", "right")]
        starts.append(ends[0])
        counts.append(ends[1] - ends[0])
    persons = []
    shape = counts[0] * (len(ids.g_pids) + 1) + counts[1]
    by_shape = np.argsort(shape, kind="stable")
    for same in np.split(by_shape, np.flatnonzero(np.diff(shape[by_shape])) + 1):
        if len(same):
            q_rows, g_rows = (
                order[start[same, None] + np.arange(count[same[0]])]
                for order, start, count in zip(orders, starts, counts, strict=True)
            )
            few = max(1, blocks.WIDTH // g_rows.shape[1])
            cuts = range(0, len(same), few)
            persons += [(q_rows[i : i + few], g_rows[i : i + few]) for i in cuts]
    return persons


def _causes(unmatched: np.ndarray, pairs: Pairs, ids: Identities, protocol: Protocol) -> str:
    """How many queries have no match for which reason."""
    own = np.bincount(pairs.query, minlength=len(ids.q_pids))[unmatched]
    junk_pid = is_any(ids.q_pids[unmatched], protocol.junk_pids)
    causes = {
        f"have an id that counts as junk {protocol.junk_pids}": junk_pid,
        "show a person who is not in the gallery": (own == 0) & ~junk_pid,
        "show a person whose gallery images all come from the query's own camera, which makes "
        "them junk": (own > 0) & ~junk_pid,
    }
    return ", ".join(f"{mask.sum()} {cause}" for cause, mask in causes.items() if mask.any())


def _hints(ids: Identities) -> list[str]:
    hints = []
    cameras = np.union1d(ids.q_camids, ids.g_camids)
    if len(cameras) == 1:
        hints.append(
            f"Queries and gallery come from one camera, camid {cameras[0]}: check q_camids and "
            "g_camids, or set same_camera_junk=False."
        )
    if not len(np.intersect1d(ids.q_pids, ids.g_pids)):
        hints.append(
            f"Queries and gallery share no person: q_pids holds {_some(np.unique(ids.q_pids))}; "
            f"g_pids holds {_some(np.unique(ids.g_pids))}."
        )
    return hints


def _some(values: Sequence, most: int = 10) -> str:
    shown = ", ".join(map(str, values[:most]))
    return shown if len(values) <= most else f"{shown} and {len(values) - most} more"
