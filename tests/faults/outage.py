"""An outage: files under a folder cannot be read just now, as the system and OpenSlide say it."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openslide
import pytest

from cellmix_dali.slides import _quick

__all__ = ["BadSector", "Outage"]


class Outage:
    """Makes all ways of reading some files fail with one error, as long as it lasts.

    Parameters
    ----------
    monkeypatch : pytest.MonkeyPatch
    number : int
        The error, see `errno`.
    paths : Path
        Files, or folders of them.
    calls : int, optional
        How many calls fail before it is over; by default it lasts until `over` is set.
    before : int, default 0
        How many calls go well before it begins.
    opening, reading : bool, default True
        Whether files cannot be opened or looked at, and whether those that are open cannot be read.
    says_why : bool, default False
        Whether OpenSlide names the error; else it says that the file is of no format it knows, as it does.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        *paths: Path,
        calls: int | None = None,
        before: int = 0,
        opening: bool = True,
        reading: bool = True,
        says_why: bool = False,
    ) -> None:
        self.over, self.met = False, -before
        self._number, self._paths, self._left = number, tuple(map(str, paths)), calls
        self._says_why = says_why
        if opening:
            for module, name in ((os, "open"), (os, "stat"), (io, "open"), (builtins, "open")):
                monkeypatch.setattr(module, name, self._failing(getattr(module, name), self._raise))
            detect = self._failing(openslide.OpenSlide.detect_format, lambda _: None)
            monkeypatch.setattr(openslide.OpenSlide, "detect_format", staticmethod(detect))
            plain = openslide.OpenSlide.__init__
            opened = self._failing(lambda path, slide: plain(slide, path), lambda path: self._openslide(path, "open"))
            monkeypatch.setattr(openslide.OpenSlide, "__init__", lambda slide, path: opened(path, slide))
        if reading:
            monkeypatch.setattr(os, "pread", self._failing(os.pread, self._raise, self._of_number))
            region = openslide.OpenSlide.read_region
            read = self._failing(
                lambda _, slide, *where: region(slide, *where), lambda path: self._openslide(path, "read")
            )
            monkeypatch.setattr(
                openslide.OpenSlide, "read_region", lambda slide, *where: read(slide._filename, slide, *where)
            )
            quickly = _quick.read_quickly

            def read_quickly(*given: Any) -> None:
                # Compiled code leaves to others what it cannot read.
                quickly(*given)
                if not self.over:
                    given[-1][:] = -1

            monkeypatch.setattr(_quick, "read_quickly", read_quickly)

    def _failing(
        self, plain: Callable[..., Any], fail: Callable[[str], Any], path_of: Callable[[Any], str] = os.fspath
    ) -> Callable[..., Any]:
        def call(path: Any, *given: Any, **named: Any) -> Any:
            if not self.over:
                name = str(path_of(path)) if path_of is not os.fspath or not isinstance(path, int) else ""
                if any(name == each or name.startswith(each + os.sep) for each in self._paths):
                    self.met += 1
                    if self.met <= 0:
                        return plain(path, *given, **named)
                    if self._left is None or self.met <= self._left:
                        return fail(name)
                    self.over = True
            return plain(path, *given, **named)

        return call

    def _raise(self, path: str) -> None:
        raise OSError(self._number, os.strerror(self._number), path)

    def _openslide(self, path: str, what: str) -> None:
        if self._says_why:
            raise openslide.OpenSlideError(f"Couldn't {what} {path}: {os.strerror(self._number)}")
        raise openslide.OpenSlideUnsupportedFormatError("Unsupported or missing image file")

    @staticmethod
    def _of_number(number: int) -> str:
        return str(Path(f"/proc/self/fd/{number}").readlink())


class BadSector:
    """Makes reads of one place of a file fail with EIO, as long as it is there.

    Parameters
    ----------
    monkeypatch : pytest.MonkeyPatch
    path : Path
        The file.
    place : int
        A byte in it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path, place: int) -> None:
        self.there, self.met = True, 0
        plain, quickly = os.pread, _quick.read_quickly

        def pread(number: int, count: int, offset: int) -> bytes:
            bad = self.there and offset <= place < offset + count
            if bad and Path(f"/proc/self/fd/{number}").readlink() == path:
                self.met += 1
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return plain(number, count, offset)

        def read_quickly(*given: Any) -> None:
            quickly(*given)
            if self.there:  # compiled code leaves to others what it cannot read
                given[-1][:] = -1

        monkeypatch.setattr(os, "pread", pread)
        monkeypatch.setattr(_quick, "read_quickly", read_quickly)
