"""Where and with what it was measured."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["machine", "versions"]

_PACKAGES = (
    "cellmix-dali",
    "nvidia-dali-cuda120",
    "nvidia-dali-cuda130",
    "torch",
    "numpy",
    "numba",
    "openslide-python",
    "openslide-bin",
    "cucim-cu12",
    "fastslide",
)


def machine() -> dict[str, Any]:
    """Return processor, cores, memory, and how busy the machine is now."""
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages * page / 2**30, 1),
        "load_at_start": [round(value, 2) for value in os.getloadavg()],
        "system": platform.platform(),
        "gpu": "none used",
    }


def versions() -> dict[str, str]:
    """Return the versions of what is installed of what is measured."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
