"""Files that are there in full or not at all: written under another name, synced, then renamed."""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from .._arguments import local_only
from ..errors import CellMixDaliError

__all__ = ["Aside", "WriteError", "remove_parts", "sync_folder", "write_aside"]

_BUFFER = 1 << 20
_EARLY = 1 << 24  # so many bytes are sent to the disk while the next ones are written
_PART = re.compile(r"(?P<name>.+)\.[0-9a-f]{12}\.part")
_ADVICE = {
    errno.ENOSPC: "The disk is full: free some space, and go on where it stopped.",
    errno.EDQUOT: "The disk quota is used up: free some space, and go on where it stopped.",
    errno.EFBIG: "The file is larger than the system allows (ulimit -f, or the file system): use smaller shards.",
    errno.EACCES: "Choose a folder that may be written to.",
    errno.EROFS: "Choose a folder that may be written to.",
}


class WriteError(CellMixDaliError, OSError):
    """A file of results that cannot be written: a full disk, a missing right."""


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what the system says against writing a file into a `WriteError`."""
    try:
        yield
    except CellMixDaliError:  # a SlideError, say, is an OSError, too
        raise
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "Check the disk, and the right to write there.")
        raise WriteError(f"{path} cannot be written: {error.strerror or error}. {advice}") from error


class Aside:
    """A file under way. It has its final name only after `rename`.

    The name meanwhile, ``NAME.RANDOM.part`` in the same folder, is another for every writer: a process that was
    believed dead cannot write into the file of the one that took its place.

    Parameters
    ----------
    path : Path
        The final name.

    Raises
    ------
    WriteError
        If the file cannot be made there; so, too, by the methods.
    """

    def __init__(self, path: Path) -> None:
        self.path = path = local_only("A file of results", path)
        self.part = path.with_name(f"{path.name}.{uuid4().hex[:12]}.part")
        with told(path):
            self.file: BinaryIO = self.part.open("xb", buffering=_BUFFER)
        self._unsynced = 0
        self._syncing: Future[None] | None = None

    def wrote(self, length: int) -> None:
        """Count bytes; now and then have them brought to the disk meanwhile, so that little is left for the end."""
        self._unsynced += length
        if self._unsynced >= _EARLY and (self._syncing is None or self._syncing.done()):
            self._unsynced = 0
            with told(self.path):
                self.file.flush()
                self._wait()
                self._syncing = _disk().submit(os.fdatasync, self.file.fileno())

    def _wait(self) -> None:
        """Wait for the disk; raises what it has to say against it."""
        if self._syncing is not None:
            self._syncing.result()
            self._syncing = None

    def finish(self) -> None:
        """Bring all to the disk and close; the name is still the one of meanwhile."""
        with told(self.path):
            self.file.flush()
            self._wait()
            os.fsync(self.file.fileno())
            self.file.close()

    def rename(self) -> None:
        """Return the file its final name; one of that name is replaced. The folder is to be synced by the caller."""
        with told(self.path):
            self.part.replace(self.path)

    def discard(self) -> None:
        """Remove the file under way."""
        with suppress(OSError):
            self._wait()
        with suppress(OSError):  # on a full disk even closing fails
            self.file.close()
        with suppress(OSError):
            self.part.unlink()


@functools.cache
def _disk() -> ThreadPoolExecutor:
    """The thread that waits for the disk, of this process."""
    return ThreadPoolExecutor(1, thread_name_prefix="cellmix-dali-disk")


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    with told(folder):
        number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextmanager
def write_aside(path: Path) -> Iterator[BinaryIO]:
    """Write a file that is there in full or not at all.

    Yields
    ------
    binary file
        To be written to. At the end of the block it is synced and renamed; an exception removes it.

    Raises
    ------
    WriteError
        If it cannot be written.
    """
    aside = Aside(path)
    try:
        with told(path):
            yield aside.file
        aside.finish()
        aside.rename()
        sync_folder(path.parent)
    except BaseException:
        aside.discard()
        raise


def remove_parts(folder: Path, prefix: str | None = None) -> int:
    """Remove what writers that were killed have left: files ``NAME.RANDOM.part``.

    Parameters
    ----------
    folder : Path
        Where to look; not in its subfolders. No writer may be at work there.
    prefix : str, optional
        Only the shards of this `ShardWriter` prefix.

    Returns
    -------
    int
        How many were removed.
    """
    removed = 0
    for path in folder.glob("*.part"):
        match = _PART.fullmatch(path.name)
        if match and (prefix is None or re.fullmatch(re.escape(prefix) + r"-\d+\.(tar|idx)", match["name"])):
            path.unlink(missing_ok=True)
            removed += 1
    return removed
