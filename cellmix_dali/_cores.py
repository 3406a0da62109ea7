"""How many processor cores this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["usable_cores"]

_CGROUP = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def usable_cores(cgroup: Path = _CGROUP, own: Path = _OWN) -> int:
    """Return the number of cores that this process may use: its affinity, and the limits of its control groups.

    Parameters
    ----------
    cgroup : Path
        Where the control groups are mounted: version 2 (``cpu.max``) or 1 (``cpu/cpu.cfs_quota_us``).
    own : Path
        Says of which groups the process is; each lies within others, and the least limit of all of them counts. In a
        container what is mounted is usually the container's own group.

    Returns
    -------
    int
        At least 1. A limit of a part of a core counts as a whole one.
    """
    limits = [limit for group in _groups(cgroup, own) if (limit := _limit(group)) is not None]
    return max(1, min([len(os.sched_getaffinity(0)), *limits]))


def _groups(cgroup: Path, own: Path) -> Iterator[Path]:
    """The folders of all groups that may limit the process, those that are not there too."""
    yield from (cgroup, cgroup / "cpu")
    try:
        lines = own.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:  # 0::/user.slice/..., or 4:cpu,cpuacct:/docker/...
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        group = (cgroup / "cpu" if controllers else cgroup) / path.lstrip("/")
        yield group
        yield from (parent for parent in group.parents if cgroup in parent.parents)


def _limit(group: Path) -> int | None:
    """The limit of a control group in cores, rounded up; None where there is none."""
    try:
        quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        try:
            quota = (group / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (group / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return None
    try:
        used, of = int(quota), int(period)
    except ValueError:  # "max": no limit
        return None
    return -(-used // of) if used > 0 and of > 0 else None
