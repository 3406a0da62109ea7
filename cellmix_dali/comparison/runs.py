"""One run of a comparison, and how it is done."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..errors import CellMixDaliError
from ..jobs.executor import LOST
from ..training import TrainingData, TrainingRun, TrainingSettings, train_and_test
from .arms import Arm, slug
from .records import RunRecord
from .settings import ComparisonSettings

__all__ = ["Run", "Task", "do_run", "forget_images", "lost_run", "run_seed"]

_DIGITS = 5  # of the batches' losses


@dataclass(frozen=True)
class Run:
    """One training of a comparison.

    Attributes
    ----------
    arm : Arm
        What is compared.
    fold : str
        Tested on.
    seed : int
        As the user counts them.
    values : tuple of (str, float)
        Of all options that change the arm's training.
    """

    arm: Arm
    fold: str
    seed: int
    values: tuple[tuple[str, float], ...]

    @property
    def slug(self) -> str:
        """The name of its file."""
        fold = slug(self.fold)
        if fold != self.fold:  # other names of folds may have the same slug
            fold += f"-{hashlib.sha256(self.fold.encode()).hexdigest()[:8]}"
        values = "".join(f"_{name.replace('_', '-')}-{value!r}" for name, value in self.values)
        return f"fold-{fold}_seed-{self.seed}{values}"

    @property
    def name(self) -> str:
        """For a person."""
        values = "".join(f", {name.replace('_', ' ')} {value:g}" for name, value in self.values)
        return f"{self.arm.name}, fold {self.fold}, seed {self.seed}{values}"


@dataclass(frozen=True)
class Task:
    """A run, and what it needs.

    Attributes
    ----------
    run : Run
        Which.
    settings : ComparisonSettings
        How every run trains.
    data : TrainingData
        The samples of its fold.
    """

    run: Run
    settings: ComparisonSettings
    data: TrainingData[Any]


def run_seed(seed: int, fold: str) -> int:
    """Return the seed of weights, order and flips: of fold and seed alone, so that all arms start the same.

    Parameters
    ----------
    seed : int
        As the user counts them.
    fold : str
        The fold that is tested on.
    """
    digest = hashlib.sha256(f"{seed}\0{fold}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def do_run(task: Task) -> RunRecord | str:
    """Train and test; give the record, or, where it cannot be done, the reason.

    The first run of a process decodes and resizes the images; they stay for the next ones, until `forget_images`.
    """
    run, of_all = task.run, task.settings
    started, threads = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(of_all.threads)
    settings = of_all.of_run(run.arm, dict(run.values), run_seed(run.seed, run.fold))
    try:
        recipe = run.arm.recipe  # before the training: its file may say something else afterwards
        done = train_and_test(replace(task.data, source=_shared(task.data.source, settings)), settings)
    except CellMixDaliError as error:
        return str(error)
    except Exception as error:  # of a library: this run's end, and not that of all others
        return f"{type(error).__name__}: {error}"
    finally:
        torch.set_num_threads(threads)
    return _record(run, done, recipe, settings.also_test, time.perf_counter() - started)


def lost_run(_: Task) -> RunRecord | str:
    """Return the reason why a run has no record whose processes died."""
    return LOST


_sources: list[Any] = []  # the source that this process had last, and the same with what its runs share


def _shared(source: Any, settings: TrainingSettings) -> Any:
    """A source with what the runs of this process share."""
    if not _sources or _sources[0] != source:
        _sources[:] = [source, source.shared(settings)]
    return _sources[1]


def forget_images() -> None:
    """Let go of the images that this process has decoded."""
    _sources.clear()


def _record(run: Run, done: TrainingRun, recipe: str | None, also_test: Sequence[str], seconds: float) -> RunRecord:
    # Records count from 0, as those of former versions do.
    epochs = [
        {name: value for name, value in entry.items() if name != "samples_per_second"} | {"epoch": number}
        for number, entry in enumerate(done.epochs)
    ]
    return RunRecord(
        arm=run.arm.name,
        method=run.arm.method,
        curriculum=run.arm.curriculum,
        augment=run.arm.augment,
        recipe=recipe,
        fold=run.fold,
        seed=run.seed,
        candidate=dict(run.values),
        best_epoch=done.best_epoch - 1,
        validation=_defined(done.tested["validation"].scores),
        test=_defined(done.tested["test"].scores),
        also_tested={change: _defined(done.tested[f"test, {change}"].scores) for change in also_test},
        confusion=done.tested["test"].confusion.tolist(),
        epochs=epochs,
        batch_losses=[[round(loss, _DIGITS) for loss in losses] for losses in done.batch_losses],
        seconds=round(seconds, 2),
    )


def _defined(scores: Mapping[str, float | None]) -> dict[str, float]:
    """Scores of samples of two classes and more, of which all are numbers."""
    return {name: value for name, value in scores.items() if value is not None}
