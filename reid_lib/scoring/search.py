"""The nearest codes of a large gallery, exactly and in bounded memory."""

import numpy as np
import torch

BLOCK = 2**16  # gallery codes at once: 128 MB of float32 codes of 512 numbers
QUERIES = 256  # queries at once: a block of distances is 64 MB


def search(
    q_codes: np.ndarray, g_codes: np.ndarray, k: int, block: int = BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k gallery codes nearest to each query by Euclidean distance.

    The gallery is read in blocks, once, so that it may be a memory-mapped file larger than memory.
    Each block's candidates are chosen by ||g||^2 - 2 q.g and their distances computed anew from
    differences in float64, so that near duplicates keep their order.

    Args:
        q_codes, g_codes: (Q, D) and (G, D) float, arrays or memory-mapped files.
        k: how many; the whole gallery where it is smaller.
        block: gallery codes at once.
    Returns:
        distances (Q, k) float64, ascending, and rows (Q, k) int64 of the gallery. Of equal
        distances the lower row comes first.
    Raises:
        ValueError: codes that are not (N, D) of one D, an empty side, or k below 1.
    Example:
        >>> distances, rows = search(np.zeros((1, 1)), np.array([[3.0], [1.0], [2.0]]), k=2)
        >>> distances.tolist(), rows.tolist()
        ([[1.0, 2.0]], [[1, 2]])
    """
    if q_codes.ndim != 2 or g_codes.ndim != 2 or q_codes.shape[1] != g_codes.shape[1]:
        raise ValueError(
            f"codes are {q_codes.shape} and {g_codes.shape}; expected (Q, D) and (G, D)"
        )
    if k < 1 or len(q_codes) == 0 or len(g_codes) == 0:
        raise ValueError(
            f"k is {k}, with {len(g_codes)} gallery codes and {len(q_codes)} queries; expected at "
            "least one of each"
        )
    queries = [_as_tensor(q_codes[i : i + QUERIES]) for i in range(0, len(q_codes), QUERIES)]
    best = [None] * len(queries)
    for first in range(0, len(g_codes), block):
        part = _as_tensor(g_codes[first : first + block])
        squares = (part**2).sum(1)
        for i, q in enumerate(queries):
            best[i] = _merge(best[i], _nearest(q, part, squares, k, first), k)
    distances, rows = (torch.cat(column).numpy() for column in zip(*best, strict=True))
    return np.sqrt(distances), rows


def _as_tensor(codes: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(codes, dtype=np.float32))  # a copy: files may be read-only


def _nearest(q, part, squares, k: int, first: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distances and rows of a block's nearest codes, some more than k before re-ordering.

    The product is rounded, so codes just beyond the k-th place may belong before it.
    """
    wanted = min(k + 16, len(part))
    rows = torch.addmm(squares, q, part.T, alpha=-2).topk(wanted, largest=False, sorted=False)[1]
    rows = rows.sort(1)[0]
    sq = torch.stack(
        [((part[r].double() - one.double()) ** 2).sum(1) for one, r in zip(q, rows, strict=True)]
    )
    return sq, rows + first


def _merge(old, new, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k least of both; stable, so that of equal distances the lower row comes first."""
    sq, rows = new if old is None else (torch.cat(pair, 1) for pair in zip(old, new, strict=True))
    order = sq.sort(dim=1, stable=True)[1][:, :k]
    return sq.gather(1, order), rows.gather(1, order)
