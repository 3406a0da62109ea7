"""Signals that ask for an orderly end."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from cellmix_dali.jobs.signals import Terminated, stop_signals, terminable


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_asks_and_the_second_is_as_ever(number: signal.Signals) -> None:
    before, came = signal.getsignal(number), []
    signal.signal(number, lambda *_: came.append("as ever"))
    try:
        with stop_signals() as asked:
            assert asked() is None
            os.kill(os.getpid(), number)
            assert asked() == number
            assert came == []
            os.kill(os.getpid(), number)
            assert came == ["as ever"]
        os.kill(os.getpid(), number)
        assert came == ["as ever"] * 2
    finally:
        signal.signal(number, before)


def killed_twice() -> None:
    """By the first signal; the second one comes while that is under way."""
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_ends_a_block_as_ctrl_c_does() -> None:
    before, came = signal.getsignal(signal.SIGTERM), []
    assert issubclass(Terminated, KeyboardInterrupt)
    signal.signal(signal.SIGTERM, lambda *_: came.append("as ever"))
    try:
        with pytest.raises(Terminated), terminable():
            killed_twice()
        assert came == ["as ever"]
        with terminable():
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert came == ["as ever"] * 2
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_have_no_signals() -> None:
    found: list[int | None] = []

    def work() -> None:
        with stop_signals() as asked, terminable():
            found.append(asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]
