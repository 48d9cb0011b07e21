"""Training by Eq. 4: one step (`train_step`), one epoch (`train_epoch`), one run (`fit`).

A batch of images passes through augmentation, network, centres and losses, in this order.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from reid_lib.augment import augment
from reid_lib.batches import batches
from reid_lib.centres import BatchCentres, centre_source
from reid_lib.config import TERMS, RunConfig
from reid_lib.dataset import PIXEL_BUDGET, check_batches, split_persons
from reid_lib.engine.cuda_graph import graphed
from reid_lib.engine.locks import lock_run_folder
from reid_lib.engine.process import controlled_process, disable_malloc_trim, log
from reid_lib.engine.results import RunFolder, check_history, log_epoch
from reid_lib.engine.runs import Run, read_run
from reid_lib.engine.scores import score_epoch
from reid_lib.losses import (
    batch_hard_triplet_loss,
    classification_loss,
    compact_loss,
    scatter_loss,
    total_loss,
)
from reid_lib.model import ReIDNet, encode, load_weights, network_of
from reid_lib.related import learned_module, related_loss


class Data(NamedTuple):
    """The images of a run and which of them train and test."""

    pixels: Tensor  # (N, 3, H, W) uint8, all images
    train_rows: Tensor  # (T,) rows of `pixels`
    test_rows: Tensor
    labels: Tensor  # (T,) int, the person of each training image, on the training device
    train: pd.DataFrame  # the two parts of the index
    test: pd.DataFrame


@dataclass
class State:
    """What changes during a run; `engine.checkpoint` saves and restores all of it."""

    net: ReIDNet
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    centres: BatchCentres | None
    progress: dict = field(
        default_factory=lambda: {"epoch": 0, "seconds": 0.0, "resumes": 0, "history": []}
    )

    @property
    def memory(self) -> Tensor | None:
        """The codes in the memory behind the centres, where the config has one."""
        return self.centres.memory.codes if self.centres and self.centres.memory else None


def train_step(
    config: RunConfig, state: State, images: Tensor, batch: Tensor, persons: Tensor
) -> dict[str, Tensor]:
    """Take one step of Adam on Eq. 4.

        L = L_SR + beta L_CL - gamma L_SL

    Args:
        config: configuration of the run.
        state: changed in place.
        images: (B, 3, H, W) float, augmented.
        batch: (B,) int, which training images these are.
        persons: (B,) int, their persons.
    Returns:
        Scalars on the device, for `history.csv`: each term as `l_<term>`, the norm of its weighted
        gradient with respect to the codes as `grad_<term>`, the loss, the mean norm of the codes,
        and the training accuracy where there is a classifier.
    """
    codes, logits = state.net(images)
    centres = state.centres(batch, codes) if state.centres else None  # Ī_p
    has, terms = TERMS[config.setting], {}
    if "sr" in has:
        smoothing = config.label_smoothing
        terms["sr"] = classification_loss(logits, persons, config.sr_reduction, smoothing)  # Eq. 1
    if "tri" in has:
        options = config.margin, config.triplet_distance, config.triplet_normalise
        terms["tri"] = batch_hard_triplet_loss(codes, persons, *options)
    if "cl" in has:
        terms["cl"] = compact_loss(codes, persons, centres)  # Eq. 2
    if "sl" in has:
        terms["sl"] = scatter_loss(codes, persons, centres, config.scatter)  # Eq. 3
    if "rel" in has:
        terms["rel"] = related_loss(config, codes, persons, state.net.learned)  # section 2
    base = sum(terms[name] for name in ("sr", "tri", "rel") if name in terms)
    loss = total_loss(base, terms.get("cl"), terms.get("sl"), config.beta, config.gamma)  # Eq. 4

    values = _gradient_norms(config, terms, codes)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    state.optimiser.step()

    values |= {"loss": loss.detach(), "code_norm": codes.detach().norm(dim=1).mean()}
    if "sr" in has:
        values["train_accuracy"] = (logits.argmax(1) == persons).float().mean()
    return values


def _gradient_norms(config: RunConfig, terms: dict[str, Tensor], codes: Tensor) -> dict:
    """Each term, and the norm of its weighted gradient with respect to the codes."""
    weights = {"sr": 1.0, "tri": 1.0, "rel": 1.0, "cl": config.beta, "sl": -config.gamma}
    values = {f"l_{name}": term.detach() for name, term in terms.items()}
    for name, term in terms.items():
        (gradient,) = torch.autograd.grad(weights[name] * term, codes, retain_graph=True)
        values[f"grad_{name}"] = gradient.norm()
    return values


def train_epoch(config: RunConfig, state: State, data: Data, step=train_step) -> dict[str, float]:
    """Train for one epoch.

    Args:
        config: configuration of the run.
        state: changed in place.
        data: images and labels of the run.
        step: `train_step`, or the same as a CUDA graph.
    Returns:
        The means over the steps of what `train_step` returns.
    Raises:
        FloatingPointError: a loss is not finite, or the codes' norm exceeds `code_norm_limit`.
    """
    device = data.labels.device
    if state.centres:
        state.centres.start_epoch()
    state.net.train()
    steps = []
    for batch in batches(config, data.labels, state.generator):
        rows = data.train_rows[batch.to(data.train_rows.device, non_blocking=True)]
        images = augment(config, data.pixels[rows].to(device), state.generator)
        batch = batch.to(device, non_blocking=True)
        values = step(config, state, images, batch, data.labels[batch])
        steps.append(torch.stack(list(values.values())))
    # The values stay on the device until the epoch is over, so that no step waits for them.
    frame = pd.DataFrame(torch.stack(steps).tolist(), columns=list(values))
    check_history(config, frame, state.progress["history"])
    state.schedule.step()
    return frame.mean().to_dict()


def fit(
    config: RunConfig,
    index: pd.DataFrame,
    pixels: Tensor,
    folder: str | Path,
    weights: Path | None = None,
    progress: str = "bar",
    runs: int = 1,
) -> Run:
    """Train one network, score it, and leave a run folder.

    A completed or failed run with an equal config is returned unchanged. An interrupted run resumes
    from its last checkpoint, with bitwise the same result. Ctrl-C and SIGTERM lose the current
    epoch, a killed process everything since its last checkpoint.

    Args:
        config: complete, as `engine.prepare.resolve` returns it.
        index: all images; the config's split says which persons train.
        pixels: (N, 3, H, W) uint8, in the order of the index.
        folder: the run folder.
        weights: the file of the starting weights; None for a random start.
        progress: "bar" in a notebook, "lines" (one per epoch) when headless, or "none".
        runs: how many runs the preset has, for the estimate after the first epoch.
    Returns:
        The run. If a loss was not finite or the codes diverged, `Run.failed` says why.
    Raises:
        ValueError: the folder holds a run of another config, or the data cannot fill a batch.
        BlockingIOError: another process is training this run.
        OSError: the folder cannot be written to, or the disk is full; completed epochs are kept.
    """
    folder = RunFolder(Path(folder), config)
    if ended := folder.ended():
        return ended
    disable_malloc_trim()
    data = prepare_data(config, index, pixels)
    with lock_run_folder(folder.path), controlled_process(config.deterministic):
        state = start(config, data, weights)
        if not folder.resume(state, progress):  # a damaged checkpoint may be half restored
            state = start(config, data, weights)
        step = graphed(train_step) if config.cuda_graph else train_step
        epochs = range(state.progress["epoch"] + 1, config.epochs + 1)
        try:
            for epoch in tqdm(epochs, config.row, unit="epoch", disable=progress != "bar"):
                begin = time.monotonic()
                line = {"epoch": epoch, "lr": float(state.optimiser.param_groups[0]["lr"])}
                line |= train_epoch(config, state, data, step)
                if config.is_scored(epoch):
                    line |= score_epoch(state.net, data)
                folder.end_epoch(state, line | {"seconds": time.monotonic() - begin})
                log_epoch(progress, config, state.progress["history"][-1], runs)
            folder.finish(state, data)
        except FloatingPointError as error:
            folder.fail(state, data, str(error))
            log(progress, f"{config.row} split {config.split} failed: {error}")
        except BaseException:  # Ctrl-C, SIGTERM, a full disk: completed epochs are kept
            folder.save_latest()
            raise
    return read_run(folder.path)


def prepare_data(config: RunConfig, index: pd.DataFrame, pixels: Tensor) -> Data:
    """Split the images by person and move them to the device where training takes place.

    Args:
        config: configuration of the run.
        index: all images.
        pixels: (N, 3, H, W) uint8, in the order of the index.
    Returns:
        The data of the run.
    Raises:
        ValueError: the training persons cannot fill a batch.
    """
    train, test = split_persons(index, config.split, config.validation, config.train_persons)
    check_batches(config, train)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if pixels.nbytes <= PIXEL_BUDGET:  # larger data stay memory-mapped on the disk
        pixels = pixels.to(device)
    rows = [
        torch.from_numpy(index.index.get_indexer(part.index)).to(pixels.device)
        for part in (train, test)
    ]
    labels = torch.from_numpy(np.unique(train.pid, return_inverse=True)[1]).to(device)
    return Data(pixels, *rows, labels, train, test)


def start(config: RunConfig, data: Data, weights: Path | None = None) -> State:
    """Build the network, Adam and the centres at their start, from the config's seed alone.

    Args:
        config: configuration of the run.
        data: images and labels of the run.
        weights: the file of the starting weights; None for a random start.
    Returns:
        The state before the first epoch.
    """
    torch.manual_seed(config.seed)
    device, persons = data.labels.device, int(data.labels.max()) + 1
    net = network_of(config, persons)
    net.learned = learned_module(config, persons, net.width)
    if weights:
        load_weights(net, weights)
    net = net.to(device, memory_format=torch.channels_last)
    graph = config.cuda_graph and device.type == "cuda"
    lr = torch.tensor(config.lr, device=device) if graph else config.lr  # a graph reads it there
    decay = config.weight_decay
    optimiser = torch.optim.Adam(net.parameters(), lr, weight_decay=decay, capturable=graph)

    def encode_all() -> Tensor:
        return encode(net, data.pixels, data.train_rows)

    centres = centre_source(config, data.labels, net.width, encode_all)
    generator = torch.Generator().manual_seed(config.seed)
    return State(net, optimiser, _schedule(optimiser, config), generator, centres)


def _schedule(optimiser: torch.optim.Optimizer, config: RunConfig):
    schedulers = torch.optim.lr_scheduler
    if config.schedule == "step":
        return schedulers.MultiStepLR(optimiser, [max(config.epochs // 2, 1)], gamma=0.1)
    if config.schedule == "cosine":
        return schedulers.CosineAnnealingLR(optimiser, config.epochs)
    return schedulers.ConstantLR(optimiser, factor=1.0)
