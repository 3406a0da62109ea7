"""A file that stays open as long as somebody reads from it."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["OpenFile", "most_open", "read_in_parts"]

_MOST_OPEN = 4096
_Read = TypeVar("_Read")


def most_open() -> int:
    """Files that a reader may keep open: a quarter of what the system allows a process (``ulimit -n``), at most 4096.

    There may be several readers: of training, of validation.
    """
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_OPEN if allowed == resource.RLIM_INFINITY else max(1, min(_MOST_OPEN, allowed // 4))


def read_in_parts(
    read: Callable[[NDArray[np.int64]], list[_Read]], rows: NDArray[np.int64], file: NDArray[np.int32], most: int
) -> list[_Read]:
    """Read rows of a table, at once where they are of few files.

    Files that are read together are open together, and threads may read as many: each opens a quarter of `most`.

    Parameters
    ----------
    read : callable
        Reads rows.
    rows : int64 array (n,)
        Which.
    file : int32 array
        The file of each row of the table.
    most : int
        Files that may be open.
    """
    if len(set(file[rows].tolist())) <= max(1, most // 4):
        return read(rows)
    half = len(rows) // 2
    return read_in_parts(read, rows[:half], file, most) + read_in_parts(read, rows[half:], file, most)


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
