"""Slides by their number in a tile table, opened when they are first asked for, and again when they were dropped."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

from .._arguments import byte_count
from ..errors import NotReadError, SlideError
from . import Slide, open_slide

__all__ = ["SLIDE_CACHE", "OpenSlides"]

#: Bytes of memory that the block tables of a reader's slides may take, where nothing else is said.
SLIDE_CACHE = "512MB"
_MANY_AGAIN = 1000  # slides that are opened again before it is said what that costs
_Version: TypeAlias = tuple[int, int, int] | None


class _Kept(NamedTuple):
    slide: Slide
    size: int  # bytes of memory
    notes: dict[Any, Any]


class OpenSlides:
    """Opens slides, and keeps those that were used last; several threads may ask at once.

    What is known of a slide, such as where its blocks lie, is kept as far as it fits; a slide that was dropped is
    opened again when it is asked for. Of their files only those used last stay open: see
    `cellmix_dali.storage.open_file`.

    Parameters
    ----------
    paths : sequence of str
        The slides.
    opened : mapping of int to Slide, optional
        Those that are open already, by their numbers; they stay open in the end.
    cache : int or str, default "512MB"
        Bytes that the slides' block tables may take, such as "2GB": eight for each block. The slide used last is kept
        whatever it takes.
    open_one : callable, optional
        Opens a slide by its path; by default `open_slide`.
    """

    def __init__(
        self,
        paths: Sequence[str],
        opened: Mapping[int, Slide] | None = None,
        *,
        cache: int | str = SLIDE_CACHE,
        open_one: Callable[[str], Slide] | None = None,
    ) -> None:
        self._paths, self._most = paths, byte_count("slide_cache", cache)
        self._given = {number: _Kept(slide, 0, {}) for number, slide in (opened or {}).items()}
        self._open_one = open_one
        self._slides: OrderedDict[int, _Kept] = OrderedDict()
        self._refused: dict[int, tuple[_Version, SlideError]] = {}
        self._before: set[int] = set()  # dropped once
        self._lock, self._bytes, self._again, self._told = Lock(), 0, 0, False

    def __getitem__(self, number: int) -> Slide:
        """Return a slide, or raise the `SlideError` that says why it cannot be opened."""
        return self.with_notes(number)[0]

    def with_notes(self, number: int) -> tuple[Slide, dict[Any, Any]]:
        """Return a slide, as by its number, and a dictionary for what its user knows of it: it is dropped with it."""
        kept = self._kept(number)
        if kept is None:
            slide = self._open(number)  # two threads may both open it; one of the two is kept
            kept = self._keep(number, _Kept(slide, slide.nbytes, {}))
        return kept.slide, kept.notes

    def __len__(self) -> int:
        """How many slides are kept."""
        return len(self._slides) + len(self._given)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the slides take that are kept, but for those that were given."""
        return self._bytes

    def close(self) -> None:
        """Close them all."""
        with self._lock:
            slides, self._bytes = list(self._slides.values()), 0
            self._slides.clear()
            for given in self._given.values():
                given.notes.clear()
        for kept in slides:
            kept.slide.close()

    def _kept(self, number: int) -> _Kept | None:
        with self._lock:
            kept = self._given.get(number) or self._slides.get(number)
            if number in self._slides:
                self._slides.move_to_end(number)
            return kept

    def _keep(self, number: int, new: _Kept) -> _Kept:
        """Keep a slide, and drop those used longest ago until the others fit; gives the one that is kept."""
        with self._lock:
            kept = self._slides.setdefault(number, new)
            self._slides.move_to_end(number)
            if kept is new:
                self._bytes += new.size
                self._again += number in self._before
            while self._bytes > self._most and len(self._slides) > 1:
                # Not closed: another thread may read from it. Its files close when nobody has it any more.
                dropped, oldest = self._slides.popitem(last=False)
                self._bytes -= oldest.size
                self._before.add(dropped)
            tell = self._again >= _MANY_AGAIN and not self._told
            self._told = self._told or tell
        if tell:
            warnings.warn(
                f"Slides were opened again {_MANY_AGAIN} times, as the block tables of {len(self._paths)} slides do "
                f"not fit in slide_cache={self._most} bytes, and opening them takes most of the time. Make an index of "
                "the slides (cellmix-dali index), or give a larger slide_cache (--slide-cache).",
                stacklevel=3,
            )
        return kept

    def _open(self, number: int) -> Slide:
        """Open a slide, or say why it cannot be; that takes long, so only once for each version of the file.

        A slide that cannot be read just now is not remembered.
        """
        if not 0 <= number < len(self._paths):
            raise SlideError(
                f"The tile table says slide number {number}, and names {len(self._paths)} slides: it is damaged. "
                "Make or copy it again."
            )
        path = self._paths[number]
        version = _version(path)
        refused = self._refused.get(number)
        if refused is not None and refused[0] == version:
            raise SlideError(str(refused[1])) from refused[1]
        try:
            return (self._open_one or open_slide)(path)
        except NotReadError:
            raise
        except SlideError as error:
            self._refused[number] = version, error
            raise


def _version(path: str) -> _Version:
    """What changes when a file does; None where it is not there."""
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns
