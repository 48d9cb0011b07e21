"""Where the centres of Eqs. 2 and 3 come from: the batch, a memory, or all training images.

The paper computes the centre Ī_p "at the beginning of every batch" and does not say from which
codes. Each definition of the centre is a class that is called once per step with the batch's codes
and returns the centres. A row of NaN is the centre of a person who takes no part in the sums.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from reid_lib.config import TERMS, RunConfig


def person_centres(codes: Tensor, labels: Tensor, persons: int) -> Tensor:
    """Compute the mean code of each person, Ī_p.

        Ī_p = 1/n_p sum_i I_{p,i}

    Args:
        codes: (N, D) float; rows of NaN are left out.
        labels: (N,) int in [0, persons).
        persons: P.
    Returns:
        (P, D) float; NaN in the row of a person without a code.
    Raises:
        ValueError: shapes disagree, or a label outside [0, P).
    Example:
        >>> person_centres(torch.tensor([[0.0], [2.0], [5.0]]), torch.tensor([0, 0, 1]), 2)
        tensor([[1.],
                [5.]])
    """
    check_labels(codes, labels, "codes")
    check_range(labels, persons, "persons")
    codes, known = known_rows(codes)
    sums = codes.new_zeros(persons, codes.shape[1]).index_add(0, labels, codes)
    counts = codes.new_zeros(persons).index_add(0, labels, known.to(codes.dtype))
    return sums / counts[:, None]


class CentreMemory:
    """The latest code of each training image, so that Ī_p is the mean over all views of p.

    Args:
        labels: (N,) int, the person of each training image.
        width: D, the length of a code.
    Raises:
        ValueError: labels that are no (N,) int tensor of 0 and more, or a width below 1.
    Example:
        >>> memory = CentreMemory(torch.tensor([0, 0, 1]), width=1)
        >>> memory.update(torch.tensor([0, 2]), torch.tensor([[4.0], [6.0]]))
        >>> memory.centres()
        tensor([[4.],
                [6.]])
    """

    def __init__(self, labels: Tensor, width: int):
        check_tensor(labels, "labels")
        if not isinstance(width, int) or width < 1:
            raise ValueError(f"width is {width!r}; expected a whole number of 1 or more")
        self.codes = torch.full((*labels.shape[:1], width), torch.nan, device=labels.device)
        check_labels(self.codes, labels, "codes")
        self.labels, self.persons = labels, int(labels.max()) + 1
        check_range(labels, self.persons, "persons")

    def update(self, images: Tensor, codes: Tensor) -> None:
        """Replace the codes of `images` (B,) by `codes` (B, D), without their gradient.

        Raises:
            ValueError: shapes disagree, or an image outside [0, N).
        """
        check_tensor(images, "images")
        check_tensor(codes, "codes")
        expected = (*images.shape, self.codes.shape[1])
        if images.ndim != 1 or codes.shape != expected:
            raise ValueError(
                f"codes have shape {tuple(codes.shape)} and images {tuple(images.shape)}; "
                f"expected (B, {self.codes.shape[1]}) and (B,)"
            )
        if images.dtype != torch.int64:
            raise ValueError(f"images are {images.dtype}; expected torch.int64: images.long()")
        check_range(images, len(self.codes), "training images", "images")
        self.codes[images] = codes.detach().to(self.codes.dtype)

    def centres(self) -> Tensor:
        """(P, D) float: each person's mean over the images seen so far, NaN if none was."""
        return person_centres(self.codes, self.labels, self.persons)


class BatchCentres:
    """`centres: batch`: the mean of a person's codes in the batch, with gradient if asked for."""

    def __init__(
        self, config: RunConfig, labels: Tensor, width: int, encode_all: Callable[[], Tensor]
    ):
        self.config, self.labels, self.persons = config, labels, int(labels.max()) + 1
        self.encode_all = encode_all
        self.memory = CentreMemory(labels, width) if config.centres == "memory" else None

    def start_epoch(self) -> None:
        """Called before the first step of each epoch."""

    def centres(self, batch: Tensor, codes: Tensor) -> Tensor:
        views = codes if self.config.centres_gradient else codes.detach()
        return person_centres(views, self.labels[batch], self.persons)

    def __call__(self, batch: Tensor, codes: Tensor) -> Tensor:
        """The centres (P, D) of one step.

        Args:
            batch: (B,) int, which training images.
            codes: (B, D) float, their codes, with gradient.
        """
        centres = self.centres(batch, codes)
        if self.config.persons_in_sums == "all":
            return centres
        persons = self.labels[batch]  # a centre of NaN takes part in no sum
        present = torch.zeros(len(centres), device=centres.device).index_fill(0, persons, 1.0)
        return centres.where(present[:, None] > 0, torch.nan)


class AllCentres(BatchCentres):
    """`centres: all`: all training images are encoded again before each step."""

    def centres(self, batch: Tensor, codes: Tensor) -> Tensor:
        return person_centres(self.encode_all(), self.labels, self.persons)


class MemoryCentres(BatchCentres):
    """`centres: memory`: the mean over a memory of each training image's latest code.

    `memory_start: encoded` fills the memory by one pass in evaluation mode. `memory_update` says
    when the batch's codes enter: before the losses, after them, or all images once per epoch.
    """

    def __init__(
        self, config: RunConfig, labels: Tensor, width: int, encode_all: Callable[[], Tensor]
    ):
        super().__init__(config, labels, width, encode_all)
        if config.memory_start == "encoded":
            self._fill()

    def start_epoch(self) -> None:
        if self.config.memory_update == "epoch":
            self._fill()

    def centres(self, batch: Tensor, codes: Tensor) -> Tensor:
        if self.config.memory_update == "before":
            self.memory.update(batch, codes)
        centres = self.memory.centres()
        if self.config.memory_update == "after":
            self.memory.update(batch, codes)
        return centres

    def _fill(self) -> None:
        images = torch.arange(len(self.labels), device=self.labels.device)
        self.memory.update(images, self.encode_all())


DEFINITIONS = {"batch": BatchCentres, "all": AllCentres, "memory": MemoryCentres}


def centre_source(
    config: RunConfig, labels: Tensor, width: int, encode_all: Callable[[], Tensor]
) -> BatchCentres | None:
    """Choose the definition of the centre that the config names.

    Args:
        config: configuration of the run.
        labels: (N,) int, the person of each training image, on the training device.
        width: D, the length of a code.
        encode_all: returns the codes (N, D) of all training images in evaluation mode.
    Returns:
        A function of (batch, codes) that returns the centres (P, D); None where the setting's loss
        has no centres.
    """
    if "cl" not in TERMS[config.setting]:
        return None
    return DEFINITIONS[config.centres](config, labels, width, encode_all)


def known_rows(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (N, D) with zeros in the rows of NaN, and (N,) bool: which rows are not NaN."""
    known = ~codes[:, 0].isnan()
    return codes.where(known[:, None], 0), known


def check_tensor(values: Tensor, name: str) -> None:
    """Refuse what is no tensor; ValueError names its type."""
    if not isinstance(values, Tensor):
        raise ValueError(f"{name} are {type(values).__name__}; expected a torch tensor")


def check_labels(values: Tensor, labels: Tensor, name: str) -> None:
    """Refuse values (B, D) and labels (B,) that do not fit together; ValueError names them."""
    check_tensor(values, name)
    check_tensor(labels, "labels")
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


def check_range(numbers: Tensor, rows: int, name: str, of: str = "labels") -> None:
    """Refuse numbers outside [0, rows); on a GPU the check would make every step wait for it."""
    if numbers.device.type != "cpu" or not len(numbers):
        return
    low, high = numbers.aminmax()
    if low < 0 or high >= rows:
        raise ValueError(
            f"{of} run from {int(low)} to {int(high)}, but there are {rows} {name}; expected 0 "
            f"to {rows - 1}{': number the persons from 0' if of == 'labels' else ''}"
        )
