"""What a worker process of a job does."""

from __future__ import annotations

import ctypes
import fcntl
import os
import pickle
import signal
from collections.abc import Callable, Mapping
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

__all__ = ["READY", "serve"]

READY = "ready"
_PR_SET_PDEATHSIG = 1  # prctl(2)


def serve(connection: Connection[Any, Any], do: Callable[[Any], Any], job: int, environment: Mapping[str, str]) -> None:
    """Do tasks until there are no more, or the job is gone.

    Leaves it to the job what Ctrl-C does, which all processes are sent.

    Parameters
    ----------
    connection : Connection
        Tasks come from it, None for the end; an outcome goes to it as (None, outcome), what a task raised as (what to
        say of it, the exception, or None where it cannot be sent). The first to go is (`READY`, None).
    do : callable
        Does a task.
    job : int
        The process that started this one.
    environment : mapping of str to str
        Variables to set: those of the job, which a server that was started before does not know.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.environ.update(environment)
    _end_with(job)
    connection.send((READY, None))
    while True:
        try:
            task = connection.recv()
        except EOFError:
            return
        if task is None:
            return
        try:
            answer: tuple[str | None, Any] = None, do(task)
        except Exception as error:  # whatever it is, the job has to hear of it
            answer = f"{type(error).__name__}: {error}", error if _can_be_sent(error) else None
        try:
            connection.send(answer)
        except OSError:  # the job does not listen any more
            return


def _can_be_sent(error: Exception) -> bool:
    """Whether an exception can be pickled and unpickled: not every library's can."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # of any class
        return False
    return True


def _end_with(job: int) -> None:
    """End when the job's process ends, however it does."""
    if os.getppid() == job:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == job:
            return
    # A server has started this process, or the job was killed before.
    parent = parent_process()
    if parent is None or parent.pid != job:
        os._exit(1)

    # A pipe whose other end the job alone holds: the kernel tells by SIGIO, which ends a process, when it is closed. A
    # thread that waits for it would be one more at which work seems to hang.
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(parent.sentinel, fcntl.F_GETFL)
    fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, flags | os.O_ASYNC)
    if wait([parent.sentinel], 0):
        os._exit(1)
