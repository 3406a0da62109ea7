"""What the instrumented copy of the project calls: each block that is entered is written down once per test."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["forget", "hit", "since"]

_seen: set[int] = set()
_path = os.environ.get("CELLMIX_DALI_REACHED")
_file = os.open(_path, os.O_APPEND | os.O_WRONLY | os.O_CREAT) if _path else None


def hit(block: int) -> None:
    """Write a block's number down, in any process that a test starts."""
    if block not in _seen and _file is not None:
        _seen.add(block)
        with contextlib.suppress(OSError):  # a child that has closed all files
            os.write(_file, b"%d\n" % block)


def forget() -> int:
    """Begin anew; gives where in the file that is."""
    _seen.clear()
    return Path(_path).stat().st_size if _path else 0


def since(place: int) -> set[int]:
    """Blocks that were entered since."""
    if not _path:
        return set()
    with Path(_path).open("rb") as file:
        file.seek(place)
        return {int(line) for line in file.read().split(b"\n")[:-1] if line.isdigit()}
