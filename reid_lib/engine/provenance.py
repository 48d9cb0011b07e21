"""Where a run's numbers come from: the code that decides them, versions, device."""

import ast
import functools
import hashlib
import json
import platform
import re
import resource
import subprocess
from importlib.metadata import version
from pathlib import Path

from reid_lib.config import RunConfig
from reid_lib.dataset import persons_of

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
DATA_FILES = (".j2", ".mplstyle", ".yaml")
PACKAGE = Path(__file__).resolve().parent.parent


def module_files(*modules: str) -> list[Path]:
    """List the files of some modules of `reid_lib` and of all that they import from it.

    Imports inside functions count too, and so do data files beside a module of a subpackage. The
    lists that decide what is trained or drawn again are derived from this, so that a moved file
    cannot be missed.

    Args:
        modules: dotted names, such as "reid_lib.training".
    Returns:
        Sorted paths.
    Example:
        >>> [path.name for path in module_files("reid_lib.losses")]
        ['__init__.py', 'centres.py', 'config.py', 'layouts.py', 'preset_files.py', 'losses.py']
    """
    found, waiting = set(), ["reid_lib", *modules]
    while waiting:
        path = PACKAGE.joinpath(*waiting.pop().split(".")[1:])  # of a module, function or class
        for file in {path.with_suffix(".py"), path / "__init__.py"} - found:
            if file.is_file():
                found.add(file)
                waiting += imported_modules(file.read_text("utf-8"))
    folders = {file.parent for file in found} - {PACKAGE}
    found |= {path for folder in folders for path in folder.iterdir() if path.suffix in DATA_FILES}
    return sorted(found)


@functools.cache
def imported_modules(source: str) -> list[str]:
    """The modules of `reid_lib` that Python source names in its import statements."""
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.split(".")[0] == "reid_lib"]


def notebook_files(notebook: Path) -> list[Path]:
    """List the files of `reid_lib` that a notebook's code depends on, as `module_files` does."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    return module_files(*imported_modules(re.sub(r"^\s*[%!].*", "", code, flags=re.MULTILINE)))


@functools.cache
def code_sha256() -> str:
    """SHA-256 of the code that decides a run's result, without comments and docstrings."""
    digest = hashlib.sha256()
    for file in module_files("reid_lib.training"):
        if file.suffix != ".py":
            digest.update(file.read_bytes())
            continue
        tree = ast.parse(file.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:]
        digest.update(f"{file.relative_to(PACKAGE)} {ast.dump(tree)}\n".encode())
    return digest.hexdigest()


def manifest(config: RunConfig, data, progress: dict) -> dict:
    """Describe a run's data, code, versions, device, time and memory.

    `data` and `progress` are those of `training.fit`.
    """
    import torch  # what only lists modules need not wait for it

    cuda = torch.cuda.is_available()
    return {
        "config_digest": config.digest(),
        "data_sha256": config.data_sha256,
        "images": {"all": len(data.pixels), "train": len(data.train), "test": len(data.test)},
        "image_size": list(data.pixels.shape[2:]),  # height, width
        "persons": {"train": len(persons_of(data.train)), "test": len(persons_of(data.test))},
        "code_sha256": code_sha256(),
        "commit": commit(),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "torchvision", "numpy", "reid_lib")},
        },
        "device": torch.cuda.get_device_name() if cuda else f"CPU ({platform.machine()})",
        "threads": torch.get_num_threads(),
        "seconds": round(progress["seconds"], 1),
        "resumes": progress["resumes"],
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def commit() -> str:
    """The commit of the code, with `-dirty` for a changed work tree; empty outside a checkout."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
