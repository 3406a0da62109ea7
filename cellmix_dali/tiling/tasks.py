"""One piece of a tiling job's work, as it goes to a worker and comes back."""

from __future__ import annotations

import time
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import TypeAlias

from ..collection import CollectionIndex
from ..collection.index import job_index, open_with
from ..errors import DAMAGED, SlideError
from ..jobs.attempt import attempt
from ..jobs.executor import LOST
from ..storage.patience import RETRY_SECONDS
from .parts import make_part
from .plans import plan_slide
from .records import PartRecord, PlanRecord, inputs_of, intact
from .settings import TilingSettings
from .slides import JobSlide

__all__ = ["Failure", "Outcome", "Scale", "Task", "do_task", "lost_task"]


@dataclass(frozen=True)
class Task:
    """A piece of work: look at a slide, or make one part of its tiles.

    Attributes
    ----------
    folder : Path
        The job's folder, absolute.
    settings : TilingSettings
    slide : JobSlide
    plan : PlanRecord or None
        What looking at the slide gave; None to look at it.
    part : int or None
        Which part to make.
    known : PlanRecord, PartRecord or None
        What an earlier run noted of this work: kept, if its files are whole.
    before : int or None
        How old files must be whose time was not noted, see `cellmix_dali.tiling.records.intact`.
    verify : bool
        Whether to read the files of `known`, and not to go by their size and time.
    scale_only : bool
        Only tell the scale of the slide's tiles.
    retry_seconds : float
        How long work is tried again that cannot be done for a reason of the moment.
    timeout : float or None
        Seconds after which the process at work ends itself.
    index : Path or None
        File of an index of the slides, which is there.
    """

    folder: Path
    settings: TilingSettings
    slide: JobSlide
    _: KW_ONLY
    plan: PlanRecord | None = None
    part: int | None = None
    known: PlanRecord | PartRecord | None = None
    before: int | None = None
    verify: bool = False
    scale_only: bool = False
    retry_seconds: float = RETRY_SECONDS
    timeout: float | None = None
    index: Path | None = None

    @property
    def key(self) -> str:
        """A file's name for this work, which is that of no other."""
        return f"{self.slide.number}-{'scale' if self.scale_only else 'plan' if self.part is None else self.part}"

    @property
    def name(self) -> str:
        """For a person."""
        return self.slide.name if self.part is None else f"{self.slide.name}, part {self.part + 1}"


@dataclass(frozen=True)
class Failure:
    """Work that cannot be done: for a reason that lies in its slide, or one of the moment, as the kind of fault says.

    The kinds are those of `cellmix_dali.reading.faults.Fault`.
    """

    reason: str
    kind: str = DAMAGED


@dataclass(frozen=True)
class Scale:
    """Microns per pixel of a slide's tiles; None where the slide does not say."""

    mpp: float | None


Outcome: TypeAlias = "PlanRecord | PartRecord | Scale | Failure"


def do_task(task: Task) -> Outcome:
    """Do a piece of work.

    Returns
    -------
    PlanRecord, PartRecord, Scale or Failure
        What was done, also where an earlier run had done it; or why the slide cannot be tiled.

    Raises
    ------
    WriteError, MissingDependencyError
        If nothing can be written, or a package is missing: no slide is to blame, and the job must stop.
    """
    if task.known is not None and intact(task.folder, task.known.files, before=task.before, verify=task.verify):
        return replace(task.known, seconds=0.0)
    began = time.monotonic()
    found = attempt(
        lambda last: _done(task, leave_unread=last),
        Failure,
        slide=task.slide.path,
        what="work on",
        cannot=f"{task.slide.path} cannot be tiled",
        folder=task.folder,
        key=task.key,
        timeout=task.timeout,
        retry_seconds=task.retry_seconds,
    )
    return found if isinstance(found, Scale | Failure) else replace(found, seconds=time.monotonic() - began)


def lost_task(task: Task) -> Outcome:
    """Return what becomes of work whose processes died."""
    return Failure(f"{task.slide.path}: {LOST}")


def _done(task: Task, *, leave_unread: bool) -> Outcome:
    """Do a piece of work."""
    index = None if task.index is None else job_index(task.index)
    if task.scale_only:
        return Scale(_mpp_of_tiles(task.slide, task.settings, index))
    before = inputs_of(task.slide)
    if task.plan is None:
        found: PlanRecord | PartRecord = plan_slide(task.slide, task.settings, task.folder, before, index)
    else:
        assert task.part is not None
        if before != task.plan.inputs:
            raise SlideError(_CHANGED.format(path=task.slide.path))
        found = make_part(
            task.slide, task.settings, task.folder, task.plan, task.part, leave_unread=leave_unread, index=index
        )
    if inputs_of(task.slide) != before:
        raise SlideError(_CHANGED.format(path=task.slide.path))
    return found


def _mpp_of_tiles(slide: JobSlide, settings: TilingSettings, index: CollectionIndex | None) -> float | None:
    """Microns per pixel of a slide's finished tiles, where they are a level as it is."""
    with open_with(index, slide.path) as opened:
        return settings.choose_level(opened, slide.mpp).level_mpp


_CHANGED = "{path} or its mask or annotations changed while it was tiled. Go on with --resume when it is complete."
