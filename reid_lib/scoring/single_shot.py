"""Expected scores over all draws of one gallery image per person (the single-shot gallery).

Person p's image is nearer than the match with probability a_p = (p's nearer images) / (p's
images), independently of the others', so the number of nearer ones is a sum of unequal coin flips,
whose distribution is built up person by person. A tied image comes before the match if its place
in a random order, uniform in [0, 1], is before the match's own place u: the coin is then
a_p + u tied_p, and the mean over u, of a polynomial, is exact by Gauss-Legendre quadrature.
"""

from itertools import pairwise

import numpy as np

from reid_lib.scoring import blocks
from reid_lib.scoring.all_matches import score_names
from reid_lib.scoring.counting import Counts
from reid_lib.scoring.distances import CentredCodes, Precomputed
from reid_lib.scoring.inputs import Identities
from reid_lib.scoring.protocol import Protocol


def score_single_shot(
    found: Counts, codes: CentredCodes | Precomputed, ids: Identities, protocol: Protocol
) -> dict[str, np.ndarray]:
    """Each score of each query that has a match."""
    gallery = _Gallery(codes, ids, protocol)
    ends = np.cumsum(np.append(0, found.matches))
    of = [slice(*both) for both in pairwise(ends)]  # each query's matches
    matched = np.flatnonzero(found.matches)
    sections = -(-len(found.query) * (len(gallery.starts) + 1) // blocks.BLOCK) or 1
    parts = []
    for batch in (batch for batch in np.array_split(matched, sections) if len(batch)):
        chances = [gallery.chances(i, found.low[of[i]], found.high[of[i]]) for i in batch]
        nearer, reached = map(np.concatenate, zip(*chances, strict=True))
        count = found.matches[batch]
        first = np.cumsum(count) - count
        scores = _match_scores(nearer, reached, protocol)
        parts.append({name: np.add.reduceat(x, first) / count for name, x in scores.items()})
    none = np.zeros(0)
    return {
        name: np.concatenate([none, *(part[name] for part in parts)])
        for name in score_names(protocol)
    }


class _Gallery:
    """The gallery sorted by person."""

    def __init__(self, codes: CentredCodes | Precomputed, ids: Identities, protocol: Protocol):
        order = np.flatnonzero(codes.keep)
        order = order[np.argsort(ids.g_pids[order], kind="stable")]
        self.pids, self.camids = ids.g_pids[order], ids.g_camids[order]
        self.starts = np.unique(self.pids, return_index=True)[1]
        self.values = codes.to_images(order)
        self.ids, self.protocol = ids, protocol

    def chances(self, i: int, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, ...]:
        """(M, P) each: of an image nearer than query i's match, and of one nearer or tied."""
        value = self.values(i)
        valid = self.pids != self.ids.q_pids[i]
        if self.protocol.gallery_cameras == "other":
            valid &= self.camids != self.ids.q_camids[i]
        value[~valid] = np.inf
        images = np.maximum(np.add.reduceat(valid, self.starts, dtype=np.int64), 1)
        return tuple(
            np.add.reduceat(x, self.starts, axis=1, dtype=np.int64) / images
            for x in (value < low[:, None], value <= high[:, None])
        )


def _match_scores(nearer, reached, protocol: Protocol) -> dict[str, np.ndarray]:
    """(M,) each score, from the chances (M, P) that person p's image comes before the match."""
    place = np.arange(1, nearer.shape[1] + 2)
    worst = _flips(nearer if protocol.ties == "best" else reached)
    plain = worst.copy()
    tied = (reached > nearer).any(1)
    if protocol.ties == "expected" and tied.any():
        plain[tied] = _mean_flips(nearer[tied], reached[tied])
    market = worst @ ((1 / place + (place == 1)) / 2)
    return {
        "AP": market if protocol.ap == "market" else plain @ (1 / place),
        "AP_market": market,
        "INP": worst @ (1 / place),
        "first_match": worst @ place,
    } | {f"rank-{k}": plain[:, :k].sum(1) for k in protocol.ranks}


def _flips(chance: np.ndarray) -> np.ndarray:
    """(M, P + 1): the distribution of the number of heads among P coins, chance (M, P)."""
    heads = np.zeros((len(chance), chance.shape[1] + 1))
    heads[:, 0] = 1
    for p in np.flatnonzero(chance.any(0)):
        moved = heads[:, :-1] * chance[:, p, None]
        heads *= 1 - chance[:, p, None]
        heads[:, 1:] += moved
    return heads


def _mean_flips(nearer: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """The distribution of heads at chance nearer + u (reached - nearer), mean over u in [0, 1]."""
    tied = int((reached > nearer).sum(1).max())
    nodes, weights = np.polynomial.legendre.leggauss(tied // 2 + 1)
    return sum(
        w / 2 * _flips(nearer + (x + 1) / 2 * (reached - nearer))
        for x, w in zip(nodes, weights, strict=True)
    )
