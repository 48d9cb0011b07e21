"""Local features: the stripes of two images, matched from top to bottom (AlignedReID).

A network with `stripes: S` pools S horizontal stripes of its last feature map separately. Sets 1
to 3 take all stripes as one longer code; the setting `aligned` compares them as below in training
and uses only the global code, their mean, at test time.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from reid_lib.losses import batch_hard_triplet_loss, hardest_pairs


def shortest_path(cost: Tensor) -> Tensor:
    """Sum a matrix along its cheapest path from the first entry to the last, right or down.

    Args:
        cost: (..., R, C) float, one matrix per pair of images; the sums are of shape (...).
    Example:
        >>> shortest_path(torch.tensor([[1.0, 9.0], [2.0, 3.0]]))
        tensor(6.)
    """
    first, *rows = cost.unbind(-2)
    least = first.cumsum(-1).unbind(-1)
    for row in rows:
        reached = [least[0] + row[..., 0]]
        for j in range(1, len(least)):
            reached.append(torch.minimum(reached[-1], least[j]) + row[..., j])
        least = reached
    return least[-1]


def aligned_distance(a: Tensor, b: Tensor) -> Tensor:
    """Match the stripes of two images from top to bottom by the shortest path.

        cost_jk = (e^d - 1) / (e^d + 1),   d = ||a_j - b_k|| of stripes of unit length

    Source: Zhang et al. 2018, the paper's [26], by its public code (repository
    michuanhaohao/AlignedReID), which pools by the maximum and then reduces to 128 numbers. Our
    stripes are means of the last feature map, without weights of their own.

    Args:
        a, b: (N, D, S) float, the S stripes of N pairs of images; the distances are (N,).
    Example:
        >>> a = torch.eye(2)[None]
        >>> aligned_distance(a, a)  # the way between two equal stripes leads past unequal ones
        tensor([0.6089])
    """
    a, b = (F.normalize(x, dim=1).transpose(1, 2) for x in (a, b))
    d = torch.linalg.vector_norm(a[:, :, None] - b[:, None], dim=3)
    return shortest_path((d / 2).tanh())


def aligned_loss(codes: Tensor, labels: Tensor, stripes: int, margin: float = 0.3) -> Tensor:
    """Add the batch-hard triplet loss of global codes and that of aligned stripes.

    Both compare the same images: those that are hardest by their global codes, the mean over the
    stripes. Source: as `aligned_distance`.

    Args:
        codes: (B, D * stripes) float, as the network pools them: each channel's stripes in a row.
    """
    local = codes.unflatten(1, (-1, stripes))
    whole = local.mean(2)
    loss = batch_hard_triplet_loss(whole, labels, margin)
    same, other, anchors = hardest_pairs(whole, labels)
    near, far = (aligned_distance(local, local[rows]) for rows in (same, other))
    local_loss = F.relu(margin + near - far).where(anchors, 0).sum() / anchors.sum()
    return loss + local_loss
