"""Which training images form each batch: random, or P persons x K images."""

from collections.abc import Iterator

import torch
from torch import Tensor

from reid_lib.config import RunConfig


def batches(config: RunConfig, labels: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Draw the batches of one epoch; an incomplete last batch is dropped.

    `batches: random` cuts a permutation of the images. `batches: pk` draws batch_size / K persons
    and K = images_per_person images of each (Hermans et al. 2017); each batch takes the persons who
    have most unused images left, ties at random. `epoch: images` is one pass over all images;
    `epoch: persons` has as many batches as K images of each person fill.

    Args:
        config: `batches`, `batch_size`, `images_per_person` and `epoch` are used.
        labels: (N,) int, the person of each training image.
        generator: on the CPU.
    Yields:
        (batch_size,) int, which training images.
    Example:
        >>> config = RunConfig(row="r", setting="htri", batch_size=4, images_per_person=2)
        >>> labels = torch.tensor([0, 0, 1, 1, 2, 2])
        >>> [labels[b].tolist() for b in batches(config, labels, torch.Generator().manual_seed(0))]
        [[2, 2, 0, 0]]
    """
    labels = labels.cpu()
    images = len(labels)
    if config.epoch == "persons":
        images = min(images, config.images_per_person * len(labels.unique()))
    steps = images // config.batch_size
    order = torch.randperm(len(labels), generator=generator)
    if config.batches == "random":
        yield from order[: steps * config.batch_size].split(config.batch_size)
    else:
        yield from _pk_batches(config, labels, order, steps, generator)


def _pk_batches(config, labels, order, steps, generator) -> Iterator[Tensor]:
    k = config.images_per_person
    unused = []  # of each person, the groups of K images
    for person in labels.unique():
        groups = list(order[labels[order] == person].split(k))
        unused.append(groups[:-1] if len(groups[-1]) < k else groups)
    for _ in range(steps):
        left = torch.tensor([float(len(groups)) for groups in unused])
        left += torch.rand(len(left), generator=generator)  # below 1: decides among ties alone
        chosen = left.topk(config.batch_size // k).indices.tolist()
        if any(not unused[person] for person in chosen):
            return
        yield torch.cat([unused[person].pop() for person in chosen])
