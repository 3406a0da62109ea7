"""Who does a tiling job's work: this process, or the worker processes of a Dask cluster."""

from __future__ import annotations

import errno
import logging
import resource
from collections import deque
from typing import Any, Protocol

from .._cores import usable_cores
from ..errors import CellMixDaliError, MissingDependencyError
from ..storage.aside import WriteError
from .tasks import Failure, Outcome, Task, do_task

__all__ = ["DaskEngine", "Engine", "JobStoppedError", "SerialEngine", "make_engine"]

_DEATHS = 2  # of workers that a task may cause before it is given up: it is tried once more than that
_CONFIG = {
    "distributed.scheduler.allowed-failures": _DEATHS,
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.worker.preload": ["cellmix_dali.tiling.worker"],
    "distributed.worker.profile.enabled": False,  # it would only take time
}
_CONNECT = "30s"
_WAIT_FOR_WORKERS = 120  # seconds


class JobStoppedError(CellMixDaliError, RuntimeError):
    """A job that cannot go on for a reason that lies in no slide: it can be resumed."""


class Engine(Protocol):
    """Does tasks. Which of them are done first does not change what comes out."""

    @property
    def workers(self) -> int:
        """How many tasks are best submitted at once."""

    @property
    def in_processes(self) -> bool:
        """Whether tasks are done in processes of their own, which may end without ending the job."""

    def submit(self, task: Task) -> None:
        """Take a task."""

    def next(self) -> tuple[Task, Outcome]:
        """Wait for a task that was submitted, whichever is done first.

        Raises
        ------
        WriteError, MissingDependencyError, JobStoppedError
            If the job cannot go on.
        """

    def close(self) -> None:
        """Stop all work and let go of everything."""


class SerialEngine:
    """Does tasks in this process, one after the other.

    For tests, debugging, and programs whose processes may not have children.
    """

    workers = 1
    in_processes = False

    def __init__(self) -> None:
        self._waiting: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        """Take a task."""
        self._waiting.append(task)

    def next(self) -> tuple[Task, Outcome]:
        """Do the first task."""
        task = self._waiting.popleft()
        return task, do_task(task)

    def close(self) -> None:
        """Forget what waits."""
        self._waiting.clear()


class DaskEngine:
    """Does tasks in the worker processes of a Dask cluster.

    A worker that dies (out of memory, a crash of a library) is replaced, and its task done again by another; a task
    that kills several is given up with a reason.

    Parameters
    ----------
    workers : int, optional
        Processes of a cluster on this machine, which lives as long as the engine; by default one a core.
    scheduler : str, optional
        Address of a cluster that is there already (``tcp://host:8786``), instead. Its workers must see the slides and
        the job's folder under the same paths, and have the same version of this package.

    Raises
    ------
    MissingDependencyError
        If `distributed` is not installed.
    JobStoppedError
        If the cluster cannot be reached, or has no workers; or this machine may not open enough files for it.
    """

    in_processes = True

    def __init__(self, workers: int | None = None, scheduler: str | None = None) -> None:
        try:
            import dask
            import distributed
        except ImportError as error:
            raise MissingDependencyError(
                f'The tiling job needs Dask ({error}): pip install "dask[distributed]", or use the serial engine '
                "(workers=0)."
            ) from error
        # Dask's calls have no annotations.
        dd: Any = distributed
        self._cluster: Any = None
        self._client: Any = None
        self._tasks: dict[Any, Task] = {}
        try:
            if scheduler is None:
                with dask.config.set(_CONFIG):
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
    def workers(self) -> int:
        """Threads of all workers: they may come and go."""
        if self._cluster is not None:  # also while one of them is being replaced
            return max(1, len(self._cluster.worker_spec))
        return max(1, sum(int(count) for count in self._client.nthreads().values()))

    def submit(self, task: Task) -> None:
        """Take a task."""
        future = self._client.submit(do_task, task, pure=False)
        self._tasks[future.key] = task
        self._done.add(future)

    def next(self) -> tuple[Task, Outcome]:
        """Wait for a task."""
        from distributed import KilledWorker

        future = next(self._done)
        task = self._tasks.pop(future.key)
        if future.cancelled():
            raise JobStoppedError("The connection to the Dask scheduler is lost: start it again.")
        error = future.exception()
        if error is None:
            outcome: Outcome = future.result()
            return task, outcome
        if isinstance(error, KilledWorker):
            return task, Failure(
                f"{task.slide.path}: the process at work on it died, and so did those that took its place. A library "
                "crashed on this slide, or the machine has too little memory: try it with fewer workers."
            )
        if isinstance(error, WriteError | MissingDependencyError):
            raise error
        raise JobStoppedError(f"A worker failed ({type(error).__name__}: {error}).") from error

    def close(self) -> None:
        """End the workers."""
        if self._client is not None:
            self._client.close(timeout=5)
            self._client = None
        if self._cluster is not None:
            self._cluster.close(timeout=10)
            self._cluster = None


def make_engine(workers: int | None = None, scheduler: str | None = None) -> Engine:
    """Make an engine: Dask over the cores of this machine, over a cluster that is there, or, with 0 workers, serial."""
    return SerialEngine() if workers == 0 and scheduler is None else DaskEngine(workers, scheduler)


def _lacks_files(error: BaseException | None) -> bool:
    """Whether an error comes of too few files that may be open."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        error = error.__cause__ or error.__context__
    return False
