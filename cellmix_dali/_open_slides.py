"""Slides by their number in a tile table, opened when they are first asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from ._open_file import most_open
from .errors import SlideError
from .slides import Slide, open_slide

__all__ = ["OpenSlides"]

_Version: TypeAlias = tuple[int, int, int] | None
_MOST_DRAWN = 256  # slides that OpenSlide holds open: each has a cache of 32 MiB


class OpenSlides:
    """Opens slides, each once; the files of those used last stay open. Several threads may ask at once.

    Parameters
    ----------
    paths : sequence of str
        The slides.

    Attributes
    ----------
    most : int
        Slides whose files are open at once.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.most = most_open()
        self._paths = paths
        self._slides: dict[int, Slide] = {}
        self._recent: OrderedDict[int, Slide] = OrderedDict()
        self._drawn: OrderedDict[int, Slide] = OrderedDict()
        self._lock = Lock()
        self._refused: dict[int, tuple[_Version, SlideError]] = {}

    def __getitem__(self, number: int) -> Slide:
        """Give a slide, or raise the `SlideError` that says why it cannot be opened."""
        slide = self._slides.get(number)
        if slide is None:  # two threads may both open it; one of the two is kept
            slide = self._slides.setdefault(number, self._open(number))
        self._keep_open(number, slide, self._recent, self.most)
        return slide

    def to_draw(self, number: int) -> Slide:
        """Give a slide whose pixels OpenSlide is to draw; fewer of them stay open."""
        slide = self[number]
        self._keep_open(number, slide, self._drawn, min(self.most, _MOST_DRAWN))
        return slide

    def close(self) -> None:
        """Close them all."""
        for slide in self._slides.values():
            slide.close()
        self._slides.clear()
        self._recent.clear()
        self._drawn.clear()

    def _keep_open(self, number: int, slide: Slide, recent: OrderedDict[int, Slide], most: int) -> None:
        """Note that a slide is used now, and close the one that has not been for longest."""
        with self._lock:
            recent[number] = slide
            recent.move_to_end(number)
            if len(recent) > most:
                # What is known of a slide is kept; its file is opened again when it is read again.
                recent.popitem(last=False)[1].close()

    def _open(self, number: int) -> Slide:
        """Open a slide, or say why it cannot be; that takes long, so only once for each version of the file."""
        path = self._paths[number]
        version = _version(path)
        refused = self._refused.get(number)
        if refused is not None and refused[0] == version:
            raise SlideError(str(refused[1])) from refused[1]
        try:
            return open_slide(path)
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
