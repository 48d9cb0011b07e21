"""Settings of the running process: memory, signals, deterministic kernels."""

import ctypes
import functools
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tqdm.auto import tqdm


def log(progress: str, text: str) -> None:
    """Print a line unless progress is "none"; above a progress bar where there is one."""
    if progress != "none":
        tqdm.write(text)
        sys.stdout.flush()


@functools.cache
def disable_malloc_trim() -> None:
    """Let glibc keep the memory that a step frees for the next step; no effect elsewhere.

    Returning 30 MB to the system and requesting it again at every step costs a tenth of the step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: free memory at the top is kept
        mallopt(-2, 2**28)  # M_TOP_PAD: grow in large pieces
        mallopt(-3, 2**25)  # M_MMAP_THRESHOLD, its largest value


@contextmanager
def controlled_process(deterministic: bool) -> Iterator[None]:
    """Train so that SIGTERM ends the process as Ctrl-C does, through every `except` and `finally`.

    With `deterministic`, CUDA uses only kernels that repeat bit for bit; torch raises where there
    is none. Torch's global random state, from which dropout draws, is left as it was.
    """
    before = torch.are_deterministic_algorithms_enabled()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    main = threading.current_thread() is threading.main_thread()  # only there may it be set
    if main:
        handler = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        torch.use_deterministic_algorithms(deterministic or before)
        with torch.random.fork_rng():
            yield
    finally:
        torch.use_deterministic_algorithms(before)
        if main:
            signal.signal(signal.SIGTERM, handler)
