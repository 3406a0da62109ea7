"""A file that stays open as long as somebody reads from it."""

from __future__ import annotations

import os
import resource
from pathlib import Path

__all__ = ["OpenFile", "most_open"]

_MOST_OPEN = 4096


def most_open() -> int:
    """Files that a reader may keep open: a quarter of what the system allows a process (``ulimit -n``), at most 4096.

    There may be several readers: of training, of validation.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_OPEN if allowed == resource.RLIM_INFINITY else max(1, min(_MOST_OPEN, allowed // 4))


class OpenFile:
    """An open file that closes when the last reader lets go.

    So no thread reads through a number that the system has given to another file meanwhile.

    Parameters
    ----------
    path : str or Path
        The file.

    Raises
    ------
    OSError
        If it cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)
