"""One training step by Eq. 4, from inputs to new weights; on CUDA recorded once and replayed.

Nothing in here waits for the device: no value of a step is looked at before the epoch is over.
"""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from reid_lib import augment, losses, model
from reid_lib.config import TERMS, RunConfig

TRIALS = 3  # steps before a graph is recorded, so that libraries have chosen their kernels


class Parts(NamedTuple):
    """What changes while a run goes on, and so what a checkpoint holds."""

    net: model.ReIDNet
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    memory: losses.CentreMemory | None
    generator: torch.Generator


def augmented(
    config: RunConfig, images: Tensor, size: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Images to the network's inputs, augmented as the config says.

    Args:
        config: of the run.
        images: (B, 3, *, *) uint8; for `crop: enlarge` they may be enlarged already.
        size: height and width of the inputs.
        generator: on the CPU.
    Returns:
        (B, 3, *size) float32.
    """
    if config.flip:
        images = augment.flip(images, generator)
    if config.crop == "pad":
        images = augment.pad_and_crop(images, config.crop_pad, generator)
    elif config.crop == "enlarge":
        if images.shape[2:] == size:
            images = augment.enlarge(images, config.crop_enlarge)
        images = augment.crop(images, *size, generator)
    elif config.crop == "translate":
        images = augment.translate(images, config.crop_enlarge, generator)
    return augment.normalise(images).contiguous(memory_format=torch.channels_last)


def stepper(config: RunConfig, parts: Parts, labels: Tensor, reencode: Callable) -> Callable:
    """What trains on one batch: (inputs, batch) to the step's values.

    Args:
        config: of the run.
        parts: changed in place by each step.
        labels: (N,) int, the person of each training image, on the training device.
        reencode: gives the codes (N, D) of all training images, for `centres: all`.
    Returns:
        A function of inputs (B, 3, H, W) and of which training images they are, batch (B,) int,
        both on the training device. It returns scalars on the device by name. On CUDA it replays a
        recorded graph, and the next call overwrites them.
    """
    step = functools.partial(_step, config, parts, labels, reencode)
    return _replayed(step, parts) if _can_record(config, labels.device) else step


def _step(config, parts, labels, reencode, inputs, batch) -> dict[str, Tensor]:
    """One batch through Eq. 4 and Adam; its values as scalars on the device."""
    net, optimiser, _, memory, _ = parts
    with torch.autocast(inputs.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        codes = net.backbone(inputs)
    codes = codes.float()
    logits = net.classifier(net.neck(codes))
    terms = _loss_terms(config, codes, logits, labels, batch, memory, reencode)
    loss = sum(weight * term for weight, term in terms.values())

    values = {f"l_{name}": term.detach() for name, (_, term) in terms.items()}
    for name, (weight, term) in terms.items():
        (gradient,) = torch.autograd.grad(weight * term, codes, retain_graph=True)
        values[f"grad_{name}"] = gradient.norm()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()

    values["loss"] = loss.detach()
    values["code_norm"] = codes.detach().norm(dim=1).mean()
    if "sr" in terms:
        values["train_accuracy"] = (logits.argmax(1) == labels[batch]).float().mean()
    return values


def _loss_terms(config, codes, logits, labels, batch, memory, reencode):
    """Each term of the loss as name -> (weight in Eq. 4, value)."""
    persons = labels[batch]
    wanted, terms = TERMS[config.setting], {}
    if "sr" in wanted:
        l_sr = losses.classification_loss(
            logits, persons, config.sr_reduction, config.label_smoothing
        )
        terms["sr"] = (1.0, l_sr)
    if "tri" in wanted:
        triplet = losses.batch_hard_triplet_loss(
            codes, persons, config.margin, config.triplet_distance, config.triplet_normalise
        )
        terms["tri"] = (1.0, triplet)
    if "cl" not in wanted:
        return terms

    if config.centres == "memory" and config.memory_update == "before":
        memory.update(batch, codes)
    if config.centres == "memory":
        centres = memory.centres()
    elif config.centres == "all":
        centres = losses.person_centres(reencode(), labels, logits.shape[1])
    else:
        views = codes if config.centres_gradient else codes.detach()
        centres = losses.person_centres(views, persons, logits.shape[1])
    if config.centres == "memory" and config.memory_update == "after":
        memory.update(batch, codes)
    if config.persons_in_sums == "batch":  # a centre of NaN takes part in no sum
        present = torch.zeros(len(centres), device=centres.device).index_fill(0, persons, 1.0)
        centres = centres.where(present[:, None] > 0, torch.nan)

    terms["cl"] = (config.beta, losses.compact_loss(codes, persons, centres))
    if "sl" in wanted:
        terms["sl"] = (-config.gamma, losses.scatter_loss(codes, persons, centres, config.scatter))
    return terms


# --- a step as one CUDA graph ---------------------------------------------------------------------
# At 128 x 48 and batches of 32 a step is hundreds of small kernels, and a GPU waits for each to be
# launched. A recorded graph launches them at once.


def _can_record(config: RunConfig, device: torch.device) -> bool:
    return device.type == "cuda" and config.centres != "all"  # that one encodes within a step


def _replayed(step: Callable, parts: Parts) -> Callable:
    """`step`, recorded at its first call and replayed from then on."""
    replay = None

    def replayed(inputs: Tensor, batch: Tensor) -> dict[str, Tensor]:
        nonlocal replay
        if replay is None:
            replay = _recorded(step, parts, inputs, batch)
        return replay(inputs, batch)

    return replayed


def _recorded(step: Callable, parts: Parts, *given: Tensor) -> Callable:
    """The graph of `step` behind a function of its inputs; `parts` are left as they were."""
    places = [value.clone() for value in given]
    before = [value.clone() for value in _state(parts)]
    try:
        replay, values = _record(functools.partial(step, *places))
    except RuntimeError as error:
        tqdm.write(f"the step could not be recorded as a CUDA graph, so it runs as it is: {error}")
        replay = None
    # The trials have moved everything. It goes back in place, where the graph will look for it;
    # what was not there before are Adam's moments, which start at zero.
    now = list(_state(parts))
    with torch.no_grad():
        for value, kept in zip(now, before, strict=False):
            value.copy_(kept)
        for value in now[len(before) :]:
            value.zero_()
    if replay is None:
        return step

    def run(*given: Tensor) -> dict[str, Tensor]:
        for place, value in zip(places, given, strict=True):
            place.copy_(value)
        replay()
        return values

    return run


def _record(run: Callable) -> tuple[Callable, dict[str, Tensor]]:
    """What replays `run`, and the tensors in which each replay leaves its values."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(TRIALS):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        values = run()
    return graph.replay, values


def _state(parts: Parts) -> Iterator[Tensor]:
    """The tensors that a step changes, Adam's last, since they come into being with its first."""
    yield from parts.net.state_dict().values()
    if parts.memory:
        yield parts.memory.codes
    for values in parts.optimiser.state.values():
        yield from values.values()
