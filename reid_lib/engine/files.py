"""Files that are written whole or not at all."""

import hashlib
import json
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ASIDE = ".aside-"  # begins the name of a file that is still being written


def write_file(
    path: Path, write: Callable[[Path], object], check: Callable[[Path], object] | None = None
) -> None:
    """Let `write` fill a file beside `path`, flush it to the disk, and rename it to `path`.

    Args:
        path: the file; an existing one stays whole until the new one is.
        write: gets the path to fill.
        check: reads the new file back and raises if it is damaged, before the old one is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(path.suffix, f"{ASIDE}{path.stem}-", path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        write(aside)
        _flush(aside)
        if check:
            check(aside)
        aside.chmod(0o644)
        aside.replace(path)
        _flush(path.parent)  # so that the new name survives a loss of power too
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextmanager
def delayed(*signals: signal.Signals) -> Iterator[None]:
    """Let the first of these signals act only after the block; in the main thread alone."""
    main, heard = threading.current_thread() is threading.main_thread(), []
    before = {n: signal.signal(n, lambda n, _: heard.append(n)) for n in signals if main}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in heard[:1]:
            signal.raise_signal(number)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    write_file(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: dict) -> None:
    """Write JSON, whole or not at all; NaN is refused."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def sha256(file: Path) -> str:
    """The SHA-256 of a file as hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def weights_files(folder: Path, backbone: str) -> list[Path]:
    """The files whose name begins with a backbone's, without `timm/`, and `_`, `-` or `.`."""
    return list(folder.glob(f"{Path(backbone).name}[_.-]*"))
