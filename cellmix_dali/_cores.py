"""How many processor cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["usable_cores"]

_CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = _CGROUP) -> int:
    """Return the number of cores that this process may use: its affinity, and the limit of its container.

    Parameters
    ----------
    cgroup : Path
        Where the control groups are mounted: version 2 (``cpu.max``) or 1 (``cpu/cpu.cfs_quota_us``).

    Returns
    -------
    int
        At least 1. A limit of a part of a core counts as a whole one.
    """
    cores = len(os.sched_getaffinity(0))
    limit = _limit(cgroup)
    return cores if limit is None else max(1, min(cores, limit))


def _limit(cgroup: Path) -> int | None:
    """The container's limit in cores, rounded up; None where there is none."""
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
    try:
        used, of = int(quota), int(period)
    except ValueError:  # "max": no limit
        return None
    return -(-used // of) if used > 0 and of > 0 else None
