"""Distances of queries to gallery, block by block: from codes, or precomputed.

Both classes have the same attributes and methods. What they yield ranks a query's gallery as its
distances do; from codes it is ||g||^2 - 2 q.g, the squared distance minus the query's ||q||^2.
"""

import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid_lib.scoring import blocks
from reid_lib.scoring.inputs import Identities, centre, is_any
from reid_lib.scoring.pairs import Pairs
from reid_lib.scoring.protocol import Protocol

_EQUAL = 1e-6  # codes whose spread is this small beside their length have collapsed


@dataclass(frozen=True)
class CentredCodes:
    """Codes minus the gallery's mean, where rounding costs least, and their squared lengths."""

    queries: Tensor  # (Q, D), centred
    gallery: Tensor  # (G, D) as given: parts are centred when needed, to hold no second copy
    mean: Tensor  # (D,)
    q_sq: Tensor  # (Q,)
    g_sq: Tensor  # (G,)
    keep: np.ndarray  # (G,) bool: not junk for every query
    tolerance: np.ndarray  # (Q,), in squared distance

    @classmethod
    def of(cls, q: Tensor, g: Tensor, ids: Identities, protocol: Protocol) -> "CentredCodes":
        """Centre the codes; a RuntimeWarning if they are all but equal."""
        keep = ~is_any(ids.g_pids, protocol.junk_pids)
        if keep.all():
            mean_over = functools.partial(torch.mean, dim=0)
        else:
            mean_over = torch.from_numpy(keep).to(g).div_(max(keep.sum(), 1)).matmul
        mean = mean_over(g)
        q, q_sq, g_sq = centre(mean, q, g)
        spread = float(mean_over(g_sq))
        # Of centred codes this is the mean squared distance to the gallery.
        sq_mean = q_sq.cpu().double().numpy() + spread
        sq_length = float(mean @ mean) + spread
        if sq_mean.mean() <= _EQUAL**2 * sq_length:
            warnings.warn(
                "the codes have collapsed: they are equal up to rounding error (mean distance "
                f"{sq_mean.mean() ** 0.5:.3g}, root mean square norm {sq_length**0.5:.3g}); the "
                "ranking is arbitrary",
                RuntimeWarning,
                stacklevel=3,
            )
        tolerance = np.maximum(protocol.tolerance * sq_mean, protocol.tolerance**2 * sq_length)
        return cls(q, g, mean, q_sq, g_sq, keep, tolerance)

    def at_once(self) -> "Precomputed":
        """All values from one product."""
        values = self.queries.new_empty(len(self.queries), len(self.gallery))
        centred = (self.gallery - self.mean).mul_(-2)
        blocks.add_products(self.g_sq, self.queries, centred, out=values)
        return Precomputed(values, self.keep, self.tolerance)

    def parts(self, width: int) -> Iterator[tuple[slice, tuple[Tensor, Tensor]]]:
        """The gallery in parts of `width` images: which they are, and what `fill` needs."""
        part = self.gallery.new_zeros(width, self.gallery.shape[1])
        for start in range(0, len(self.gallery), width):
            images = slice(start, min(start + width, len(self.gallery)))
            size = images.stop - start
            torch.sub(self.gallery[images], self.mean, out=part[:size]).mul_(-2)
            # An infinite length makes an image farther than any.
            part_sq = part.new_full((width,), torch.inf)
            kept = torch.from_numpy(self.keep[images]).to(part.device)
            part_sq[:size] = self.g_sq[images].where(kept, torch.inf)
            yield images, (part, part_sq)

    def fill(self, part: tuple[Tensor, Tensor], queries: np.ndarray, out: Tensor) -> None:
        """Write the values of `queries` into (queries, width); inf for junk and past the end."""
        codes, sq = part
        blocks.add_products(sq, self.queries[torch.from_numpy(queries)], codes, out=out)

    def to_images(self, rows: np.ndarray) -> Callable[[int], np.ndarray]:
        """A function from a query to its values for these gallery images."""
        gallery = self.gallery[torch.from_numpy(rows)] - self.mean
        gallery_sq = self.g_sq[torch.from_numpy(rows)]
        return lambda i: (gallery_sq - 2 * gallery @ self.queries[i]).cpu().numpy()

    def of_pairs(self, pairs: Pairs) -> np.ndarray:
        """(P,) the value of each pair."""
        values = []
        for q_rows, g_rows in pairs.persons:
            q_rows, g_rows = torch.from_numpy(q_rows), torch.from_numpy(g_rows)
            centred = self.gallery[g_rows].sub_(self.mean)
            block = torch.addmm(self.g_sq[g_rows], self.queries[q_rows], centred.T, alpha=-2)
            values.append(block.flatten())
        return torch.cat(values).cpu().numpy()


@dataclass(frozen=True)
class Precomputed:
    """Precomputed distances."""

    queries: Tensor  # (Q, G) distances, a row per query
    keep: np.ndarray  # (G,) bool: not junk for every query
    tolerance: np.ndarray  # (Q,)

    @classmethod
    def of(cls, distances: Tensor, ids: Identities, protocol: Protocol) -> "Precomputed":
        keep = ~is_any(ids.g_pids, protocol.junk_pids)
        mean = distances[:, torch.from_numpy(keep)].abs().mean(1).cpu().double().numpy()
        return cls(distances, keep, protocol.tolerance * mean)

    def parts(self, width: int) -> Iterator[tuple[slice, slice]]:
        for start in range(0, self.queries.shape[1], width):
            images = slice(start, min(start + width, self.queries.shape[1]))
            yield images, images

    def fill(self, images: slice, queries: np.ndarray, out: Tensor) -> None:
        known = out[:, : images.stop - images.start]
        rows = torch.from_numpy(queries).to(out.device)
        torch.index_select(self.queries[:, images], 0, rows, out=known)
        if not self.keep[images].all():
            known[:, torch.from_numpy(~self.keep[images])] = torch.inf
        out[:, known.shape[1] :] = torch.inf

    def to_images(self, rows: np.ndarray) -> Callable[[int], np.ndarray]:
        return lambda i: self.queries[i, torch.from_numpy(rows)].cpu().numpy()

    def of_pairs(self, pairs: Pairs) -> np.ndarray:
        at = torch.from_numpy(pairs.query), torch.from_numpy(pairs.row)
        return self.queries[at].cpu().numpy()
