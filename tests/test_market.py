"""Market-1501 as distributed: the reader and the protocol agree with its official lists.

MARKET1501=path/to/Market-1501-v15.09.15 names the data, which may not be handed on. The lists
`gt_query/*_good.mat` and `*_junk.mat` count the sorted names of bounding_box_test from 1. Thirteen
junk lists are [0], which names no image: they are read as empty. Images with the pid -1 are in no
list; the protocol takes them out of every ranking.
"""

import os
from pathlib import Path

import pytest
from scipy.io import loadmat

from reid_lib.metrics import Protocol
from reid_lib.retrieval.readers import read_market
from reid_lib.scoring.inputs import Identities
from reid_lib.scoring.pairs import find_pairs

MARKET = Path(os.environ.get("MARKET1501", ""))
pytestmark = pytest.mark.skipif(
    not (MARKET / "gt_query").is_dir(), reason="MARKET1501 names no copy of Market-1501"
)


@pytest.fixture(scope="module")
def parts():
    return {name: part for name, part in read_market(MARKET).groupby("split")}


def test_the_reader_finds_the_persons_and_cameras_of_the_authors(parts):
    counts = {name: (len(part), part.pid.nunique()) for name, part in parts.items()}
    assert counts == {"train": (12936, 751), "query": (3368, 750), "gallery": (19732, 752)}
    assert {-1, 0} < set(parts["gallery"].pid)  # junk and distractors beside the 750
    assert all(sorted(part.camid.unique()) == [1, 2, 3, 4, 5, 6] for part in parts.values())


def test_matches_and_junk_of_every_query_are_the_official_lists(parts):
    query, gallery = parts["query"], parts["gallery"]
    assert gallery.name.is_monotonic_increasing  # so that the official number is the row plus 1
    sides = [part[column].to_numpy() for column in ("pid", "camid") for part in (query, gallery)]
    pairs, zeros = find_pairs(Identities.read(len(query), len(gallery), *sides), Protocol()), 0
    for i, name in enumerate(query.name):
        stem = Path(name).name.partition(".")[0]  # some names end in .jpg.jpg
        for kind in ("good", "junk"):
            content = loadmat(MARKET / "gt_query" / f"{stem}_{kind}.mat")[f"{kind}_index"]
            official = set(content.ravel().tolist())
            zeros += official == {0}
            ours = pairs.row[(pairs.query == i) & (pairs.junk == (kind == "junk"))] + 1
            assert set(ours.tolist()) == official - {0}, (stem, kind)
    assert zeros == 13
