"""Exact search beside an index with product quantisation, in large galleries, as a Markdown table.

    python benchmarks/search.py --work DIR --sizes 100000 1000000 10000000 --output FILE

DIR gets the simulated codes, as half-precision files that are read memory-mapped (1 KB per code),
and the index of faiss. One thread; every measurement is a process of its own.

The codes have the spread of real ones. In 512 codes per image of a ResNet-18 that was trained on 37
persons of PKU-ReID, of 750 persons of Market-1501, the variance along the i-th principal axis falls
as i^-1.6 between persons and as i^-1.0 within them. There, 38 % of the variance is between persons;
the simulation takes 70 %, as of a network that knows its domain, so that scores are middling.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import faiss
import numpy as np
import torch
from metrics import processor
from threadpoolctl import threadpool_limits

from reid_lib.scoring.search import build_index, search

WIDTH, IMAGES, BLOCK, BETWEEN = 512, 20, 50_000, 0.7
QUERIES, K = 1000, 100
METHODS = ("exact", "index")
HEAD = """\
| codes | search | queries/s | memory | file | building time and memory | recall@10 | mAP@100 |
| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"""


def simulate(file: Path, size: int) -> None:
    """Write gallery codes, 20 in turn of each person, and one query each of some persons."""
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]  # no axis is a dimension
    axes = []
    for power, share in ((1.6, BETWEEN), (1.0, 1 - BETWEEN)):
        variance = np.arange(1, WIDTH + 1.0) ** -power
        axes.append((np.sqrt(share * variance / variance.sum())[:, None] * turned).astype("f4"))
    each, queries, persons = QUERIES * BLOCK // size, [], []
    codes = np.lib.format.open_memmap(file, "w+", np.float16, (size, WIDTH))
    for first in range(0, size, BLOCK):
        centres = rng.standard_normal((BLOCK // IMAGES, WIDTH), np.float32) @ axes[0]
        noise = rng.standard_normal((BLOCK + each, WIDTH), np.float32) @ axes[1]
        codes[first : first + BLOCK] = np.repeat(centres, IMAGES, 0) + noise[:BLOCK]
        queries.append(centres[:each] + noise[BLOCK:])
        persons.append(first // IMAGES + np.arange(each))
    np.savez(file.with_suffix(".npz"), codes=np.concatenate(queries), pids=np.concatenate(persons))


class Peak(threading.Thread):
    """The most memory that this process holds, without pages of files that it maps, in MB."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.going = self.now(), True
        self.start()

    @staticmethod
    def now() -> float:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) / 1024

    def run(self):
        while self.going:
            self.most = max(self.most, self.now())
            time.sleep(0.01)

    def stop(self) -> float:
        self.going = False
        return self.most


def measure(method: str, file: Path) -> None:
    """Search once; print what it took, and leave the rows that were found."""
    codes, query = np.load(file, mmap_mode="r"), np.load(file.with_suffix(".npz"))
    place, index = file.with_suffix(".faiss"), None
    peak, start = Peak(), time.perf_counter()
    if method == "build":
        faiss.write_index(build_index(codes), str(place))
    elif method == "index":
        index, start = faiss.read_index(str(place)), time.perf_counter()
    if method != "build":
        _, rows = search(query["codes"], codes, K, index=index)
        np.save(file.with_suffix(f".{method}.npy"), rows)
    took = {"seconds": time.perf_counter() - start, "memory": peak.stop()}
    print(json.dumps(took))


def scores(file: Path) -> dict[str, tuple[float, float]]:
    """Of each method: the part of the ten nearest that it finds, and mAP of the first 100."""
    pids, found = np.load(file.with_suffix(".npz"))["pids"], {}
    rows = {method: np.load(file.with_suffix(f".{method}.npy")) for method in METHODS}
    nearest = rows["exact"][:, :10]
    for method, ranked in rows.items():
        recall = np.mean([np.isin(a, b[:10]).mean() for a, b in zip(nearest, ranked, strict=True)])
        hits = (ranked // IMAGES == pids[:, None]) & (ranked >= 0)
        precision = hits.cumsum(1) / np.arange(1, K + 1)
        found[method] = recall, (precision * hits).sum(1).mean() / IMAGES
    return found


def lines(file: Path, size: int) -> list[str]:
    took = {}
    for method in ("exact", "build", "index"):
        command = [sys.executable, __file__, "--one", method, "--work", str(file)]
        out = subprocess.run(command, capture_output=True, text=True, check=True)
        took[method] = json.loads(out.stdout)
    queries, cells = len(np.load(file.with_suffix(".npz"))["pids"]), []
    for method, (recall, ap) in scores(file).items():
        part, stored = took[method], file.stat().st_size
        built = ""
        if method == "index":
            stored, built = file.with_suffix(".faiss").stat().st_size, took["build"]["seconds"]
            built = f"{built:,.0f} s, {took['build']['memory']:,.0f} MB"
        cells.append(
            f"| {size:,} | {method} | {queries / part['seconds']:,.1f} | {part['memory']:,.0f} MB "
            f"| {stored / 2**20:,.0f} MB | {built} | {100 * recall:.1f} | {100 * ap:.2f} |"
        )
    return cells


def outlook(exact: str, index: str) -> list[str]:
    """Extrapolate to 10^8 codes from the last two rows: one machine, and ten with a tenth each.

    Time and size grow with the codes per machine, as the number of lists has reached its limit.
    """
    rows = [[re.sub(r"[^\d.]", "", cell) for cell in row.split("|")[1:7]] for row in (exact, index)]
    (size, _, rate, _, codes, _), (_, _, index_rate, _, stored, _) = rows
    text = [
        "",
        "| 10^8 codes, extrapolated | exact, s per query | index, s per query | index in memory "
        "| codes on disk |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for machines in (1, 10):
        times = 10**8 / machines / int(size)
        text.append(
            f"| {machines} machine{'s, each' if machines > 1 else ''} | {times / float(rate):.2f} "
            f"| {times / float(index_rate):.3f} | {times * int(stored) / 1024:.1f} GB "
            f"| {times * int(codes) / 1024:.1f} GB |"
        )
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="gets codes and indexes")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10**5, 10**6])
    parser.add_argument("--output", type=Path, help="write the table here too")
    parser.add_argument("--note", default="", help="a sentence about the machine")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        faiss.omp_set_num_threads(1)
        if options.one:
            measure(options.one, options.work)
            return
        text = [
            f"{processor()}, 1 thread; Python {platform.python_version()}, torch "
            f"{torch.__version__}, faiss {faiss.__version__}. {options.note}".strip(),
            "",
            HEAD,
        ]
        for size in options.sizes:
            file = options.work / f"codes-{size}.npy"
            simulate(file, size)
            text += lines(file, size)
        text += outlook(*text[-2:])
    print("\n".join(text))
    if options.output:
        options.output.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
