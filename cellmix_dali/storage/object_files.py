"""Files that stand for objects of stores, as large as they are, and which of their pages are there.

Each has a file of pages beside it: what object it is of, then a byte for each page. All processes of a machine share
both, and take the lock of the second.
"""

from __future__ import annotations

import ctypes
import fcntl
import functools
import json
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .._urls import cache_folder
from ..errors import NotReadError
from .stores import StoredObject

__all__ = ["PAGE", "Pages", "open_pages", "file_of_pages", "is_of", "tidy"]

PAGE = 1 << 12  # bytes that are there together, or not
_HEADER = 4096  # bytes of a file of pages before the pages


class Pages:
    """The pages of an object in shared memory: 1 for each that is there. Unlike `mmap`, it keeps no file open."""

    def __init__(self, number: int, count: int) -> None:
        self._length = _HEADER + count
        self._address = _LIBRARY.mmap(None, self._length, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, number, 0)
        if self._address == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        whole = (ctypes.c_uint8 * self._length).from_address(self._address)
        self.pages: NDArray[np.uint8] = np.ctypeslib.as_array(whole)[_HEADER:]

    def __del__(self) -> None:
        if self._address not in (None, ctypes.c_void_p(-1).value):
            _LIBRARY.munmap(self._address, self._length)


_LIBRARY = ctypes.CDLL(None, use_errno=True)
_LIBRARY.mmap.restype = ctypes.c_void_p
_LIBRARY.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_LIBRARY.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def file_of_pages(path: Path) -> Path:
    """The file that says which pages of an object are there."""
    return cache_folder() / "pages" / path.relative_to(cache_folder())


@functools.cache
def _boot() -> str:
    """What is another after the machine was started anew: a file of pages may then say more than the disk has."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _header(of: StoredObject) -> bytes:
    said = json.dumps({"version": of.version, "size": of.size, "boot": _boot(), "page": PAGE}).encode()
    return said[:_HEADER].ljust(_HEADER, b" ")


def is_of(number: int, of: StoredObject) -> bool:
    """Whether an open file of pages is of this version of an object."""
    return os.pread(number, _HEADER, 0) == _header(of)


def open_pages(path: Path, of: StoredObject) -> Pages:
    """The pages of an object that are there; another version, or what a fallen machine left, begins anew."""
    pages, count = file_of_pages(path), max(1, -(-of.size // PAGE))
    try:
        for each in (pages, path):
            each.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        number = os.open(pages, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(number, fcntl.LOCK_EX)
            if not is_of(number, of) or not path.exists():
                # The file never becomes shorter: other processes may have it mapped.
                os.pwrite(number, bytes(max(count, os.fstat(number).st_size - _HEADER)), _HEADER)
                _emptied(path, of.size)
                os.pwrite(number, _header(of), 0)
            fcntl.flock(number, fcntl.LOCK_UN)  # closing does not unlock what stays mapped
            return Pages(number, count)
        finally:
            os.close(number)
    except OSError as error:
        raise NotReadError(
            f"{of.url} was not read: nothing can be kept in {cache_folder()}: {error.strerror}. Name another folder "
            "for what is kept of objects (CELLMIX_DALI_STORE_CACHE)."
        ) from error


def _emptied(path: Path, size: int) -> None:
    """Make a file one hole; its readers go on reading from the same file."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.truncate(number, 0)
        os.truncate(number, size)
    finally:
        os.close(number)


def tidy(most: int) -> None:
    """Let go of the objects used longest ago until all that is kept takes at most so many bytes of the disk.

    What a process holds just now is left. Only one process tidies at a time.
    """
    root = cache_folder() / "pages"
    with (cache_folder() / "tidying").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        kept = sorted(_kept(root))
        used = sum(size for _, size, _ in kept)
        for _, size, pages in kept:
            if used <= most:
                return
            if size and _let_go(pages, cache_folder() / pages.relative_to(root)):
                used -= size


def _kept(root: Path) -> Iterable[tuple[float, int, Path]]:
    """When each object was used last, the bytes that it takes, and its file of pages."""
    for folder, _, names in os.walk(root):
        for name in names:
            pages = Path(folder, name)
            try:
                size = (cache_folder() / pages.relative_to(root)).stat().st_blocks * 512
                yield pages.stat().st_mtime, size, pages
            except OSError:
                continue  # another process has removed it


def _let_go(pages: Path, path: Path) -> bool:
    """Empty an object's file, unless somebody reads from it; say whether that was done."""
    number = os.open(pages, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(number, bytes(os.fstat(number).st_size - _HEADER), _HEADER)
        _emptied(path, path.stat().st_size)
    except OSError:
        return False
    finally:
        os.close(number)
    return True
