"""What a process keeps open: those used last, never more than may be, whoever opens them."""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition, RLock
from typing import Any, Generic, TypeVar

__all__ = ["KeptOpen"]

_T = TypeVar("_T")


class KeptOpen(Generic[_T]):
    """Opens things for their owners, and closes the ones used longest ago where there would be too many.

    Nothing is opened but through `get`, so nothing that is open is missing in the list. What is dropped from the list
    closes when the last thread that uses it lets go, and counts until then. A forked child begins with an empty list.

    Parameters
    ----------
    most : callable
        Says how many may be open; asked each time.
    closes_in_child : bool, default False
        Whether a forked child closes what its parent has open, which must not touch what the parent reads from.

    Notes
    -----
    A thread that uses several things at once says so by `room`, and waits there until they may be open. Where all do,
    there are never more than `most`, whatever the number of threads: what is open and in no room's use can be closed.
    """

    def __init__(self, most: Callable[[], int], *, closes_in_child: bool = False) -> None:
        self._most, self._closes_in_child = most, closes_in_child
        self._inherited: list[object] = []
        self._begin()
        os.register_at_fork(after_in_child=self._begin_in_child)

    def __len__(self) -> int:
        """How many are open, or being opened."""
        return len(self._open) + self._opening

    def get(self, owner: object, opened: Callable[[], _T]) -> _T:
        """Return what an owner has open.

        Parameters
        ----------
        owner : object
            Whose it is; what it has open is dropped when it is no longer there.
        opened : callable
            Opens it, if it is not open; may raise.
        """
        key = weakref.ref(owner)
        with self._lock:
            value = self._recent.get(key)
            if value is not None:
                self._recent.move_to_end(key)
                return value
            self._opening += 1
            self._close_oldest()
        try:
            value = opened()  # which may take long: other threads go on
        except BaseException:
            with self._lock:
                self._opening -= 1
            raise
        with self._lock:
            self._opening -= 1
            return self._keep(owner, value)

    def put(self, owner: object, value: _T) -> None:
        """Keep what was opened for an owner that has nothing open."""
        with self._lock:
            self._keep(owner, value)

    def drop(self, owner: object, value: _T | None = None) -> None:
        """Let go of what an owner has open, or only if it is this."""
        key = weakref.ref(owner)
        with self._lock:
            if value is None or self._recent.get(key) is value:
                self._recent.pop(key, None)

    @contextmanager
    def room(self, count: int, spare: int = 0) -> Iterator[None]:
        """Wait until so many may be used at once by this thread; not to be nested.

        Parameters
        ----------
        count : int
            Things of this list.
        spare : int
            Others that count as much, and are in no list.
        """
        with self._lock:
            # One that asks for more than there is goes alone.
            self._freed.wait_for(lambda: self._taken == 0 or self._taken + count + spare <= self._most())
            self._taken += count + spare
            self._spare += spare
            self._close_oldest()
        try:
            yield
        finally:
            with self._lock:
                self._taken -= count + spare
                self._spare -= spare
                self._freed.notify_all()

    def _keep(self, owner: object, value: _T) -> _T:
        """Put a thing into the list; gives the one that another thread has put there meanwhile."""
        key = weakref.ref(owner, self._owner_is_gone)
        kept = self._recent.setdefault(key, value)
        self._recent.move_to_end(key)
        self._open.add(kept)
        self._close_oldest()
        return kept

    def _close_oldest(self) -> None:
        """Drop the ones used longest ago, until no more are open than may be."""
        while self._recent and len(self) + self._spare > self._most():
            self._recent.popitem(last=False)

    def _owner_is_gone(self, key: weakref.ref[Any]) -> None:
        with self._lock:
            self._recent.pop(key, None)

    def _begin(self) -> None:
        self._lock = RLock()  # the same thread may come again, when an owner goes while it is in here
        self._freed = Condition(self._lock)
        self._recent: OrderedDict[weakref.ref[Any], _T] = OrderedDict()
        self._open: weakref.WeakSet[Any] = weakref.WeakSet()
        self._opening = self._taken = self._spare = 0

    def _begin_in_child(self) -> None:
        if not self._closes_in_child:
            self._inherited.append(self._recent)  # kept for ever
        self._begin()
