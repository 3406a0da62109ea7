"""What does a job's work, as a job sees it: an executor takes tasks and gives their outcomes."""

from __future__ import annotations

import errno
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ..errors import CellMixDaliError

__all__ = ["DEATHS", "LOST", "Executor", "JobStoppedError", "carry_out", "lacks_files"]

TaskT = TypeVar("TaskT")
OutcomeT = TypeVar("OutcomeT")

#: Why there is no outcome of a task whose processes died.
LOST = (
    "the process at work on it died, and so did those that took its place: a library crashed on it, or the machine has "
    "too little memory. Try it with fewer --workers."
)
#: Deaths of workers that a task may cause before it is given up: it is tried once more than that.
DEATHS = 2


class JobStoppedError(CellMixDaliError, RuntimeError):
    """A job that cannot go on for a reason that lies in none of its tasks: it can be resumed."""


class Executor(ABC, Generic[TaskT, OutcomeT]):
    """Does tasks. Which of them are done first does not change what comes out.

    Attributes
    ----------
    in_processes : bool
        Whether tasks are done in processes of their own, which may end without ending the job.
    """

    in_processes: bool

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many tasks are best submitted at once."""

    @abstractmethod
    def submit(self, task: TaskT) -> None:
        """Take a task."""

    @abstractmethod
    def next(self) -> tuple[TaskT, OutcomeT]:
        """Wait for a task that was submitted, whichever is done first.

        Raises
        ------
        CellMixDaliError
            If the job cannot go on: what the task raised, such as a `WriteError`, or a `JobStoppedError`.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop all work and let go of everything."""


def carry_out(
    executor: Executor[TaskT, OutcomeT], next_task: Callable[[], TaskT | None]
) -> Iterator[tuple[TaskT, OutcomeT]]:
    """Do tasks, as many at once as the executor has workers, and give each with its outcome as it ends.

    Parameters
    ----------
    executor : Executor
        Who does them.
    next_task : callable
        Gives the next task, or None where there is none just now: the outcome of one may bring others.
    """
    running = 0
    while True:
        while running < executor.workers and (task := next_task()) is not None:
            executor.submit(task)
            running += 1
        if not running:
            return
        ended = executor.next()
        running -= 1
        yield ended


def lacks_files(error: BaseException | None) -> bool:
    """Whether an error comes of too few files that may be open."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        error = error.__cause__ or error.__context__
    return False
