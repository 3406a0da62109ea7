"""The one exception family: every message says what was wrong, where, and what to do."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cellmix_dali._urls import with_urls

__all__ = [
    "DAMAGED",
    "NOT_READ",
    "ArgumentError",
    "CellMixDaliError",
    "MissingDependencyError",
    "NotReadError",
    "SlideError",
    "StoppedError",
    "kind_of",
    "needing",
    "some_of",
    "unknown_name",
]


#: Kinds of faults: what lies in the file, and what the moment decided.
DAMAGED, NOT_READ = "damaged", "not read"


class CellMixDaliError(Exception):
    """Base of all errors that cellmix_dali raises on purpose. Objects of stores are named by their URLs in it."""

    def __str__(self) -> str:
        return with_urls(super().__str__())


class ArgumentError(CellMixDaliError, ValueError):
    """An argument that cannot be used: refused before any work starts."""


class SlideError(CellMixDaliError, OSError):
    """A slide file that is missing, broken, or of a kind that cannot be read."""


class NotReadError(SlideError):
    """A file that could not be read for a reason of the moment, such as too many open files, a right, a timeout.

    Nothing says that it is damaged: it may be read a moment later.
    """


class MissingDependencyError(CellMixDaliError, ImportError):
    """A package (or a device) that the task needs and this machine lacks."""


@contextmanager
def needing(what: str, remedy: str) -> Iterator[None]:
    """Say what an import is for, and the remedy, where it fails in the block.

    Parameters
    ----------
    what : str
        What needs which package, such as "Reading slides needs OpenSlide".
    remedy : str
        How to install it, and what to do without it.

    Raises
    ------
    MissingDependencyError
        For an ImportError, or an OSError without a number, by which a library that is not there shows; others, such as
        too many open files, are of the moment.
    """
    try:
        yield
    except (ImportError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise MissingDependencyError(f"{what}, which cannot be imported here ({error}). {remedy}") from error


def unknown_name(what: str, name: object, allowed: Iterable[str]) -> ArgumentError:
    """Make the error for a name that is not among the allowed ones, suggesting the near miss.

    Parameters
    ----------
    what : str
        What the name stands for, such as "method".
    name : object
        The name as it was given.
    allowed : iterable of str
        The names that exist.

    Returns
    -------
    ArgumentError
        To be raised by the caller.
    """
    names = list(allowed)
    folded = {known.lower(): known for known in names}
    near = difflib.get_close_matches(str(name).lower(), folded, n=1, cutoff=0.5)
    hint = f" Did you mean {folded[near[0]]!r}?" if near else ""
    return ArgumentError(f"Unknown {what} {name!r}.{hint} Allowed: {', '.join(names)}.")


def some_of(names: Sequence[object], *, shown: int = 5, separator: str = ", ") -> str:
    """Return the first few names in a row, and how many more there are: a message need not hold a thousand."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return separator.join(map(str, names[:shown])) + more


class StoppedError(CellMixDaliError):
    """A training that was asked to stop, and whose state is on the disk.

    Attributes
    ----------
    signal : int
        Number of the signal that asked.
    """

    def __init__(self, number: int, path: Path) -> None:
        self.signal = number
        super().__init__(
            f"Stopped by {signal.Signals(number).name}. What is done is kept in {path}: go on with --resume."
        )


def kind_of(error: CellMixDaliError) -> str:
    """Return the kind of fault that an error is: "damaged" or "not read"."""
    return NOT_READ if isinstance(error, NotReadError) else DAMAGED
