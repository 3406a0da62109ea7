"""Work done by worker processes on this machine, which may die or hang without ending the job."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from ..errors import CellMixDaliError
from .contract import DEATHS, Executor, JobStoppedError, lacks_files
from .worker import READY, serve

__all__ = ["Processes", "nothing_else_runs_here"]

TaskT = TypeVar("TaskT")
OutcomeT = TypeVar("OutcomeT")

_STILLBORN = 3  # workers in a row that may die before they are ready
_AHEAD = 4  # workers that are forked at once
_PATIENCE = 5.0  # seconds in which workers that are told to end do so
# One worker a core, so one thread each.
_ENVIRONMENT = {f"{of}_NUM_THREADS": "1" for of in ("OMP", "MKL", "OPENBLAS")}
_NOT_FORKED = ("torch", "nvidia.dali", "cupy", "jax", "tensorflow", "obstore")  # they have threads, or the GPU
_alone: list[bool] = []


def nothing_else_runs_here() -> None:
    """Say that this process does nothing but a job, so that workers may be forked from it: the command line's does."""
    _alone.append(True)


class _Piece(Generic[TaskT]):
    # A task under way.
    def __init__(self, task: TaskT) -> None:
        self.task, self.deaths = task, 0


class _Worker(Generic[TaskT]):
    # A process, and what it works at.
    def __init__(self, process: Any, connection: Connection[Any, Any]) -> None:
        self.process, self.connection = process, connection
        self.piece: _Piece[TaskT] | None = None
        self.ready = False


class Processes(Executor[TaskT, OutcomeT]):
    """Does tasks in processes of its own, which are started as they are needed.

    A worker takes one task at a time. One that dies is replaced, and its task done again; a task is given up after
    several deaths.

    Parameters
    ----------
    do, lost : callable
        See `cellmix_dali.jobs.executor.make_executor`.
    count : int
        How many processes there are at most.
    preload : str, optional
        A module that is imported once, in this process where nothing else runs in it, else in a server: workers are
        forked with it. What must not be forked, such as CUDA, it must not use. Without it workers are spawned, and
        each imports what it needs.

    Raises
    ------
    JobStoppedError
        By `submit` and `next`, if workers cannot be started, since too few files may be open or for what they say.
    """

    in_processes = True

    def __init__(
        self,
        do: Callable[[TaskT], OutcomeT],
        lost: Callable[[TaskT], OutcomeT],
        count: int,
        *,
        preload: str | None = None,
    ) -> None:
        self._do, self._lost, self._count, self._preload = do, lost, count, preload
        self._workers: list[_Worker[TaskT]] = []
        self._waiting: deque[_Piece[TaskT]] = deque()
        self._ended: deque[tuple[TaskT, OutcomeT]] = deque()
        self._stillborn = 0

    @property
    def workers(self) -> int:  # noqa: D102
        return self._count

    def submit(self, task: TaskT) -> None:  # noqa: D102
        self._waiting.append(_Piece(task))
        self._hand_out()

    def next(self) -> tuple[TaskT, OutcomeT]:  # noqa: D102
        while not self._ended:
            ready = wait([worker.connection for worker in self._workers])
            for worker in [worker for worker in self._workers if worker.connection in ready]:
                self._hear(worker)
            self._hand_out()
        return self._ended.popleft()

    def close(self) -> None:  # noqa: D102
        self._waiting.clear()
        workers, self._workers = self._workers, []
        for worker in workers:
            if worker.piece is None:
                with suppress(OSError):
                    worker.connection.send(None)
            else:
                worker.process.kill()  # at work, which is given up
        for worker in workers:
            worker.process.join(_PATIENCE)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            worker.connection.close()
            worker.process.close()

    def _hand_out(self) -> None:
        """Give tasks that wait to workers that do not work, and start workers for those that are left."""
        for worker in self._workers:
            if worker.piece is None and self._waiting:
                self._give(worker)
        while self._waiting and len(self._workers) < self._count:
            if not self._workers:
                # Forking costs next to nothing, and is no longer possible when this process has threads.
                for _ in range(min(self._count, _AHEAD) - 1 if self._may_fork() else 0):
                    self._started()
            self._give(self._started())

    def _give(self, worker: _Worker[TaskT]) -> None:
        worker.piece = self._waiting.popleft()
        with suppress(OSError):  # it is dead, which `next` hears
            worker.connection.send(worker.piece.task)

    def _hear(self, worker: _Worker[TaskT]) -> None:
        """Take what a worker says: that it is ready, an outcome, an error; or that it is dead."""
        try:
            kind, said = worker.connection.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        worker.ready, self._stillborn = True, 0
        if kind == READY:
            return
        piece, worker.piece = worker.piece, None
        assert piece is not None
        if kind is None:
            self._ended.append((piece.task, said))
        elif isinstance(said, CellMixDaliError):
            raise said
        else:
            raise JobStoppedError(f"A worker failed ({kind}).") from said

    def _bury(self, worker: _Worker[TaskT]) -> None:
        """Have the task of a worker that died done again, or give it up."""
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.join()
        code = worker.process.exitcode
        worker.process.close()
        if not worker.ready:
            self._stillborn += 1
            if self._stillborn >= _STILLBORN:
                raise JobStoppedError(
                    f"The workers cannot be started: they end with code {code} before they are ready. What they wrote "
                    "to the error output says more; or try workers=0."
                )
        piece = worker.piece
        if piece is None:
            return
        piece.deaths += worker.ready
        if piece.deaths > DEATHS:
            self._ended.append((piece.task, self._lost(piece.task)))
        else:
            self._waiting.appendleft(piece)

    def _started(self) -> _Worker[TaskT]:
        """Start a worker."""
        try:
            with _uninterrupted(), _environment():
                context = self._context()
                ours, its = context.Pipe()
                process = context.Process(target=serve, args=(its, self._do, os.getpid(), dict(os.environ)))
                try:
                    process.start()
                finally:
                    its.close()
                worker: _Worker[TaskT] = _Worker(process, ours)
                self._workers.append(worker)
        except (OSError, EOFError) as error:  # the server of a forkserver ends where it has too few files
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            why = f"{error}. Take fewer --workers, or none (0)."
            if lacks_files(error) or isinstance(error, EOFError):
                why = (
                    f"a process may have {limit} files open (ulimit -n), and that is too few. Raise it, to 1024 or "
                    "more, or take fewer --workers."
                )
            raise JobStoppedError(f"The workers cannot be started: {why}") from error
        return worker

    def _may_fork(self) -> bool:
        """Whether workers may be forked from this process."""
        alone = bool(_alone) and threading.active_count() == 1 and threading.current_thread() is threading.main_thread()
        return self._preload is not None and alone and not any(name in sys.modules for name in _NOT_FORKED)

    def _context(self) -> Any:
        """How the next worker is started."""
        if self._preload is None:
            return get_context("spawn")
        if self._may_fork():
            import_module(self._preload)
            gc.freeze()  # so that a collection in a worker does not copy all that it shares with this process
            return get_context("fork")
        context = get_context("forkserver")
        context.set_forkserver_preload([self._preload])  # counts where this process has no such server yet
        return context


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back for a moment; processes started meanwhile never hear of it, not even while they load."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment() -> Iterator[None]:
    """What processes that are started see, and this one did not before."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
