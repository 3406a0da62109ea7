"""Objects of stores as local files of their size, of which only what was asked for is there.

All that reads files can read them so: compiled code, OpenSlide, tifffile. What is to be read is fetched first, in one
round of parallel ranged requests, and held until it was read. The files lie in one folder that all processes of a
machine share, and are bounded: what was used longest ago is let go of.
"""

from __future__ import annotations

import fcntl
import functools
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._arguments import byte_count, integer
from .._urls import cache_folder, url_of
from ..errors import NotReadError
from .object_files import PAGE, file_of_pages, is_of, open_pages, tidy
from .stores import HEAD_BYTES, StoredObject, look, read_range

__all__ = ["CACHE_SIZE", "JOINED", "REQUESTS", "Mirror", "Wanted", "attach", "fetch", "held"]

#: Bytes that all kept objects may take on the disk, where CELLMIX_DALI_STORE_CACHE_SIZE says nothing else.
CACHE_SIZE = "50GB"
#: Requests in flight of a process, where CELLMIX_DALI_STORE_REQUESTS says nothing else.
REQUESTS = 64
#: Ranges that lie so near to each other, in bytes, are asked for in one request.
JOINED = 1 << 15
_MOST_BYTES = 1 << 20  # of one request; more are cut
_TOUCHED = 30.0  # seconds after which a use is noted again
_TIDIED = 64  # a part of the bound: after so much was fetched, it is looked whether all fits

#: Ranges of an object that are to be there: their first bytes, and the ones behind their last.
Wanted: TypeAlias = "tuple[Mirror, NDArray[np.int64], NDArray[np.int64]]"


class Mirror:
    """An object of a store, and what of it lies on the disk.

    Parameters
    ----------
    path : Path
        The file that stands for it.
    of : StoredObject
        The version that is read.
    """

    def __init__(self, path: Path, of: StoredObject) -> None:
        self.path, self.of = path, of
        self._map = open_pages(path, of)
        self._have = self._map.pages
        self._flying: dict[int, Future[None]] = {}
        self._lock = Lock()
        self._touched = 0.0

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Keep other processes from letting go of what is there; not of what is not."""
        number = os.open(file_of_pages(self.path), os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(number, fcntl.LOCK_SH)
            if not is_of(number, self.of):
                raise NotReadError(
                    f"{self.of.url} has changed since it was opened: another process has read a newer version of it. "
                    "Start again, so that all is read from one version."
                )
            if time.monotonic() - self._touched > _TOUCHED:
                self._touched = time.monotonic()
                os.utime(number)
            yield
        finally:
            os.close(number)

    def missing(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[list[tuple[int, int]], list[int]]:
        """Return the runs of pages that are to be fetched for ranges, and the pages that others fetch just now."""
        if (ends - starts).sum() >= self.of.size and self.is_whole:
            return [], []
        firsts, lasts = np.maximum(starts, 0) // PAGE, np.minimum(ends, self.of.size) // PAGE
        lasts += np.minimum(ends, self.of.size) % PAGE > 0
        counts = np.maximum(lasts - firsts, 0)
        pages = np.repeat(firsts - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(counts.sum())
        pages = np.unique(pages[self._have[pages] == 0])
        flying = [page for page in pages.tolist() if page in self._flying] if self._flying else []
        if flying:
            pages = np.setdiff1d(pages, flying)
        if not pages.size:
            return [], flying
        breaks = np.flatnonzero(np.diff(pages) > 1 + JOINED // PAGE)
        runs = zip(pages[np.r_[0, breaks + 1]].tolist(), (pages[np.r_[breaks, -1]] + 1).tolist(), strict=True)
        step = _MOST_BYTES // PAGE
        return [(at, min(at + step, end)) for first, end in runs for at in range(first, end, step)], flying

    def store(self, first: int, data: bytes) -> None:
        """Keep the bytes of pages, from the page `first` on."""
        try:
            number = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                done = 0
                while done < len(data):
                    done += os.pwrite(number, memoryview(data)[done:], first * PAGE + done)
            finally:
                os.close(number)
        except OSError as error:
            raise NotReadError(
                f"{self.of.url} was not read: what was fetched cannot be kept in {cache_folder()}: {error.strerror}. "
                "Name another folder or a smaller size (CELLMIX_DALI_STORE_CACHE, CELLMIX_DALI_STORE_CACHE_SIZE)."
            ) from error
        self._have[first : first + -(-len(data) // PAGE)] = 1

    def everything(self) -> Wanted:
        """Return the whole object as what is wanted."""
        return self, np.zeros(1, np.int64), np.array([self.of.size], np.int64)

    def part(self, start: int, length: int) -> Wanted:
        """Return one range as what is wanted."""
        return self, np.array([start], np.int64), np.array([start + length], np.int64)

    @property
    def is_whole(self) -> bool:
        """Whether all of the object is on the disk just now."""
        return bool(self._have.all())


_MIRRORS: dict[Path, Mirror] = {}


def attach(path: Path, *, fresh: bool = False, with_beginning: bool = True) -> Mirror | None:
    """Return the object that a path stands for, as a local file; None for a path of its own.

    Parameters
    ----------
    path : Path
        Any path.
    fresh : bool, default False
        Whether to ask the store again whether it is the same version as before.
    with_beginning : bool, default True
        Whether an object that nothing is kept of yet brings its beginning with it.

    Raises
    ------
    FileNotFoundError, NotReadError
        See `cellmix_dali.storage.stores.look`.
    """
    url = url_of(path)
    if url is None:
        return None
    mirror = _MIRRORS.get(path)
    if mirror is not None and not fresh:
        return mirror
    begun = mirror is not None or file_of_pages(path).exists()
    found, beginning = look(url, head=with_beginning and not begun)
    return enter(path, found, beginning)


def enter(path: Path, found: StoredObject, head: bytes = b"") -> Mirror:
    """Return an object as a local file, of which a store has just said what it is."""
    mirror = _MIRRORS.get(path)
    if mirror is None or mirror.of != found or not path.exists():
        mirror = _MIRRORS[path] = Mirror(path, found)
    if head and len(head) in (found.size, HEAD_BYTES):
        with mirror.holding():
            mirror.store(0, head)
    return mirror


@contextmanager
def held(wanted: Sequence[Wanted]) -> Iterator[dict[Mirror, NotReadError]]:
    """Fetch ranges of objects that are not there, all at once, and keep them there in the block.

    Yields
    ------
    dict of Mirror to NotReadError
        The objects of which something could not be read, and why; empty if all is there.
    """
    failed: dict[Mirror, NotReadError] = {}
    tasks: list[tuple[Mirror, Future[None]]] = []
    with ExitStack() as stack:
        for mirror in dict.fromkeys(each[0] for each in wanted):
            try:
                stack.enter_context(mirror.holding())
            except (OSError, NotReadError) as error:
                failed[mirror] = _unread(mirror, error)
        for mirror, starts, ends in wanted:
            if mirror not in failed:
                tasks += _begin(mirror, starts, ends)
        for mirror, task in tasks:
            try:
                task.result()
            except (OSError, NotReadError) as error:
                failed.setdefault(mirror, _unread(mirror, error))
        yield failed
    if tasks:
        _tidy_now_and_then()


@contextmanager
def fetch(wanted: Sequence[Wanted]) -> Iterator[None]:
    """Fetch ranges of objects, as `held` does; raise the first reason why one could not be read."""
    with held(wanted) as failed:
        if failed:
            raise next(iter(failed.values()))
        yield


def _begin(mirror: Mirror, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[tuple[Mirror, Future[None]]]:
    """Send for what is missing; what another thread of this process fetches just now is waited for."""
    with mirror._lock:
        runs, flying = mirror.missing(starts, ends)
        others = {mirror._flying[page] for page in flying}
        own = {run: _requests().submit(_run, mirror, *run) for run in runs}
        for run, task in own.items():
            mirror._flying.update(dict.fromkeys(range(*run), task))
    for run, task in own.items():  # not under the lock: of a task that is done this calls at once
        task.add_done_callback(functools.partial(_landed, mirror, *run))
    return [(mirror, task) for task in (*others, *own.values())]


def _run(mirror: Mirror, first: int, end: int) -> None:
    data = read_range(mirror.of, first * PAGE, min(end * PAGE, mirror.of.size))
    mirror.store(first, data)
    _FETCHED.add(len(data))


def _landed(mirror: Mirror, first: int, end: int, task: Future[None]) -> None:
    with mirror._lock:
        for page in range(first, end):
            if mirror._flying.get(page) is task:
                del mirror._flying[page]


def _unread(mirror: Mirror, error: OSError) -> NotReadError:
    if isinstance(error, NotReadError):
        return error
    if isinstance(error, FileNotFoundError):
        return NotReadError(f"{mirror.of.url} was not read: it, or what was kept of it, is no longer there.")
    return NotReadError(f"{mirror.of.url} was not read: {error.strerror or error}.")


class _Fetched:
    """Counts what this process has fetched: requests and bytes in all, and bytes since it was last tidied."""

    def __init__(self) -> None:
        self.requests = self.bytes = self.since = 0
        self._lock = Lock()

    def add(self, length: int) -> None:
        with self._lock:
            self.requests, self.bytes, self.since = self.requests + 1, self.bytes + length, self.since + length


_FETCHED = _Fetched()


def _requests() -> ThreadPoolExecutor:
    return _pool(os.getpid())


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:  # noqa: ARG001 (threads do not live on in a fork)
    given = os.environ.get("CELLMIX_DALI_STORE_REQUESTS")
    count = integer("CELLMIX_DALI_STORE_REQUESTS", REQUESTS if given is None else int(given), low=1)
    return ThreadPoolExecutor(count, thread_name_prefix="cellmix-dali-store")


def _tidy_now_and_then() -> None:
    most = byte_count("CELLMIX_DALI_STORE_CACHE_SIZE", os.environ.get("CELLMIX_DALI_STORE_CACHE_SIZE", CACHE_SIZE))
    if _FETCHED.since > most // _TIDIED:
        _FETCHED.since = 0
        tidy(most)
