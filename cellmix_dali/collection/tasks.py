"""A look at one slide for an index, as it goes to a worker and comes back."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import (
    DAMAGED,
    NOT_READ,
    ArgumentError,
    CellMixDaliError,
    MissingDependencyError,
    NotReadError,
    SlideError,
)
from ..jobs.deadline import deadline, where_it_hung
from ..jobs.executor import LOST
from ..slides.found_record import NotKeptError, record_of
from ..slides.opening import look_at
from ..slides.slide import Slide
from ..storage.aside import WriteError
from ..storage.moment import moment_of
from ..storage.patience import RETRY_SECONDS, Retry
from ..tissue.looking import look_for_tissue
from .entry import Look, mask_key, packed_entry, thumbnail_bytes
from .settings import IndexSettings
from .states import changed_file, identity_of, location_of, states_of

__all__ = ["IndexTask", "IndexedSlide", "do_task", "lost_task"]


@dataclass(frozen=True, kw_only=True)
class IndexTask:
    """A slide to look at.

    Attributes
    ----------
    folder : Path
        The job's folder, absolute.
    settings : IndexSettings
    number : int
        The slide's place in the collection.
    slide : Path
        Absolute.
    mpp : float or None
        Microns per pixel of its first level, whatever its file says.
    retry_seconds : float
        How long is tried again what cannot be read for a reason of the moment.
    timeout : float or None
        Seconds after which the process at work ends itself.
    """

    folder: Path
    settings: IndexSettings
    number: int
    slide: Path
    mpp: float | None = None
    retry_seconds: float = RETRY_SECONDS
    timeout: float | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """What is asked for, as JSON values: an entry says which of these it serves."""
        return {"mpp": self.mpp, **self.settings.to_json()}


@dataclass(frozen=True)
class IndexedSlide:
    """What has come of a look at a slide.

    Attributes
    ----------
    slide : Path
    entry : bytes
        What the index is to hold of it; none where it could not be read just now.
    fault : str
        Why it cannot be opened, or its tissue not be found; empty where all went well.
    kind : str
        See `cellmix_dali.reading.faults.Fault`.
    opens : bool
        Whether it can be opened.
    """

    slide: Path
    entry: bytes = b""
    fault: str = ""
    kind: str = DAMAGED
    opens: bool = False


def do_task(task: IndexTask) -> IndexedSlide:
    """Look at a slide.

    Raises
    ------
    WriteError, MissingDependencyError
        If no slide is to blame, and the job must stop.
    """
    hung = where_it_hung(task.folder, str(task.number))
    if hung is not None:
        return _refused(
            task,
            f"{task.slide}: the look at it took longer than {task.timeout:g} seconds, so it was given up. It hung "
            f"here: {hung}. Try the slide alone, on another machine, or with a longer --slide-timeout.",
        )
    try:
        with nullcontext() if task.timeout is None else deadline(task.folder, str(task.number), task.timeout):
            return _done_at_last(task)
    except (WriteError, MissingDependencyError):
        raise
    except Exception as error:  # whatever a library raises on a strange file must not end the job
        reason = str(error)
        if not isinstance(error, CellMixDaliError):
            reason = f"{task.slide} cannot be opened ({type(error).__name__}: {error})."
        elif str(task.slide) not in reason:
            reason = f"{task.slide}: {reason}"
        if _is_of_the_moment(error):
            return IndexedSlide(task.slide, fault=reason, kind=NOT_READ)
        return _refused(task, reason)


def lost_task(task: IndexTask) -> IndexedSlide:
    """Return what becomes of a look whose processes died."""
    return _refused(task, f"{task.slide}: {LOST}")


def _done_at_last(task: IndexTask) -> IndexedSlide:
    for pause in Retry(seconds=task.retry_seconds).pauses():
        try:
            return _done(task)
        except Exception as error:
            if not _is_of_the_moment(error) or isinstance(error, WriteError):
                raise
        time.sleep(pause)
    return _done(task)


def _is_of_the_moment(error: Exception) -> bool:
    return isinstance(error, NotReadError) or moment_of(error) is not None


def _done(task: IndexTask) -> IndexedSlide:
    own = states_of([task.slide])
    found = look_at(task.slide)
    arrays: list[NDArray[Any]] = []

    def keep(array: NDArray[Any]) -> int:
        arrays.append(array)
        return len(arrays) - 1

    try:
        record = record_of(found, keep)
    except NotKeptError:
        record = None
        arrays.clear()
    with Slide(task.slide, found) as slide:
        states = own + states_of(path for path in slide.files if path != task.slide)
        look, fault = _look(slide, task)
    if changed_file(states) is not None:
        raise SlideError(f"{task.slide} changed while it was looked at. Make the index again.")
    said = _said(task, states) | {"slide": record, "fault": None}
    return IndexedSlide(task.slide, packed_entry(said, arrays, look), fault, opens=True)


def _look(slide: Slide, task: IndexTask) -> tuple[Look, str]:
    """The slide's tissue and thumbnail; or why there are none, which does not keep it from being opened."""
    settings = task.settings
    if not settings.tissue and not settings.thumbnail:
        return Look({}), ""
    try:
        size = settings.picture_size(slide, task.mpp) if settings.tissue else settings.thumbnail
        picture, mask = look_for_tissue(slide, size, settings.tissue_method)
    except NotReadError:
        raise
    except (SlideError, ArgumentError) as error:  # too coarse, say, for the tiles that are wanted
        return Look({}), str(error)
    masks = {mask_key(settings.tissue_method, size): mask} if settings.tissue else {}
    return Look(masks, thumbnail_bytes(picture, settings.thumbnail) if settings.thumbnail else None), ""


def _refused(task: IndexTask, reason: str) -> IndexedSlide:
    """An entry that says why a slide cannot be opened, as long as its file is the same."""
    try:
        states = states_of([task.slide])
    except SlideError:  # not even that can be said
        return IndexedSlide(task.slide, fault=reason)
    said = _said(task, states) | {"slide": None, "fault": reason}
    return IndexedSlide(task.slide, packed_entry(said, (), Look({})), reason)


def _said(task: IndexTask, states: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "location": location_of(task.slide),
        "identity": identity_of(task.slide),
        "states": states,
        "asked": [task.asked],
    }
