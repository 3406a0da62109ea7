"""Who does a job's work: this process, or the worker processes of a Dask cluster."""

from __future__ import annotations

import errno
import logging
import resource
import signal
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from .._cores import usable_cores
from ..errors import CellMixDaliError, MissingDependencyError

__all__ = ["LOST", "Executor", "JobStoppedError", "carry_out", "make_executor"]

TaskT = TypeVar("TaskT")
OutcomeT = TypeVar("OutcomeT")

#: Why there is no outcome of a task whose processes died.
LOST = (
    "the process at work on it died, and so did those that took its place: a library crashed on it, or the machine has "
    "too little memory. Try it with fewer --workers."
)

_DEATHS = 2  # of workers that a task may cause before it is given up: it is tried once more than that
_CONFIG = {
    "distributed.admin.large-graph-warning-threshold": "1GB",  # lists of files go with tasks
    "distributed.scheduler.allowed-failures": _DEATHS,
    # Dask's own has glibc give memory back at once, which has made trainings take twice their time.
    "distributed.nanny.pre-spawn-environ": {f"{of}_NUM_THREADS": 1 for of in ("OMP", "MKL", "OPENBLAS")},
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.preload": ["cellmix_dali.jobs.worker"],
    "distributed.worker.profile.enabled": False,  # it would only take time
}
_CONNECT = "30s"
_WAIT_FOR_WORKERS = 120  # seconds


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


class _Dask(Executor[TaskT, OutcomeT]):
    """Does tasks in the worker processes of a Dask cluster, see `make_executor`."""

    in_processes = True

    def __init__(
        self,
        do: Callable[[TaskT], OutcomeT],
        lost: Callable[[TaskT], OutcomeT],
        workers: int | None,
        scheduler: str | None,
    ) -> None:
        try:
            import dask
            import distributed
        except ImportError as error:
            raise MissingDependencyError(
                f'Worker processes need Dask ({error}): pip install "dask[distributed]", or use none (workers=0).'
            ) from error
        self._do, self._lost = do, lost
        # Dask's calls have no annotations.
        dd: Any = distributed
        self._cluster: Any = None
        self._client: Any = None
        self._tasks: dict[Any, TaskT] = {}
        try:
            if scheduler is None:
                with dask.config.set(_CONFIG), _uninterrupted():
                    self._cluster = dd.LocalCluster(
                        n_workers=workers or usable_cores(),
                        threads_per_worker=1,  # DALI and the codecs run one thread each, so one a core is busy
                        processes=True,  # spawned: no handle, thread or lock of this process is in them
                        memory_limit=None,
                        # Neither a dashboard nor its usual port: an empty HTTP server cannot be had without.
                        dashboard_address="127.0.0.1:0",
                        scheduler_kwargs={"dashboard": False},
                        silence_logs=logging.CRITICAL,
                    )
                    self._client = dd.Client(self._cluster, set_as_default=False)
            else:
                # What it logs of a lost connection, with a traceback, is said by `next` in one line.
                logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
                self._client = dd.Client(scheduler, timeout=_CONNECT, set_as_default=False)
            self._client.wait_for_workers(1, timeout=_WAIT_FOR_WORKERS)
            self._done = dd.as_completed(loop=self._client.loop)
        except (OSError, RuntimeError, TimeoutError) as error:
            self.close()
            if _lacks_files(error):
                limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
                raise JobStoppedError(
                    f"The workers cannot be started: a process may have {limit} files open (ulimit -n), and that is "
                    "too few. Raise it, to 1024 or more, or take fewer --workers."
                ) from error
            where = "on this machine" if scheduler is None else f"at {scheduler}"
            raise JobStoppedError(
                f"There are no Dask workers {where} ({error}): check the scheduler and its workers."
            ) from error
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> int:  # threads of all workers: they may come and go
        if self._cluster is not None:  # also while one of them is being replaced
            return max(1, len(self._cluster.worker_spec))
        return max(1, sum(int(count) for count in self._client.nthreads().values()))

    def submit(self, task: TaskT) -> None:
        future = self._client.submit(self._do, task, pure=False)
        self._tasks[future.key] = task
        self._done.add(future)

    def next(self) -> tuple[TaskT, OutcomeT]:
        from distributed import KilledWorker

        future = next(self._done)
        task = self._tasks.pop(future.key)
        if future.cancelled():
            raise JobStoppedError("The connection to the Dask scheduler is lost: start it again.")
        error = future.exception()
        if error is None:
            outcome: OutcomeT = future.result()
            return task, outcome
        if isinstance(error, KilledWorker):
            return task, self._lost(task)
        if isinstance(error, CellMixDaliError):
            raise error
        raise JobStoppedError(f"A worker failed ({type(error).__name__}: {error}).") from error

    def close(self) -> None:
        if self._client is not None:
            self._client.close(timeout=5)
            self._client = None
        if self._cluster is not None:
            self._cluster.close(timeout=10)
            self._cluster = None


def make_executor(
    do: Callable[[TaskT], OutcomeT],
    lost: Callable[[TaskT], OutcomeT],
    workers: int | None = None,
    scheduler: str | None = None,
) -> Executor[TaskT, OutcomeT]:
    """Make an executor: this process, or the worker processes of a Dask cluster.

    A worker that dies (out of memory, a crash of a library) is replaced, and its task done again by another; a task
    that kills several is given up. Workers end with the process that started them, however that ends.

    Parameters
    ----------
    do : callable
        Does a task: a function of a module, which workers import.
    lost : callable
        Gives the outcome of a task that was given up, see `LOST`.
    workers : int, optional
        Processes of a cluster on this machine, which lives as long as the executor; by default one per core. 0: none.
    scheduler : str, optional
        Address of a cluster that is there already (``tcp://host:8786``), instead. Its workers must see all files under
        the same paths, and have the same version of this package.

    Raises
    ------
    MissingDependencyError
        If `distributed` is not installed.
    JobStoppedError
        If the cluster cannot be reached, or has no workers; or this machine may not open enough files for it.
    """
    return _Here(do) if workers == 0 and scheduler is None else _Dask(do, lost, workers, scheduler)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back for a moment; processes started meanwhile never hear of it, not even while they load."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _lacks_files(error: BaseException | None) -> bool:
    """Whether an error comes of too few files that may be open."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        error = error.__cause__ or error.__context__
    return False
