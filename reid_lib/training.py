"""Training one network (`fit`) and a preset's runs; where data, model, losses, metrics meet."""

import hashlib
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from reid_lib import augment, losses, model
from reid_lib.config import Embedded, Preset, RunConfig
from reid_lib.dataset import WHERE, fingerprint, load_pixels, read_pku, split_persons
from reid_lib.metrics import Protocol, evaluate_cameras
from reid_lib.runs import (
    Run,
    read_run,
    read_runs,
    run_folder,
    write_file,
    write_json,
    write_text,
)

CHECKPOINT_SECONDS = 30
EVALUATION_BATCH = 128
CODE = ("augment", "config", "dataset", "losses", "metrics", "model", "training")  # decide a result


def data_folder(preset: Preset, root: str | Path, progress: bool = False) -> Path:
    """The preset's folder of images; the embedded pedestrians are drawn under `root` if missing.

    Raises:
        ValueError: the preset needs a folder that the user has not named.
    """
    if preset.data is None:
        raise ValueError(f"preset {preset.name} needs the folder of the images (DATA=...). {WHERE}")
    if not isinstance(preset.data, Embedded):
        return preset.data
    folder = Path(root) / f"embedded-{preset.data.persons}-{preset.data.seed}"
    if not folder.is_dir():
        from reid_lib import synthetic  # needed only here, and only once

        synthetic.write_dataset(folder, preset.data.persons, preset.data.seed, progress=progress)
    return folder


def resolve(
    preset: Preset, row: str, split: int, index: pd.DataFrame
) -> tuple[RunConfig, Path | None]:
    """Fill in what decides a run beyond its row: split, data, weights, precision; check all of it.

    Args:
        preset: with the row.
        row: its name.
        split: which split.
        index: the images.
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
    train, test = split_persons(index, split)
    _check_batches(config, train)
    if index.camid.nunique() < 2:
        raise ValueError(f"only camera {index.camid.iloc[0]} in the data; scores need two cameras")
    if test.pid.nunique() < 2:
        raise ValueError(f"{test.pid.nunique()} person to test on; expected at least two")
    filled = {
        "split": split,
        "data_sha256": fingerprint(index),
        "weights_sha256": model.sha256(file) if file else "",
        "precision": _precision(config),
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

    A finished run of the same config is returned as it is; one that was broken off goes on from its
    last checkpoint.

    Args:
        config: complete, as `resolve` returns it.
        index: all images, of which the config's split trains on one half of the persons.
        pixels: (N, 3, H, W) uint8, in the order of the index.
        folder: the run folder.
        weights: the file of the starting weights, unless the start is random.
        progress: "bar" in a notebook, "lines" (one an epoch) when headless, or "none".
        runs: how many runs the preset has, for the estimate after the first epoch.
    Returns:
        The finished run.
    Raises:
        ValueError: the folder holds a run of another config, or the data are too few for a batch.
        FloatingPointError: a loss term is no longer finite; it names epoch and term.
    """
    folder = Path(folder)
    if done := _finished(folder, config):
        return done
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, test = split_persons(index, config.split)
    _check_batches(config, train)
    images = pixels[torch.from_numpy(index.index.get_indexer(train.index))].to(device)
    test_images = pixels[torch.from_numpy(index.index.get_indexer(test.index))].to(device)
    pids = np.unique(train.pid)
    labels = torch.from_numpy(np.searchsorted(pids, train.pid.to_numpy())).to(device)

    with torch.random.fork_rng():  # what the backbone itself draws, such as dropout
        torch.manual_seed(config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        net = model.ReIDNet(config.backbone, len(pids), config.seed)
        if weights:
            model.load_weights(net, weights)
        net = net.to(device, memory_format=torch.channels_last)
        optimiser = torch.optim.Adam(net.parameters(), config.lr, weight_decay=config.weight_decay)
        schedule = _schedule(optimiser, config)
        memory = _start_memory(config, net, images, labels)
        state = {"epoch": 0, "seconds": 0.0, "resumes": 0, "history": []}
        parts = (net, optimiser, schedule, memory, generator)
        if _resume(folder, config, state, *parts):
            say(
                progress, f"{config.row} split {config.split}: goes on after epoch {state['epoch']}"
            )

        saved = time.monotonic()
        epochs = range(state["epoch"] + 1, config.epochs + 1)
        bar = tqdm(epochs, desc=config.row, unit="epoch", disable=progress != "bar")
        for epoch in bar:
            begin = time.monotonic()
            line = {"epoch": epoch, "lr": optimiser.param_groups[0]["lr"]}
            line |= _epoch(config, net, optimiser, memory, images, labels, generator, epoch)
            schedule.step()
            if epoch > config.epochs - config.score_last:
                scores = score(encode(net, test_images), test)["A->B"]
                line |= {f"test_{name}": value for name, value in scores.items()}
            line["seconds"] = time.monotonic() - begin
            state["history"].append(line)
            state["epoch"], state["seconds"] = epoch, state["seconds"] + line["seconds"]
            write_text(folder / "history.csv", pd.DataFrame(state["history"]).to_csv(index=False))
            if time.monotonic() - saved > CHECKPOINT_SECONDS and epoch < config.epochs:
                _checkpoint(folder, config, state, *parts)
                saved = time.monotonic()
            bar.set_postfix(loss=f"{line['loss']:.3f}")
            _tell(progress, config, line, runs)

        net.eval()
        _finish(folder, config, index, net, (train, images), (test, test_images), state)
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
        index = read_pku(data_folder(preset, data_root))
        ready = [(row, split, *resolve(preset, row, split, index)) for row, split in missing]
        for row, split, config, weights in ready:
            pixels = load_pixels(index, config.image_size)
            target = run_folder(results, preset, row, split)
            fit(config, index, pixels, target, weights, progress, len(wanted))
    return read_runs(results, preset)


@torch.no_grad()
def encode(net: model.ReIDNet, images: Tensor) -> Tensor:
    """The codes of uint8 images (N, 3, H, W), in evaluation mode and fp32: (N, D) float."""
    training = net.training
    net.eval()
    codes = [
        net.backbone(augment.normalise(part).contiguous(memory_format=torch.channels_last))
        for part in images.split(EVALUATION_BATCH)
    ]
    net.train(training)
    return torch.cat(codes).float()


def score(codes: Tensor, index: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Scores as fractions for each camera direction and for both, by the default protocol."""
    results = evaluate_cameras(codes.cpu(), index.pid.to_numpy(), index.camid.to_numpy())
    return {direction: result.scores() for direction, result in results.items()}


def say(progress: str, text: str) -> None:
    """Print unless progress is "none"; above a bar where there is one."""
    if progress != "none":
        tqdm.write(text)
        sys.stdout.flush()


def _epoch(config, net, optimiser, memory, images, labels, generator, epoch) -> dict[str, float]:
    """One pass over the training images; the means of what `history.csv` records."""
    net.train()
    sums: dict[str, float] = {}
    batches = list(_batches(config, labels, generator))
    for batch in batches:
        inputs = _augment(config, images[batch], generator)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            codes = net.backbone(inputs)
        codes = codes.float()
        logits = net.classifier(codes)
        terms = _loss_terms(config, codes, logits, labels, batch, memory, net, images)
        loss = sum(weight * term for weight, term in terms.values())

        values = {f"l_{name}": term.item() for name, (_, term) in terms.items()}
        bad = [name for name, value in values.items() if not np.isfinite(value)]
        if bad:
            raise FloatingPointError(
                f"{config.row}: {bad[0]} is {values[bad[0]]} in epoch {epoch}; "
                f"means of this epoch so far: { {k: v / len(batches) for k, v in sums.items()} }"
            )
        for name, (weight, term) in terms.items():
            if term.requires_grad:
                (gradient,) = torch.autograd.grad(weight * term, codes, retain_graph=True)
                values[f"grad_{name}"] = gradient.norm().item()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

        values["loss"] = loss.item()
        values["code_norm"] = codes.detach().norm(dim=1).mean().item()
        if "sr" in terms:
            values["train_accuracy"] = (logits.argmax(1) == labels[batch]).float().mean().item()
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value
    return {name: total / len(batches) for name, total in sums.items()}


def _loss_terms(config, codes, logits, labels, batch, memory, net, images):
    """Each term of the loss as name -> (weight in Eq. 4, value)."""
    persons = labels[batch]
    if config.setting == "htri":
        triplet = losses.batch_hard_triplet_loss(
            codes, persons, config.margin, config.triplet_distance, config.triplet_normalise
        )
        return {"tri": (1.0, triplet)}
    terms = {"sr": (1.0, losses.classification_loss(logits, persons, config.sr_reduction))}
    if config.setting == "set1":
        return terms

    if config.centres == "memory" and config.memory_update == "before":
        memory.update(batch, codes)
    if config.centres == "memory":
        centres = memory.centres()
    elif config.centres == "all":
        centres = losses.person_centres(encode(net, images), labels, logits.shape[1])
    else:
        views = codes if config.centres_gradient else codes.detach()
        centres = losses.person_centres(views, persons, logits.shape[1])
    if config.centres == "memory" and config.memory_update == "after":
        memory.update(batch, codes)

    # Only persons that have a centre yet, and only the batch's own where the sums are over those.
    known = ~centres[:, 0].isnan()
    if config.persons_in_sums == "batch":
        known &= torch.bincount(persons, minlength=len(known)) > 0
    chosen = known[persons]
    if known.sum() < 2 or not chosen.any():
        zero = codes.sum() * 0
        compact = scatter = zero
    else:
        place = known.cumsum(0) - 1  # a person's row among the known centres
        arguments = codes[chosen], place[persons[chosen]], centres[known]
        compact = losses.compact_loss(*arguments)
        scatter = losses.scatter_loss(*arguments) if config.setting == "set3" else None
    terms["cl"] = (config.beta, compact)
    if config.setting == "set3":
        terms["sl"] = (-config.gamma, scatter)
    return terms


def _start_memory(config, net, images, labels) -> losses.CentreMemory | None:
    if config.setting not in ("set2", "set3") or config.centres != "memory":
        return None
    memory = losses.CentreMemory(labels, net.width)
    if config.memory_start == "encoded":
        memory.update(torch.arange(len(labels), device=labels.device), encode(net, images))
    return memory


def _augment(config, images, generator) -> Tensor:
    if config.flip:
        images = augment.flip(images, generator)
    if config.crop == "pad":
        images = augment.pad_and_crop(images, config.crop_pad, generator)
    elif config.crop == "enlarge":
        images = augment.enlarge_and_crop(images, config.crop_enlarge, generator)
    return augment.normalise(images).contiguous(memory_format=torch.channels_last)


def _batches(config: RunConfig, labels: Tensor, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices of each batch of one epoch; an incomplete last batch is dropped.

    Random: a permutation cut into batches.  P persons x K images: each batch takes the persons who
    have most groups of K images left, ties at random.
    """
    labels = labels.cpu()
    steps = len(labels) // config.batch_size
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


def _precision(config: RunConfig) -> str:
    """bf16 where the hardware has it and the network gains: ResNets do, mobilenet_v2 does not."""
    if config.precision != "auto":
        return config.precision
    if torch.cuda.is_available():
        able = torch.cuda.is_bf16_supported()
    else:
        able = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16" if able and config.backbone.startswith("res") else "fp32"


def _schedule(optimiser, config: RunConfig):
    if config.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.epochs)
    return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)


def _finished(folder: Path, config: RunConfig) -> Run | None:
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


def _checkpoint(folder, config, state, net, optimiser, schedule, memory, generator) -> None:
    content = {
        "config": config.model_dump_json(),
        "code_sha256": code_sha256(),
        "state": json.dumps(state),
        "net": net.state_dict(),
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),
        "memory": memory.codes if memory else None,
        "generator": generator.get_state(),
        "global": torch.get_rng_state(),
    }
    write_file(folder / "checkpoint.pt", lambda aside: torch.save(content, aside))


def _resume(folder, config, state, net, optimiser, schedule, memory, generator) -> bool:
    file = folder / "checkpoint.pt"
    if not file.is_file():
        return False
    content = torch.load(file, map_location="cpu", weights_only=True)
    if content["config"] != config.model_dump_json() or content["code_sha256"] != code_sha256():
        tqdm.write(f"{file} is of another configuration or version of the code; starting anew")
        return False
    net.load_state_dict(content["net"])
    optimiser.load_state_dict(content["optimiser"])
    schedule.load_state_dict(content["schedule"])
    if memory:
        memory.codes = content["memory"].to(memory.codes.device)
    generator.set_state(content["generator"])
    torch.set_rng_state(content["global"])
    state |= json.loads(content["state"])
    state["resumes"] += 1
    return True


def _finish(folder, config, index, net, train, test, state) -> None:
    """Score the network on both halves and write the run folder; the manifest comes last."""
    (train_index, train_images), (test_index, test_images) = train, test
    codes = encode(net, test_images)
    ids = test_index.pid.to_numpy(), test_index.camid.to_numpy()
    results = evaluate_cameras(codes.cpu(), *ids)
    history = pd.DataFrame(state["history"])
    scored = history.filter(like="test_").dropna().rename(columns=lambda c: c.removeprefix("test_"))
    metrics = {
        "protocol": str(Protocol()),
        "test": {direction: result.scores() for direction, result in results.items()},
        "train": score(encode(net, train_images), train_index),
        "last_epochs": {"epochs": len(scored), "A->B": scored.mean().to_dict()},
    }
    names = np.array([Path(path).name for path in test_index.path])
    queries = []
    for direction in ("A->B", "B->A"):
        frame = results[direction].per_query
        camera = sorted(test_index.camid.unique())["AB".index(direction[0])]
        queries.append(frame.assign(direction=direction, name=names[ids[1] == camera]))

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
    write_json(folder / "manifest.json", _manifest(config, index, train_index, test_index, state))
    (folder / "checkpoint.pt").unlink(missing_ok=True)


def _manifest(config, index, train, test, state) -> dict:
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
