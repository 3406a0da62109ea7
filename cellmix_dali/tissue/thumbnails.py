"""The thumbnail of a slide that may be damaged in places."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import NotReadError, SlideError
from ..slides import Level, Slide

__all__ = ["thumbnail_of"]

_CELL = 1024  # side of the squares that are read one by one, pixels; those that fail are read block by block
_SMALLEST = 128  # where there are no blocks
_GREY = 127


def thumbnail_of(slide: Slide, max_size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Make a small picture of a slide, also where some of its blocks are damaged.

    Parameters
    ----------
    slide : Slide
        An open slide.
    max_size : int
        Pixels of its longer side; a smaller slide is not enlarged.

    Returns
    -------
    picture : uint8 array (height, width, 3)
        See `Slide.thumbnail`; grey where the slide cannot be read.
    unread : bool array (height, width)
        True there.

    Raises
    ------
    SlideError
        If none of the slide can be read.
    NotReadError
        If a part of it cannot be read for a reason of the moment.
    """
    try:
        picture = slide.thumbnail(max_size)
    except NotReadError:
        raise
    except SlideError as error:
        return _in_pieces(slide, max_size, error)
    return picture, np.zeros(picture.shape[:2], bool)


def _in_pieces(slide: Slide, max_size: int, error: SlideError) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Put the picture together from what can be read."""
    first = slide.levels[0]
    scale = max(1.0, max(first.width, first.height) / max_size)
    width, height = max(1, round(first.width / scale)), max(1, round(first.height / scale))
    number = max((i for i, level in enumerate(slide.levels) if level.downsample <= scale), default=0)
    of = slide.levels[number]
    picture, unread = np.full((height, width, 3), _GREY, np.uint8), np.ones((height, width), bool)
    for x, y, across, down in _squares(of, 0, 0, of.width, of.height, _CELL):
        for left, top, wide, high, pixels in _readable(slide, number, x, y, across, down):
            # Neighbours meet, as both round the same number.
            columns = slice(left * width // of.width, (left + wide) * width // of.width)
            rows = slice(top * height // of.height, (top + high) * height // of.height)
            size = columns.stop - columns.start, rows.stop - rows.start
            if min(size):
                picture[rows, columns] = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
                unread[rows, columns] = False
    if unread.all():
        raise error
    return picture, unread


def _readable(
    slide: Slide, number: int, x: int, y: int, width: int, height: int
) -> Iterator[tuple[int, int, int, int, NDArray[np.uint8]]]:
    """The parts of a rectangle that can be read: left, top, width, height and pixels."""
    try:
        yield x, y, width, height, slide.read_region(number, x, y, width, height)
    except NotReadError:
        raise
    except SlideError:
        side = max(slide.levels[number].block_width or _SMALLEST, slide.levels[number].block_height or _SMALLEST)
        if width <= side and height <= side:
            return
        for left, top, wide, high in _squares(slide.levels[number], x, y, width, height, side):
            yield from _readable(slide, number, left, top, wide, high)


def _squares(level: Level, x: int, y: int, width: int, height: int, least: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut a rectangle into squares along the blocks: left, top, width, height."""
    block = max(level.block_width or least, level.block_height or least)
    side = -(-least // block) * block
    for top in range(y, y + height, side):
        for left in range(x, x + width, side):
            yield left, top, min(side, x + width - left), min(side, y + height - top)
