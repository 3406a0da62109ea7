"""Signals that ask a job to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["Terminated", "stop_signals", "terminable"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a job as Ctrl-C does."""


@contextmanager
def terminable() -> Iterator[None]:
    """Have SIGTERM raise `Terminated` in the block, once; a second one ends the process as ever."""
    if threading.current_thread() is not threading.main_thread():  # only there can signals be caught
        yield
        return
    former = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL

    def end(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, former)
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


@contextmanager
def stop_signals() -> Iterator[Callable[[], int | None]]:
    """Have SIGTERM and Ctrl-C ask for an orderly end, once; a second signal of the kind ends the process as ever.

    Yields
    ------
    callable
        Gives the number of the signal that has come, or None.
    """
    came: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        signal.signal(number, former[number])

    if threading.current_thread() is not threading.main_thread():  # only there can signals be caught
        yield lambda: None
        return
    former: dict[int, Any] = {number: signal.getsignal(number) or signal.SIG_DFL for number in _SIGNALS}
    for number in _SIGNALS:
        signal.signal(number, ask)
    try:
        yield lambda: came[0] if came else None
    finally:
        for caught, handler in former.items():
            signal.signal(caught, handler)
