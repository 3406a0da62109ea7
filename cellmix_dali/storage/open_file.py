"""Files that stay open as long as somebody reads from them, of which a process has only so many."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .kept_open import KeptOpen

__all__ = ["KeptFile", "OpenFile", "most_open", "read_in_parts"]

_MOST_OPEN = 4096
_PASSING = 4  # files that a thread opens and closes again while it looks at a slide, or has OpenSlide read from one
_Read = TypeVar("_Read")


def most_open() -> int:
    """Files that all readers of a process may have open: half of what the system allows (``ulimit -n``), at most 4096.

    The other half is for all else that a process has open.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_OPEN if allowed == resource.RLIM_INFINITY else max(1, min(_MOST_OPEN, allowed // 2))


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


_FILES: KeptOpen[OpenFile] = KeptOpen(lambda: most_open(), closes_in_child=True)  # read by pread alone


class KeptFile:
    """A file that is opened when it is read from, and stays open while not too many others were read from since.

    Parameters
    ----------
    path : str or Path
        The file.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path

    def open(self) -> OpenFile:
        """Return the open file; hold it as long as it is read from.

        Raises
        ------
        OSError
            If it cannot be opened.
        """
        return _FILES.get(self, lambda: OpenFile(self._path))

    def close(self) -> None:
        """Let go of the open file; it is opened again when it is read again."""
        _FILES.drop(self)


def read_in_parts(
    read: Callable[[NDArray[np.int64]], list[_Read]], rows: NDArray[np.int64], file: NDArray[np.int32]
) -> list[_Read]:
    """Read rows of a table, at once where they are of few files, and when these files may be open.

    Files that are read together are open together. At most a quarter of those that may be open are read from at once
    by a thread; as many threads read at the same time as there is room for.

    Parameters
    ----------
    read : callable
        Reads rows; opens their files, each once, by `KeptFile`.
    rows : int64 array (n,)
        Which.
    file : int32 array
        The file of each row of the table.
    """
    files = len(set(file[rows].tolist()))
    if files <= max(1, most_open() // 4):
        with _FILES.room(files, _PASSING):
            return read(rows)
    half = len(rows) // 2
    return read_in_parts(read, rows[:half], file) + read_in_parts(read, rows[half:], file)
