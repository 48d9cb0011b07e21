"""Clone the repository into an empty folder, run the README's two commands, write how they ended.

    .venv/bin/python benchmarks/fresh_clone.py

It writes benchmarks/fresh_clone.md, which `make readme` puts into the README. With --empty-cache
the packages are downloaded anew instead of coming from uv's cache; with --into DIR the clone stays
there, with the figures that it drew.
"""

import argparse
import os
import platform
import re
import subprocess
import tempfile
import time
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parent.parent
COMMANDS = (("make setup", 0), ("make test", 1), ("make reproduce", 0))  # and lines worth keeping


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--empty-cache", action="store_true")
    parser.add_argument("--into", type=Path, help="an empty or new folder, which is kept")
    options = parser.parse_args()
    empty_cache = options.empty_cache
    with tempfile.TemporaryDirectory() as folder:
        clone = options.into or Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", REPOSITORY, clone], check=True)
        environment = {key: v for key, v in os.environ.items() if key != "VIRTUAL_ENV"}
        if empty_cache:
            environment["UV_CACHE_DIR"] = str(Path(folder) / "cache")
        lines, ends = [], []
        for command, keep in COMMANDS:
            start = time.monotonic()
            done = subprocess.run(
                command.split(),
                cwd=clone,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            seconds = time.monotonic() - start
            print(done.stdout)
            if done.returncode:
                raise SystemExit(f"{command} failed with status {done.returncode}")
            lines.append(f"| `{command}` | {seconds:.0f} s |")
            if keep:
                end = [line.rstrip() for line in done.stdout.strip().splitlines()[-keep:]]
                ends.append(f"```text\n$ {command}\n" + "\n".join(end) + "\n```\n")
            _write(lines, ends, empty_cache)


def _write(lines: list[str], ends: list[str], empty_cache: bool) -> None:
    processor = _processor()
    cache = "an empty package cache" if empty_cache else "a warm package cache"
    text = (
        f"In a fresh clone on {os.cpu_count()} cores of {processor}, {platform.system()}, "
        f"torch {torch.__version__}, with {cache} (`benchmarks/fresh_clone.py`):\n\n"
        + "\n".join(["| command | wall time |", "| --- | --- |", *lines, "", *ends])
    )
    (REPOSITORY / "benchmarks" / "fresh_clone.md").write_text(text, encoding="utf-8")


def _processor() -> str:
    try:
        found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found.group(1) if found else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
