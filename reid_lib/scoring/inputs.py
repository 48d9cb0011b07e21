"""Codes and ids as the user gives them, checked and brought to one type."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reid_lib.scoring import blocks
from reid_lib.scoring.protocol import Protocol

Codes = np.ndarray | Tensor
Ids = np.ndarray | Tensor | Sequence[int]


def read_matrix(values: Codes, name: str) -> Tensor:
    """`values` as a two-dimensional float tensor without gradient; ValueError if they are not."""
    if not isinstance(values, Tensor):
        values = torch.from_numpy(np.require(values, requirements=("C", "W")))
    values = values.detach()
    if values.ndim != 2:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; expected (images, dimensions).")
    if not all(values.shape):
        raise ValueError(f"{name} is empty, of shape {tuple(values.shape)}.")
    if values.is_complex():
        raise ValueError(f"{name} is of type {values.dtype}; expected real numbers.")
    return values if values.dtype == torch.float64 else values.float()


def read_codes(q_codes: Codes, g_codes: Codes) -> tuple[Tensor, Tensor]:
    """(Q, D) and (G, D) real tensors of one type and device; ValueError if that is impossible."""
    q, g = read_matrix(q_codes, "q_codes"), read_matrix(g_codes, "g_codes")
    if q.shape[1] != g.shape[1]:
        raise ValueError(
            f"q_codes has {q.shape[1]} dimensions and g_codes {g.shape[1]}; both must come from "
            "one network."
        )
    if q.device != g.device:
        raise ValueError(f"q_codes is on {q.device} and g_codes on {g.device}; move one of them.")
    dtype = torch.promote_types(q.dtype, g.dtype)
    return q.to(dtype), g.to(dtype)


def normalise(q: Tensor, g: Tensor, protocol: Protocol) -> tuple[Tensor, Tensor]:
    """The codes used for retrieval: as given, or divided by their L2 norm."""
    if protocol.codes == "raw":
        return q, g
    refuse_unusable(q, g)
    return torch.nn.functional.normalize(q), torch.nn.functional.normalize(g)


def refuse_unusable(q: Tensor, g: Tensor) -> None:
    """Raise ValueError if squared distances of these codes may not be finite."""
    for name, codes in (("q_codes", q), ("g_codes", g)):
        rows = torch.nonzero(~torch.isfinite(codes).all(1)).flatten().tolist()
        if rows:
            value = codes[rows[0]][~torch.isfinite(codes[rows[0]])][0].item()
            raise ValueError(
                f"{name}: {len(rows)} of {len(codes)} codes are not finite, the first in row "
                f"{rows[0]} ({value}); such a code has no distance to any other."
            )
        largest = codes.abs().max().item()
        if largest**2 * codes.shape[1] * 16 > torch.finfo(codes.dtype).max:
            raise ValueError(
                f"{name} reaches {largest:.3g}, too large to be squared in {codes.dtype}; scale "
                "the codes down or pass float64."
            )


def centre(mean: Tensor, q: Tensor, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The queries minus the mean, and both sides' squared distances from it: (Q, D), (Q,), (G,)."""
    centred = q - mean
    q_sq = torch.linalg.vector_norm(centred, dim=1).square_()
    parts = g.split(blocks.WIDTH)
    g_sq = torch.cat([torch.linalg.vector_norm(part - mean, dim=1) for part in parts]).square_()
    if not torch.isfinite(q_sq.sum() + g_sq.sum()):
        refuse_unusable(q, g)
    return centred, q_sq, g_sq


def sq_distances(q_codes: Codes, g_codes: Codes) -> Tensor:
    """Squared Euclidean distances, ||q||^2 + ||g||^2 - 2 q.g, relative to the gallery's mean.

    Subtracting one point from both sides changes no distance; with the mean the three terms are
    smallest, and so is the rounding error of their sum.

    Args:
        q_codes: (Q, D) float.
        g_codes: (G, D) float.
    Returns:
        (Q, G), in float32 (float64 if either side is), on the codes' device, never negative.
    Raises:
        ValueError: not two-dimensional, empty, not finite, or of unequal D.
    Example:
        >>> sq_distances(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 1.0]])).round()
        tensor([[25.,  1.]], dtype=torch.float64)
    """
    q, g = read_codes(q_codes, g_codes)
    mean = g.mean(0)
    q, q_sq, g_sq = centre(mean, q, g)
    sq = torch.addmm(g_sq, q, (g - mean).T, alpha=-2)
    return sq.add_(q_sq[:, None]).clamp_(min=0)


def read_ids(ids: Ids, length: int, name: str) -> np.ndarray:
    """(length,) int64; ValueError if `ids` has another shape or is not of whole numbers."""
    array = ids.detach().cpu().numpy() if isinstance(ids, Tensor) else np.asarray(ids)
    if array.shape != (length,):
        raise ValueError(f"{name} has shape {array.shape}; expected ({length},), one per code.")
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if isinstance(ids, Tensor):
        advice = f"convert them with {name}.long()."
    elif array.dtype.kind in "fb":
        advice = f"convert them with np.asarray({name}).astype(int)."
    else:
        kind = name.removeprefix("q_").removeprefix("g_")
        both = kind if kind == name else f"[*q_{kind}, *g_{kind}]"  # one numbering for both sides
        what = {"pids": "persons", "camids": "cameras"}.get(kind, kind)
        advice = f"number the {what}, e.g. np.unique({both}, return_inverse=True)[1]."
    raise ValueError(f"{name} is of type {array.dtype}; expected whole numbers: {advice}")


def is_any(ids: np.ndarray, few: tuple[int, ...]) -> np.ndarray:
    """np.isin for a few values, ten times as fast."""
    return (ids[:, None] == np.array(few, int)).any(1)


@dataclass(frozen=True)
class Identities:
    """Who is on each image, from which camera: (Q,) and (G,) int64 each."""

    q_pids: np.ndarray
    g_pids: np.ndarray
    q_camids: np.ndarray
    g_camids: np.ndarray

    @classmethod
    def read(cls, queries: int, images: int, *ids: Ids) -> "Identities":
        """Check the ids of so many `queries` and gallery `images`, in the order of the fields."""
        names = cls.__dataclass_fields__
        lengths = (queries, images) * 2
        return cls(*map(read_ids, ids, lengths, names))

    def of_gallery(self, rows: np.ndarray) -> "Identities":
        """The same queries with these gallery images alone."""
        return Identities(self.q_pids, self.g_pids[rows], self.q_camids, self.g_camids[rows])
