"""Which encoded blocks a window of a level is made of, and where their pixels go."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .slides import Level

__all__ = ["Pieces", "most_blocks", "pieces"]


class Pieces(NamedTuple):
    """The blocks of one window, in reading order.

    Attributes
    ----------
    columns, rows : int64 arrays (n,)
        Which blocks.
    in_anchors, out_anchors, shapes : int32 arrays (n, 2)
        For each block: where the part that is used begins in it, where it goes in the window, and its height and width;
        y before x, in pixels.
    """

    columns: NDArray[np.int64]
    rows: NDArray[np.int64]
    in_anchors: NDArray[np.int32]
    out_anchors: NDArray[np.int32]
    shapes: NDArray[np.int32]


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
        columns, out_x, in_x, width = _along(x[own], size[own], level.block_width or 1, level.width, wide)
        rows, out_y, in_y, height = _along(y[own], size[own], level.block_height or 1, level.height, high)
        cut = (
            np.tile(columns, (1, high)),
            np.repeat(rows, wide, axis=1),
            _pairs(in_y, in_x),
            _pairs(out_y, out_x),
            _pairs(height, width),
        )
        for place, number in enumerate(own.tolist()):
            found[number] = Pieces(*(array[place] for array in cut))
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
    start: NDArray[np.int64], size: NDArray[np.int64], block: int, length: int, count: int
) -> tuple[NDArray[np.int64], ...]:
    """One axis of windows of `count` blocks: block numbers, places in the windows, places in the blocks, extents."""
    numbers = (start // block)[:, None] + np.arange(count)
    begin = np.maximum(numbers * block, start[:, None])
    end = np.minimum((numbers + 1) * block, np.minimum(start + size, length)[:, None])
    return numbers, begin - start[:, None], begin - numbers * block, end - begin


def _pairs(vertical: NDArray[np.int64], horizontal: NDArray[np.int64]) -> NDArray[np.int32]:
    """All combinations of both axes, y before x, in reading order: (windows, blocks, 2)."""
    windows, high = vertical.shape
    pairs = np.empty((windows, high, horizontal.shape[1], 2), np.int32)
    pairs[..., 0], pairs[..., 1] = vertical[:, :, None], horizontal[:, None, :]
    return pairs.reshape(windows, -1, 2)
