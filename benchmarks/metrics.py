"""Time and memory of `reid_lib.metrics.evaluate` beside its peers, as a Markdown table.

    python benchmarks/metrics.py --torchreid DIR --fastreid DIR --output FILE

DIR is a checkout of github.com/KaiyangZhou/deep-person-reid or github.com/JDAI-CV/fast-reid, its
Cython built in place (`python setup.py build_ext --inplace` in its `rank_cylib`). An installed
package is found without it; what is missing is skipped and said so.

One thread; medians of runs that take turns in one process, after a turn that is not counted (the
largest sizes have one turn: peers take minutes); all from codes to scores, on simulated
codes. Memory is the peak that one run adds to a process of its own that holds the codes.
"""

import argparse
import importlib.util
import platform
import re
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from reid_lib.metrics import Protocol, evaluate

PROTOCOL = Protocol(unmatched="drop", ranks=(1, 5, 10, 20))


@dataclass(frozen=True)
class Size:
    title: str
    queries: int
    gallery: int
    persons: int
    cameras: int
    signal: float  # between persons, in units of the noise: chosen for scores of middling quality
    rounds: int
    dim: int = 512


SIZES = {
    "pku": Size("PKU-ReID", 456, 456, 57, 2, 0.25, 51),
    "market": Size("Market-1501", 3368, 15913, 751, 6, 0.45, 3),
    "msmt": Size("MSMT17", 11659, 82161, 3060, 15, 0.45, 1),
    "tiny": Size("trial", 60, 400, 20, 3, 0.4, 3, 32),
}
GROWTH = Size("", 1000, 125_000, 7000, 6, 0.45, 1)


def simulate(size: Size) -> tuple:
    """Codes and ids: a centre a person, noise an image. Queries precede the gallery."""
    rng = np.random.default_rng(0)
    centres = size.signal * rng.standard_normal((size.persons, size.dim), dtype=np.float32)
    if size.cameras == 2:  # PKU-ReID: eight images a camera, one camera queries the other
        pids = [np.repeat(np.arange(size.persons), 8)] * 2
        camids = [np.zeros(size.queries, int), np.ones(size.gallery, int)]
    else:
        counts = size.queries, size.gallery
        pids = [rng.integers(0, size.persons, n) for n in counts]
        camids = [rng.integers(0, size.cameras, n) for n in counts]
    codes = []
    for side in pids:
        codes.append(torch.from_numpy(rng.standard_normal((len(side), size.dim), np.float32)))
        for rows in np.array_split(np.arange(len(side)), -(-len(side) // 10_000)):
            codes[-1][rows[0] : rows[-1] + 1] += torch.from_numpy(centres[side[rows]])
    return (*codes, *pids, *camids)


# --- what takes part: each from (q, g, q_pids, g_pids, q_camids, g_camids) to mAP or nothing -----


def ours(q, g, *ids) -> float:
    return evaluate(q, g, *ids, PROTOCOL).mAP


def torch_product(q, g, *ids) -> None:
    torch.mm(q, g.T)


def numpy_product(q, g, *ids) -> None:
    np.matmul(q.numpy(), g.numpy().T)


def load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def peers(folders: dict[str, Path | None]) -> tuple[dict[str, Callable], list[str]]:
    """Peers' evaluation and distance as published, loaded file by file, and what is missing."""
    found, missing = {}, []
    for package, folder in folders.items():
        spec = None if folder else importlib.util.find_spec(package)
        root = folder / package if folder else Path(spec.origin).parent if spec else None
        inside = {"torchreid": "metrics", "fastreid": "evaluation"}[package]
        if root is None or not (root / inside / "rank.py").exists():
            missing.append(f"{package} (not found)")
            continue
        version = re.search(r"__version__ = ['\"](.+?)['\"]", (root / "__init__.py").read_text())
        title = f"{package} {version[1]}"
        compiled = sorted((root / inside / "rank_cylib").glob("rank_cy*.so"))
        if compiled:
            found[f"{title}, Cython"] = peer(load("rank_cy", compiled[0]).evaluate_cy)
        else:
            missing.append(f"{title}'s Cython (not built)")
        if package == "torchreid":
            # Its Python stands in the same file; the compiled module is of no use to it here.
            text = (root / inside / "rank.py").read_text()
            module = ModuleType("torchreid_rank")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that its Cython is unavailable
                exec(compile(text, "rank.py", "exec"), module.__dict__)
            found[f"{title}, Python"] = peer(
                lambda *args, module=module: module.evaluate_py(*args, False)
            )
    return found, missing


def peer(score: Callable) -> Callable:
    def run(q, g, *ids) -> float:
        # Squared Euclidean distances as torchreid and fast-reid both write them.
        m, n = len(q), len(g)
        sq = q.pow(2).sum(1, keepdim=True).expand(m, n) + g.pow(2).sum(1).expand(m, n)
        sq.addmm_(q, g.T, beta=1, alpha=-2)
        return float(np.mean(score(sq.numpy(), *ids, 50)[1]))

    return run


# --- how it is measured -------------------------------------------------------------------------


def medians(candidates: dict[str, Callable], data: tuple, rounds: int) -> dict[str, float]:
    results = {name: run(*data) for name, run in candidates.items()}
    scores = {name: value for name, value in results.items() if value is not None}
    if max(scores.values()) - min(scores.values()) > 1e-5:
        raise ValueError(f"the candidates disagree on mAP: {scores}; no time means anything.")
    return turns(candidates, data, rounds)


def turns(candidates: dict[str, Callable], data: tuple, rounds: int) -> dict[str, float]:
    """The median seconds of each, run in turn."""
    seconds = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            start = time.perf_counter()
            run(*data)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def added_peak(run: Callable, size: Size) -> float:
    """MB that one run adds at its peak to what the codes take. Linux only."""
    run(*simulate(SIZES["tiny"]))  # what libraries allocate once is not counted
    data = simulate(size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from here
    before = memory("VmRSS")
    run(*data)
    return memory("VmHWM") - before


def memory(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s+(\d+)", status)[1]) / 1024


def in_process(arguments: list[str], name: str, size: Size) -> float:
    """`added_peak` in a process of its own; NaN where the system does not tell."""
    if not Path("/proc/self/clear_refs").exists():
        return float("nan")
    command = [sys.executable, __file__, *arguments, "--peak", name, repr(size)]
    out = subprocess.run(command, capture_output=True, text=True)
    if out.returncode:
        print(f"{name}: {out.stderr.strip()[-200:] or 'killed'}", file=sys.stderr)
        return float("nan")
    return float(out.stdout.split()[-1])


def processor() -> str:
    info = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    return named[1] if named else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--torchreid", type=Path, help="checkout of deep-person-reid")
    parser.add_argument("--fastreid", type=Path, help="checkout of fast-reid")
    parser.add_argument("--sizes", nargs="+", default=["pku", "market", "msmt"], choices=SIZES)
    text = "instead of the sizes: galleries of so many times 125,000 images (1 2 4 8)"
    parser.add_argument("--growth", nargs="*", type=int, metavar="N", help=text)
    parser.add_argument("--rounds", type=int, help="rounds of turns at every size")
    parser.add_argument("--output", type=Path, help="write the table here too")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    growth = [] if options.growth is None else options.growth or [1, 2, 4, 8]
    sizes = [] if growth else options.sizes
    torch.set_num_threads(1)

    folders = {"torchreid": options.torchreid, "fastreid": options.fastreid}
    found, missing = peers(folders)
    products = {
        "matrix product only (torch)": torch_product,
        "matrix product only (NumPy)": numpy_product,
    }
    everyone = {"reid_lib": ours} | products | found
    passed = [part for name, path in folders.items() if path for part in (f"--{name}", str(path))]

    with threadpool_limits(1):
        if options.peak:
            name, size = options.peak
            print(added_peak(everyone[name], eval(size, {"Size": Size})))
            return

        lines = [
            f"{processor()}, 1 thread; Python {platform.python_version()}, "
            f"torch {torch.__version__}, NumPy {np.__version__}."
        ]
        lines += [f"Skipped: {', '.join(missing)}."] if missing and sizes else []
        if sizes:
            lines += [
                "",
                "| size | from codes to scores | median | reid_lib's speed-up "
                "| additional peak memory |",
            ]
            lines += ["| --- | --- | ---: | ---: | ---: |"]
        for key in sizes:
            size = SIZES[key]
            # In Python alone the largest size takes many minutes.
            part = {n: f for n, f in everyone.items() if key != "msmt" or "Python" not in n}
            seconds = medians(part, simulate(size), options.rounds or size.rounds)
            title = f"{size.title}, {size.queries:,} x {size.gallery:,}, {size.dim}-d"
            for name, value in seconds.items():
                ratio = "" if name == "reid_lib" else f"{value / seconds['reid_lib']:.2f} x"
                peak = in_process(passed, name, size)
                lines.append(f"| {title} | {name} | {clock(value)} | {ratio} | {peak:,.0f} MB |")
                title = ""
        if growth:
            lines += [
                "",
                "| gallery | queries | seconds | time per million pairs | additional peak memory |",
            ]
            lines += ["| ---: | ---: | ---: | ---: | ---: |"]
        for factor in growth:
            grown = {"gallery": GROWTH.gallery * factor, "persons": GROWTH.persons * factor}
            size = Size(**{**vars(GROWTH), **grown})
            rounds = options.rounds or size.rounds
            value = medians({"reid_lib": ours}, simulate(size), rounds)["reid_lib"]
            pairs = size.queries * size.gallery / 1e6
            lines.append(
                f"| {size.gallery:,} | {size.queries:,} | {value:.2f} | {clock(value / pairs)} | "
                f"{in_process(passed, 'reid_lib', size):,.0f} MB |"
            )
    table = "\n".join(lines) + "\n"
    print(table, end="")
    if options.output:
        options.output.write_text(table)


def clock(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


if __name__ == "__main__":
    main()
