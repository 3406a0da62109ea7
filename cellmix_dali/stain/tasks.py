"""Fitting one slide's stain, as it goes to a worker and comes back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..collection.index import job_index, open_with
from ..errors import DAMAGED, ArgumentError, SlideError
from ..jobs.attempt import attempt, naming
from ..jobs.executor import LOST
from ..storage.moment import MOMENT, refusal
from ..storage.patience import RETRY_SECONDS
from ..tables.recipe import SlideFiles
from .pixels import tissue_pixels
from .settings import StainSettings
from .table import SlideStain

__all__ = ["StainTask", "do_task", "inputs_of", "lost_task"]


@dataclass(frozen=True, kw_only=True)
class StainTask:
    """A slide to fit.

    Attributes
    ----------
    folder : Path
        The job's folder, absolute.
    settings : StainSettings
    number : int
        The slide's place in the collection.
    slide : Path
        Absolute.
    mpp : float or None
        Microns per pixel of its first level, whatever its file says.
    files : SlideFiles
        Its mask and annotations.
    scale_only : bool
        Only tell the scale of its tiles.
    retry_seconds : float
        How long work is tried again that cannot be done for a reason of the moment.
    timeout : float or None
        Seconds after which the process at work ends itself.
    index : Path or None
        File of an index of the slides, which is there.
    """

    folder: Path
    settings: StainSettings
    number: int
    slide: Path
    mpp: float | None = None
    files: SlideFiles = field(default_factory=SlideFiles)
    scale_only: bool = False
    retry_seconds: float = RETRY_SECONDS
    timeout: float | None = None
    index: Path | None = None

    @property
    def key(self) -> str:
        """A file's name for this work, which is that of no other."""
        return f"{self.number}-{'scale' if self.scale_only else 'stain'}"


def do_task(task: StainTask) -> SlideStain:
    """Fit a slide's stain.

    Returns
    -------
    SlideStain
        With the fit, or why there is none; of a task for the scale alone, with its mpp and neither.

    Raises
    ------
    WriteError, MissingDependencyError
        If nothing can be written, or a package is missing: no slide is to blame, and the job must stop.
    """
    return attempt(
        lambda _: _done(task),
        partial(_failed, task),
        slide=task.slide,
        what="work on",
        cannot=f"The stain of {task.slide} cannot be fitted",
        folder=task.folder,
        key=task.key,
        timeout=task.timeout,
        retry_seconds=task.retry_seconds,
    )


def lost_task(task: StainTask) -> SlideStain:
    """Return what becomes of work whose processes died."""
    return _failed(task, f"{task.slide}: {LOST}")


def inputs_of(slide: Path, files: SlideFiles, mpp: float | None) -> str:
    """Return the state of the files that a slide's stain is fitted to, and the mpp that a list says, as JSON.

    Raises
    ------
    NotReadError
        If that is not possible just now: it would look as if they had changed.
    """
    found: list[list[str | int]] = []
    for path in (slide, files.mask, files.annotations):
        if path is None:
            continue
        try:
            state = path.stat()
        except OSError as error:
            if error.errno in MOMENT:
                raise refusal(f"Cannot look at {path}", error, "") from error
            found.append([str(path)])
        else:
            found.append([str(path), state.st_size, state.st_mtime_ns])
    return json.dumps({"files": found, "mpp": mpp})


def _failed(task: StainTask, reason: str, kind: str = DAMAGED) -> SlideStain:
    return SlideStain(str(task.slide), fault=naming(task.slide, reason), fault_kind=kind)


def _done(task: StainTask) -> SlideStain:
    """Do a piece of work."""
    name, index = str(task.slide), None if task.index is None else job_index(task.index)
    if task.scale_only:
        with open_with(index, task.slide) as opened:
            return SlideStain(name, mpp=task.settings.choose_level(opened, task.mpp).level_mpp)
    before = inputs_of(task.slide, task.files, task.mpp)
    with open_with(index, task.slide) as opened:
        found = tissue_pixels(opened, task.settings, mpp=task.mpp, files=task.files, index=index)
    if inputs_of(task.slide, task.files, task.mpp) != before:
        raise SlideError(f"{name} or its mask or annotations changed while its stain was fitted. Go on with --resume.")
    try:
        fit = task.settings.fitting.fit(found.pixels)
    except ArgumentError as error:
        raise ArgumentError(f"{name}: {error}") from error
    return SlideStain(name, fit, len(found.pixels), found.mpp, colours=found.colours, inputs=before)
