"""What a worker process of a job's own cluster does when it starts: Dask loads this module there."""

from __future__ import annotations

import ctypes
import os
import signal

__all__ = ["dask_setup"]

_PR_SET_PDEATHSIG = 1  # prctl(2)


def dask_setup(_: object) -> None:
    """Leave it to the job what Ctrl-C does, which all processes are sent; and end when the job is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    job = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if job == 1 or os.getppid() != job:  # it was killed before
        os._exit(1)
