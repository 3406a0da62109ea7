"""What the moment decides, told apart from damage: the one place that knows which errors say nothing of the file."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from .._arguments import path_of_url
from .._urls import is_url
from ..errors import NotReadError, SlideError
from .objects import asked_for, attach_all

__all__ = ["MOMENT", "first_missing", "is_folder", "is_missing", "may_be_file", "moment_of", "probe", "refusal"]

_LOGIN = "Check that you may read the file, and that your login to the file server is still valid."
_ADVICE = {
    "EMFILE": "This process has too many files open: raise the limit (ulimit -n), or use fewer workers.",
    "ENFILE": "All processes together have too many files open: end some, or have the limit raised (fs.file-max).",
    **dict.fromkeys(("EACCES", "EPERM", "ENOKEY", "EKEYEXPIRED", "EKEYREVOKED", "EKEYREJECTED"), _LOGIN),
    **dict.fromkeys(("ENOMEM", "ENOBUFS"), "The machine is short of memory: use fewer workers."),
}
_CONNECTION = "Check the disk, or the connection to the file server."
_NAMES = (
    *_ADVICE,
    "EIO", "ETIMEDOUT", "ETIME", "ESTALE", "EAGAIN", "EINTR", "EBUSY", "ENOLCK", "ENODEV", "ENXIO", "EREMOTEIO",
    "ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "ENOTCONN", "ESHUTDOWN", "EPIPE", "EPROTO", "ENOLINK", "ECOMM",
    "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENETRESET",
)  # fmt: skip

#: Numbers of the errors that say nothing of the file, with advice: limits, rights, disks and servers may be otherwise
#: a moment later. That there is no such file is none of them.
MOMENT = {
    int(getattr(errno, name)): _ADVICE.get(name, _CONNECTION)
    for name in _NAMES
    if hasattr(errno, name)  # not all systems have all of them
}
_PROBES = 3  # files that OpenSlide has open at once while it opens one


def moment_of(error: BaseException | None) -> int | None:
    """Return the number of an error of the moment, or None: of the error itself, or of what caused it.

    Libraries that give only text name the error as the system does.
    """
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if number in MOMENT:
            return number
        if number is None and not isinstance(error, SlideError):
            text = str(error)
            named = [each for each in MOMENT if os.strerror(each) in text]
            if named:
                return max(named, key=lambda each: len(os.strerror(each)))  # one is the beginning of another
        error = error.__cause__
    return None


def is_missing(path: str | Path) -> bool:
    """Whether the system says that there is nothing at a path; not where it cannot say so just now."""
    path = asked_for(path)
    try:
        Path(path).stat()
    except OSError as error:
        return error.errno not in MOMENT
    except ValueError:  # a zero byte in it
        return True
    return False


def first_missing(paths: Sequence[str]) -> str | None:
    """Return the first of many paths at which there is nothing, see `is_missing`; stores are asked for all at once."""
    attach_all(path_of_url(path) for path in paths if is_url(path))
    return next((path for path in paths if is_missing(path)), None)


def is_folder(path: str | Path) -> bool:
    """Whether the system says that there is a folder at a path; not where it cannot say so just now."""
    path = asked_for(path)
    try:
        return S_ISDIR(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return False


def may_be_file(path: str | Path) -> bool:
    """Whether there is a plain file at a path, or the system cannot say just now."""
    path = asked_for(path)
    try:
        return S_ISREG(Path(path).stat().st_mode)
    except OSError as error:
        return error.errno in MOMENT
    except ValueError:
        return False


def probe(path: str | Path) -> OSError | None:
    """Look whether a file can be opened and read at all just now.

    A library that says nothing of the reason has perhaps met an error of the moment.

    Returns
    -------
    OSError or None
        What the system says, if that is an error of the moment.
    """
    numbers: list[int] = []
    try:
        while len(numbers) < _PROBES:
            numbers.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
        os.pread(numbers[0], 1, 0)
    except OSError as error:
        return error if error.errno in MOMENT else None
    finally:
        for number in numbers:
            os.close(number)
    return None


def refusal(what: str, error: Exception, advice: str, *, path: str | Path | None = None) -> SlideError:
    """Make the error for what cannot be read: a `NotReadError` where the moment decided, else a `SlideError`.

    Parameters
    ----------
    what : str
        Begins the message: what cannot be done, and where.
    error : Exception
        What was met.
    advice : str
        Ends the message where the file is to blame: what to do.
    path : str or Path, optional
        The file, if the error came from a library that may have hidden the reason: it is probed.
    """
    number = moment_of(error)
    if number is None and path is not None:
        number = moment_of(probe(path))
    if number is None:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        return SlideError(f"{what}: {why}. {advice}")
    return NotReadError(
        f"{what}: {os.strerror(number)}. Not read; nothing says that the file is damaged. {MOMENT[number]}"
    )
