"""Which encoded blocks a window of a level is made of, and where their pixels go."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .slides import Level

__all__ = ["MARGIN", "Pieces", "most_blocks", "pieces"]

#: Colour of subsampled JPEG is interpolated between neighbours: a part of a block that is decoded alone is as in the
#: whole only this far from its rim, in pixels (one MCU of 4:2:0; without it pixels at the rim differ).
MARGIN = 16


class Pieces(NamedTuple):
    """The blocks of one window, in reading order.

    Attributes
    ----------
    columns, rows : int64 arrays (n,)
        Which blocks.
    geometry : int32 array (n, 5, 2)
        For each block, y before x, in pixels: where the part that is used begins in it, where it goes in the window,
        its height and width; then the part of the block that must be decoded for that, its beginning and its height
        and width: `MARGIN` pixels more on every side, as far as the block reaches.
    """

    columns: NDArray[np.int64]
    rows: NDArray[np.int64]
    geometry: NDArray[np.int32]


def pieces(level: Level, x: NDArray[np.int64], y: NDArray[np.int64], size: NDArray[np.int64]) -> list[Pieces]:
    """Cut square windows along the level's blocks.

    Blocks at the edge of a level are encoded in full size; what lies beyond the level is left out, so a window that
    reaches over the edge is not covered there.

    Parameters
    ----------
    level : Level
        With blocks.
    x, y : integer arrays (n,)
        Upper left corners of the windows in pixels of the level; within the level.
    size : integer array (n,)
        Sides of the windows in pixels of the level.

    Returns
    -------
    list of Pieces
        One a window.
    """
    across, down = _counts(level, x, y, size)
    found: list[Pieces | None] = [None] * len(x)
    # Windows of as many blocks across and down are cut together: one by one, NumPy costs six times as much.
    for wide, high in set(zip(across.tolist(), down.tolist(), strict=True)):
        own = np.flatnonzero((across == wide) & (down == high))
        columns, out_x, in_x, width, from_x, over_x = _along(x[own], size[own], level.block_width, level.width, wide)
        rows, out_y, in_y, height, from_y, over_y = _along(y[own], size[own], level.block_height, level.height, high)
        geometry = np.empty((len(own), high, wide, 5, 2), np.int32)
        for number, (vertical, horizontal) in enumerate(
            ((in_y, in_x), (out_y, out_x), (height, width), (from_y, from_x), (over_y, over_x))
        ):
            geometry[..., number, 0], geometry[..., number, 1] = vertical[:, :, None], horizontal[:, None, :]
        geometry = geometry.reshape(len(own), -1, 5, 2)
        columns, rows = np.tile(columns, (1, high)), np.repeat(rows, wide, axis=1)
        for place, window in enumerate(own.tolist()):
            found[window] = Pieces(columns[place], rows[place], geometry[place])
    return [each for each in found if each is not None]


def most_blocks(level: Level, x: NDArray[np.int64], y: NDArray[np.int64], size: NDArray[np.int64]) -> int:
    """Give the greatest number of blocks that any of the windows is made of."""
    if not len(x):
        return 0
    across, down = _counts(level, x, y, size)
    return int((across * down).max())


def _counts(
    level: Level, x: NDArray[np.int64], y: NDArray[np.int64], size: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Blocks across and down of each window."""
    assert level.block_width is not None
    assert level.block_height is not None
    across = (np.minimum(x + size, level.width) - 1) // level.block_width - x // level.block_width + 1
    down = (np.minimum(y + size, level.height) - 1) // level.block_height - y // level.block_height + 1
    return across, down


def _along(
    start: NDArray[np.int64], size: NDArray[np.int64], block: int | None, length: int, count: int
) -> tuple[NDArray[np.int64], ...]:
    """One axis of windows of `count` blocks.

    Gives block numbers, places in the windows, places in the blocks, extents, and the start and extent to decode.
    """
    assert block is not None
    numbers = (start // block)[:, None] + np.arange(count)
    begin = np.maximum(numbers * block, start[:, None])
    end = np.minimum((numbers + 1) * block, np.minimum(start + size, length)[:, None])
    first, extent = begin - numbers * block, end - begin
    decoded = np.maximum(first - MARGIN, 0)
    return numbers, begin - start[:, None], first, extent, decoded, np.minimum(first + extent + MARGIN, block) - decoded
