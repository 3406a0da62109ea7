"""What a worker process of the job's own cluster does when it starts: Dask loads this module there."""

from __future__ import annotations

import signal

__all__ = ["dask_setup"]


def dask_setup(_: object) -> None:
    """Leave it to the job what Ctrl-C does: the terminal sends it to all processes, and each would complain."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
