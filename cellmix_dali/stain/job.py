"""Fitting the stains of a collection: slides in, a table out, whatever happens in between."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from .. import _arguments
from ..collection.index import forget_indexes, index_place
from ..errors import NOT_READ, ArgumentError, NotReadError
from ..jobs.asked import differences
from ..jobs.deadline import forget_deadlines
from ..jobs.executor import Executor, carry_out, make_executor
from ..jobs.folder import JobFolder
from ..jobs.journal import Journal, journal_lines
from ..slides.identity import unique_slides
from ..storage.moment import may_be_file
from ..storage.paths import home_expanded, shown
from ..storage.patience import RETRY_SECONDS, SLIDE_TIMEOUT, Retry
from ..tables.indexed import index_slides
from ..tables.one_resolution import check_one_resolution
from ..tables.slide_list import SlideList
from .settings import StainSettings
from .table import SlideStain, StainTable
from .tasks import StainTask, do_task, inputs_of, lost_task

__all__ = ["fit_stains"]

_JOURNAL = "journal.jsonl"
Progress = Callable[[int, int, SlideStain], None]


def fit_stains(
    slides: SlideList | Sequence[str | Path],
    out: str | Path,
    settings: StainSettings | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    mixed_resolutions: bool = False,
    index: str | Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    retry_seconds: float = RETRY_SECONDS,
    slide_timeout: float | None = SLIDE_TIMEOUT,
    progress: Progress | None = None,
) -> StainTable:
    """Fit the stain of each slide, once, and write them to a Parquet file.

    The file is the same whatever the number of workers and however often the job was interrupted. While it runs, what
    is done is kept in a folder beside the file, ``OUT.job``.

    A script that calls this with worker processes needs the usual ``if __name__ == "__main__":``, as they import it.

    Parameters
    ----------
    slides : SlideList or sequence of path-like
        Slide files, all different. A list's mpps come before the settings' `mpp_override`.
    out : str or Path
        The file, ``.parquet``.
    settings : StainSettings, optional
        What is asked for.
    resume : bool, default False
        Whether to go on with the job of `out`, or to add to the finished table: fitted slides whose files have not
        changed are kept, all others are done.
    overwrite : bool, default False
        Whether to begin anew where `out` is there already.
    mixed_resolutions : bool, default False
        Whether slides of different mpp are meant where the settings ask for neither an mpp nor a magnification. Without
        it they are refused before anything is fitted.
    index : str or Path, optional
        File of an index of the slides, see `cellmix_dali.collection`. It is made there first, or brought up to date;
        slides are opened by it, and tissue that it knows is not looked for again. Stains are the same.
    workers : int, optional
        Worker processes on this machine; by default one per core. 0: none, this process does all.
    scheduler : str, optional
        Address of a Dask scheduler, instead of `workers`. Its workers must see slides and `out` under the same paths.
    retry_seconds : float, default 60
        How long the work on a slide is tried again that cannot be done for a reason of the moment. After one that was
        waited for in vain, others are tried once each, until one can be read again.
    slide_timeout : float or None, default 3600
        Seconds that the work on a slide may take. Then the worker at it ends itself, and the slide's row says so. None,
        and without worker processes: as long as it takes.
    progress : callable, optional
        Called with (slides done, slides, the slide's row) after each.

    Returns
    -------
    StainTable
        As it was written: a row for each slide, in the order given; one whose stain could not be fitted says why, and
        ends no job.

    Raises
    ------
    ArgumentError
        If there is nothing to fit, slides are of different scale, or `out` cannot be used.
    WriteError
        If results cannot be written, as on a full disk. The job can be resumed, as after any other end.
    JobStoppedError
        If the worker processes cannot go on.
    """
    settings = settings or StainSettings()
    Retry(seconds=retry_seconds)  # refuses what is no time
    if slide_timeout is not None:
        slide_timeout = _arguments.number("slide_timeout", slide_timeout, low=0.0, above_low=True)
    if resume and overwrite:
        raise ArgumentError("resume=True and overwrite=True (--resume, --overwrite): go on, or start anew, not both.")
    path = home_expanded(_arguments.local_only("The table of stains", out)).absolute()
    if path.suffix != ".parquet" or path.is_dir():
        raise ArgumentError(f"{path} cannot be the table of stains: name a file with the suffix .parquet.")
    if path.exists() and not (resume or overwrite):
        raise ArgumentError(
            f"{path} is there already: go on with it by --resume (resume=True), begin anew by --overwrite "
            "(overwrite=True), or give another file."
        )
    folder = path.with_name(f"{path.name}.job")
    place = index_place(index)
    tasks = [replace(task, index=place) for task in _tasks(slides, folder, settings)]
    with _StainFolder(folder, path, settings, resume=resume, overwrite=overwrite) as kept:
        forget_deadlines(folder)
        if place is not None:
            index_slides(
                [task.slide for task in tasks],
                [task.mpp for task in tasks],
                settings,
                place,
                look=True,
                workers=workers,
                scheduler=scheduler,
                retry_seconds=retry_seconds,
                slide_timeout=slide_timeout,
            )
        with (
            closing(make_executor(do_task, lost_task, workers, scheduler)) as executor,
            closing(_Job(tasks, kept, executor, progress, retry_seconds, slide_timeout)) as job,
        ):
            if settings.of_any_scale and not mixed_resolutions and len(tasks) > 1:
                job.check_scale()
            job.run()
        table = StainTable([job.rows[task.number] for task in tasks], settings.to_json())
        table.save(path)
        shutil.rmtree(folder, ignore_errors=True)
    return table


def _tasks(slides: SlideList | Sequence[str | Path], folder: Path, settings: StainSettings) -> list[StainTask]:
    """What is to be done, if nothing were done already."""
    listed = slides
    if not isinstance(listed, SlideList):
        named = [listed] if isinstance(listed, str | Path) else list(listed)
        listed = SlideList(tuple(home_expanded(_arguments.path_of("A slide", each)) for each in named))
    if not len(listed):
        raise ArgumentError("There is no stain to fit: name at least one slide.")
    for repeated in unique_slides(listed.slides)[1]:
        raise ArgumentError(f"{repeated} are one slide: leave one out.")
    files = settings.files_of(listed.slides)
    mpps = [None] * len(listed) if listed.mpp is None else [None if of != of else float(of) for of in listed.mpp]
    return [
        StainTask(
            folder=folder,
            settings=settings,
            number=number,
            slide=Path(shown(each.absolute())),  # a name that is not UTF-8 fits in no table: that slide fails
            mpp=mpps[number],
            files=files[number],
        )
        for number, each in enumerate(listed.slides)
    ]


class _StainFolder(JobFolder):
    """The folder of a job under way, and the rows that are fitted already."""

    job, name, format = "stain fitting", "settings.json", 1
    says: ClassVar = {"settings": dict}

    def __init__(self, folder: Path, out: Path, settings: StainSettings, *, resume: bool, overwrite: bool) -> None:
        self.done: dict[str, SlideStain] = {}
        self._out, self._asked, self._resume, self._overwrite = out, settings.to_json(), resume, overwrite
        super().__init__(folder)

    def add(self, row: SlideStain) -> None:
        """Note a slide that is done, safely on the disk."""
        assert self._journal is not None
        self._journal.add(row.to_json())

    def begin(self) -> None:
        """Find what is there, or begin anew."""
        journal, before = self.folder / _JOURNAL, self.read()
        lines = list(journal_lines(journal))
        if self._resume:
            if before is not None:
                self._compare(before["settings"])
            if self._out.exists():
                table = StainTable.open(self._out)
                self._compare(table.settings)
                self.done = {row.slide: row for row in table.rows if row.fit is not None}
            for row in map(SlideStain.from_json, lines):
                self.done.pop(row.slide, None)
                if row.fit is not None:
                    self.done[row.slide] = row
        elif lines and not self._overwrite:
            raise ArgumentError(
                f"{self.folder} holds a job that was not finished: go on with it by --resume (resume=True), or begin "
                "anew by --overwrite (overwrite=True)."
            )
        else:  # the old table first: a job that goes on must not find it
            self._out.unlink(missing_ok=True)
            journal.unlink(missing_ok=True)
        self.write({"settings": self._asked})
        self._journal = Journal(journal)

    def _compare(self, before: Mapping[str, Any]) -> None:
        """Refuse to go on with stains that were fitted otherwise."""
        differ = differences(before, self._asked)
        if differ:
            raise ArgumentError(
                f"The stains of {self._out} were fitted with other settings: {'; '.join(differ)}. Give the same, begin "
                "anew by --overwrite (overwrite=True), or give another file."
            )


class _Job:
    """What is to be done, and what has come of it."""

    def __init__(
        self,
        tasks: Sequence[StainTask],
        folder: _StainFolder,
        executor: Executor[StainTask, SlideStain],
        progress: Progress | None,
        retry_seconds: float,
        timeout: float | None,
    ) -> None:
        self.tasks, self.folder, self.executor, self.progress = tasks, folder, executor, progress
        self.retry_seconds, self.in_vain = retry_seconds, False
        self.timeout = timeout if executor.in_processes else None
        self.rows = {task.number: row for task in tasks if (row := _kept(task, folder.done)) is not None}

    def close(self) -> None:
        """Let go of what this process holds for its tasks."""
        forget_indexes()

    def check_scale(self) -> None:
        """Refuse slides whose tiles would be of different scale; the workers look, as a slide may crash a library."""
        mpps: dict[int, float | None] = {number: row.mpp for number, row in self.rows.items()}
        # What is not a file is left to its own task: a pipe that nothing comes from would hold all others.
        unseen = (task for task in self.tasks if task.number not in mpps and may_be_file(task.slide))
        for task, row in self._carried_out(replace(task, scale_only=True) for task in unseen):
            if not row.fault:  # what fails here fails again when it is fitted, and is told then
                mpps[task.number] = row.mpp
        known = sorted(mpps)
        check_one_resolution([self.tasks[number].slide for number in known], [mpps[number] for number in known])

    def run(self) -> None:
        """Do all work."""
        for task, row in self._carried_out(task for task in self.tasks if task.number not in self.rows):
            self.folder.add(row)
            self.rows[task.number] = row
            if self.progress is not None:
                self.progress(len(self.rows), len(self.tasks), row)

    def _carried_out(self, tasks: Iterator[StainTask]) -> Iterator[tuple[StainTask, SlideStain]]:
        """Do tasks; if a wait for one was in vain, none is waited for until one is read again."""
        for task, row in carry_out(self.executor, lambda: self._patient(next(tasks, None))):
            self.in_vain = row.fault_kind == NOT_READ
            yield task, row

    def _patient(self, task: StainTask | None) -> StainTask | None:
        """Say how long a task may take, and wait for its slide."""
        seconds = 0.0 if self.in_vain else self.retry_seconds
        return None if task is None else replace(task, retry_seconds=seconds, timeout=self.timeout)


def _kept(task: StainTask, done: Mapping[str, SlideStain]) -> SlideStain | None:
    """A slide's row of an earlier run, if its files have not changed since."""
    row = done.get(str(task.slide))
    try:
        return row if row is not None and row.inputs == inputs_of(task.slide, task.files, task.mpp) else None
    except NotReadError:  # nothing says that they have changed
        return row
