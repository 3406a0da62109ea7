"""Slides by their number in a tile table, opened when they are first asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from ..errors import NotReadError, SlideError
from . import Slide, open_slide

__all__ = ["OpenSlides"]

_Version: TypeAlias = tuple[int, int, int] | None


class OpenSlides:
    """Opens slides, each once; several threads may ask at once.

    What is known of a slide is kept. Of their files only those used last stay open: see
    `cellmix_dali.storage.open_file`.

    Parameters
    ----------
    paths : sequence of str
        The slides.
    opened : mapping of int to Slide, optional
        Those that are open already, by their numbers; they stay open in the end.
    """

    def __init__(self, paths: Sequence[str], opened: Mapping[int, Slide] | None = None) -> None:
        self._paths = paths
        self._given = dict(opened or {})
        self._slides = dict(self._given)
        self._refused: dict[int, tuple[_Version, SlideError]] = {}

    def __getitem__(self, number: int) -> Slide:
        """Return a slide, or raise the `SlideError` that says why it cannot be opened."""
        slide = self._slides.get(number)
        if slide is None:  # two threads may both open it; one of the two is kept
            slide = self._slides.setdefault(number, self._open(number))
        return slide

    def close(self) -> None:
        """Close them all."""
        for number, slide in list(self._slides.items()):
            if number not in self._given:
                slide.close()
        self._slides.clear()

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
            return open_slide(path)
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
