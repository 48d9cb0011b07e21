"""Galleries and queries that the tests of scoring share."""

from unittest import mock

import numpy as np
import pytest

from reid_lib.metrics import Protocol, evaluate

RANKS = (1, 2, 3, 5, 10)


def line(gallery, q_pid=1, q_camid=0, protocol=None):
    """One query at 0 and a gallery of (distance, pid, camid) on a line."""
    distances, pids, camids = map(np.array, zip(*gallery, strict=True))
    return evaluate(
        np.zeros((1, 1)),
        distances[:, None].astype(float),
        [q_pid],
        pids,
        [q_camid],
        camids,
        protocol or Protocol(ranks=RANKS),
    )


def people(persons=12, images=4, cameras=2, spread=1.2, dim=16, seed=0):
    rng = np.random.default_rng(seed)
    pids = np.repeat(np.arange(persons), images * cameras)
    camids = np.tile(np.repeat(np.arange(cameras), images), persons)
    views = np.tile(np.arange(images), persons * cameras)
    centres = rng.normal(size=(persons, dim))
    codes = centres[pids] + spread * rng.normal(size=(len(pids), dim))
    return codes, pids, camids, views


def sides(codes, pids, camids):
    q = camids == 0
    return codes[q], codes[~q], pids[q], pids[~q], camids[q], camids[~q]


def close(a, b, **tolerance):
    assert a.scores() == pytest.approx(b.scores(), **({"abs": 1e-9} | tolerance))


def market_sized(queries, gallery, persons, cameras=6, dim=32, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(persons, dim))
    q_pids, g_pids = rng.integers(0, persons, queries), rng.integers(0, persons, gallery)
    q = centres[q_pids] + 1.3 * rng.normal(size=(queries, dim))
    g = centres[g_pids] + 1.3 * rng.normal(size=(gallery, dim))
    return (
        q,
        g,
        q_pids,
        g_pids,
        rng.integers(0, cameras, queries),
        rng.integers(0, cameras, gallery),
    )


def in_parts():
    """Galleries this small would be scored from one product; take the large ones' way."""
    return mock.patch("reid_lib.metrics._AT_ONCE", 0)
