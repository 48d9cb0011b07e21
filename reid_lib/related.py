"""The related losses of the paper's section 2, and two more recent ones.

Each loss takes codes (B, D) float and labels (B,) int, the person of each code, and returns a
scalar. It raises ValueError if the shapes are inconsistent, if the batch contains fewer than two
persons, or if no person has at least two images. Margins are in the unit of `distance`, "euclidean"
or "squared". The defaults are the constants of the source, and each docstring states where they
were read. Codes are not normalised here; where a source divides them by their norm, its setting in
`config.SETTINGS` does so (`triplet_normalise`). Training calls only `related_loss`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_lib.aligned import aligned_loss
from reid_lib.centres import check_labels, check_range
from reid_lib.config import RunConfig


def contrastive_loss(codes: Tensor, labels: Tensor, margin: float = 1.0) -> Tensor:
    """Pull pairs of one person together, push pairs of two persons apart up to a margin.

        L = mean over pairs of 1/2 d^2 (one person), 1/2 max(0, margin - d)^2 (two persons)

    Source: Hadsell et al. 2006, as cited by Varior et al. 2016, the paper's [23], whose full text
    was not accessible, so its margin is unverified; 1 is the usual value for L2-normalised codes.
    The class of this name in pytorch-metric-learning does not square.

    Args:
        margin: Euclidean distance beyond which two persons are left alone.
    Example:
        >>> contrastive_loss(torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1]))
        tensor(0.2083)
    """
    own, other = _pairs(codes, labels)
    d = _distances(codes)
    pairs = 0.5 * torch.where(own, d.square(), F.relu(margin - d).square())
    return _mean(pairs, own | other)


def triplet_all_loss(
    codes: Tensor, labels: Tensor, margin: float = 1.0, distance: str = "squared"
) -> Tensor:
    """Compute the triplet loss over all triplets of the batch that violate the margin.

        L = mean over (a, p, n) with a positive loss of max(0, d(a, p) - d(a, n) + margin)

    Source: Ding et al. 2015, the paper's [6]: squared distances of normalised features, margin 1
    (their C = -1), after their formula as others quote it. They sample triplets; here all triplets
    are used.

    Raises:
        ModuleNotFoundError: pytorch-metric-learning is not installed.
    Example:
        >>> triplet_all_loss(torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1]))
        tensor(1.7500)
    """
    _pairs(codes, labels)
    _check(distance)
    power = 2 if distance == "squared" else 1
    metric = _library().distances.LpDistance(normalize_embeddings=False, p=2, power=power)
    return _library().losses.TripletMarginLoss(margin=margin, distance=metric)(codes, labels)


def improved_triplet_loss(
    codes: Tensor,
    labels: Tensor,
    margin: float = 1.0,
    bound: float = 0.01,
    weight: float = 0.002,
    distance: str = "squared",
) -> Tensor:
    """Add to the triplet loss a bound on the distance within a person.

        L = mean max(0, d(a, p) - d(a, n) + margin) + weight mean max(0, d(a, p) - bound)

    Source: Cheng et al. 2016, the paper's [5]: max(d(a, p) - d(a, n), tau1) + beta max(d(a, p),
    tau2) with tau1 = -1, tau2 = 0.01 and beta = 0.002, quoted from memory since its full text was
    not accessible. Their maxima differ from ours only by constants: margin is -tau1, bound is tau2.

    Args:
        margin, bound, weight: the constants of the formula above, whose means are over all
            triplets and all pairs of a person.
    Example:
        >>> codes, labels = torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1])
        >>> improved_triplet_loss(codes, labels, weight=0.5)  # (0 + 1.75) / 2 + 0.99 / 2
        tensor(1.3700)
    """
    own, other = _pairs(codes, labels)
    d = _distances(codes, distance)
    violation = F.relu(d[:, :, None] - d[:, None, :] + margin)
    triplets = own[:, :, None] & other[:, None, :]
    return _mean(violation, triplets) + weight * _mean(F.relu(d - bound), own)


def quadruplet_loss(
    codes: Tensor,
    labels: Tensor,
    margin: float = 1.0,
    second_margin: float = 0.5,
    adaptive: bool = False,
    distance: str = "squared",
) -> Tensor:
    """Add to the triplet loss a comparison with the distance between two other persons.

        L = mean max(0, d(a, p) - d(a, n) + margin)
          + mean max(0, d(a, p) - d(n1, n2) + second_margin),   a, n1, n2 three persons

    Source: Chen et al. 2017, the paper's [3]: margins 1 and 0.5, or adaptive, 1 and 0.5 times the
    mean distance between persons minus the mean distance within persons. Their text could not be
    read; the constants are those of public implementations. They learn the distance, we do not.

    Args:
        adaptive: both margins are factors of that difference, which counts as a constant.
    Returns:
        A scalar; with two persons in the batch the second term is zero.
    Example:
        >>> codes = torch.tensor([[0.0], [1.0], [3.0], [3.5]])
        >>> quadruplet_loss(codes, torch.tensor([0, 0, 1, 2]))  # 0 + (1 - 0.25 + 0.5)
        tensor(1.2500)
    """
    own, other = _pairs(codes, labels)
    d = _distances(codes, distance)
    if adaptive:
        gap = (_mean(d, other) - _mean(d, own)).detach()
        margin, second_margin = margin * gap, second_margin * gap
    first = F.relu(d[:, :, None] - d[:, None, :] + margin)
    i, j = torch.triu_indices(len(codes), len(codes), 1, device=codes.device)  # each pair once
    second = F.relu(d[i, j][:, None] - d[i, j] + second_margin)
    persons = labels[i][:, None]
    three = own[i, j][:, None] & other[i, j] & (persons != labels[i]) & (persons != labels[j])
    return _mean(first, own[:, :, None] & other[:, None, :]) + _mean(second, three)


def msml_loss(
    codes: Tensor, labels: Tensor, margin: float = 0.6, distance: str = "euclidean"
) -> Tensor:
    """Compare the farthest pair of one person with the nearest pair of two, in the whole batch.

        L = max(0, margin + max d(a, p) - min d(n1, n2))

    Source: Xiao et al. 2017, the paper's [25]. Margin and unit length are those of the public code
    of its second author (repository michuanhaohao/keras_reid); the text could not be read.

    Returns:
        A scalar; at most four codes of the batch have a gradient.
    Example:
        >>> msml_loss(torch.tensor([[0.0], [1.0], [1.5]]), torch.tensor([0, 0, 1]))
        tensor(1.1000)
    """
    own, other = _pairs(codes, labels)
    d = _distances(codes, distance)
    return F.relu(margin + d.where(own, -torch.inf).max() - d.where(other, torch.inf).min())


def centre_loss(codes: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """Pull codes towards learned centres of their persons.

        L = mean ||I_{p,i} - c_p||^2

    Source: Wen et al. 2016; the mean is that of the public code of Luo et al. 2019, the paper's
    [15] (repository michuanhaohao/reid-strong-baseline). Unlike Eq. 2, it does not depend on the
    other persons.

    Args:
        centres: (P, D) float, one row per person.
    Example:
        >>> centre_loss(torch.tensor([[3.0], [1.0]]), torch.tensor([0, 0]), torch.tensor([[1.0]]))
        tensor(2.)
    """
    check_labels(codes, labels, "codes")
    check_range(labels, len(centres), "centres")
    return (codes - centres[labels]).square().sum(1).mean()


class LearnedCentres(nn.Module):
    """`centre_loss` with its centres, which start at random and take a step at each call.

    The step is gradient descent with the rate 0.5 of the public code, whatever the loss's weight.

    Example:
        >>> learned = LearnedCentres(persons=1, width=1)
        >>> learned.centres.zero_()
        tensor([[0.]])
        >>> loss = learned(torch.tensor([[2.0], [4.0]]), torch.tensor([0, 0]))
        >>> learned.centres  # 0 + 0.5 * 2 * mean(2, 4)
        tensor([[3.]])
    """

    RATE = 0.5

    def __init__(self, persons: int, width: int):
        super().__init__()
        self.register_buffer("centres", torch.randn(persons, width))

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        loss = centre_loss(codes, labels, self.centres)
        towards = 2 * (codes.detach() - self.centres[labels]) / len(codes)
        self.centres.index_add_(0, labels, towards, alpha=self.RATE)
        return loss


def learned_module(config: RunConfig, persons: int, width: int) -> nn.Module | None:
    """The part of a loss that is learned with the network, for P persons and codes of width D.

    Returns:
        None where the config's setting has no such part.
    Raises:
        ModuleNotFoundError: the setting needs pytorch-metric-learning, which is not installed.
    """
    if config.setting == "xent_htri_centre":
        return LearnedCentres(persons, width)
    if config.setting in ("triplet_all", "circle", "arcface"):
        _library()  # refuse before training begins
    if config.setting == "arcface":  # Deng et al. 2019; the library's constants: 28.6 degrees, 64
        options = {"margin": config.margin, "scale": config.scale}
        return _library().losses.ArcFaceLoss(persons, width, **options)
    return None


def related_loss(
    config: RunConfig, codes: Tensor, labels: Tensor, learned: nn.Module | None = None
) -> Tensor:
    """Compute the term "rel" of the config's setting, with the config's constants and its weight.

    Args:
        learned: what `learned_module` returned.
    """
    margin, second, weight = config.margin, config.second_margin, config.second_weight
    distance = config.triplet_distance
    if config.triplet_normalise:
        codes = F.normalize(codes, dim=1)
    match config.setting:
        case "contrastive":
            return contrastive_loss(codes, labels, margin)
        case "triplet_all":
            return triplet_all_loss(codes, labels, margin, distance)
        case "triplet_improved":
            return improved_triplet_loss(codes, labels, margin, second, weight, distance)
        case "quadruplet":
            return quadruplet_loss(codes, labels, margin, second, config.adaptive_margin, distance)
        case "msml":
            return msml_loss(codes, labels, margin, distance)
        case "xent_htri_centre":
            return weight * learned(codes, labels)
        case "aligned":
            return aligned_loss(codes, labels, config.stripes, margin)
        case "circle":  # Sun et al. 2020; the library's constants: 0.4 and 80
            return _library().losses.CircleLoss(m=margin, gamma=config.scale)(codes, labels)
        case "arcface":
            return learned(codes, labels)
    raise ValueError(f"setting {config.setting} has no loss in reid_lib.related")


def _library():
    """pytorch-metric-learning, which the base install does without."""
    try:
        import pytorch_metric_learning.losses
    except ImportError:
        message = (
            "the losses triplet_all, circle and arcface need pytorch-metric-learning: "
            "pip install 'reid_lib[notebooks]'"
        )
        raise ModuleNotFoundError(message, name="pytorch_metric_learning") from None
    return pytorch_metric_learning


def _pairs(codes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(B, B) bool: pairs of one person's two images, pairs of two persons."""
    check_labels(codes, labels, "codes")
    other = labels[:, None] != labels
    own = ~(other | torch.eye(len(labels), dtype=torch.bool, device=labels.device))
    if labels.device.type == "cpu" and not (own.any() and other.any()):
        raise ValueError(
            f"the {len(labels)} codes are of {len(labels.unique())} persons; expected two persons "
            "or more, one of them at least twice: draw batches with several images per person"
        )
    return own, other


def _distances(codes: Tensor, distance: str = "euclidean") -> Tensor:
    """(B, B); the gradient of a distance of zero is zero."""
    _check(distance)
    difference = codes[:, None] - codes
    if distance == "squared":
        return difference.square().sum(2)
    return torch.linalg.vector_norm(difference, dim=2)


def _check(distance: str) -> None:
    if distance not in ("euclidean", "squared"):
        raise ValueError(f"distance is {distance!r}; expected 'euclidean' or 'squared'")


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return values.where(mask, 0).sum() / mask.sum().clamp(min=1)
