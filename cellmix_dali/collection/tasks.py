"""A look at one slide for an index, as it goes to a worker and comes back."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import DAMAGED, NOT_READ, ArgumentError, NotReadError, SlideError
from ..jobs.attempt import attempt, naming
from ..jobs.executor import LOST
from ..slides.found_record import NotKeptError, record_of
from ..slides.opening import look_at
from ..slides.slide import Slide
from ..storage.patience import RETRY_SECONDS
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
    return attempt(
        lambda _: _done(task),
        partial(_refused, task),
        slide=task.slide,
        what="look at",
        cannot=f"{task.slide} cannot be opened",
        folder=task.folder,
        key=str(task.number),
        timeout=task.timeout,
        retry_seconds=task.retry_seconds,
    )


def lost_task(task: IndexTask) -> IndexedSlide:
    """Return what becomes of a look whose processes died."""
    return _refused(task, f"{task.slide}: {LOST}")


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


def _refused(task: IndexTask, reason: str, kind: str = DAMAGED) -> IndexedSlide:
    """An entry that says why a slide cannot be opened, as long as its file is the same; none of one not read."""
    said = naming(task.slide, reason)
    entry = b""
    if kind != NOT_READ:
        with suppress(SlideError):  # then not even that can be said
            entry = packed_entry(_said(task, states_of([task.slide])) | {"slide": None, "fault": said}, (), Look({}))
    return IndexedSlide(task.slide, entry, said, kind)


def _said(task: IndexTask, states: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "location": location_of(task.slide),
        "identity": identity_of(task.slide),
        "states": states,
        "asked": [task.asked],
    }
