"""A comparison from end to end: the images checked, the runs that are missing done, the report written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .._arguments import local_only
from .._cores import usable_cores
from ..errors import ArgumentError, CellMixDaliError
from ..jobs.executor import carry_out, make_executor
from ..training import TrainingData
from ..training.loop import versions
from ..training.settings import fitting_batch_size
from .arms import candidates
from .records import BASELINE, RunRecord
from .report import Report, write_report
from .runs import Run, Task, do_run, forget_images, lost_run
from .settings import ComparisonSettings
from .store import RunStore

__all__ = ["AllRunsFailedError", "Comparison", "ComparisonState", "compare"]


class AllRunsFailedError(CellMixDaliError):
    """A comparison without a single run that could be done."""


@dataclass
class ComparisonState:
    """How far a comparison is.

    Attributes
    ----------
    runs, done, failed : int
        Of all runs; `done` counts those that were there before, too.
    seconds_left : float or None
        As estimated from the runs of this call; None before the first one.
    last : RunRecord or None
        The run that ended last.
    last_failed : tuple of str, optional
        Name of the run that ended last, if it failed, and why.
    """

    runs: int
    done: int = 0
    failed: int = 0
    seconds_left: float | None = None
    last: RunRecord | None = None
    last_failed: tuple[str, str] | None = None


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes
    ----------
    records : list of RunRecord
        Of all runs that were asked for and are finished, in the order of the plan.
    failed : mapping of str to str
        Runs that failed, and why.
    report : Report
        What was written of them.
    notes : tuple of str
        For the user: records that were done again, other versions, images that were left out.
    """

    records: list[RunRecord]
    failed: Mapping[str, str]
    report: Report
    notes: tuple[str, ...] = field(default=())


def compare(
    settings: ComparisonSettings,
    out: Path,
    *,
    against: str = BASELINE,
    workers: int | None = None,
    checking: Callable[[int, int], None] | None = None,
    progress: Callable[[ComparisonState], None] | None = None,
) -> Comparison:
    """Train every arm on every fold with every seed, as far as `out` has it not yet, and write the report.

    Runs of one fold and seed begin with the same weights and see the same images in the same order, whatever the arm.
    They go seed by seed and fold by fold, the arms innermost: what a comparison that was stopped has done is paired.

    Parameters
    ----------
    settings : ComparisonSettings
        What is compared.
    out : Path
        Folder of the results. Runs that are finished there are not done again.
    against : str, default "none"
        Name of the arm that the report compares the others with, such as "CellMix-Group, off". The runs are the same.
    workers : int, optional
        Processes; by default one per core on the CPU (fewer where a run has several threads), 1 on a GPU. The results
        do not depend on it. 0: none, for debugging.
    checking : callable, optional
        Called with (done, all) while images are decoded once, or grids are laid over slides.
    progress : callable, optional
        Called with the state before the first run and after each.

    Raises
    ------
    CellMixDaliError
        If the settings cannot work, the samples cannot be read, or `out` is of a comparison with other settings. A run
        that fails raises nothing: it is in ``failed``.
    AllRunsFailedError
        If all of them do.
    """
    settings.check(settings.data.size, against)
    data = settings.data.divided(settings.test_folds, checking)
    some = next(iter(data.values()))
    settings.check(some.source.size)
    common = settings.common() | {
        "image_size": some.source.size,
        some.source.unit: sum(some.counts.values()),
        "data": settings.data.digest(data),
    }
    about = settings.data.about() | {"versions": versions()}
    plan = _plan(settings, list(data))
    out = local_only("The folder of a comparison", out)
    with RunStore(out, common, about) as store:
        notes = [f"left out: {file}: {reason}" for file, reason in some.left_out.items()]
        if "versions" in store.changed:
            before, now = store.changed["versions"]
            notes.append(f"some runs were made by other versions: {before}; now {now}")
        smaller = _smaller_batches(settings, data)
        notes += [
            f"fold {fold}: batches of {size} and not {settings.batch_size}: there are "
            f"{data[fold].counts['train']} samples to train on"
            for fold, size in smaller.items()
        ]
        job = _Job(store, plan, progress)
        notes += [f"done again: {reason}" for reason in job.read()]
        job.do(settings, data, _cores(settings) if workers is None else workers)
        records = [_as_asked(job.records[run], run, settings) for run in plan if run in job.records]
        failed = {run.name: reason for run, reason in job.failed.items()}
        if not records:
            told = "; ".join(f"{name}: {reason}" for name, reason in list(failed.items())[:3])
            raise AllRunsFailedError(f"All {len(failed)} runs failed: there is nothing to compare. {told}")
        report = write_report(
            out,
            records,
            settings=common | ({"smaller_batches": smaller} if smaller else {}) | _axes(settings, data),
            failed=failed,
            baseline=against,
            planned=[(run.arm.name, run.fold, run.seed) for run in plan],
        )
    return Comparison(records, failed, report, tuple(notes))


class _Job:
    """The runs of a plan: which are finished, which fail."""

    def __init__(
        self, store: RunStore, plan: Sequence[Run], progress: Callable[[ComparisonState], None] | None
    ) -> None:
        self.records: dict[Run, RunRecord] = {}
        self.failed: dict[Run, str] = {}
        self._store, self._plan = store, plan
        self._progress = progress or (lambda _: None)

    def read(self) -> list[str]:
        """Read the records that are there; say of those that cannot be read what is wrong with them."""
        faults = []
        for run in self._plan:
            try:
                record = self._store.record(run)
            except ArgumentError as error:
                faults.append(str(error))
                continue
            if record is not None:
                self.records[run] = record
        return faults

    def do(self, settings: ComparisonSettings, data: Mapping[str, TrainingData[Any]], workers: int) -> None:
        """Do the runs that are missing; keep each record as it comes."""
        missing = [run for run in self._plan if run not in self.records]
        state = ComparisonState(len(self._plan), done=len(self.records))
        self._progress(state)
        if not missing:
            return
        began = time.monotonic()
        tasks = (Task(run, settings, data[run.fold]) for run in missing)
        with ExitStack() as stack:
            stack.callback(forget_images)
            executor = stack.enter_context(closing(make_executor(do_run, lost_run, min(workers, len(missing)))))
            for ended, (task, outcome) in enumerate(carry_out(executor, lambda: next(tasks, None)), start=1):
                if isinstance(outcome, RunRecord):
                    self._store.keep(task.run, outcome)
                    self.records[task.run] = outcome
                    state = replace(state, done=state.done + 1, last=outcome, last_failed=None)
                else:
                    self.failed[task.run] = outcome
                    state = replace(state, failed=state.failed + 1, last=None, last_failed=(task.run.name, outcome))
                left = (time.monotonic() - began) / ended * (len(missing) - ended)
                state = replace(state, seconds_left=left)
                self._progress(state)


def _plan(settings: ComparisonSettings, folds: Sequence[str]) -> list[Run]:
    """All runs: seed by seed, fold by fold, the arms and their candidates innermost."""
    return [
        Run(arm, fold, seed, tuple(chosen.items()))
        for seed in range(settings.seeds)
        for fold in folds
        for arm in settings.arms
        for chosen in candidates(arm, settings.values)
    ]


def _as_asked(record: RunRecord, run: Run, settings: ComparisonSettings) -> RunRecord:
    """A record under the arm's name of now, with those values that this comparison chooses among."""
    return replace(record, arm=run.arm.name, candidate=settings.several(dict(run.values)))


def _smaller_batches(settings: ComparisonSettings, data: Mapping[str, TrainingData[Any]]) -> dict[str, int]:
    """Batch sizes of the folds that have too few images for the one that was asked for."""
    sizes = {fold: fitting_batch_size(settings.batch_size, each.counts["train"])[0] for fold, each in data.items()}
    return {fold: size for fold, size in sizes.items() if size < settings.batch_size}


def _axes(settings: ComparisonSettings, data: Mapping[str, TrainingData[Any]]) -> dict[str, object]:
    """What is compared, for the report."""
    some = next(iter(data.values()))
    return {
        "folder": settings.data.place.resolve().name,  # and not the whole path, which says where, not what
        "classes": list(some.classes),
        "folds": list(data),
        "seeds": settings.seeds,
        "methods": list(settings.methods),
        "curricula": list(settings.curricula),
        "augmentations": list(settings.augmentations),
    } | {option: list(values) for option, values in settings.values.items()}


def _cores(settings: ComparisonSettings) -> int:
    """Processes that this machine has room for."""
    return 1 if settings.device == "gpu" else max(1, usable_cores() // settings.threads)
