"""Search large galleries: exactly in bounded memory, or faster with an approximate index."""

import numpy as np
import torch

BLOCK = 2**16  # gallery codes at once: 128 MB of float32 codes of 512 numbers
QUERIES = 256  # queries at once: a block of distances is 64 MB
LISTS, PROBES = 4096, 256  # at most so many inverted lists in an index; a query searches these


def search(
    q_codes: np.ndarray,
    g_codes: np.ndarray,
    k: int,
    block: int = BLOCK,
    index=None,
    candidates: int = 1000,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k gallery codes nearest to each query by Euclidean distance.

    The gallery is read in blocks, once, so that it may be a memory-mapped file larger than memory.
    Each block's candidates are chosen by ||g||^2 - 2 q.g and their distances computed anew from
    differences in float64, so that near duplicates keep their order.

    Args:
        q_codes, g_codes: (Q, D) and (G, D) float, arrays or memory-mapped files.
        k: how many; the whole gallery where it is smaller.
        block: gallery codes at once.
        index: of this gallery, from `build_index` or any other that faiss offers. Only what it
            proposes is compared, so that a neighbour may be missed.
        candidates: how many rows the index proposes per query, k or more.
    Returns:
        distances (Q, k) float64, ascending, and rows (Q, k) int64 of the gallery. Of equal
        distances the lower row comes first. Where an index proposes fewer than k, the rest are
        infinite distances and rows -1.
    Raises:
        ValueError: codes that are not (N, D) of one D, an empty side, k below 1, or an index of
            another gallery.
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
            f"found k = {k}, {len(g_codes)} gallery codes and {len(q_codes)} queries; "
            "expected each to be at least 1"
        )
    if index is not None:
        return _search_index(q_codes, g_codes, k, index, candidates)
    queries = [_as_tensor(q_codes[i : i + QUERIES]) for i in range(0, len(q_codes), QUERIES)]
    best = [None] * len(queries)
    for first in range(0, len(g_codes), block):
        part = _as_tensor(g_codes[first : first + block])
        squares = (part**2).sum(1)
        for i, q in enumerate(queries):
            best[i] = _merge(best[i], _nearest(q, part, squares, k, first), k)
    distances, rows = (torch.cat(column).numpy() for column in zip(*best, strict=True))
    return np.sqrt(distances), rows


def build_index(g_codes: np.ndarray, block: int = BLOCK):
    """Compress a gallery into an index of faiss (an optional library) with product quantisation.

    The index (IVF-PQ) keeps 32 bytes per code: PCA to 128 dimensions, a random rotation, and
    product quantisation of groups of four. The codes are divided into inverted lists; a query
    searches the `PROBES` nearest lists.

    Args:
        g_codes: (G, D) float, an array or a memory-mapped file, read in blocks.
        block: gallery codes at once.
    Returns:
        The index, for `search` or `faiss.write_index`.
    Raises:
        ValueError: fewer than 10,000 codes, which are searched exactly in milliseconds, or fewer
            than 4 numbers per code.
    """
    import faiss

    size, width = g_codes.shape
    if size < 10_000 or width < 4:
        raise ValueError(
            f"codes are {tuple(g_codes.shape)}; an index needs at least 10,000 codes of at least 4 "
            "numbers; call search without an index"
        )
    parts, lists = min(width, 128) // 4, min(LISTS, int(2 * size**0.5))
    index = faiss.index_factory(width, f"PCAR{4 * parts},IVF{lists},PQ{parts}")
    sample = np.random.default_rng(0).choice(size, min(size, 40 * LISTS), replace=False)
    index.train(np.array(g_codes[np.sort(sample)], np.float32))
    for first in range(0, size, block):
        index.add(np.array(g_codes[first : first + block], np.float32))
    faiss.extract_index_ivf(index).nprobe = min(lists, PROBES)
    return index


def _search_index(q_codes, g_codes, k: int, index, candidates: int):
    if index.ntotal != len(g_codes):
        raise ValueError(f"the index holds {index.ntotal} codes, the gallery {len(g_codes)}")
    wanted = max(k, min(candidates, len(g_codes)))
    distances, rows = np.full((len(q_codes), k), np.inf), np.full((len(q_codes), k), -1)
    for i, proposed in enumerate(index.search(np.array(q_codes, np.float32), wanted)[1]):
        found = np.unique(proposed[proposed >= 0])
        sq = ((g_codes[found].astype(float) - q_codes[i].astype(float)) ** 2).sum(1)
        order = np.argsort(sq, kind="stable")[:k]
        distances[i, : len(order)], rows[i, : len(order)] = np.sqrt(sq[order]), found[order]
    return distances, rows


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
