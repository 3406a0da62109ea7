"""One run of a comparison, and the process that does one after the other."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from typing import Any

import torch

from ..errors import CellMixDaliError
from ..training import TrainingData, TrainingRun, train_and_test
from .arms import Arm, slug
from .records import RunRecord
from .settings import ComparisonSettings

__all__ = ["Run", "Work", "Worker", "do_run", "run_seed", "start_worker"]

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
class Work:
    """What runs need.

    Attributes
    ----------
    settings : ComparisonSettings
        How every run trains.
    data : mapping of str to TrainingData
        By the fold that is tested on.
    """

    settings: ComparisonSettings
    data: Mapping[str, TrainingData[Any]]


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


class Worker:
    """Does runs, one after the other. The first one decodes and resizes the images; they stay for the next ones."""

    def __init__(self, settings: ComparisonSettings) -> None:
        self._settings = settings
        self._source: Any = None

    def do(self, run: Run, data: TrainingData[Any]) -> RunRecord | str:
        """Train and test on the samples of the run's fold; give the record, or, where it cannot be done, the reason."""
        settings = self._settings.of_run(run.arm, dict(run.values), run_seed(run.seed, run.fold))
        started = time.perf_counter()
        try:
            self._source = self._source or data.source.shared(settings)
            done = train_and_test(replace(data, source=self._source), settings)
        except CellMixDaliError as error:
            return str(error)
        except Exception as error:  # of a library: this run's end, and not that of all others
            return f"{type(error).__name__}: {error}"
        return _record(run, done, time.perf_counter() - started)


_worker: Worker | None = None


def start_worker(settings: ComparisonSettings) -> None:
    """Make this process ready for runs; it ends when the one that started it does, however that ends."""
    global _worker
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(settings.threads)
    _worker = Worker(settings)


def do_run(run: Run, data: TrainingData[Any]) -> RunRecord | str:
    """Let this process's worker do a run."""
    assert _worker is not None
    return _worker.do(run, data)


def _record(run: Run, done: TrainingRun, seconds: float) -> RunRecord:
    # Records count from 0, as those of former versions do.
    epochs = [
        {name: value for name, value in entry.items() if name != "samples_per_second"} | {"epoch": number}
        for number, entry in enumerate(done.epochs)
    ]
    return RunRecord(
        arm=run.arm.name,
        method=run.arm.method,
        curriculum=run.arm.curriculum,
        fold=run.fold,
        seed=run.seed,
        candidate=dict(run.values),
        best_epoch=done.best_epoch - 1,
        validation=_defined(done.tested["validation"].scores),
        test=_defined(done.tested["test"].scores),
        confusion=done.tested["test"].confusion.tolist(),
        epochs=epochs,
        batch_losses=[[round(loss, _DIGITS) for loss in losses] for losses in done.batch_losses],
        seconds=round(seconds, 2),
    )


def _defined(scores: Mapping[str, float | None]) -> dict[str, float]:
    """Scores of samples of two classes and more, of which all are numbers."""
    return {name: value for name, value in scores.items() if value is not None}


def _end_with(parent: Any) -> None:
    """End this process when its parent is gone: nobody would take what it makes."""
    parent.join()
    os._exit(1)
