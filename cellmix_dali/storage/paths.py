"""What is wrong with a path before anything is opened: a pipe that is opened waits for ever."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from .._arguments import path_of_url
from .._urls import is_url
from .objects import asked_for

__all__ = ["home_expanded", "is_link", "path_problem", "shown"]

_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def path_problem(path: str | os.PathLike[str]) -> str | None:
    """Say why a path cannot be read as a file, without opening it.

    Parameters
    ----------
    path : path-like
        Of a file that is to be read.

    Returns
    -------
    str or None
        A sentence for a person, which names the path; None for a regular file, a folder, and a path where there is
        nothing: those have words of their own.
    """
    place = asked_for(path)
    text = os.fspath(place)
    if "\0" in text:
        return f"The path {shown(place)} holds a zero byte. Correct it."
    try:
        mode = place.stat().st_mode
    except OSError as error:
        if is_link(place):
            target = shown(place.readlink())
            return f"{shown(place)} is a link that leads nowhere ({target}: {error.strerror}). Mend the link."
        if not isinstance(error, FileNotFoundError):
            return f"Cannot read {shown(place)}: {error.strerror}. Check that you may read it."
        if _broken_name(text):
            return f"There is no file at {shown(place)}. Its name is not UTF-8: rename the file."
        return None
    kind = next((name for test, name in _KINDS if test(mode)), None)
    return None if kind is None else f"{shown(place)} is {kind}, not a file. Name a file."


def is_link(path: str | os.PathLike[str]) -> bool:
    """Whether the system says that there is a symbolic link at a path, wherever it leads."""
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except (OSError, ValueError):  # a name that is too long, a zero byte in it
        return False


def home_expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with "~" or "~name" in the place of a home folder that is known; any other as it is.

    A URL becomes the path that stands for it.
    """
    if is_url(path):
        return path_of_url(path)
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user
        return Path(path)


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path as text that can be written anywhere: bytes that are not UTF-8 in hexadecimal digits."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _broken_name(text: str) -> bool:
    """Whether a name has bytes that are not UTF-8, or stands for one that has, as `shown` writes it."""
    return any("\udc80" <= letter <= "\udcff" for letter in text) or "\\x" in text
