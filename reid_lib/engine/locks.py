"""Locks that keep two processes from writing the same results."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from reid_lib.engine.files import ASIDE, write_text

LOCK, HOLDER = ".lock", ".holder"
TRAINING = "training the run in"  # how a process uses a run folder
PATIENCE = 3.0  # seconds: a killed process may need a moment to end


@contextmanager
def lock_folder(folder: Path, use: str = "writing to") -> Iterator[None]:
    """Keep other processes out of a folder of results, which is created if it does not exist.

    The system releases the lock when the process ends, however it ends, so that nothing has to be
    unlocked after a crash. The message says how the other process uses the folder.

    Raises:
        BlockingIOError: another process holds the folder; the message names it.
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(folder / LOCK, timeout=PATIENCE), folder / HOLDER
    try:
        lock.acquire()
    except Timeout:
        who = holder.read_text("utf-8") if holder.is_file() else "another process"
        raise BlockingIOError(
            f"{who} is {use} {folder}; wait until it ends, or stop it first"
        ) from None
    try:
        write_text(holder, f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


@contextmanager
def lock_run_folder(folder: Path) -> Iterator[None]:
    """As `lock_folder`, and delete what a killed training left half-written."""
    with lock_folder(folder, TRAINING):
        for left in folder.glob(f"{ASIDE}*"):
            left.unlink()
        yield


def check_unlocked(folder: Path, use: str = "writing to") -> None:
    """As `lock_folder`, at once released; a folder without a lock is left as it is."""
    if (folder / LOCK).is_file():
        with lock_folder(folder, use):
            pass


def remove_stale_locks(root: Path) -> int:
    """Remove the locks that a killed Snakemake left under `root`, and count them.

    Raises:
        BlockingIOError: a live process holds one of the results; it is named.
    """
    for lock in sorted((root / "results").glob(f"*/{LOCK}")):
        check_unlocked(lock.parent)
    stale = sorted((root / ".snakemake" / "locks").glob("*"))
    for file in stale:
        file.unlink()
    return len(stale)
