"""Training one network (`fit`) and a preset's runs; where data, model, losses, metrics meet."""

import copy
import ctypes
import functools
import hashlib
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from reid_lib import augment, losses, model
from reid_lib.config import TERMS, Embedded, Preset, RunConfig
from reid_lib.dataset import (
    PIXEL_BUDGET,
    WHERE,
    fingerprint,
    load_pixels,
    read_pku,
    split_persons,
)
from reid_lib.metrics import Protocol, evaluate_cameras, evaluate_distances
from reid_lib.reranking import rerank
from reid_lib.runs import (
    CHECKPOINT,
    Run,
    claim,
    read_checkpoint,
    read_run,
    read_runs,
    run_folder,
    write_checkpoint,
    write_file,
    write_json,
    write_text,
)
from reid_lib.step import Parts, augmented, stepper

CHECKPOINT_SECONDS = 30
EVALUATION_BATCH = 128
BF16_ERROR = 0.3  # of codes, relative; rounding alone leaves up to 0.23 (ResNet-50)
LAST_EPOCHS = 10  # of the scored ones: one epoch's scores fluctuate by several points
RAW, UNIT = Protocol(), Protocol(codes="unit")
SCORED = {"test": RAW, "unit": UNIT}  # prefix of the history's columns -> protocol
CODE = (
    "augment",
    "config",
    "dataset",
    "losses",
    "metrics",
    "model",
    "reranking",
    "step",
    "training",
)


def data_folder(preset: Preset, root: str | Path, progress: bool = False) -> Path:
    """The preset's folder of images; the embedded pedestrians are drawn under `root` if missing.

    Raises:
        ValueError: the preset needs a folder that the user has not named.
    """
    if preset.data is None:
        raise ValueError(f"preset {preset.name} needs the folder of the images (DATA=...). {WHERE}")
    if not isinstance(preset.data, Embedded):
        return preset.data
    from reid_lib import pedestrians  # a user's own images need no drawing code

    persons, seed = preset.data.persons, preset.data.seed
    # Images of another drawing version are other data, in another folder.
    folder = Path(root) / f"embedded-{persons}-{seed}-v{pedestrians.DRAWING_VERSION}"
    if not folder.is_dir():
        pedestrians.write_dataset(folder, persons, seed, progress, workers=os.cpu_count() or 1)
    return folder


def resolve(
    preset: Preset, row: str, split: int, index: pd.DataFrame, results: str | Path | None = None
) -> tuple[RunConfig, Path | None]:
    """Fill in what decides a run beyond its row: split, data, weights, precision; check all of it.

    Args:
        preset: with the row.
        row: its name.
        split: which split.
        index: the images.
        results: the folder of run folders, where the answer to `precision: auto` is kept.
    Returns:
        The complete config, and the file of the starting weights (None for a random start).
    Raises:
        ValueError: weights that cannot be had, too few images for one batch, an unknown backbone.
    """
    config = preset.row(row)
    net = model.ReIDNet(config.backbone, persons=2)  # refuses an unknown backbone
    file = None
    if config.start == "imagenet":
        file = model.find_weights(config.backbone, preset.weights)
    elif config.start == "file":
        if preset.weights is None or not preset.weights.is_file():
            raise ValueError(
                f"row {row} starts from a file; name it as WEIGHTS (is {preset.weights})"
            )
        file = preset.weights
    if file:
        model.load_weights(net, file)
    train, test = split_persons(index, split, config.validation, config.train_persons)
    _check_batches(config, train)
    if index.camid.nunique() < 2:
        raise ValueError(f"only camera {index.camid.iloc[0]} in the data; scores need two cameras")
    if test.pid.nunique() < 2:
        raise ValueError(f"{test.pid.nunique()} person to test on; expected at least two")
    answers = Path(results) / preset.name / "precision.json" if results else None
    filled = {
        "split": split,
        "data_sha256": fingerprint(index),
        "weights_sha256": model.sha256(file) if file else "",
        "precision": _precision(config, index, answers),
    }
    return config.model_copy(update=filled), file


def fit(
    config: RunConfig,
    index: pd.DataFrame,
    pixels: Tensor,
    folder: str | Path,
    weights: Path | None = None,
    progress: str = "bar",
    runs: int = 1,
) -> Run:
    """Train one network by Eq. 4 (or the triplet loss), score it, and leave a run folder.

    An ended run of the same config is returned as it is; one that was broken off goes on from its
    last checkpoint to the same numbers, bit for bit. Ctrl-C and SIGTERM cost the epoch in hand, a
    killed process what it did since its last checkpoint.

    Args:
        config: complete, as `resolve` returns it.
        index: all images, of which the config's split trains on one half of the persons.
        pixels: (N, 3, H, W) uint8, in the order of the index.
        folder: the run folder.
        weights: the file of the starting weights, unless the start is random.
        progress: "bar" in a notebook, "lines" (one an epoch) when headless, or "none".
        runs: how many runs the preset has, for the estimate after the first epoch.
    Returns:
        The ended run. Where a loss or a code stopped being a number, or the codes ran away, it is
        a failed one, which says why: see `Run.failed`.
    Raises:
        ValueError: the folder holds a run of another config, or the data are too few for a batch.
        BlockingIOError: another process is training this run.
        OSError: the folder cannot be written to, or the disk is full; what is finished is kept.
    """
    folder = Path(folder)
    if done := _ended(folder, config):
        return done
    keep_memory()
    train, test = split_persons(index, config.split, config.validation, config.train_persons)
    _check_batches(config, train)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if pixels.nbytes <= PIXEL_BUDGET:  # more than that stays mapped from the disk
        pixels = pixels.to(device)
    rows = [
        torch.from_numpy(index.index.get_indexer(part.index)).to(pixels.device)
        for part in (train, test)
    ]
    labels = torch.from_numpy(np.unique(train.pid, return_inverse=True)[1]).to(device)

    with (
        claim(folder),
        _sigterm_unwinds(),
        _deterministic(config.deterministic),
        torch.random.fork_rng(),  # what the backbone itself draws, such as dropout
    ):
        began = time.monotonic()
        state, parts = _start(folder, config, pixels, rows[0], labels, weights, progress)
        source = _source(config, pixels, rows[0])
        reencode = functools.partial(encode, parts.net, pixels, rows[0], config.precision)
        step = stepper(config, parts, labels, reencode)
        before, latest, saved = state["seconds"], None, time.monotonic()
        bar = tqdm(
            range(state["epoch"] + 1, config.epochs + 1),
            desc=config.row,
            unit="epoch",
            disable=progress != "bar",
        )
        try:
            for epoch in bar:
                begin = time.monotonic()
                line = {"epoch": epoch, "lr": float(parts.optimiser.param_groups[0]["lr"])}
                if parts.memory and config.memory_update == "epoch":
                    parts.memory.update(torch.arange(len(labels), device=device), reencode())
                line |= _epoch(config, parts, step, source, labels, state["history"])
                parts.schedule.step()
                if config.is_scored(epoch):
                    codes = parts.net.compared(encode(parts.net, pixels, rows[1], config.precision))
                    for prefix, protocol in SCORED.items():
                        scores = score(codes, test, protocol)["A->B"]
                        line |= {f"{prefix}_{name}": float(x) for name, x in scores.items()}
                line["seconds"] = time.monotonic() - begin
                state = state | {
                    "epoch": epoch,
                    "seconds": before + time.monotonic() - began,
                    "history": [*state["history"], line],
                }
                latest = _snapshot(state, parts)
                write_text(
                    folder / "history.csv", pd.DataFrame(state["history"]).to_csv(index=False)
                )
                if time.monotonic() - saved > CHECKPOINT_SECONDS and epoch < config.epochs:
                    write_checkpoint(folder, _identity(config), latest)
                    latest, saved = None, time.monotonic()
                bar.set_postfix(loss=f"{line['loss']:.3f}")
                _tell(progress, config, line, runs)
            codes = [
                parts.net.compared(encode(parts.net, pixels, part, config.precision))
                for part in rows
            ]
            state["seconds"] = before + time.monotonic() - began
            _finish(folder, config, index, parts.net, codes, (train, test), state)
        except FloatingPointError as error:
            state["seconds"] = before + time.monotonic() - began
            _fail(folder, config, index, (train, test), state, str(error))
            say(progress, f"{config.row} split {config.split} failed: {error}")
        except BaseException:  # Ctrl-C, SIGTERM, a full disk: what is finished is kept
            if latest:
                write_checkpoint(folder, _identity(config), latest)
            raise
    return read_run(folder)


def train_missing(
    preset: Preset, data_root: str | Path, results: str | Path, progress: str = "bar"
) -> list[Run]:
    """All finished runs of a preset; whatever is missing is said and trained first.

    Args:
        preset: what to run.
        data_root: where embedded data lie or are drawn.
        results: the folder of run folders.
        progress: as in `fit`.
    Returns:
        The runs, rows in the preset's order, then splits.
    Raises:
        ValueError: as `resolve` and `read_runs`.
    """
    wanted = [(row.row, split) for row in preset.rows for split in preset.splits]
    missing = [
        (row, split)
        for row, split in wanted
        if not (run_folder(results, preset, row, split) / "manifest.json").is_file()
    ]
    if missing:
        names = ", ".join(f"{row} (split {split})" for row, split in missing)
        say(progress, f"not trained yet, so training now: {names}")
        index = read_pku(data_folder(preset, data_root, progress == "bar"))
        ready = [
            (row, split, *resolve(preset, row, split, index, results)) for row, split in missing
        ]
        for row, split, config, weights in ready:
            pixels = load_pixels(index, config.image_size)
            target = run_folder(results, preset, row, split)
            fit(config, index, pixels, target, weights, progress, len(wanted))
    return read_runs(results, preset)


@torch.no_grad()
def encode(
    net: model.ReIDNet, pixels: Tensor, rows: Tensor | None = None, precision: str = "fp32"
) -> Tensor:
    """The codes of images in evaluation mode.

    Args:
        net: left as it is; a copy with folded batch norm does the work.
        pixels: (M, 3, H, W) uint8.
        rows: (N,) int, which of them and in which order; all of them unless given.
        precision: "fp32" or "bf16", in which the backbone computes.
    Returns:
        (N, D) float32, on the network's device.
    """
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    backbone, device = model.folded(net).to(kind), net.classifier.weight.device
    codes = []
    for part in (torch.arange(len(pixels)) if rows is None else rows).split(EVALUATION_BATCH):
        images = augment.normalise(pixels[part].to(device)).to(kind)
        codes.append(backbone(images.contiguous(memory_format=torch.channels_last)).float())
    return torch.cat(codes)


def score(
    codes: Tensor, index: pd.DataFrame, protocol: Protocol = RAW
) -> dict[str, dict[str, float]]:
    """Scores as fractions for each camera direction and for both."""
    results = evaluate_cameras(codes.cpu(), index.pid.to_numpy(), index.camid.to_numpy(), protocol)
    return {direction: result.scores() for direction, result in results.items()}


def score_reranked(codes: Tensor, index: pd.DataFrame) -> dict[str, dict[str, float]]:
    """As `score`, of galleries re-ranked by the neighbours that images share."""
    cameras = dict(zip("AB", sorted(index.camid.unique()), strict=False))
    results = {}
    for q_camera, g_camera in ("AB", "BA"):
        sides = [index.camid.to_numpy() == cameras[name] for name in (q_camera, g_camera)]
        q, g = (codes.cpu()[torch.from_numpy(side)] for side in sides)
        ids = [index[name].to_numpy()[side] for name in ("pid", "camid") for side in sides]
        results[f"{q_camera}->{g_camera}"] = evaluate_distances(rerank(q, g), *ids).scores()
    return results | {"both": pd.DataFrame(results.values()).mean().to_dict()}


def say(progress: str, text: str) -> None:
    """Print unless progress is "none"; above a bar where there is one."""
    if progress != "none":
        tqdm.write(text)
        sys.stdout.flush()


def _build(config, pixels, rows, labels, weights) -> Parts:
    """Everything at its start, from the config's seed alone."""
    torch.manual_seed(config.seed)
    net = model.ReIDNet(config.backbone, int(labels.max()) + 1, config.seed, config.neck)
    if weights:
        model.load_weights(net, weights)
    net = net.to(labels.device, memory_format=torch.channels_last)
    # A graph that replays the step reads the learning rate from the device.
    cuda = labels.device.type == "cuda"
    lr = torch.tensor(config.lr, device=labels.device) if cuda else config.lr
    optimiser = torch.optim.Adam(
        net.parameters(), lr, weight_decay=config.weight_decay, capturable=cuda
    )
    generator = torch.Generator().manual_seed(config.seed)
    memory = _start_memory(config, net, pixels, rows, labels)
    return Parts(net, optimiser, _schedule(optimiser, config), memory, generator)


def _source(config, pixels, rows) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Where batches come from: images, the rows of the training images, the network's input size.

    What is enlarged before each crop is enlarged once, where there is room for it.
    """
    size = tuple(pixels.shape[2:])
    if config.crop != "enlarge" or pixels.nbytes > PIXEL_BUDGET:
        return pixels, rows, size
    larger = augment.enlarge(pixels.index_select(0, rows), config.crop_enlarge)
    return larger, torch.arange(len(rows), device=rows.device), size


def _epoch(config, parts, step, source, labels, history) -> dict[str, float]:
    """One pass over the training images; the means of what `history.csv` records.

    The values of a step stay on the device; they are read back, and looked at, once an epoch.
    """
    parts.net.train()
    images, rows, size = source
    steps = []
    for batch in _batches(config, labels, parts.generator):
        chosen = images.index_select(0, rows[batch.to(rows.device, non_blocking=True)])
        inputs = augmented(config, chosen.to(labels.device), size, parts.generator)
        values = step(inputs, batch.to(labels.device, non_blocking=True))
        steps.append(torch.stack(list(values.values())))
    frame = pd.DataFrame(torch.stack(steps).tolist(), columns=list(values))
    _check_numbers(config, frame, history)
    return frame.mean().to_dict()


def _check_numbers(config, frame, history) -> None:
    """Stop a run whose loss is no longer a number, or whose codes ran away."""
    epoch = len(history) + 1
    good = {k: v for k, v in (history[-1] if history else {}).items() if k != "seconds"}
    last = ", ".join(f"{k} {v:.4g}" for k, v in good.items()) or "none"
    terms = frame[[name for name in frame if name.startswith(("l_", "code_norm"))]]
    bad = ~np.isfinite(terms.to_numpy())
    if bad.any():
        step = int(bad.any(1).argmax())
        name = terms.columns[int(bad[step].argmax())]
        raise FloatingPointError(
            f"{config.row}: {name} is {terms[name][step]} in epoch {epoch}, step {step + 1} of "
            f"{len(frame)}; the last good epoch: {last}"
        )
    start = history[0]["code_norm"] if history else frame.code_norm[0]
    largest = frame.code_norm.max()
    if largest > config.code_norm_limit * start:
        raise FloatingPointError(
            f"{config.row}: code_norm is {largest:.4g} in epoch {epoch}, more than "
            f"{config.code_norm_limit:g} times its start of {start:.4g} (code_norm_limit): Eq. 4 "
            f"has no lower bound; the last good epoch: {last}"
        )


def _start_memory(config, net, pixels, rows, labels) -> losses.CentreMemory | None:
    if "cl" not in TERMS[config.setting] or config.centres != "memory":
        return None
    memory = losses.CentreMemory(labels, net.width)
    if config.memory_start == "encoded":
        codes = encode(net, pixels, rows, config.precision)
        memory.update(torch.arange(len(labels), device=labels.device), codes)
    return memory


def _batches(config: RunConfig, labels: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of each batch of one epoch; an incomplete last batch is dropped.

    Random: a permutation cut into batches.  P persons x K images: each batch takes the persons who
    have most groups of K images left, ties at random.  With `epoch: persons` an epoch has as many
    batches as K images of each person fill.
    """
    labels = labels.cpu()
    images = len(labels)
    if config.epoch == "persons":
        images = min(images, config.images_per_person * len(labels.unique()))
    steps = images // config.batch_size
    order = torch.randperm(len(labels), generator=generator)
    if config.batches == "random":
        yield from order[: steps * config.batch_size].split(config.batch_size)
        return
    groups: dict[int, list[Tensor]] = {}
    for person in labels.unique().tolist():
        own = order[labels[order] == person]
        groups[person] = list(own.split(config.images_per_person))
        if len(groups[person][-1]) < config.images_per_person:
            groups[person].pop()
    for _ in range(steps):
        left = torch.tensor([float(len(own)) for own in groups.values()])
        left += torch.rand(len(left), generator=generator)
        chosen = left.topk(config.batch_size // config.images_per_person).indices.tolist()
        people = list(groups.values())
        if any(not people[i] for i in chosen):
            return
        yield torch.cat([people[i].pop() for i in chosen])


def _check_batches(config: RunConfig, train: pd.DataFrame) -> None:
    persons = train.pid.nunique()
    if config.batch_size > len(train):
        raise ValueError(
            f"row {config.row}: batch_size is {config.batch_size}, but the {persons} training "
            f"persons have only {len(train)} images"
        )
    wanted = config.batch_size // config.images_per_person
    enough = (train.pid.value_counts() >= config.images_per_person).sum()
    if config.batches == "pk" and enough < wanted:
        raise ValueError(
            f"row {config.row}: a batch is {wanted} persons with {config.images_per_person} images "
            f"each, but only {enough} of {persons} training persons have so many"
        )


def _precision(config: RunConfig, index: pd.DataFrame, file: Path | None) -> str:
    """What "auto" stands for: bf16 where a short trial is faster and right to rounding.

    ResNets gain, mobilenet_v2 does not. Some processors' bf16 convolutions are wrong for small
    images (oneDNN on AMX, 64 x 24 pixels: codes 40 % away). The answer is kept in `file`, since a
    second trial could end otherwise, and the precision decides the last digits of a result.
    """
    if config.precision != "auto":
        return config.precision
    cuda = torch.cuda.is_available()
    if cuda:
        able = torch.cuda.is_bf16_supported()
    else:
        able = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if not able:
        return "fp32"
    height, width = config.image_size or load_pixels(index[:1]).shape[2:]
    name = f"{config.backbone}, batches of {config.batch_size} x {height} x {width}"
    known = json.loads(file.read_text("utf-8")) if file and file.is_file() else {}
    if name not in known:
        shape = config.batch_size, 3, height, width
        (slow, exact), (fast, rounded) = (
            _trial_step(config.backbone, shape, kind) for kind in ("fp32", "bf16")
        )
        error = (rounded - exact).norm() / exact.norm()
        known[name] = "bf16" if fast < slow and error < BF16_ERROR else "fp32"
        if file:
            write_json(file, known)
    return known[name]


@functools.cache
def _trial_step(backbone: str, shape: tuple[int, ...], precision: str) -> tuple[float, Tensor]:
    """Seconds of one training step, the least of three after one that is not counted; codes."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = model.ReIDNet(backbone, persons=2).to(device, memory_format=torch.channels_last)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    seconds = []
    for _ in range(4):
        begin = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            codes = net.backbone(images)
        codes.float().sum().backward()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return min(seconds[1:]), codes.detach().float()


def _schedule(optimiser, config: RunConfig):
    if config.schedule == "step":
        half = max(config.epochs // 2, 1)
        return torch.optim.lr_scheduler.MultiStepLR(optimiser, [half], gamma=0.1)
    if config.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.epochs)
    return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)


def _ended(folder: Path, config: RunConfig) -> Run | None:
    if not (folder / "manifest.json").is_file():
        return None
    run = read_run(folder)
    if run.config != config:
        ours, theirs = config.model_dump(), run.config.model_dump()
        differ = [f"{k} is {theirs[k]!r}, wanted {ours[k]!r}" for k in ours if ours[k] != theirs[k]]
        raise ValueError(
            f"{folder} holds a run of another configuration ({'; '.join(differ)}); "
            "delete it or give the results another NAME"
        )
    if run.manifest["code_sha256"] != code_sha256():
        tqdm.write(f"{folder}: trained by another version of the code; delete it to train again")
    return run


def _identity(config: RunConfig) -> dict[str, str]:
    """What a checkpoint must agree in with the run that goes on from it."""
    return {
        "data": config.data_sha256,
        "configuration": config.model_dump_json(),
        "version of the code": code_sha256(),
    }


def _snapshot(state: dict, parts: Parts) -> dict:
    """A copy of all that the next epoch depends on."""
    content = {
        "state": state,
        "net": parts.net.state_dict(),
        "optimiser": parts.optimiser.state_dict(),
        "schedule": parts.schedule.state_dict(),
        "memory": parts.memory.codes if parts.memory else None,
        "generator": parts.generator.get_state(),
        "global": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    return copy.deepcopy(content)


def _start(folder, config, pixels, rows, labels, weights, progress) -> tuple[dict, Parts]:
    """The run as its checkpoint left it, or at its start; a checkpoint that does not fit is kept
    under another name, and said."""
    parts = _build(config, pixels, rows, labels, weights)
    try:
        content = read_checkpoint(folder, _identity(config))
        if content:
            _restore(content, parts)
            state = content["state"]
            say(
                progress, f"{config.row} split {config.split}: goes on after epoch {state['epoch']}"
            )
            return state | {"resumes": state["resumes"] + 1}, parts
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        aside = folder / f"refused-{CHECKPOINT}"
        (folder / CHECKPOINT).replace(aside)
        say(progress, f"{error}; it is kept as {aside.name}, and the run starts anew")
        parts = _build(config, pixels, rows, labels, weights)  # some of it may have been read
    return {"epoch": 0, "seconds": 0.0, "resumes": 0, "history": []}, parts


def _restore(content: dict, parts: Parts) -> None:
    parts.net.load_state_dict(content["net"])
    parts.optimiser.load_state_dict(content["optimiser"])
    parts.schedule.load_state_dict(content["schedule"])
    if parts.memory:
        parts.memory.codes.copy_(content["memory"])
    parts.generator.set_state(content["generator"])
    torch.set_rng_state(content["global"])
    if content["cuda"]:
        torch.cuda.set_rng_state_all(content["cuda"])


@functools.cache
def keep_memory() -> None:
    """Let this process keep the memory that a step frees for the next one (glibc; else nothing).

    To hand 30 MB back to the system and ask for it anew at every step costs a tenth of the step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: free memory at the top stays
        mallopt(-2, 2**28)  # M_TOP_PAD: grow in large pieces
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, its largest value


@contextmanager
def _sigterm_unwinds() -> Iterator[None]:
    """Let SIGTERM end the process as Ctrl-C does, through every `except` and `finally`."""
    if threading.current_thread() is not threading.main_thread():  # only there may it be set
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _deterministic(wanted: bool) -> Iterator[None]:
    """On CUDA, only kernels that give the same bits each time; an error names what has none."""
    before = torch.are_deterministic_algorithms_enabled()
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _finish(folder, config, index, net, codes, halves, state) -> None:
    """Score the codes of both halves and write the run folder; the manifest comes last."""
    train_codes, codes = codes
    train_index, test_index = halves
    ids = test_index.pid.to_numpy(), test_index.camid.to_numpy()
    results = evaluate_cameras(codes.cpu(), *ids)
    unit = evaluate_cameras(codes.cpu(), *ids, UNIT)
    history = pd.DataFrame(state["history"])
    metrics = {
        "protocol": str(Protocol()),
        "test": {direction: result.scores() for direction, result in results.items()},
        "train": score(train_codes, train_index),
        "last_epochs": _last_epochs(history, "test"),
        "unit": {
            "test": {direction: result.scores() for direction, result in unit.items()},
            "train": score(train_codes, train_index, UNIT),
            "last_epochs": _last_epochs(history, "unit"),
        },
    }
    if config.rerank:
        metrics["reranked"] = score_reranked(codes, test_index)
    names = np.array([Path(path).name for path in test_index.path])
    queries = []
    for direction in ("A->B", "B->A"):
        frame = results[direction].per_query
        camera = sorted(test_index.camid.unique())["AB".index(direction[0])]
        normalised = unit[direction].per_query[["AP", "first_match"]].add_prefix("unit_")
        frame = frame.assign(direction=direction, name=names[ids[1] == camera])
        queries.append(pd.concat([frame, normalised], axis=1))

    write_json(folder / "config.json", config.model_dump(mode="json"))
    state_dict = {k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
    write_file(folder / "weights.safetensors", lambda aside: save_file(state_dict, aside))
    arrays = {
        "codes": codes.cpu().numpy(),
        "pids": ids[0],
        "camids": ids[1],
        "orientations": test_index.orientation.to_numpy(),
        "names": names,
    }
    write_file(folder / "codes.npz", lambda aside: np.savez_compressed(aside, **arrays))
    write_text(folder / "queries.csv", pd.concat(queries).to_csv(index=False))
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "manifest.json", _manifest(config, index, halves, state))
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _last_epochs(history: pd.DataFrame, prefix: str) -> dict:
    """Camera A to B, the mean over the last scored epochs, `LAST_EPOCHS` of them or fewer."""
    scored = history.filter(regex=f"^{prefix}_").dropna().tail(LAST_EPOCHS)
    scored = scored.rename(columns=lambda name: name.removeprefix(f"{prefix}_"))
    return {"epochs": len(scored), "A->B": scored.mean().to_dict()}


def _fail(folder, config, index, halves, state, reason: str) -> None:
    """Write the folder of a run that was stopped: no scores and no codes, but why and how far."""
    write_json(folder / "config.json", config.model_dump(mode="json"))
    write_text(folder / "history.csv", pd.DataFrame(state["history"]).to_csv(index=False))
    write_json(folder / "metrics.json", {"protocol": str(Protocol()), "failed": reason})
    manifest = _manifest(config, index, halves, state) | {"failed": reason}
    write_json(folder / "manifest.json", manifest)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _manifest(config, index, halves, state) -> dict:
    train, test = halves
    cuda = torch.cuda.is_available()
    return {
        "config_digest": config.digest(),
        "data_sha256": config.data_sha256,
        "images": {"all": len(index), "train": len(train), "test": len(test)},
        "persons": {"train": int(train.pid.nunique()), "test": int(test.pid.nunique())},
        "code_sha256": code_sha256(),
        "commit": _commit(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "torchvision", "numpy", "reid_lib")},
        },
        "device": torch.cuda.get_device_name() if cuda else f"CPU ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "seconds": round(state["seconds"], 1),
        "resumes": state["resumes"],
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def code_sha256() -> str:
    """SHA-256 of the sources that decide a run's result."""
    digest = hashlib.sha256()
    for name in CODE:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()


def _commit() -> str:
    """The commit of the code, `-dirty` where the work tree differs; empty outside a checkout."""
    here = Path(__file__).parent
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _tell(progress: str, config: RunConfig, line: dict, runs: int) -> None:
    if progress == "lines":
        terms = " ".join(f"{k} {v:.4g}" for k, v in line.items() if k.startswith(("loss", "l_")))
        epoch = f"epoch {line['epoch']:>3}/{config.epochs}"
        say(progress, f"{config.row} split {config.split} {epoch} {terms} {line['seconds']:.1f} s")
    if line["epoch"] == 1 and config.epochs > 1:
        one = line["seconds"] * config.epochs
        whole = f"; {runs} such runs {_duration(one * runs)}" if runs > 1 else ""
        say(progress, f"{config.row}: this run takes about {_duration(one)}{whole}")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
