"""Who does a job's work: this process, worker processes of its own, or those of a Dask cluster."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from .._cores import usable_cores
from .cluster import Cluster
from .contract import LOST, Executor, JobStoppedError, carry_out
from .processes import Processes

__all__ = ["LOST", "Executor", "JobStoppedError", "carry_out", "make_executor"]

TaskT = TypeVar("TaskT")
OutcomeT = TypeVar("OutcomeT")


class _Here(Executor[TaskT, OutcomeT]):
    """Does tasks in this process, one after the other.

    For tests, debugging, and programs whose processes may not have children.
    """

    workers = 1
    in_processes = False

    def __init__(self, do: Callable[[TaskT], OutcomeT]) -> None:
        self._do = do
        self._waiting: deque[TaskT] = deque()

    def submit(self, task: TaskT) -> None:
        self._waiting.append(task)

    def next(self) -> tuple[TaskT, OutcomeT]:
        task = self._waiting.popleft()
        return task, self._do(task)

    def close(self) -> None:
        self._waiting.clear()


def make_executor(
    do: Callable[[TaskT], OutcomeT],
    lost: Callable[[TaskT], OutcomeT],
    workers: int | None = None,
    scheduler: str | None = None,
    *,
    preload: str | None = None,
) -> Executor[TaskT, OutcomeT]:
    """Make an executor: this process, worker processes of its own, or those of a Dask cluster.

    A worker that dies (out of memory, a crash of a library) is replaced, and its task done again by another; a task
    that kills several is given up. Workers end with the process that started them, however that ends.

    Parameters
    ----------
    do : callable
        Does a task: a function of a module, which workers import.
    lost : callable
        Gives the outcome of a task that was given up, see `LOST`.
    workers : int, optional
        Processes on this machine, started as they are needed; by default one per core. 0: none.
    scheduler : str, optional
        Address of a cluster that is there already (``tcp://host:8786``), instead. Its workers must see all files under
        the same paths, and have the same version of this package.
    preload : str, optional
        A module that is imported once for all workers, see `Processes`. By default each imports what it needs.

    Raises
    ------
    MissingDependencyError
        If a scheduler is given and `distributed` is not installed.
    JobStoppedError
        If the cluster cannot be reached, or has no workers.
    """
    if scheduler is not None:
        return Cluster(do, lost, scheduler)
    if workers == 0:
        return _Here(do)
    return Processes(do, lost, workers or usable_cores(), preload=preload)
