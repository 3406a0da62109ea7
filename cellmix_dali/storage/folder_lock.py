"""A folder of results that one job at a time works in."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from pathlib import Path

from ..errors import ArgumentError

__all__ = ["FolderLock"]

_LOCKS = Path("/proc/locks")
_WAIT = 60.0  # seconds for processes that a killed job has left
_DYING = 1.0  # seconds that a killed process may take to be gone
_PAUSE = 0.1


class FolderLock:
    """Makes a folder, if need be, and holds it until `close`, or until the process ends, however that ends.

    Where the file system has no locks, nothing is held. A job that was killed may leave processes that end a little
    later and hold the folder until then: they are waited for, a minute at most, which the log says.

    Parameters
    ----------
    folder : Path
        The folder.
    job : str
        What works in it, for the message to a second one.
    shared : bool, default False
        Whether others that share it may hold it, too.

    Raises
    ------
    ArgumentError
        If another job holds it, or it cannot be used.
    """

    def __init__(self, folder: Path, job: str, *, shared: bool = False) -> None:
        self._number: int | None = None
        self._kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._number = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise ArgumentError(f"The folder {folder} cannot be used ({error.strerror}): give another one.") from error
        began, told = time.monotonic(), False
        while not self._locked():
            left_behind, waited = _is_left_behind(self._number), time.monotonic() - began
            if waited > (_WAIT if left_behind else _DYING):
                if self._locked():  # it was let go between the two looks: then nobody holds it, dead or alive
                    return
                self.close()
                raise ArgumentError(f"Another {job} is running in {folder}: wait for it, or stop it.")
            if left_behind and not told:
                told = True
                logging.getLogger(__name__).warning(
                    "Waiting for processes of a %s that was killed: they still hold %s.", job, folder
                )
            time.sleep(_PAUSE)

    def _locked(self) -> bool:
        """Lock the folder; False where somebody else holds it."""
        assert self._number is not None
        try:
            fcntl.flock(self._number, self._kind | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EAGAIN)
        return True

    def close(self) -> None:
        """Let go of the folder."""
        if self._number is not None:
            os.close(self._number)
            self._number = None


def _is_left_behind(number: int) -> bool:
    """Whether the process that locked a file is gone, so that children of it hold the lock; see proc_locks(5)."""
    there = os.fstat(number)
    place = f"{os.major(there.st_dev):02x}:{os.minor(there.st_dev):02x}:{there.st_ino}"
    try:
        lines = [line.split() for line in _LOCKS.read_text(encoding="ascii").splitlines()]
    except OSError:
        return False
    owners = [int(words[4]) for words in lines if len(words) > 5 and words[1] == "FLOCK" and words[5] == place]
    # A holder on another machine, or in another container, is not listed, or as 0 or -1: it may be alive.
    return bool(owners) and all(owner > 0 and not _is_alive(owner) for owner in owners)


def _is_alive(process: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True
    return not status.rpartition(")")[2].lstrip().startswith("Z")  # a dead one that nobody has asked after
