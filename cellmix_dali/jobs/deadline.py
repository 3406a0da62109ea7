"""An end for work that hangs: the process at it ends itself, and whoever takes the work over is told why."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

__all__ = ["TIMEOUTS", "deadline", "forget_deadlines", "where_it_hung"]

#: Folder of the job in which processes that end themselves leave where they hung.
TIMEOUTS = "timeouts"


@contextmanager
def deadline(folder: Path, work: str, seconds: float) -> Iterator[None]:
    """End this process if the block takes longer, whatever hangs in it: a library that holds the interpreter lock, too.

    Parameters
    ----------
    folder : Path
        The job's folder.
    work : str
        Which work, as a file's name.
    seconds : float
        How long it may take.
    """
    path = folder / TIMEOUTS / work
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        # One timer per process, so workers must have one thread each.
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
    path.unlink(missing_ok=True)


def where_it_hung(folder: Path, work: str) -> str | None:
    """Say where a process was at this work when its time was up; None if none was."""
    try:
        lines = (folder / TIMEOUTS / work).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    frames = [line.strip() for line in lines if line.lstrip().startswith("File ")]
    return (frames[0] if frames else "unknown") if lines else None


def forget_deadlines(folder: Path, works: Iterable[str] | None = None) -> None:
    """Forget what hung before: it may be tried again.

    Parameters
    ----------
    folder : Path
        The job's folder.
    works : iterable of str, optional
        What the names of the works begin with; by default all are forgotten.
    """
    if works is None:
        rmtree(folder / TIMEOUTS, ignore_errors=True)
        return
    for begin in works:
        for path in (folder / TIMEOUTS).glob(f"{begin}*"):
            path.unlink(missing_ok=True)
