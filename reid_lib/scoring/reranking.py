"""Re-ranking by k-reciprocal neighbours (Zhong et al. 2017) with sparse matrices.

Two images are similar if they have the same nearest neighbours, among queries and gallery together.
This takes a few dozen numbers per image, so no matrix of all images by all images is ever held:
distances are made block by block, and of each row only the nearest are kept.
"""

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from reid_lib.scoring.inputs import read_codes, refuse_unusable

_BLOCK = 2**21  # distances held at once
_STEPS = 2**18  # intermediate numbers held at once, so that they stay in the cache


def rerank(
    q_codes: np.ndarray | Tensor,
    g_codes: np.ndarray | Tensor,
    k1: int = 20,
    k2: int = 6,
    lambda_value: float = 0.3,
) -> Tensor:
    """Distances of queries to gallery, re-ranked by shared nearest neighbours.

    With N(i, k) image i itself and its k nearest of all Q + G images:

        R(i, k) = {j in N(i, k): i in N(j, k)}                         k-reciprocal neighbours
        S(i) = R(i, k1) and every R(j, k1/2), j in R(i, k1), of which
               more than 2/3 lie in R(i, k1)                           their expansion
        v_ij = exp(-d_ij) / sum_{l in S(i)} exp(-d_il) for j in S(i), else 0
        u_i  = mean of v_j over N(i, k2 - 1)                           query expansion
        m_ij = sum_l min(u_il, u_jl)
        J_ij = 1 - m_ij / (2 - m_ij)                                   Jaccard distance
        result = (1 - lambda) J + lambda d

    d_ij = ||x_i - x_j||^4 / max_l ||x_i - x_l||^4, as torchreid's engine computes it: it passes
    squared Euclidean distances to its `re_ranking`, which squares its input once more. k1/2 is
    rounded to the nearest integer, halves to even ones.

    Ties: an image itself comes first, then queries before gallery, each in the order of their
    rows (torchreid leaves this to its sort). A k beyond the Q + G images takes all of them. If all
    codes are equal, the result is 0.

    Args:
        q_codes: (Q, D) float.
        g_codes: (G, D) float, from the same network, on the same device.
        k1: size of the neighbourhoods that must be reciprocal, 1 or more.
        k2: images, itself included, over which an image's row is averaged; 1 averages nothing.
        lambda_value: weight of the original distance, in [0, 1]. 1 ranks as the codes do; 0 uses
            shared neighbours only.
    Returns:
        (Q, G) float32, in [0, 1] up to rounding, on the codes' device.
    Raises:
        ValueError: codes empty, not (N, D), not finite, too large to be squared, of unequal D or
            on two devices; k1 or k2 not a whole number from 1 up; lambda_value outside [0, 1].
    Source:
        Zhong, Zheng, Cao, Li: Re-ranking Person Re-identification with k-reciprocal Encoding,
        CVPR 2017.
    Example:
        >>> rerank(np.array([[0.0]]), np.array([[1.0], [3.0]]), k1=1, k2=1).round(decimals=2)
        tensor([[0.0300, 1.0000]])
    """
    _check(k1, k2, lambda_value)
    q, g = read_codes(q_codes, g_codes)
    refuse_unusable(q, g)
    codes, distances = torch.cat([q, g]), torch.zeros(len(q), len(g), device=q.device)
    if (codes == codes[0]).all():
        return distances
    nearest, farthest_sq = _neighbours(codes, max(k1 + 1, k2), distances)
    weights = _weights(codes, nearest, farthest_sq, k1)
    weights = _matrix(nearest[:, :k2]) @ weights / np.float32(min(k2, len(codes)))
    _blend(distances, weights, lambda_value)
    return distances


def _check(k1: int, k2: int, lambda_value: float) -> None:
    for name, k in (("k1", k1), ("k2", k2)):
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"{name} is {k!r}; expected a whole number of neighbours, 1 or more.")
    if not 0 <= lambda_value <= 1:
        raise ValueError(
            f"lambda_value is {lambda_value!r}; expected the original distance's weight, in [0, 1]."
        )


def _neighbours(codes: Tensor, k: int, distances: Tensor) -> tuple[np.ndarray, Tensor]:
    """Each image's k nearest, itself first, and the largest squared distance from it.

    Also writes d of queries to gallery into `distances`, to save a second pass.
    """
    images, queries = len(codes), len(distances)
    k = min(k, images)
    # About the mean the product's rounding costs least.
    step = max(_STEPS // codes.shape[1], 1)
    mean = sum(part.double().sum(0) for part in codes.split(step)) / images
    centred = codes - mean.to(codes.dtype)
    codes_sq = torch.linalg.vector_norm(centred, dim=1).square_()
    nearest = np.empty((images, k), np.int32)
    farthest_sq = codes_sq.new_empty(images)
    buffer = codes.new_empty(min(max(_BLOCK // images, 1), images), images)
    for start in range(0, images, len(buffer)):
        rows = torch.arange(start, min(start + len(buffer), images), device=codes.device)
        sq = buffer[: len(rows)]
        torch.addmm(codes_sq, centred[start : start + len(rows)], centred.T, alpha=-2, out=sq)
        sq.add_(codes_sq[rows, None]).clamp_(min=0)
        farthest_sq[rows] = sq.amax(1).clamp_(min=torch.finfo(sq.dtype).tiny)
        few = max(min(queries - start, len(rows)), 0)
        d = (sq[:few, queries:] / farthest_sq[rows[:few], None]).square_()
        distances[start : start + few] = d

        nearest[start : start + len(rows)] = _nearest_in_rows(codes, codes_sq, rows, sq, k)
    return nearest, farthest_sq


def _nearest_in_rows(
    codes: Tensor, codes_sq: Tensor, rows: Tensor, sq: Tensor, k: int
) -> np.ndarray:
    """(R, k) each row's k nearest images, from their (R, N) squared distances.

    Where the product's rounding, less than half of the margin, may have changed the order, all
    images within reach are ordered by distances from differences.
    """
    near_sq, near = sq.topk(min(k + 1, len(codes)), largest=False)
    nearest = near[:, :k].cpu().numpy()
    margin = 32 * torch.finfo(sq.dtype).eps * (codes_sq[rows] + near_sq[:, k - 1])
    doubtful = (near_sq.diff(dim=1) <= margin[:, None]).any(1)
    reach = near_sq[:, k - 1] + margin
    for row in torch.nonzero(doubtful).flatten().tolist():
        close = torch.nonzero(sq[row] <= reach[row]).T  # ascending, and ties stay so
        order = _sq_pairs(codes, rows[row : row + 1], close)[0].sort(stable=True).indices[:k]
        nearest[row] = close[0, order].cpu().numpy()
    return nearest


def _sq_pairs(codes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(R, C) squared distances of image rows[r] to image columns[r, c]; -inf to itself.

    Computed from differences, so that equal codes get equal distances whatever the block.
    """
    sq = codes.new_empty(columns.shape)
    step = max(_STEPS // (columns.shape[1] * codes.shape[1]), 1)
    for part, a, b in zip(sq.split(step), rows.split(step), columns.split(step), strict=True):
        torch.sum(codes[b].sub_(codes[a, None]).square_(), 2, out=part)
    return sq.masked_fill_(rows[:, None] == columns, -torch.inf)


def _matrix(columns: np.ndarray) -> sparse.csr_array:
    """(N, N) with a 1 at each (row, columns[row, k])."""
    images, k = columns.shape
    ones = np.ones(images * k, np.float32)
    ends = np.arange(0, images * k + 1, k)
    return sparse.csr_array((ones, columns.flatten(), ends), shape=(images, images))


def _weights(codes: Tensor, nearest: np.ndarray, farthest_sq: Tensor, k1: int) -> sparse.csr_array:
    """v: one row per image, over the expansion of its k-reciprocal neighbours."""

    def reciprocal(k: int) -> sparse.csr_array:
        near = _matrix(nearest[:, : k + 1])
        return near.multiply(near.T).tocsr()

    whole, half = reciprocal(k1), reciprocal(round(k1 / 2))
    # Both are symmetric, so (whole @ half)_ij is the size of R(i, k1) and R(j, k1/2) shared.
    shared = (whole @ half).multiply(whole).tocoo()
    sizes = np.diff(half.indptr)
    kept = 3 * shared.data > 2 * sizes[shared.col]
    at = shared.row[kept], shared.col[kept]
    joined = sparse.csr_array((shared.data[kept], at), shape=whole.shape)
    support = (whole + joined @ half).tocoo()

    rows, columns = (torch.from_numpy(index.astype(np.int64)) for index in support.coords)
    sq = _sq_pairs(codes, rows.to(codes.device), columns[:, None].to(codes.device))[:, 0]
    d = (sq.clamp_(min=0) / farthest_sq[rows.to(codes.device)]).square_()
    data = torch.exp(-d).cpu().numpy()
    data /= np.bincount(support.row, data, minlength=len(codes))[support.row].astype(data.dtype)
    return sparse.csr_array((data.astype(np.float32), support.coords), shape=whole.shape)


def _blend(distances: Tensor, weights: sparse.csr_array, lambda_value: float) -> None:
    """Replace d by (1 - lambda) J + lambda d, in place.

    Only columns l where u_il and u_jl are both nonzero add to m_ij, so each nonzero of a query's
    row is matched with the nonzeros of the gallery's column.
    """
    queries, images = distances.shape
    gallery = weights[queries:].tocsc()
    weights = weights[:queries].tocsr()
    length = np.diff(gallery.indptr)
    steps = np.append(0, np.cumsum(length[weights.indices]))[weights.indptr]
    start = 0
    while start < queries:
        stop = np.searchsorted(steps, steps[start] + _STEPS, "right") - 1
        stop = max(min(stop, start + _STEPS // images), start + 1)
        part = slice(weights.indptr[start], weights.indptr[stop])
        columns, data = weights.indices[part], weights.data[part]
        rows = np.repeat(np.arange(stop - start), np.diff(weights.indptr[start : stop + 1]))
        many = length[columns]
        skipped = gallery.indptr[columns] - np.cumsum(many) + many
        at = np.arange(many.sum()) + np.repeat(skipped, many)
        shared = np.bincount(
            np.repeat(rows * images, many) + gallery.indices[at],
            np.minimum(np.repeat(data, many), gallery.data[at]),
            minlength=(stop - start) * images,
        ).reshape(-1, images)
        jaccard = torch.from_numpy((1 - shared / (2 - shared)).astype(np.float32))
        block = distances[start:stop].mul_(lambda_value)
        block.add_(jaccard.to(block.device), alpha=1 - lambda_value)
        start = stop
