"""The memory that a process has for itself: what it shares with others, such as mapped files, is left out."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

__all__ = ["own_memory", "reset_peak", "shared_memory"]


def own_memory() -> float:
    """Return the anonymous resident memory of this process in MB (10^6 bytes)."""
    return _status("RssAnon")


def shared_memory() -> float:
    """Return the resident memory of files that this process has mapped, in MB: the page cache's, shared by all."""
    return _status("RssFile")


def reset_peak() -> None:
    """Let the kernel forget the most memory that this process had."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise KeyError(name)
