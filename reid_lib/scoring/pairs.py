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
    hints = _hints(ids)
    if some_matched:
        hints.append("Correct the split, or choose unmatched='drop' or 'zero' in the protocol.")
    listed = [
        f"{ids.q_names[i] if ids.q_names else f'row {i}'} "
        f"(pid {ids.q_pids[i]}, camid {ids.q_camids[i]})"
        for i in unmatched
    ]
    parts = [
        f"{len(unmatched)} of {len(matches)} queries have no match left in the gallery:",
        f"{_causes(unmatched, pairs, ids, protocol)}.",
        *hints,
        f"These are: {_some(listed)}.",
    ]
    raise ValueError(" ".join(parts))


def find_pairs(ids: Identities, protocol: Protocol) -> Pairs:
    """Pair every query with the gallery images of its person."""
    if not isinstance(protocol, Protocol):
        raise ValueError(
            f"protocol is {protocol!r}; expected a Protocol, as Protocol(ap='market')."
        )
    # With both sides sorted by person, a person is a slice of each.
    common = np.intersect1d(ids.q_pids, ids.g_pids)
    sides = []
    for pids in (ids.q_pids, ids.g_pids):
        order = np.argsort(pids, kind="stable")
        start = np.searchsorted(pids[order], common, "left")
        sides.append((order, start, np.searchsorted(pids[order], common, "right") - start))
    persons = _equally_many(*sides)
    none = np.zeros(0, np.int64)
    query = [np.repeat(q.ravel(), g.shape[1]) for q, g in persons]
    row = [np.repeat(g, q.shape[1], axis=0).ravel() for q, g in persons]
    query, row = np.concatenate([none, *query]), np.concatenate([none, *row])
    junk = is_any(ids.g_pids, protocol.junk_pids)[row]
    if protocol.same_camera_junk or protocol.gallery_cameras == "other":
        junk |= ids.q_camids[query] == ids.g_camids[row]
    return Pairs(persons, query, row, junk)


def _equally_many(queries: tuple, images: tuple) -> list[tuple[np.ndarray, np.ndarray]]:
    """`Pairs.persons`: persons with equally many images on both sides go through one product.

    Args:
        queries, images: of each side its rows sorted by person, and where each person's begin
            and how many there are.
    """
    (q_order, q_start, q_count), (g_order, g_start, g_count) = queries, images
    persons = []
    shape = q_count * (len(g_order) + 1) + g_count
    by_shape = np.argsort(shape, kind="stable")
    for same in np.split(by_shape, np.flatnonzero(np.diff(shape[by_shape])) + 1):
        if len(same):
            q_rows = q_order[q_start[same, None] + np.arange(q_count[same[0]])]
            g_rows = g_order[g_start[same, None] + np.arange(g_count[same[0]])]
            few = max(1, blocks.WIDTH // g_rows.shape[1])
            cuts = range(0, len(same), few)
            persons += [(q_rows[i : i + few], g_rows[i : i + few]) for i in cuts]
    return persons


def _causes(unmatched: np.ndarray, pairs: Pairs, ids: Identities, protocol: Protocol) -> str:
    """How many queries have no match for which reason."""
    own = np.bincount(pairs.query, minlength=len(ids.q_pids))[unmatched]
    junk_pid = is_any(ids.q_pids[unmatched], protocol.junk_pids)
    causes = [
        (junk_pid, f"have an id that counts as junk {protocol.junk_pids}"),
        ((own == 0) & ~junk_pid, "show a person who is not in the gallery"),
        (
            (own > 0) & ~junk_pid,
            "show a person whose gallery images all come from the query's own camera, which "
            "makes them junk",
        ),
    ]
    return ", ".join(f"{mask.sum()} {cause}" for mask, cause in causes if mask.any())


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
