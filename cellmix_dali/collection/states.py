"""By what a slide's files are told to be the same as before: their sizes, times, first and last bytes.

Of an object in a store, size and version: its ETag.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .._arguments import path_of
from .._urls import url_of
from ..errors import SlideError
from ..slides.identity import slide_identity
from ..storage.mirror import attach
from ..storage.moment import refusal

__all__ = ["changed_file", "identity_of", "location_of", "states_of"]

_ENDS = 4096  # bytes: headers, and the directories that most writers put last


def location_of(path: str | os.PathLike[str]) -> str:
    """Return the name under which a slide stands in an index, and in tile tables: its absolute path, or its URL."""
    place = path_of("A slide", path)
    return url_of(place) or str(place.absolute())


def identity_of(path: Path) -> list[Any]:
    """Return what `slide_identity` says of a slide, where it is the same on every machine: of a DICOM series."""
    identity = slide_identity(path)
    return list(identity) if isinstance(identity, tuple) and identity[0] == "series" else []


def states_of(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the states of files, JSON values.

    Raises
    ------
    NotReadError
        If one cannot be looked at just now.
    SlideError
        If one is not there.
    """
    return [_state(path) for path in paths]


def changed_file(states: Iterable[Mapping[str, Any]], *, closely: bool = True) -> str | None:
    """Return the first of some files that is no longer as its state says; None where all are.

    Parameters
    ----------
    states : iterable of mappings
        See `states_of`.
    closely : bool, default True
        Whether their first and last bytes are compared, too; else sizes and times alone.

    Raises
    ------
    NotReadError
        If one cannot be looked at just now.
    SlideError
        If one is not there.
    """
    for state in states:
        path = path_of("A slide", state["location"])
        if url_of(path) is not None:
            if state != _state(path):
                return str(state["location"])
            continue
        found = _stat(path)
        if (state["size"], state["modified"]) != (found.st_size, found.st_mtime_ns):
            return str(path)
        if closely and state != _state(path):
            return str(path)
    return None


def _state(path: Path) -> dict[str, Any]:
    url = url_of(path)
    if url is not None:
        try:
            mirror = attach(path, fresh=True)
        except FileNotFoundError as error:
            raise SlideError(f"There is no slide at {url}. Check the URL.") from error
        assert mirror is not None
        return {"location": url, "size": mirror.of.size, "modified": None, "ends": mirror.of.version}
    found = _stat(path)
    try:
        with path.open("rb", buffering=0) as file:
            ends = os.pread(file.fileno(), _ENDS, 0) + os.pread(file.fileno(), _ENDS, max(0, found.st_size - _ENDS))
    except OSError as error:
        raise refusal(f"Cannot read {path}", error, "Check that the slide is still there.") from error
    digest = hashlib.blake2b(ends, digest_size=8).hexdigest()
    return {"location": str(path), "size": found.st_size, "modified": found.st_mtime_ns, "ends": digest}


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise refusal(f"Cannot look at {path}", error, "Check that the slide is still there.") from error
