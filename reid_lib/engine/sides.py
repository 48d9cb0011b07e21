"""Selection of query and gallery images: by pairs of cameras, or as the data set defines them."""

from collections.abc import Iterable
from itertools import permutations
from string import ascii_uppercase

import numpy as np
import pandas as pd

GIVEN = "query->gallery"  # the direction of data sets that define their queries
BOTH = "both"  # the mean over the directions between cameras


def sides(
    direction: str, camids: np.ndarray, splits: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The positions of the query and of the gallery images.

    Args:
        direction: such as "A->B", camera A queries the gallery of camera B: letters name the
            cameras in ascending order of their ids. Or "query->gallery", the parts that the data
            set defines; if none is defined, as among training images, every image queries all
            others.
        camids: (N,) int, the camera of each image.
        splits: (N,) str, the parts that the data set defines; None if it defines none.
    Returns:
        (query, gallery), positions among the N images.
    Raises:
        ValueError: no such camera, one camera on both sides, or no such parts.
    Example:
        >>> sides("B->A", np.array([3, 6, 6]))
        (array([1, 2]), array([0]))
    """
    if direction == GIVEN and splits is not None:
        names = direction.split("->")
        everyone = np.arange(len(splits))
        if not np.isin(splits, names).any():
            return everyone, everyone
        return tuple(np.flatnonzero(splits == name) for name in names)
    letters = dict(zip(ascii_uppercase, np.unique(camids).tolist(), strict=False))
    names = direction.split("->")
    if len(names) != 2 or names[0] == names[1] or not set(names) <= set(letters):
        raise ValueError(
            f"direction is {direction!r}; expected two different cameras of {', '.join(letters)}, "
            f"such as 'A->B'{f', or {GIVEN!r}' if splits is not None else ''}"
        )
    return tuple(np.flatnonzero(camids == letters[name]) for name in names)


def directions(index: pd.DataFrame) -> list[str]:
    """The directions in which an index is scored: those in which a query has a match.

    If the data set defines no split, these are all ordered pairs of cameras that share a person.
    """
    if "split" in index:
        return [GIVEN] if matched(index).any() else []
    pids = [set(part.pid) for _, part in index.groupby("camid")]
    pairs = permutations(zip(ascii_uppercase, pids, strict=False), 2)
    return [f"{a}->{b}" for (a, one), (b, other) in pairs if one & other]


def matched(index: pd.DataFrame) -> pd.Series:
    """For each image: whether it is a query whose person another camera's gallery holds.

    Where the data name no queries, every image is one, and its person must be in another camera.
    """
    part = index["split"] if "split" in index else pd.Series("", index.index)
    named = part.isin(GIVEN.split("->")).any()
    asks, ranked = ((part == name) | (not named) for name in GIVEN.split("->"))
    places = index[ranked & (index.pid != -1)].groupby("pid").camid
    cameras, only = index.pid.map(places.nunique()).fillna(0), index.pid.map(places.first())
    return asks & ((cameras > 1) | ((cameras == 1) & (only != index.camid)))


def is_complete(index: pd.DataFrame) -> bool:
    """Whether every query has a match in every direction."""
    if "split" in index:
        asks = index.index[sides(GIVEN, index.camid.to_numpy(), index["split"].to_numpy())[0]]
        return bool(matched(index)[asks].all())
    return bool((index.groupby("pid").camid.nunique() == index.camid.nunique()).all())


def main_direction(scored: Iterable[str]) -> str:
    """The direction of a table: A to B of two cameras, the mean over the pairs of several.

    Example:
        >>> main_direction(["A->B", "B->A", "both"]), main_direction(["A->B", "A->C", "both"])
        ('A->B', 'both')
    """
    scored = set(scored)
    if GIVEN in scored:
        return GIVEN
    return BOTH if scored - {"A->B", "B->A", BOTH} else "A->B"


def direction_words(scored: Iterable[str], direction: str) -> str:
    """A direction in words, for captions.

    Example:
        >>> direction_words(["A->B", "B->A", "both"], "A->B")
        'camera A to B'
    """
    pairs = len(set(scored) - {BOTH})
    if direction == GIVEN:
        return "queries to gallery as the data split them"
    if direction == BOTH:
        return f"mean over all {pairs} directions between cameras that share a person"
    return f"camera {direction.replace('->', ' to ')}"
