"""Work done ahead, by a thread: a few things are ready when they are asked for."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, Generic, TypeVar

__all__ = ["Ahead"]

_T = TypeVar("_T")
_PAUSE = 0.1  # seconds between two looks whether nobody waits any more
_END = object()


class Ahead(Generic[_T]):
    """Goes through an iterable in a thread, a few things ahead; to be closed, or at least stopped.

    Parameters
    ----------
    things : iterable
        A generator is closed at the end, in the thread.
    depth : int
        How many things may wait.
    """

    def __init__(self, things: Iterable[_T], depth: int) -> None:
        self._queue: Queue[tuple[Any, BaseException | None]] = Queue(depth)
        self._stopped, self._ended = Event(), False
        self._thread = Thread(target=self._work, args=(iter(things),), name="cellmix-dali-ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[_T]:
        return self

    def __next__(self) -> _T:
        if self._ended:
            raise StopIteration
        thing, error = self._get()
        if error is not None:
            self._ended = True
            raise error
        if thing is _END:
            self._ended = True
            raise StopIteration
        found: _T = thing
        return found

    def stop(self) -> None:
        """Stop, and let the thread end by itself: for finalisers, which run in any thread and under any lock."""
        self._stopped.set()

    def close(self) -> None:
        """Stop, and wait for the thread."""
        self.stop()
        self._ended = True
        with suppress(Empty):
            while True:
                self._queue.get_nowait()
        self._thread.join()

    def _work(self, things: Iterator[_T]) -> None:
        end: tuple[Any, BaseException | None] = _END, None
        try:
            for thing in things:
                if not self._put((thing, None)):
                    break
            if isinstance(things, Generator):
                things.close()
        except BaseException as error:  # whoever asks for the next thing has to hear of it
            end = None, error
        self._put(end)

    def _get(self) -> tuple[Any, BaseException | None]:
        """Wait for a thing; the end where it is stopped meanwhile."""
        while not self._stopped.is_set():
            with suppress(Empty):
                return self._queue.get(timeout=_PAUSE)
        return _END, None

    def _put(self, what: tuple[Any, BaseException | None]) -> bool:
        """Hand a thing over; False where nobody waits any more."""
        while not self._stopped.is_set():
            try:
                self._queue.put(what, timeout=_PAUSE)
            except Full:
                continue
            return True
        return False
