"""Run a function in a forked child with limits of time and memory, and tell how it ended."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from cellmix_dali.errors import CellMixDaliError

__all__ = ["Ending", "limited"]

_GROWTH = 1 << 30  # bytes of address space beyond what the parent has


class Ending(NamedTuple):
    """How a call ended: "value", "error" (of the family), "foreign", "crash" or "hang", and what it said."""

    kind: str
    text: str


def limited(call: Callable[..., Any], *arguments: Any, seconds: float = 5.0, growth: int = _GROWTH) -> Ending:
    """Call a function in a fork of this process; it must not need threads of the parent."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(send, call, arguments, growth))
    child.start()
    send.close()
    ending = None
    if receive.poll(seconds):
        with contextlib.suppress(EOFError):
            ending = Ending(*receive.recv())
    elif child.is_alive():
        child.kill()
        child.join()
        return Ending("hang", f"no end within {seconds} s")
    child.join(10)
    if ending is None:
        name = signal.Signals(-child.exitcode).name if child.exitcode and child.exitcode < 0 else child.exitcode
        return Ending("crash", f"the process ended with {name}")
    return ending


def _child(send: Any, call: Callable[..., Any], arguments: tuple[Any, ...], growth: int) -> None:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        size = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + growth, size + growth))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        ending = ("value", repr(call(*arguments))[:200])
    except CellMixDaliError as error:
        ending = ("error", str(error))
    except BaseException:
        ending = ("foreign", traceback.format_exc()[-1500:])
    send.send(ending)
    send.close()
    os._exit(0)
