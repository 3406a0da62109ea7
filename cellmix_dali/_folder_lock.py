"""A folder of results that one job at a time works in."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from .errors import ArgumentError

__all__ = ["FolderLock"]


class FolderLock:
    """Makes a folder, if need be, and holds it until `close`, or until the process ends, however that ends.

    Where the file system has no locks, nothing is held.

    Parameters
    ----------
    folder : Path
        The folder.
    job : str
        What works in it, for the message to a second one.

    Raises
    ------
    ArgumentError
        If another job holds it, or it cannot be used.
    """

    def __init__(self, folder: Path, job: str) -> None:
        self._number: int | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._number = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ArgumentError(f"The folder {folder} cannot be used ({error.strerror}): give another one.") from error
        try:
            fcntl.flock(self._number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN):
                raise ArgumentError(f"Another {job} is running in {folder}: wait for it, or stop it.") from error

    def close(self) -> None:
        """Let go of the folder."""
        if self._number is not None:
            os.close(self._number)
            self._number = None
