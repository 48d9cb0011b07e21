"""What a bug report must say about the machine and the installed packages."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

NAMED = ("reid_lib", "torch", "torchvision", "numpy", "pandas", "matplotlib", "snakemake")


def environment(root: str | Path = ".") -> str:
    """Versions, processor, threads, graphics card, and whether the lock file's versions are here.

    Args:
        root: the folder of requirements.lock.
    Returns:
        Lines of text.
    """
    import torch

    from reid_lib.engine.provenance import commit

    cuda = torch.cuda.is_available()
    lines = {
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "processor": f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}",
        "threads": f"torch {torch.get_num_threads()}, OMP_NUM_THREADS "
        f"{os.environ.get('OMP_NUM_THREADS', 'not set')}",
        "graphics card": torch.cuda.get_device_name() if cuda else "none",
        "commit": commit() or "not a checkout",
    }
    lines |= {name: _installed(name) or "not installed" for name in NAMED}
    lines["lock file"] = _compare_with(Path(root) / "requirements.lock")
    return "\n".join(f"{name:<14} {text}" for name, text in lines.items())


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _compare_with(lock: Path) -> str:
    """Which installed packages have another version than the lock file pins for some Python."""
    if not lock.is_file():
        return f"there is no {lock}"
    pinned = {}
    for name, wanted in re.findall(r"^([\w.-]+)==(\S+)", lock.read_text("utf-8"), re.MULTILINE):
        pinned.setdefault(name, []).append(wanted.partition("+")[0])
    found = {name: _installed(name).partition("+")[0] for name in pinned}
    differ = [
        f"{name} {version} instead of {' or '.join(pinned[name])}"
        for name, version in found.items()
        if version and version not in pinned[name]
    ]
    return "; ".join(differ) or f"{sum(map(bool, found.values()))} packages, as pinned"
