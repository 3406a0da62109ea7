"""Work done by the workers of a Dask cluster that is there already."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import CellMixDaliError, needing
from .contract import Executor, JobStoppedError

__all__ = ["Cluster"]

TaskT = TypeVar("TaskT")
OutcomeT = TypeVar("OutcomeT")

_CONNECT = "30s"
_WAIT_FOR_WORKERS = 120  # seconds


class Cluster(Executor[TaskT, OutcomeT]):
    """Does tasks in the worker processes of a Dask cluster; the arguments are those of `make_executor`."""

    in_processes = True

    def __init__(self, do: Callable[[TaskT], OutcomeT], lost: Callable[[TaskT], OutcomeT], scheduler: str) -> None:
        with needing("A Dask scheduler needs Dask", "Install it (pip install 'dask[distributed]'), or leave it out."):
            import distributed
        self._do, self._lost = do, lost
        dd: Any = distributed  # Dask's calls have no annotations
        self._client: Any = None
        self._tasks: dict[Any, TaskT] = {}
        try:
            # What it logs of a lost connection, with a traceback, is said by `next` in one line.
            logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
            self._client = dd.Client(scheduler, timeout=_CONNECT, set_as_default=False)
            self._client.wait_for_workers(1, timeout=_WAIT_FOR_WORKERS)
            self._done = dd.as_completed(loop=self._client.loop)
        except (OSError, RuntimeError, TimeoutError) as error:
            self.close()
            raise JobStoppedError(
                f"There are no Dask workers at {scheduler} ({error}): check the scheduler and its workers."
            ) from error
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> int:  # noqa: D102 # threads of all workers: they may come and go
        return max(1, sum(int(count) for count in self._client.nthreads().values()))

    def submit(self, task: TaskT) -> None:  # noqa: D102
        future = self._client.submit(self._do, task, pure=False)
        self._tasks[future.key] = task
        self._done.add(future)

    def next(self) -> tuple[TaskT, OutcomeT]:  # noqa: D102
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

    def close(self) -> None:  # noqa: D102
        if self._client is not None:
            self._client.close(timeout=5)
            self._client = None
