"""What a test module leaves behind: threads, open files, child processes, settings of the whole process."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import torch

__all__ = ["nothing_left_behind"]

# One per process, for as long as it lives: a thread that waits for the disk; those that ask stores; those of Dask's
# event loops, of asyncio's pools and of its profiler; of pytest-timeout and xdist; of Lightning's, torch's, Zarr's own.
_LASTING = (
    "MainThread",
    "cellmix-dali-disk",
    "cellmix-dali-store",
    "IO loop",
    "asyncio_",
    "Profile",
    "Dask-",
    "AsyncProcess",
    "ThreadPoolExecutor",
    "TCP-Executor",
    "Offload",
    "offload",
    "execnet",
    "Dummy-",
    "pymp-",
    "tqdm",
    "event_loop",
    "zarr_io",
)
_RULING = ("CELLMIX_DALI", "AWS_", "MALLOC_", "MKL_", "NUMBA_", "OMP_", "OPENBLAS_", "PYTHON")  # in the environment
_OF_DALI = "(_worker)"  # the thread of DALI's dynamic mode
_WAIT = 10.0


def threads() -> Counter[str]:
    """Names of the threads that are alive, but for lasting ones."""
    names = (thread.name for thread in threading.enumerate())
    others = (name for name in names if not name.startswith(_LASTING) and not name.endswith(_OF_DALI))
    return Counter(name.rstrip("0123456789-_") for name in others)


def files() -> Counter[str]:
    """Files that are open, by path; not what has no path, and not what the system and the packages hold."""
    found: Counter[str] = Counter()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            path = str(link.readlink())
            own = path.startswith("/") and not path.startswith(("/dev/", "/proc/", "/sys/", "/memfd:"))
            if own and "site-packages" not in path:  # fonts, of which libraries keep a few open
                found[path] += 1
    return found


def children() -> Counter[str]:
    """Processes that this one has started and that are not over; not those that multiprocessing keeps."""
    found: Counter[str] = Counter()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            words = " ".join(child.cmdline())
            if child.status() != psutil.STATUS_ZOMBIE and "tracker" not in words and "forkserver" not in words:
                found[words[:120]] += 1
    return found


def settings() -> Counter[str]:
    """What would change the results of the tests after it: environment, torch's threads, how small numbers may be."""
    small = np.full(64, 1e-38, np.float32) * np.float32(0.01)
    found = Counter(f"{name}={value}" for name, value in os.environ.items() if name.startswith(_RULING))
    found[f"the smallest numbers are zeros: {not small.any()}"] += 1
    found[f"threads of torch: {torch.get_num_threads()}"] += 1
    found[f"deterministic: {torch.are_deterministic_algorithms_enabled()}"] += 1
    found[f"dtype: {torch.get_default_dtype()}"] += 1
    return found


@contextmanager
def nothing_left_behind() -> Iterator[None]:
    """Assert that threads, files and children are, after the block, those that were there before."""
    looks = {"threads": threads, "files": files, "children": children, "settings": settings}
    before = {what: look() for what, look in looks.items()}
    yield
    deadline = time.monotonic() + _WAIT
    while True:
        left = {what: look() - before[what] for what, look in looks.items()}
        left = {what: more for what, more in left.items() if more}
        if not left:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"left behind: { {what: dict(more) for what, more in left.items()} }")
        gc.collect()  # what is garbage already; not before, as it takes half a second of so large a process
        time.sleep(0.05)
