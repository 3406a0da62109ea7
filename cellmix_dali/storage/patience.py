"""Trying again what could not be read for a reason of the moment."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from .._arguments import number
from ..errors import NotReadError, SlideError

__all__ = ["SLIDE_TIMEOUT", "AT_ONCE", "RETRY_SECONDS", "Patience", "Retry"]

#: For how long is tried again, by default.
RETRY_SECONDS = 60.0
#: Seconds that the tiling job gives the work on a slide at once: a look at it, or some thousand tiles of it.
SLIDE_TIMEOUT = 3600.0

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How long something is tried again, and how often.

    Attributes
    ----------
    seconds : float, default 60
        In all; 0: it is not tried again.
    first, longest : float
        The first pause, and the longest one, in seconds.
    growth : float
        How many times as long each pause is as the one before.

    Raises
    ------
    ArgumentError
        If a number is out of range.
    """

    seconds: float = RETRY_SECONDS
    first: float = 0.1
    growth: float = 2.0
    longest: float = 10.0

    def __post_init__(self) -> None:
        number("retry_seconds", self.seconds, 0)
        number("first", self.first, 0, above_low=True)
        number("growth", self.growth, 1)
        number("longest", self.longest, self.first)

    def pauses(self) -> Iterator[float]:
        """Return the pauses before each further try; together they are as long as `seconds`."""
        left, pause = float(self.seconds), self.first
        while left > 0:
            yield min(pause, left)
            left -= pause
            pause = min(self.longest, pause * self.growth)


#: What cannot be read is said at once.
AT_ONCE = Retry(seconds=0)


class Patience:
    """Waits for files that could not be read for a reason of the moment.

    A file for which all the time was spent in vain is then tried just once each time that it is asked for, until it can
    be read again; so is a row, as a bad place of a disk keeps only some tiles of a file from being read. A folder
    without permission must not cost a minute a tile. Several threads may share one.

    Parameters
    ----------
    retry : Retry
        How long, and how often.
    """

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._stopped = Event()
        self._files: set[int] = set()  # that were waited for in vain
        self._rows: set[int] = set()

    def stop(self) -> None:
        """Wait no longer, now and later."""
        self._stopped.set()

    def call(self, function: Callable[[], _T], file: int) -> _T:
        """Call a function that reads a file, again as long as it raises a `NotReadError` and there is time."""
        for pause in self._retry.pauses():
            try:
                return function()
            except NotReadError as error:
                if file in self._files:
                    raise
                self._tell(error)
                if self._stopped.wait(pause):
                    raise
        try:
            return function()
        except NotReadError:
            self._files.add(file)
            raise

    def read(
        self,
        read: Callable[[NDArray[np.int64]], list[_T | SlideError]],
        rows: NDArray[np.int64],
        file: NDArray[np.generic],
    ) -> list[_T | SlideError]:
        """Read rows of a table, those of files that could not be read for a reason of the moment again.

        Parameters
        ----------
        read : callable
            Reads rows; in the place of one that cannot be read stands the reason.
        rows : int64 array (n,)
            Which.
        file : integer array
            The file of each row of the table.
        """
        found = read(rows)
        if not (self._files or self._rows or any(isinstance(each, NotReadError) for each in found)):
            return found  # nearly always
        of = file[rows].tolist()
        pauses = self._retry.pauses()
        told = False
        while True:
            unread = [place for place, each in enumerate(found) if isinstance(each, NotReadError)]
            files, failed = {of[place] for place in unread}, set(rows[unread].tolist())
            self._files.difference_update(set(of) - files)
            self._rows.difference_update(set(rows.tolist()) - failed)
            again = [place for place in unread if of[place] not in self._files and int(rows[place]) not in self._rows]
            if not again:
                return found
            pause = next(pauses, None)
            if pause is None:
                self._files.update(files)
                self._rows.update(failed)
                return found
            if not told:
                told = True
                self._tell(found[again[0]])
            if self._stopped.wait(pause):
                return found
            for place, each in zip(again, read(rows[again]), strict=True):
                found[place] = each

    def _tell(self, error: object) -> None:
        """Say that something is waited for; of the same words a person sees one."""
        warnings.warn(f"{error} It is tried again for {self._retry.seconds:g} s.", stacklevel=4)
