"""What is done of a job: a line for each finished piece of work.

A line is with the system at once, so no end of the job's process, however violent, loses it. It is on the disk within
`SYNC_SECONDS`, or when the next line is added after them: where the machine itself goes down (power, kernel), the work
of the last moments may be missing from the journal, and is done again by a job that goes on.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from ..storage.aside import WriteError
from .asked import is_whole, with_sum

__all__ = ["SYNC_SECONDS", "Journal", "journal_line", "journal_lines"]

#: How long lines may wait for the disk. Bringing each there costs as much as a small piece of work.
SYNC_SECONDS = 0.5


class Journal:
    """A journal to add lines to; what a crash left of a cut line is removed.

    Parameters
    ----------
    path : Path
        The file; made if need be.

    Raises
    ------
    ArgumentError
        If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._synced = path, -math.inf
        try:
            self._file = path.open("a+b")
            self._file.seek(0)
            self._file.truncate(self._file.read().rfind(b"\n") + 1)
        except OSError as error:
            raise ArgumentError(f"{path} cannot be written ({error.strerror}).") from error

    def add(self, values: Mapping[str, Any]) -> None:
        """Note JSON values; see `SYNC_SECONDS` for when they are on the disk.

        Raises
        ------
        WriteError
            If they cannot be written.
        """
        try:
            self._file.write(journal_line(values))
            self._file.flush()
            if time.monotonic() - self._synced >= SYNC_SECONDS:
                os.fsync(self._file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise WriteError(
                f"{self.path} cannot be written ({error.strerror}): see that there is room on the disk."
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def journal_line(values: Mapping[str, Any]) -> bytes:
    """Return the line of JSON values, with their checksum."""
    return json.dumps(with_sum(values), ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def journal_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read a journal's whole lines; there are none where there is no file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    for line in content.split(b"\n")[:-1]:
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):  # of a page that a crashed machine lost
            continue
        if isinstance(values, dict) and is_whole(values):
            yield values
