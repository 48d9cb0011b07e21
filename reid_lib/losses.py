"""Eq. 1 to 4 of the paper, the triplet loss it compares with, and the memory behind its centres.

Symbols: I_{p,i} is the code of person p seen from viewpoint i, Ī_p ("centre") the mean of their
codes, d_min^p half the distance from Ī_p to the nearest other centre.
A squared quantity begins `sq_`. A row of NaN is a centre that is not known yet: its person takes
part in no sum. Values of labels are checked on the CPU only: to look at them on a GPU would make
every step wait for it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def classification_loss(
    logits: Tensor, labels: Tensor, reduction: str = "mean", smoothing: float = 0.0
) -> Tensor:
    """Softmax cross-entropy (Eq. 1), the only finite reading of KL with a one-hot label.

        L_SR = KL(label || posterior) = -log posterior[label]

    Args:
        logits: (B, P) float, one score a training person.
        labels: (B,) int in [0, P).
        reduction: "mean" or "sum" over the batch; the paper leaves it open.
        smoothing: how much of each label is spread evenly over all persons (Szegedy et al. 2016);
            the paper has none.
    Returns:
        A scalar.
    Raises:
        ValueError: shapes disagree, a label outside [0, P), or an option that is not allowed.
    """
    _check_labels(logits, labels, "logits")
    _check_rows(labels, logits.shape[1], "classes")
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}; expected 'mean' or 'sum'")
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing is {smoothing}; expected 0 or more and less than 1")
    return F.cross_entropy(logits, labels, reduction=reduction, label_smoothing=smoothing)


def compact_loss(codes: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """Charge each code that lies outside its person's sphere (Eq. 2).

        L_CL = 1/2 sum_{p,i} max(0, ||I_{p,i} - Ī_p||^2 - (d_min^p)^2)

    Args:
        codes: (B, D) float, the inherent codes I.
        labels: (B,) int, the row of `centres` that each code belongs to.
        centres: (P, D) float, P >= 2; a gradient flows into them if they carry one. With a single
            known centre there is no radius, and nothing is charged.
    Returns:
        A scalar, summed (not averaged) over the batch, as the size of the paper's beta implies.
    Raises:
        ValueError: shapes disagree, a label has no centre, or P < 2.
    """
    _check_centres(codes, labels, centres)
    sq_radius = sq_radii(centres)[labels]  # infinite where the own centre is not known
    centres, _ = _known(centres)
    sq_dist = (codes - centres[labels]).square().sum(1)  # ||I_{p,i} - Ī_p||^2
    return 0.5 * F.relu(sq_dist - sq_radius).sum()


def scatter_loss(codes: Tensor, labels: Tensor, centres: Tensor, form: str = "sum") -> Tensor:
    """Sum the squared distances from each code to every other person's centre (Eq. 3).

        L_SL = 1/2 sum_{p,i} sum_{j != p} ||I_{p,i} - Ī_j||^2

    Eq. 4 subtracts it, so codes twice as long are rewarded, and pushed, ever more.  Two forms of
    the same idea, not the paper's, do not depend on the codes' length:

        "log":  log L_SL, whose gradient becomes weaker as the codes grow;
        "unit": L_SL of codes and centres divided by their norms, where only directions count.

    Args:
        codes: (B, D) float, the inherent codes I.
        labels: (B,) int, the row of `centres` that each code belongs to.
        centres: (P, D) float, P >= 2; a gradient flows into them if they carry one.
        form: "sum" is Eq. 3; "log" or "unit" as above.
    Returns:
        A scalar, summed (not averaged) over the batch; Eq. 4 subtracts it.
    Raises:
        ValueError: shapes disagree, a label has no centre, P < 2, or an unknown form.
    """
    _check_centres(codes, labels, centres)
    if form not in ("sum", "log", "unit"):
        raise ValueError(f"form is {form!r}; expected 'sum', 'log' or 'unit'")
    if form == "unit":
        codes, centres = F.normalize(codes, dim=1), F.normalize(centres, dim=1)
    centres, known = _known(centres)
    # With m_p the mean of the n_p other centres, no code needs its distance to each of them:
    #     sum_{j != p} ||I - Ī_j||^2 = n_p ||I - m_p||^2 + sum_{j != p} ||Ī_j - m_p||^2.
    others = known & ~torch.eye(len(centres), dtype=torch.bool, device=centres.device)
    n = others.sum(1, dtype=centres.dtype)
    middle = (others.to(centres.dtype) @ centres) / n.clamp(min=1)[:, None]
    spread = _sq_distances(middle, centres).where(others, 0).sum(1).to(codes.dtype)
    sums = n[labels] * (codes - middle[labels]).square().sum(1) + spread[labels]
    l_sl = 0.5 * sums.where(known[labels], 0).sum()
    return l_sl.log() if form == "log" else l_sl


def total_loss(l_sr: Tensor, l_cl: Tensor, l_sl: Tensor, beta: float, gamma: float) -> Tensor:
    """Combine the three losses (Eq. 4): L = L_SR + beta L_CL - gamma L_SL.

    Args:
        l_sr: scalar, Eq. 1.
        l_cl: scalar, Eq. 2.
        l_sl: scalar, Eq. 3.
        beta: weight of the compact loss; the paper's is 5e-5.
        gamma: weight of the scatter loss; the paper's is 1e-6.
    Returns:
        A scalar.  It has no lower bound for gamma > 0: ever larger codes are rewarded.
    Raises:
        ValueError: beta or gamma is negative.
    """
    if beta < 0 or gamma < 0:
        raise ValueError(f"beta is {beta} and gamma is {gamma}; neither may be negative")
    return l_sr + beta * l_cl - gamma * l_sl


def sq_radii(centres: Tensor) -> Tensor:
    """The squared radius of each person's sphere: d_min^p = 1/2 min_{j != p} ||Ī_p - Ī_j||.

    Args:
        centres: (P, D) float, P >= 2.
    Returns:
        (P,) float, squared distances; infinite where this centre or every other one is not known.
    Raises:
        ValueError: fewer than two centres.
    """
    if centres.ndim != 2 or centres.shape[0] < 2:
        raise ValueError(f"centres have shape {tuple(centres.shape)}; expected (P, D) with P >= 2")
    centres, known = _known(centres)
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
    """The batch-hard triplet loss of Hermans et al. (2017), the paper's baseline.

        mean over anchors a of max(0, margin + max_{same person} d(a, s) - min_{others} d(a, o))

    An anchor without a second image of its person in the batch forms no triplet and is left out.

    Args:
        codes: (B, D) float.
        labels: (B,) int, persons.
        margin: in the unit of `distance`.
        distance: "euclidean" or "squared".
        normalise: divide each code by its L2 norm first.
    Returns:
        A scalar.
    Raises:
        ValueError: shapes disagree, fewer than two persons, no person twice, an unknown distance.
    """
    _check_labels(codes, labels, "codes")
    if distance not in ("euclidean", "squared"):
        raise ValueError(f"distance is {distance!r}; expected 'euclidean' or 'squared'")
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
                "draw batches of several images a person"
            )
    if normalise:
        codes = F.normalize(codes, dim=1)
    with torch.no_grad():  # who is hardest; the two distances are computed with the gradient below
        dist = torch.cdist(codes, codes, compute_mode="donot_use_mm_for_euclid_dist")
        hardest_same = dist.masked_fill(~same, -1).argmax(1)
        hardest_other = dist.masked_fill(same, torch.inf).argmin(1)
    d_same = _distance(codes - codes[hardest_same], distance)
    d_other = _distance(codes - codes[hardest_other], distance)
    return F.relu(margin + d_same - d_other).where(anchors, 0).sum() / anchors.sum()


def person_centres(codes: Tensor, labels: Tensor, persons: int) -> Tensor:
    """The mean code of each person.

    Args:
        codes: (N, D) float; rows of NaN are left out.
        labels: (N,) int in [0, persons).
        persons: P.
    Returns:
        (P, D) float; NaN in the row of a person without a code.
    Raises:
        ValueError: shapes disagree, or a label outside [0, P).
    """
    _check_labels(codes, labels, "codes")
    _check_rows(labels, persons, "persons")
    codes, known = _known(codes)
    sums = codes.new_zeros(persons, codes.shape[1]).index_add(0, labels, codes)
    counts = codes.new_zeros(persons).index_add(0, labels, known.to(codes.dtype))
    return sums / counts[:, None]


class CentreMemory:
    """The latest code of each training image, so that Ī_p is the mean over all views of p.

    The paper computes centres "at the beginning of every batch" without saying from what; the
    memory gives every view of every person a say at the cost of one look-up.

    Args:
        labels: (N,) int, the person of each training image.
        width: D, the length of a code.
    """

    def __init__(self, labels: Tensor, width: int):
        self.labels = labels
        self.persons = int(labels.max()) + 1
        self.codes = torch.full((len(labels), width), torch.nan, device=labels.device)

    def update(self, images: Tensor, codes: Tensor) -> None:
        """Replace the codes of `images` (B,) by `codes` (B, D), without their gradient.

        Raises:
            ValueError: shapes disagree.
        """
        expected = (*images.shape, self.codes.shape[1])
        if images.ndim != 1 or codes.shape != expected:
            raise ValueError(
                f"codes have shape {tuple(codes.shape)} and images {tuple(images.shape)}; "
                f"expected (B, {self.codes.shape[1]}) and (B,)"
            )
        self.codes[images] = codes.detach().to(self.codes.dtype)

    def centres(self) -> Tensor:
        """(P, D) float: each person's mean over the images seen so far, NaN if none was."""
        return person_centres(self.codes, self.labels, self.persons)


def _known(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Codes with zeros where they are NaN, and (N,) which are not."""
    known = ~codes[:, 0].isnan()
    return codes.where(known[:, None], 0), known


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


def _check_labels(values: Tensor, labels: Tensor, name: str) -> None:
    for what, given in ((name, values), ("labels", labels)):
        if not isinstance(given, Tensor):
            raise ValueError(f"{what} are {type(given).__name__}; expected a torch tensor")
    if values.ndim != 2 or labels.shape != values.shape[:1]:
        width = "P" if name == "logits" else "D"
        raise ValueError(
            f"{name} have shape {tuple(values.shape)} and labels {tuple(labels.shape)}; "
            f"expected (B, {width}) and (B,)"
        )
    if not values.is_floating_point():
        raise ValueError(f"{name} are {values.dtype}; expected floating point: {name}.float()")
    if labels.dtype != torch.int64:
        raise ValueError(f"labels are {labels.dtype}; expected torch.int64: labels.long()")
    if len(labels) == 0:
        raise ValueError(f"{name} are empty; expected at least one row")


def _check_rows(labels: Tensor, rows: int, name: str) -> None:
    if labels.device.type != "cpu":
        return
    low, high = labels.aminmax()
    if low < 0 or high >= rows:
        raise ValueError(
            f"labels run from {int(low)} to {int(high)}, but there are {rows} {name}; expected 0 "
            f"to {rows - 1}: number the persons from 0"
        )


def _check_centres(codes: Tensor, labels: Tensor, centres: Tensor) -> None:
    _check_labels(codes, labels, "codes")
    if centres.ndim != 2 or centres.shape[0] < 2 or centres.shape[1] != codes.shape[1]:
        raise ValueError(
            f"centres have shape {tuple(centres.shape)}; expected (P, {codes.shape[1]}) with P >= 2"
        )
    _check_rows(labels, centres.shape[0], "centres")
