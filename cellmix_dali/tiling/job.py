"""The tiling job: slides in, shards with their table and a report out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from .. import _arguments
from .._urls import place_name
from ..collection import CollectionIndex
from ..collection.index import forget_indexes, index_place
from ..errors import DAMAGED, NOT_READ, ArgumentError
from ..jobs.deadline import TIMEOUTS, forget_deadlines
from ..jobs.executor import Executor, carry_out, make_executor
from ..jobs.job_shard import JOURNALS, JobShard
from ..storage.aside import remove_parts
from ..storage.moment import may_be_file
from ..storage.patience import RETRY_SECONDS, SLIDE_TIMEOUT, Retry
from ..storage.results import results_in
from ..storage.sending import ResultFiles
from ..tables.indexed import index_slides
from ..tables.one_resolution import check_one_resolution
from ._versions import versions
from .augmented import augmenter_of
from .finishing import FOLDERS, put_together, slide_result
from .manifest import JOURNAL, MANIFEST, SLIDES, Manifest
from .outcome import JobState, TilingResult
from .parts import SHARDS
from .records import PartRecord, PlanRecord
from .report import JobReport, SlideResult, Timing, write_report
from .settings import Json, TilingSettings
from .slides import Collection, JobSlide, find_slides
from .tasks import Failure, Outcome, Scale, Task, do_task, lost_task
from .work import WORK

__all__ = ["tile_slides"]

_FILES = ResultFiles(
    "tiling job", (MANIFEST, SLIDES), (JOURNAL, f"{JOURNALS}/*"), (f"{SHARDS}/*.tar",), (f"{TIMEOUTS}/*",)
)


def tile_slides(
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    settings: TilingSettings | None = None,
    *,
    resume: bool = False,
    verify: bool = False,
    shard: JobShard | None = None,
    mixed_resolutions: bool = False,
    index: str | Path | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    retry_seconds: float = RETRY_SECONDS,
    slide_timeout: float | None = SLIDE_TIMEOUT,
    progress: Callable[[JobState], None] | None = None,
) -> TilingResult:
    """Tile slides into shards, with a table of all tiles and a report.

    What is to be made is in the settings; how the job runs, which changes no byte, is said by keyword arguments.

    The result is the same, byte for byte, whatever the engine and however often the job was interrupted, except for
    what stands under ``timing`` in ``report.json``.

    A script that calls this with worker processes needs the usual ``if __name__ == "__main__":``, as they import it.

    Parameters
    ----------
    sources : str, Path, or sequence of them
        Slide files, folders, patterns, or one list of slides, see `cellmix_dali.tiling.find_slides`.
    out : str or Path
        The job's folder, or its URL in a store, to which files are sent as they are finished: ``shards/``,
        ``tiles.parquet``, ``overviews/``, ``report.html``, ``report.json``, ``bad_tiles.jsonl``, ``manifest.json``,
        ``slides.jsonl``, and the tables of slides and parts in ``plans/`` and ``parts/``.
    settings : TilingSettings, optional
        What is asked for.
    resume : bool, default False
        Whether to go on with the job in `out`. What is done and whole is kept; slides that failed, were not read, or
        whose files changed are done again.
    verify : bool, default False
        Whether a job that goes on reads all that is done and compares its digests. Without it, files of the size and
        time that were noted count as whole; others are read.
    shard : JobShard, optional
        Do the work on a part of the slides alone, beside other processes on hosts that share the file system, each with
        its own part; what is done of it is kept. No table and no report are written, and slides that fail are told in
        the result alone. When all parts are done, the same job with `resume` and without `shard` puts them together (it
        makes what is missing, and tries again what failed); the result is the same, byte for byte, as without parts.
    mixed_resolutions : bool, default False
        Whether tiles of different scale are meant. Without it, and where the settings ask for neither an mpp nor a
        magnification, slides whose tiles' mpps differ by more than 5 %, or are known for some slides only, are refused
        before anything is tiled.
    index : str or Path, optional
        File of an index of the slides, see `cellmix_dali.collection`. Unless this is a `shard`, it is made there first,
        or brought up to date, by the same workers. Slides are then opened by it, and tissue that it knows is not looked
        for again; overviews show its pictures.
    workers : int, optional
        Worker processes on this machine; by default one per core. 0: none, this process does all.
    scheduler : str, optional
        Address of a Dask scheduler, instead of `workers`. Its workers must see slides and `out` under the same paths.
    retry_seconds : float, default 60
        How long the work on a slide is tried again that cannot be done for a reason of the moment (too many open files,
        a right, a timeout, a server that does not answer). A slide, or a tile, that is then still not read is recorded
        as "not read", not as damaged, and tried again by a job that resumes. After one that was waited for in vain,
        others are tried once each, until one can be read again.
    slide_timeout : float or None, default 3600
        Seconds that the work on a slide may take at once: a look at it, or a part of some thousand tiles. Then the
        worker at it ends itself, the slide is recorded as failed, with where it hung, and the job goes on. None, and
        without worker processes: as long as it takes. Workers of `scheduler` need nannies and one thread each.
    progress : callable, optional
        Called with a `JobState` after each piece of work.

    Returns
    -------
    TilingResult
        Slides that failed, or were not read, are in it; they end no job.

    Raises
    ------
    ArgumentError, SlideError
        If nothing is to be tiled, tiles would be of different scale, or `out` cannot be used; among others, if the job
        there was begun with other settings.
    WriteError
        If results cannot be written, as on a full disk. The job can be resumed, as after any other end.
    JobStoppedError
        If the worker processes cannot go on.
    """
    began = datetime.now(timezone.utc)
    settings = settings or TilingSettings()
    Retry(seconds=retry_seconds)  # refuses what is no time
    if slide_timeout is not None:
        slide_timeout = _arguments.number("slide_timeout", slide_timeout, low=0.0, above_low=True)
    if settings.augment is not None:
        augmenter_of(settings.augment, settings.tile_size, settings.augment_seed)  # refuses what cannot be used
    collection = find_slides([sources] if isinstance(sources, str | Path) else sources, settings)
    place = index_place(index)
    if place is not None and shard is not None:
        CollectionIndex(place)  # which says what is wrong
    slides = collection.slides if shard is None else shard.slides(collection.slides)
    hung = None if shard is None else [f"{slide.number}-" for slide in slides]  # of others, what hangs is theirs
    with results_in(
        "The folder of a tiling job",
        out,
        _FILES,
        resume=resume or shard is not None,
        part="" if shard is None else shard.name,
        whole=verify,
    ) as kept:
        folder = kept.folder
        if kept.in_store and scheduler is not None:
            raise ArgumentError(
                f"{place_name(kept.place)} cannot be written to by the workers of a scheduler: give them a folder that "
                "they share, or let each host do a part (shard=) to that URL."
            )
        with Manifest(folder, settings, collection, versions(), resume=resume, shard=shard) as manifest:
            for name in ("", *FOLDERS):
                (folder / name).mkdir(exist_ok=True)
                if shard is None:  # else others may be writing
                    remove_parts(folder / name)
            forget_deadlines(folder, hung)
            if place is not None and shard is None:
                index_slides(
                    [slide.path for slide in slides],
                    [slide.mpp for slide in slides],
                    settings,
                    place,
                    look=True,
                    workers=workers,
                    scheduler=scheduler,
                    retry_seconds=retry_seconds,
                    slide_timeout=slide_timeout,
                )
            with (
                closing(make_executor(do_task, lost_task, workers, scheduler, preload=WORK)) as executor,
                closing(_Job(folder, settings, collection, manifest, executor, progress, retry_seconds)) as job,
            ):
                job.own, job.check, job.index = slides, kept.check, place
                job.timeout = slide_timeout if executor.in_processes else None
                job.verify = verify
                if settings.of_any_scale and not mixed_resolutions:
                    job.check_scale()
                job.run()
                count = executor.workers
            forget_deadlines(folder, hung)
            results = job.finish(began, workers=count) if shard is None else list(map(job.result, slides))
    changed = tuple(collection.slides[number].path for number in manifest.changed)
    return TilingResult(kept.place, tuple(results), changed, job.empty_classes, collection.repeats, collection.folders)


class _Job:
    """What is to be done, and what has come of it."""

    def __init__(
        self,
        folder: Path,
        settings: TilingSettings,
        collection: Collection,
        manifest: Manifest,
        executor: Executor[Task, Outcome],
        progress: Callable[[JobState], None] | None,
        retry_seconds: float,
    ) -> None:
        self.empty_classes: tuple[str, ...] = ()
        self.folder, self.settings, self.slides = folder, settings, collection.slides
        self.own: Sequence[JobSlide] = collection.slides  # those to do
        self.classes = collection.classes
        self.manifest, self.executor, self.progress = manifest, executor, progress
        self.began = time.monotonic()
        self.retry_seconds, self.in_vain = retry_seconds, False
        self.timeout: float | None = None
        self.index: Path | None = None
        self.check: Callable[[], None] = lambda: None  # raises where results cannot be kept
        self.verify = False
        self.failed: dict[int, Failure] = {}
        self.failed_part: dict[int, int] = {}
        self.planned: set[int] = set()
        self.parts_left: dict[int, int] = {}
        self.ready: deque[Task] = deque()  # parts of slides that were looked at
        self.ended: set[int] = set()
        self.kept_slides: set[int] = set(range(len(self.slides)))  # none of whose work was done by this run
        self.left: dict[int, int] = {}  # tiles of each slide that are not made yet
        self.tiles = self.tiles_done = self.tiles_now = 0

    def close(self) -> None:
        """Let go of what this process holds for its tasks."""
        forget_indexes()

    def check_scale(self) -> None:
        """Refuse slides whose tiles would be of different scale; the workers look, as a slide may crash a library."""
        if len(self.own) < 2:
            return
        mpps: dict[int, float | None] = {number: plan.mpp for number, plan in self.manifest.done.plans.items()}
        # What is not a file is left to its own task: a pipe that nothing comes from would hold all others.
        unseen = (slide for slide in self.own if slide.number not in mpps and may_be_file(slide.path))
        looks = (self._patient(Task(self.folder, self.settings, slide, scale_only=True)) for slide in unseen)
        for task, outcome in carry_out(self.executor, lambda: next(looks, None)):
            self._was_read(outcome)
            if isinstance(outcome, Scale):  # what fails here fails again when it is tiled, and is told then
                mpps[task.slide.number] = outcome.mpp
        known = sorted(mpps)
        check_one_resolution([self.slides[number].path for number in known], [mpps[number] for number in known])

    def run(self) -> None:
        """Do all work."""
        unseen = iter(self.own)
        for task, outcome in carry_out(self.executor, lambda: self._next_task(unseen)):
            number = task.slide.number
            self._was_read(outcome)
            if isinstance(outcome, Failure):
                self._fail(task.slide, outcome, task.part or 0)
                continue
            assert not isinstance(outcome, Scale)
            if outcome != task.known:
                self.manifest.add(outcome)
                self.check()
            if outcome.seconds:
                self.kept_slides.discard(number)
            if isinstance(outcome, PlanRecord):
                self._plan(task.slide, outcome)
            else:
                self._part(task.slide, outcome)

    def _patient(self, task: Task) -> Task:
        """Say how long a task may take, and wait for its slide: if a wait was in vain, not until one is read again."""
        return replace(
            task,
            before=self.manifest.written,
            verify=self.verify,
            retry_seconds=0.0 if self.in_vain else self.retry_seconds,
            timeout=self.timeout,
            index=self.index,
        )

    def _was_read(self, outcome: Outcome) -> None:
        """Note whether a task waited for its slide in vain."""
        if isinstance(outcome, Failure):
            self.in_vain = self.in_vain or outcome.kind == NOT_READ
        elif isinstance(outcome, Scale) or outcome.seconds:
            self.in_vain = isinstance(outcome, PartRecord) and outcome.unread > 0

    def _next_task(self, unseen: Iterator[JobSlide]) -> Task | None:
        """The next piece of work: parts before further slides, so that slides come to an end."""
        while self.ready:
            task = self.ready.popleft()
            if task.slide.number not in self.failed:
                return self._patient(task)
        slide = next(unseen, None)
        if slide is None:
            return None
        known = self.manifest.done.plans.get(slide.number)
        return self._patient(Task(self.folder, self.settings, slide, known=known))

    def _plan(self, slide: JobSlide, plan: PlanRecord) -> None:
        """A slide was looked at: its parts are next."""
        self.planned.add(slide.number)
        self.tiles += plan.tiles
        self.left[slide.number] = plan.tiles
        self.parts_left[slide.number] = plan.parts
        for part in range(plan.parts):
            known = self.manifest.done.part(slide.number, part)
            self.ready.append(Task(self.folder, self.settings, slide, plan=plan, part=part, known=known))
        if not plan.parts:
            self.tiles_done += plan.tiles
            self.tiles_now += plan.tiles if plan.seconds else 0
            self._end(slide)
        else:
            self._tell()

    def _part(self, slide: JobSlide, part: PartRecord) -> None:
        """A part was made."""
        if slide.number in self.failed:
            return
        count = part.tiles + len(part.bad)
        self.parts_left[slide.number] -= 1
        self.left[slide.number] -= count
        self.tiles_done += count
        self.tiles_now += count if part.seconds else 0
        if self.parts_left[slide.number]:
            self._tell()
            return
        parts = self.manifest.done.parts_of(slide.number)
        bad = [tile for each in parts for tile in each.bad]
        if bad and not sum(each.tiles for each in parts):
            # One of them that the moment kept from being read may be good.
            kind = NOT_READ if any(tile.kind == NOT_READ for tile in bad) else DAMAGED
            first = next(tile for tile in bad if tile.kind == kind)
            reason = f"None of the {len(bad)} tiles of {slide.path} can be read. The first: {first.reason}"
            self._fail(slide, Failure(reason, kind), 0)
        else:
            self._end(slide)

    def _fail(self, slide: JobSlide, failure: Failure, part: int) -> None:
        """A slide cannot be tiled: the rest of its work is left out."""
        # Of several parts that fail, the first one says why, whichever is met first: all before it are under way.
        if part < self.failed_part.get(slide.number, part + 1):
            self.failed_part[slide.number] = part
            self.failed[slide.number] = failure
        if slide.number in self.ended:
            return
        self.planned.add(slide.number)
        self.tiles -= self.left.pop(slide.number, 0)
        self._end(slide)

    def _end(self, slide: JobSlide) -> None:
        if slide.number not in self.ended:
            self.ended.add(slide.number)
            self._tell(self.result(slide))

    def _tell(self, last: SlideResult | None = None) -> None:
        if self.progress is not None:
            self.progress(
                JobState(
                    slides=len(self.own),
                    slides_done=len(self.ended),
                    slides_planned=len(self.planned),
                    tiles=self.tiles,
                    tiles_done=self.tiles_done,
                    tiles_now=self.tiles_now,
                    seconds=time.monotonic() - self.began,
                    last=last,
                )
            )

    def result(self, slide: JobSlide) -> SlideResult:
        """Return what became of a slide."""
        return slide_result(slide, self.settings, self.manifest.done, self.failed.get(slide.number))

    def finish(self, began: datetime, workers: int) -> list[SlideResult]:
        """Write what is about all slides: the table, the bad tiles, the report, the manifest."""
        results = [self.result(slide) for slide in self.slides]
        done = [slide for slide in self.slides if slide.number not in self.failed]
        columns = tuple(self.slides[0].columns)
        met = put_together(self.folder, self.settings, self.manifest.done, done, classes=self.classes, columns=columns)
        if self.classes is not None:
            self.empty_classes = tuple(name for label, name in enumerate(self.classes) if label not in met)
        timing = Timing(
            started=began.isoformat(timespec="seconds"),
            seconds=time.monotonic() - self.began,
            workers=workers,
            resumed_slides=len(self.kept_slides - set(self.failed)),
            tiles=self.tiles_now,
        )
        report = JobReport(settings=self._asked(), slides=results, timing=timing, versions=versions())
        write_report(self.folder, report)
        self.manifest.finish({number: failure.reason for number, failure in self.failed.items()})
        return results

    def _asked(self) -> dict[str, Json]:
        """The settings as the report shows them, with the names of the labels wherever they come from."""
        return {**self.settings.to_json(), "classes": None if self.classes is None else list(self.classes)}
