"""Eqs. 1 to 4 of the paper, and the triplet loss that it compares with.

Symbols: I_{p,i} is the code of person p seen from viewpoint i, Ī_p (the centre) the mean of the
person's codes, d_min^p half the distance from Ī_p to the nearest other centre. `reid_lib.centres`
computes the centres. A squared quantity begins with `sq_`. A row of NaN is a centre that is not
known: its person takes part in no sum.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

# `person_centres` and `CentreMemory` belong to the losses for who uses them elsewhere.
from reid_lib.centres import (
    CentreMemory,
    check_labels,
    check_range,
    known_rows,
    person_centres,
)

__all__ = [
    "CentreMemory",
    "batch_hard_triplet_loss",
    "classification_loss",
    "compact_loss",
    "hardest_pairs",
    "person_centres",
    "scatter_loss",
    "sq_radii",
    "total_loss",
]


def classification_loss(
    logits: Tensor, labels: Tensor, reduction: str = "mean", smoothing: float = 0.0
) -> Tensor:
    """Compute the softmax cross-entropy (Eq. 1).

        L_SR = KL(label || posterior) = -log posterior[label]

    The paper writes KL(posterior, label), which is finite only in this order.

    Args:
        logits: (B, P) float, one score per training person.
        labels: (B,) int in [0, P).
        reduction: "mean" or "sum" over the batch; the paper leaves it open.
        smoothing: share of each label that is spread evenly over all persons (Szegedy et al. 2016);
            the paper has none.
    Returns:
        A scalar.
    Raises:
        ValueError: shapes disagree, a label outside [0, P), or an option that is not allowed.
    Example:
        >>> classification_loss(torch.zeros(1, 4), torch.tensor([2]))  # log 4
        tensor(1.3863)
    """
    check_labels(logits, labels, "logits")
    check_range(labels, logits.shape[1], "classes")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}; expected 'mean' or 'sum'")
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing is {smoothing}; expected 0 or more and less than 1")
    return F.cross_entropy(logits, labels, reduction=reduction, label_smoothing=smoothing)


def compact_loss(codes: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """Penalise codes that lie outside their person's sphere (Eq. 2).

        L_CL = 1/2 sum_{p,i} max(0, ||I_{p,i} - Ī_p||^2 - (d_min^p)^2)

    The radius d_min^p is half the distance from Ī_p to the nearest other centre.

    Args:
        codes: (B, D) float, the inherent codes I.
        labels: (B,) int, the row of `centres` that each code belongs to.
        centres: (P, D) float, P >= 2; a gradient flows into them if they carry one. With a single
            known centre there is no radius, and the loss is zero.
    Returns:
        A scalar, summed (not averaged) over the batch, as the size of the paper's beta implies.
    Raises:
        ValueError: shapes disagree, a label has no centre, or P < 2.
    Example:
        >>> centres = torch.tensor([[0.0], [2.0]])  # radius 1
        >>> compact_loss(torch.tensor([[1.5]]), torch.tensor([0]), centres)
        tensor(0.6250)
    """
    _check_centres(codes, labels, centres)
    sq_radius = sq_radii(centres)[labels]  # (d_min^p)^2; infinite where Ī_p is not known
    centres, _ = known_rows(centres)
    sq_dist = (codes - centres[labels]).square().sum(1)  # ||I_{p,i} - Ī_p||^2
    return 0.5 * F.relu(sq_dist - sq_radius).sum()


def scatter_loss(codes: Tensor, labels: Tensor, centres: Tensor, form: str = "sum") -> Tensor:
    """Sum the squared distances from each code to the centres of all other persons (Eq. 3).

        L_SL = 1/2 sum_{p,i} sum_{j != p} ||I_{p,i} - Ī_j||^2

    Eq. 4 subtracts it, so that longer codes are always rewarded. Two variants, not the paper's:

        "log":  log L_SL, whose gradient weakens as the codes grow; longer codes still reduce Eq. 4.
        "unit": L_SL of codes and centres divided by their norms, so that only directions count.

    Args:
        codes: (B, D) float, the inherent codes I.
        labels: (B,) int, the row of `centres` that each code belongs to.
        centres: (P, D) float, P >= 2; a gradient flows into them if they carry one.
        form: "sum" is Eq. 3; "log" or "unit" as above.
    Returns:
        A scalar, summed (not averaged) over the batch.
    Raises:
        ValueError: shapes disagree, a label has no centre, P < 2, or an unknown form.
    Example:
        >>> centres = torch.tensor([[0.0], [2.0], [4.0]])
        >>> scatter_loss(torch.tensor([[1.0]]), torch.tensor([0]), centres)  # (1 + 9) / 2
        tensor(5.)
    """
    _check_centres(codes, labels, centres)
    if form not in ("sum", "log", "unit"):
        raise ValueError(f"form is {form!r}; expected 'sum', 'log' or 'unit'")
    if form == "unit":
        codes, centres = F.normalize(codes, dim=1), F.normalize(centres, dim=1)
    centres, known = known_rows(centres)
    # With m_p the mean of the n_p other centres, the distance to each of them is not needed:
    #     sum_{j != p} ||I - Ī_j||^2 = n_p ||I - m_p||^2 + sum_{j != p} ||Ī_j - m_p||^2.
    others = known & ~torch.eye(len(centres), dtype=torch.bool, device=centres.device)
    n = others.sum(1, dtype=centres.dtype)
    middle = (others.to(centres.dtype) @ centres) / n.clamp(min=1)[:, None]
    spread = _sq_distances(middle, centres).where(others, 0).sum(1).to(codes.dtype)
    sums = n[labels] * (codes - middle[labels]).square().sum(1) + spread[labels]
    l_sl = 0.5 * sums.where(known[labels], 0).sum()
    return l_sl.log() if form == "log" else l_sl


def total_loss(
    l_sr: Tensor,
    l_cl: Tensor | None = None,
    l_sl: Tensor | None = None,
    beta: float = 5e-5,
    gamma: float = 1e-6,
) -> Tensor:
    """Combine the losses (Eq. 4).

        L = L_SR + beta L_CL - gamma L_SL

    Args:
        l_sr: scalar, Eq. 1.
        l_cl: scalar, Eq. 2; None where a setting does without it.
        l_sl: scalar, Eq. 3; None where a setting does without it.
        beta: weight of the compact loss; the default is the paper's.
        gamma: weight of the scatter loss; the default is the paper's.
    Returns:
        A scalar. For gamma > 0 it has no lower bound, since ever larger codes reduce it.
    Raises:
        ValueError: beta or gamma is negative, or a loss is no scalar.
    Example:
        >>> total_loss(torch.tensor(1.0), torch.tensor(4.0), torch.tensor(10.0), 0.5, 0.1)
        tensor(2.)
    """
    if beta < 0 or gamma < 0:
        raise ValueError(f"beta is {beta} and gamma is {gamma}; neither may be negative")
    for name, term in {"l_sr": l_sr, "l_cl": l_cl, "l_sl": l_sl}.items():
        shape = getattr(term, "shape", ())
        if len(shape):
            raise ValueError(f"{name} has shape {tuple(shape)}; expected a scalar, such as its sum")
    loss = l_sr
    if l_cl is not None:
        loss = loss + beta * l_cl
    if l_sl is not None:
        loss = loss - gamma * l_sl
    return loss


def sq_radii(centres: Tensor) -> Tensor:
    """Compute the squared radius of each person's sphere, (d_min^p)^2.

        d_min^p = 1/2 min_{j != p} ||Ī_p - Ī_j||

    Args:
        centres: (P, D) float, P >= 2.
    Returns:
        (P,) float, squared distances; infinite where this centre or every other one is not known.
    Raises:
        ValueError: fewer than two centres.
    Example:
        >>> sq_radii(torch.tensor([[0.0], [2.0], [8.0]]))
        tensor([1., 1., 9.])
    """
    if centres.ndim != 2 or centres.shape[0] < 2:
        raise ValueError(f"centres have shape {tuple(centres.shape)}; expected (P, D) with P >= 2")
    centres, known = known_rows(centres)
    # Which centre is nearest has no gradient; its distance, computed again below, has one.
    with torch.no_grad():
        dist = _sq_distances(centres, centres).where(known, torch.inf)
        least, nearest = dist.fill_diagonal_(torch.inf).min(1)
    sq_dist = (centres - centres[nearest]).square().sum(1)
    return torch.where(known & least.isfinite(), sq_dist / 4, torch.inf)  # (d / 2)^2


def batch_hard_triplet_loss(
    codes: Tensor,
    labels: Tensor,
    margin: float = 0.3,
    distance: str = "euclidean",
    normalise: bool = False,
) -> Tensor:
    """Compute the batch-hard triplet loss (Hermans et al. 2017), the paper's baseline.

        L_tri = mean_a max(0, margin + max_{s: same person} d(a, s) - min_{o: others} d(a, o))

    An anchor a without a second image of its person in the batch forms no triplet and is left out.

    Args:
        codes: (B, D) float.
        labels: (B,) int, persons.
        margin: the margin, in the unit of `distance`.
        distance: "euclidean" or "squared".
        normalise: divide each code by its L2 norm first.
    Returns:
        A scalar.
    Raises:
        ValueError: shapes disagree, fewer than two persons, no person twice, an unknown distance.
    Example:
        >>> codes = torch.tensor([[0.0], [1.0], [1.2], [1.2]])
        >>> batch_hard_triplet_loss(codes, torch.tensor([0, 0, 1, 1]))
        tensor(0.3500)
    """
    check_labels(codes, labels, "codes")
    if distance not in ("euclidean", "squared"):
        raise ValueError(f"distance is {distance!r}; expected 'euclidean' or 'squared'")
    if normalise:
        codes = F.normalize(codes, dim=1)
    hardest_same, hardest_other, anchors = hardest_pairs(codes, labels)
    d_same = _distance(codes - codes[hardest_same], distance)
    d_other = _distance(codes - codes[hardest_other], distance)
    return F.relu(margin + d_same - d_other).where(anchors, 0).sum() / anchors.sum()


@torch.no_grad()
def hardest_pairs(codes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the farthest image of the same person and the nearest of another, for each image.

    Args:
        codes: (B, D) float.
        labels: (B,) int, persons.
    Returns:
        (B,) int, the farthest of the same person; (B,) int, the nearest of another; (B,) bool,
        whether the image's person has a second image in the batch.
    Raises:
        ValueError: fewer than two persons, or no person twice.
    Example:
        >>> hardest_pairs(torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([0, 0, 1]))
        (tensor([1, 0, 2]), tensor([2, 2, 1]), tensor([ True,  True, False]))
    """
    same = labels[:, None] == labels[None, :]
    anchors = same.sum(1) > 1
    if labels.device.type == "cpu":
        if same.all():
            raise ValueError(
                f"all {len(labels)} codes are of one person; triplets need two or more"
            )
        if not anchors.any():
            raise ValueError(
                f"none of the {len(labels)} codes shares its person with another; "
                "draw batches with several images per person"
            )
    dist = torch.cdist(codes, codes, compute_mode="donot_use_mm_for_euclid_dist")
    hardest_same = dist.masked_fill(~same, -1).argmax(1)
    return hardest_same, dist.masked_fill(same, torch.inf).argmin(1), anchors


def _sq_distances(a: Tensor, b: Tensor) -> Tensor:
    """(A, B) float64: by products, four times as fast as by differences and, in double precision,
    as exact for codes of single precision."""
    a, b = a.double(), b.double()
    sq = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    return sq.clamp(min=0)


def _distance(difference: Tensor, distance: str) -> Tensor:
    if distance == "squared":
        return difference.square().sum(1)
    return torch.linalg.vector_norm(difference, dim=1)  # its gradient at 0 is 0, not NaN


def _check_centres(codes: Tensor, labels: Tensor, centres: Tensor) -> None:
    check_labels(codes, labels, "codes")
    if centres.ndim != 2 or centres.shape[0] < 2 or centres.shape[1] != codes.shape[1]:
        raise ValueError(
            f"centres have shape {tuple(centres.shape)}; expected (P, {codes.shape[1]}) with P >= 2"
        )
    check_range(labels, centres.shape[0], "centres")
