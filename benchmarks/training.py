"""What training costs beside its minimal parts and beside peers, as Markdown tables.

    python benchmarks/training.py --torchreid DIR --real DIR --output FILE

--torchreid is a checkout of github.com/KaiyangZhou/deep-person-reid, skipped and said so where it
is missing; --real a folder in PKU-ReID's layout, synthetic persons where it is missing. Medians of
turns that alternate in one process, on every core.
"""

import argparse
import contextlib
import functools
import importlib.util
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from metrics import processor  # the script beside
from PIL import Image
from pytorch_metric_learning import losses as peers
from pytorch_metric_learning import miners
from torch.utils.data import DataLoader, Dataset

from reid_lib import augment, losses, model
from reid_lib.config import Preset, RunConfig
from reid_lib.dataset import load_pixels, read_pku, split_persons
from reid_lib.engine import cuda_graph
from reid_lib.engine.files import write_text
from reid_lib.engine.prepare import resolve
from reid_lib.engine.process import disable_malloc_trim
from reid_lib.metrics import evaluate_cameras
from reid_lib.model import encode
from reid_lib.pedestrians import write_dataset
from reid_lib.training import fit

BATCH, HEIGHT, WIDTH = 32, 128, 48


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--torchreid", type=Path)
    parser.add_argument("--real", type=Path, help="instead of synthetic persons")
    parser.add_argument("--output", type=Path, help="write the tables here too")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    disable_malloc_trim()  # as `fit` does, for all that is compared
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    lines = [f"{device}, {torch.get_num_threads()} threads; torch {torch.__version__}.", ""]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        data = options.real
        if data is None:
            data = folder / "drawn"
            write_dataset(data, 74, 0, workers=os.cpu_count())
        for part in options.parts:
            lines += [*PARTS[part](options, data, folder), ""]
    print("\n".join(lines))
    if options.output:
        write_text(options.output, "\n".join(lines))


def medians(candidates: dict[str, Callable], rounds: int, quiet: int = 1) -> dict[str, float]:
    """Seconds of each, run by turns; the first turns are not counted."""
    seconds = {name: [] for name in candidates}
    for number in range(rounds + quiet):
        for name, run in candidates.items():
            begin = time.perf_counter()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if number >= quiet:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]


# --- a batch, from the disk to the network --------------------------------------------------------


class Images(Dataset):
    """torchreid's route: each image is opened, converted and transformed when it is asked for."""

    def __init__(self, paths, transform):
        self.paths, self.transform = paths, transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        return self.transform(Image.open(self.paths[i]).convert("RGB"))


def batches(options, data: Path, _) -> list[str]:
    """One pass over the training images: flip, enlarge and crop, normalise; batches of 32."""
    if options.torchreid is None:
        return ["Skipped: torchreid's DataLoader (no --torchreid)."]
    file = options.torchreid / "torchreid" / "data" / "transforms.py"
    spec = importlib.util.spec_from_file_location("transforms", file)
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    with contextlib.redirect_stdout(io.StringIO()):
        transform, _ = theirs.build_transforms(HEIGHT, WIDTH, ["random_flip", "random_crop"])
    train, _ = split_persons(read_pku(data), 0)
    loader = DataLoader(Images(list(train.path), transform), BATCH, shuffle=True, drop_last=True)
    pixels, generator = load_pixels(train), torch.Generator().manual_seed(0)
    config = RunConfig(row="r", setting="set1", crop="enlarge")

    def ours():
        for batch in torch.randperm(len(pixels), generator=generator).split(BATCH):
            augment.augment(config, pixels.index_select(0, batch), generator)

    def torchreid():
        for _ in loader:
            pass

    seconds = medians({"reid_lib": ours, "torchreid": torchreid}, 9)
    rate = {name: f"{len(train) / value:,.0f}" for name, value in seconds.items()}
    ratio = f"{seconds['torchreid'] / seconds['reid_lib']:.1f} x"
    head = ["flip, enlarge, crop, normalise; 128 x 48, batches of 32", "images/s"]
    rows = [
        ["reid_lib: one uint8 tensor, a batch at once", rate["reid_lib"], ""],
        ["torchreid's transforms in a DataLoader without workers", rate["torchreid"], ratio],
    ]
    return table([*head, "reid_lib's speed-up"], rows)


# --- a step, an epoch, a run ----------------------------------------------------------------------


def bare_step(backbone: str, precision: str, persons: int = 37) -> Callable:
    """Forward, cross-entropy, backward, Adam on a batch that lies ready: nothing else."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = model.ReIDNet(backbone, persons).to(device, memory_format=torch.channels_last)
    capturable = device == "cuda"
    optimiser = torch.optim.Adam(net.parameters(), 2e-4, weight_decay=5e-4, capturable=capturable)
    images = torch.randn(BATCH, 3, HEIGHT, WIDTH, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.randint(persons, (BATCH,), device=device)

    def step():
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
            codes = net.backbone(images)
        loss = F.cross_entropy(net.classifier(codes.float()), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def steps(options, data, folder) -> list[str]:
    """Steps of each network in both precisions."""
    rows = []
    for backbone in ("resnet18", "resnet50", "mobilenet_v2"):
        seconds = medians({kind: bare_step(backbone, kind) for kind in ("fp32", "bf16")}, 9)
        cells = [f"{1 / seconds[kind]:.2f}" for kind in ("fp32", "bf16")]
        rows.append([backbone, *cells, f"{seconds['fp32'] / seconds['bf16']:.2f} x"])
    head = ["minimal step (classification loss on fixed images), batch of 32"]
    return table([*head, "fp32, steps/s", "bf16, steps/s", "speed-up of bf16"], rows)


def epochs(options, data: Path, folder: Path) -> list[str]:
    """Whole epochs of `fit`, everything included, beside as many minimal steps."""
    index = read_pku(data)
    pixels = load_pixels(index)
    rows = []
    for backbone, setting, precision in (
        ("resnet18", "set1", "auto"),
        ("resnet18", "set3", "auto"),
        ("mobilenet_v2", "set3", "auto"),
    ):
        row = {"row": "r", "setting": setting, "backbone": backbone, "start": "random"}
        row = RunConfig(**row, epochs=6, precision=precision)
        preset = Preset(name="b", title="b", data=data, rows=(row,))
        config, _ = resolve(preset, "r", 0, index)
        step = bare_step(backbone, config.precision)
        count = len(split_persons(index, 0)[0]) // BATCH
        before = medians({"step": step}, 20)["step"]
        place = folder / f"{backbone}-{setting}"
        history = fit(config, index, pixels, place, progress="none").history
        bare = (before + medians({"step": step}, 20)["step"]) / 2
        epoch = history.seconds[1:-1].median()  # the first warms up, the last is scored
        cells = [config.precision, f"{1000 * bare:.0f} ms", f"{1000 * epoch / count:.0f} ms"]
        rows.append([f"{backbone}, {setting}", *cells, f"{epoch / (count * bare):.2f}"])
    head = ["`fit`", "precision chosen by auto", "minimal step", "step within an epoch"]
    head += ["step within an epoch / minimal step"]
    return table(head, rows)


def run(options, data: Path, folder: Path) -> list[str]:
    """A run of 40 epochs with its start, scores and files, beside as many minimal steps."""
    index = read_pku(data)
    row = {"row": "r", "setting": "set2", "backbone": "mobilenet_v2", "start": "random"}
    row = RunConfig(**row, epochs=40, precision="fp32")
    config, _ = resolve(Preset(name="b", title="b", data=data, rows=(row,)), "r", 0, index)
    step = bare_step("mobilenet_v2", "fp32")
    pixels = load_pixels(index)
    before = medians({"step": step}, 40)["step"]
    seconds = fit(config, index, pixels, folder / "run", progress="none").manifest["seconds"]
    bare = (before + medians({"step": step}, 40)["step"]) / 2
    count = config.epochs * (len(split_persons(index, 0)[0]) // BATCH)
    head = ["mobilenet_v2, set2, 40 epochs", "steps", "as many minimal steps", "the run"]
    head += ["the run / minimal steps"]
    cells = [f"{count * bare:.0f} s", f"{seconds:.0f} s", f"{seconds / (count * bare):.2f}"]
    return table(head, [[f"{len(index)} images", str(count), *cells]])


def graphs(options, data: Path, folder: Path) -> list[str]:
    """On a GPU: steps as they are, as one CUDA graph, within `fit`; and the paper's 300 epochs."""
    if not torch.cuda.is_available():
        return ["Skipped: steps as CUDA graphs, and 300 epochs (no CUDA device)."]
    plain = bare_step("resnet18", "bf16")
    replay, _ = cuda_graph._record(lambda: plain() or {})
    seconds = medians({"plain": plain, "graph": replay}, 201)
    index = read_pku(data)
    row = {"row": "r", "setting": "set3", "backbone": "resnet18", "start": "random"}
    row = RunConfig(**row, epochs=300, precision="bf16", cuda_graph=True)
    config, _ = resolve(Preset(name="b", title="b", data=data, rows=(row,)), "r", 0, index)
    run = fit(config, index, load_pixels(index), folder / "graphs", progress="none")
    count = len(split_persons(index, 0)[0]) // BATCH
    seconds["fit, set3"] = run.history.seconds[1:-1].median() / count
    head = ["resnet18, bf16, batch of 32, on the GPU", "steps/s", "speed / graph's speed"]
    rows = [
        [name, f"{1 / value:,.0f}", f"{seconds['graph'] / value:.2f}"]
        for name, value in seconds.items()
    ]
    whole = f"{config.epochs} epochs of {count} steps: {run.manifest['seconds']} s in all."
    return [*table(head, rows), "", whole]


# --- codes ----------------------------------------------------------------------------------------


def codes(options, data: Path, folder: Path) -> list[str]:
    """Extraction with folded batch norm and in bf16 beside the plain network, and its scores."""
    index = read_pku(data)
    _, test = split_persons(index, 0)
    pixels = load_pixels(index)
    test_pixels = pixels[torch.tensor(test.index)]
    ids = test.pid.to_numpy(), test.camid.to_numpy()
    rows = []
    for backbone in ("resnet18", "mobilenet_v2"):
        row = {"row": "r", "setting": "set1", "backbone": backbone, "start": "random"}
        row = RunConfig(**row, epochs=10, precision="auto")
        preset = Preset(name="b", title="b", data=data, rows=(row,))
        config, _ = resolve(preset, "r", 0, index)
        run = fit(config, index, pixels, folder / f"codes-{backbone}", progress="none")
        net = model.ReIDNet(backbone, persons=2)
        model.load_weights(net, run.folder / "weights.safetensors")
        net = net.to(memory_format=torch.channels_last).eval()

        @torch.no_grad()
        def plain(net=net):
            parts = test_pixels.split(128)
            return torch.cat([net.backbone(augment.normalise(part)) for part in parts])

        ways = {"plain fp32": plain}

        def folded(kind, net=net):
            net.precision = kind
            return encode(net, test_pixels)

        for kind in ("fp32", "bf16"):
            ways[f"folded {kind}"] = functools.partial(folded, kind)
        seconds = medians(ways, 5)
        for name, way in ways.items():
            result = evaluate_cameras(way(), *ids)["A->B"]
            cells = [f"{len(test) / seconds[name]:,.0f}"]
            cells += [f"{seconds['plain fp32'] / seconds[name]:.2f} x"]
            cells += [f"{100 * result.rank[1]:.1f}", f"{100 * result.mAP:.2f}"]
            rows.append([f"{backbone}, {name}", *cells])
    head = "codes of the test images, after 10 epochs from random weights"
    square = torch.randn(2048, 2048)
    squares = {str(kind): square.to(kind) for kind in (torch.float32, torch.bfloat16)}
    seconds = medians({kind: lambda x=x: x @ x for kind, x in squares.items()}, 9)
    most = seconds["torch.float32"] / seconds["torch.bfloat16"]
    limit = (
        f"Upper bound from arithmetic alone: this processor multiplies two 2,048 x 2,048 matrices "
        f"{most:.2f} times as fast in bf16 as in fp32."
    )
    return [
        *table([head, "images/s", "speed", "rank-1", "mAP"], rows),
        "",
        limit,
    ]


# --- losses ---------------------------------------------------------------------------------------


def naive(x, labels, centres) -> torch.Tensor:
    """Eq. 2 and 3 as they are written, sum by sum."""
    compact = scatter = torch.zeros(())
    for i, p in enumerate(labels.tolist()):
        others = [j for j in range(len(centres)) if j != p]
        radius = min((centres[p] - centres[j]).norm() for j in others) / 2
        compact = compact + torch.relu((x[i] - centres[p]).square().sum() - radius**2) / 2
        for j in others:
            scatter = scatter + (x[i] - centres[j]).square().sum() / 2
    return 5e-5 * compact - 1e-6 * scatter


def ours(x, labels, centres) -> torch.Tensor:
    compact = losses.compact_loss(x, labels, centres)
    return 5e-5 * compact - 1e-6 * losses.scatter_loss(x, labels, centres)


def terms(*_) -> list[str]:
    """Compact and scatter loss, forward and backward, beside loops and beside a triplet step."""
    head = ["compact and scatter loss, forward and backward", "reid_lib"]
    head += [f"pytorch-metric-learning {version('pytorch-metric-learning')}'s triplet step"]
    head += ["naive loops", "time / triplet loss", "time of loops / reid_lib"]
    return table(head, [_terms(32, 201), _terms(2048, 9)])


def _terms(batch: int, rounds: int, persons: int = 57) -> list[str]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 512, generator=generator).requires_grad_()
    labels = torch.randint(persons, (batch,), generator=generator)
    pairs = torch.arange(batch) // 4  # a triplet loss needs several images a person
    centres = torch.randn(persons, 512, generator=generator)
    miner, triplet = miners.BatchHardMiner(), peers.TripletMarginLoss(margin=0.3)
    ways = {
        "ours": lambda: ours(x, labels, centres).backward(),
        "triplet": lambda: triplet(x, pairs, miner(x, pairs)).backward(),
    }
    seconds = medians(ways, rounds, quiet=5)
    seconds |= medians({"loops": lambda: naive(x, labels, centres).backward()}, 1)
    cells = [f"{1000 * seconds[name]:,.2f} ms" for name in ("ours", "triplet", "loops")]
    cells.append(f"{seconds['ours'] / seconds['triplet']:.2f} x")
    cells.append(f"{seconds['loops'] / seconds['ours']:,.0f} x")
    return [f"{batch:,} codes, 512 wide, {persons} persons", *cells]


PARTS = {
    "batches": batches,
    "steps": steps,
    "epochs": epochs,
    "run": run,
    "graphs": graphs,
    "codes": codes,
    "losses": terms,
}

if __name__ == "__main__":
    main()
