"""Work on one slide of a job: tried again as long as the moment keeps it from being done, given up where it hangs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TypeVar

from .._urls import place_name
from ..errors import DAMAGED, NOT_READ, CellMixDaliError, MissingDependencyError, NotReadError
from ..storage.aside import WriteError
from ..storage.moment import moment_of
from ..storage.patience import Retry
from .deadline import deadline, where_it_hung

__all__ = ["attempt", "is_of_the_moment", "naming"]

_T = TypeVar("_T")


def attempt(
    work: Callable[[bool], _T],
    refused: Callable[[str, str], _T],
    *,
    slide: Path,
    what: str,
    cannot: str,
    folder: Path,
    key: str,
    timeout: float | None,
    retry_seconds: float,
) -> _T:
    """Do work on a slide, or say why it cannot be done: whatever a library raises on a strange file ends no job.

    Parameters
    ----------
    work : callable
        Does it; called with whether this is the last try.
    refused : callable
        Makes the outcome of work that cannot be done, of the reason and the kind of fault, see
        `cellmix_dali.reading.faults.Fault`.
    slide : Path
        The slide.
    what : str
        What the work is, for a person: "look at".
    cannot : str
        Begins the reason where a library fails: "a.svs cannot be opened".
    folder : Path
        The job's folder.
    key : str
        A file's name for this work, which is that of no other.
    timeout : float or None
        Seconds after which this process ends itself; who takes the work over then gives it up.
    retry_seconds : float
        How long is tried again what cannot be read for a reason of the moment.

    Raises
    ------
    WriteError, MissingDependencyError
        If nothing can be written, or a package is missing: no slide is to blame, and the job must stop.
    """
    hung = where_it_hung(folder, key)
    if hung is not None:
        reason = (
            f"{slide}: the {what} it took longer than {timeout:g} seconds, so it was given up. It hung here: {hung}. "
            "Try the slide alone, on another machine, or with a longer --slide-timeout."
        )
        return refused(reason, DAMAGED)
    try:
        with nullcontext() if timeout is None else deadline(folder, key, timeout):
            return _at_last(work, retry_seconds)
    except (WriteError, MissingDependencyError):
        raise
    except Exception as error:  # of any library
        known = isinstance(error, CellMixDaliError)
        reason = str(error) if known else f"{cannot} ({type(error).__name__}: {error})."
        return refused(reason, NOT_READ if is_of_the_moment(error) else DAMAGED)


def _at_last(work: Callable[[bool], _T], retry_seconds: float) -> _T:
    """Do work, if need be again, until it does not fail for a reason of the moment, or time is up."""
    for pause in Retry(seconds=retry_seconds).pauses():
        try:
            return work(False)
        except (WriteError, MissingDependencyError):
            raise
        except Exception as error:
            if not is_of_the_moment(error):
                raise
        time.sleep(pause)
    return work(True)


def naming(slide: Path, reason: str) -> str:
    """Return a reason that names its slide, as tables do."""
    name = place_name(slide)
    return reason if name in reason else f"{name}: {reason}"


def is_of_the_moment(error: Exception) -> bool:
    """Return whether a slide, or its mask or annotations, could not be read for a reason of the moment."""
    return isinstance(error, NotReadError) or moment_of(error) is not None
