"""Time and memory of `reid_lib.metrics.rerank` beside torchreid's, as a Markdown table.

    python benchmarks/reranking.py --torchreid DIR --output FILE

DIR is a checkout of github.com/KaiyangZhou/deep-person-reid. An installed package is found without
it; without either, its rows are skipped and that is said.

One thread; medians of runs that take turns in one process; all from codes to re-ranked distances,
on simulated codes, with k1 = 20, k2 = 6 and lambda = 0.3. Memory is the peak that one run adds to
a process of its own that holds the codes.
"""

import argparse
import importlib.util
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy
import torch
from metrics import SIZES, Size, added_peak, clock, load, processor, simulate, turns
from threadpoolctl import threadpool_limits

from reid_lib.metrics import rerank

SIZES = {
    "pku": SIZES["pku"],
    "middle": Size("simulated", 1000, 5000, 250, 6, 0.45, 5),
    "market": SIZES["market"],
    "tiny": SIZES["tiny"],
}


def ours(q, g, *ids) -> np.ndarray:
    return rerank(q, g).numpy()


def product(q, g, *ids) -> None:
    """What no way around all distances can save: every image's product with every other."""
    codes = torch.cat([q, g])
    for part in codes.split(256):
        torch.mm(part, codes.T)


def torchreid(folder: Path | None) -> Callable | None:
    """Distances and re-ranking as published, in the order of its engine, loaded file by file."""
    spec = None if folder else importlib.util.find_spec("torchreid")
    root = folder / "torchreid" if folder else Path(spec.origin).parent if spec else None
    if root is None or not (root / "utils" / "rerank.py").exists():
        return None
    distance = load("torchreid_distance", root / "metrics" / "distance.py").compute_distance_matrix
    re_ranking = load("torchreid_rerank", root / "utils" / "rerank.py").re_ranking

    def run(q, g, *ids) -> np.ndarray:
        distmat = distance(q, g).numpy()
        return re_ranking(distmat, distance(q, q).numpy(), distance(g, g).numpy())

    return run


def medians(
    candidates: dict[str, Callable], data: tuple, rounds: int
) -> tuple[dict[str, float], float]:
    """Seconds of each, and how far at most any re-ranked distance is from reid_lib's."""
    results = {name: run(*data) for name, run in candidates.items()}
    apart = [np.abs(results["reid_lib"] - r).max() for r in results.values() if r is not None]
    if max(apart) > 1e-3:  # rounding may swap two neighbours of one image, and no more
        raise ValueError(
            f"the candidates' distances differ by {max(apart)}; no time means anything"
        )
    del results
    return turns(candidates, data, rounds), float(max(apart))


def in_process(folder: Path | None, name: str, key: str) -> float:
    """`added_peak` in a process of its own; NaN where the system does not tell."""
    if not Path("/proc/self/clear_refs").exists():
        return float("nan")
    command = [sys.executable, __file__, "--peak", name, key]
    command += ["--torchreid", str(folder)] if folder else []
    out = subprocess.run(command, capture_output=True, text=True)
    if out.returncode:
        print(f"{name}: {out.stderr.strip()[-200:] or 'killed'}", file=sys.stderr)
        return float("nan")
    return float(out.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--torchreid", type=Path, help="checkout of deep-person-reid")
    parser.add_argument("--sizes", nargs="+", default=["pku", "middle", "market"], choices=SIZES)
    parser.add_argument(
        "--whole", action="store_true", help="torchreid at market's size too: minutes, 9 GB"
    )
    parser.add_argument("--rounds", type=int, help="rounds of turns at every size")
    parser.add_argument("--output", type=Path, help="write the table here too")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)

    peer = torchreid(options.torchreid)
    everyone = {"reid_lib": ours, "matrix product only (torch)": product}
    everyone |= {"torchreid": peer} if peer else {}

    with threadpool_limits(1):
        if options.peak:
            name, key = options.peak
            print(added_peak(everyone[name], SIZES[key]))
            return

        lines = [
            f"{processor()}, 1 thread; Python {platform.python_version()}, torch "
            f"{torch.__version__}, NumPy {np.__version__}, SciPy {scipy.__version__}."
        ]
        lines += [] if peer else ["Skipped: torchreid (not found)."]
        lines += ["", "| size | from codes to re-ranked distances | median | reid_lib's speed-up |"]
        lines[-1] += (
            " additional peak memory | memory of reid_lib / torchreid | largest difference |"
        )
        lines += ["| --- | --- | ---: | ---: | ---: | ---: | ---: |"]
        for key in options.sizes:
            size = SIZES[key]
            part = dict(everyone)
            if key == "market" and not options.whole:
                part.pop("torchreid", None)
            seconds, apart = medians(part, simulate(size), options.rounds or size.rounds)
            peaks = {name: in_process(options.torchreid, name, key) for name in part}
            title = f"{size.title}, {size.queries:,} + {size.gallery:,}, {size.dim}-d"
            for name, value in seconds.items():
                cells = [title, name, clock(value), "", f"{peaks[name]:,.0f} MB", "", ""]
                if name != "reid_lib":
                    cells[3] = f"{value / seconds['reid_lib']:.2f} x"
                if name == "torchreid":
                    cells[5:] = [f"{peaks['reid_lib'] / peaks[name]:.2g}", f"{apart:.0e}"]
                lines.append(f"| {' | '.join(cells)} |")
                title = ""
    table = "\n".join(lines) + "\n"
    print(table, end="")
    if options.output:
        options.output.write_text(table)


if __name__ == "__main__":
    main()
