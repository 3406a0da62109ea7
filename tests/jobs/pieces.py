"""Pieces of work that the tests of the executors do, in processes that import them from here."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from cellmix_dali.storage.aside import WriteError


def square(number: int) -> int:
    return number * number


def process(_: int) -> int:
    return os.getpid()


def setting(name: str) -> str | None:
    return os.environ.get(name)


def deadly(marker: str) -> str:
    """End this process: always, or, where the marker names a file, until that is there."""
    if marker == "always" or (marker and not Path(marker).exists()):
        if marker != "always":
            Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def failing(how: str) -> None:
    raise WriteError("the disk is full") if how == "full" else RuntimeError("no reason")


def lost(_: object) -> str:
    return "lost"


def nothing(_: object) -> None:
    return None
