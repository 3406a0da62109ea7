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


def pieces(level: Level, x: int, y: int, size: int) -> Pieces:
    """Cut a square window along the level's blocks.

    Blocks at the edge of a level are encoded in full size; what lies beyond the level is left out, so a window that
    reaches over the edge is not covered there.

    Parameters
    ----------
    level : Level
        With blocks.
    x, y : int
        Upper left corner of the window in pixels of the level.
    size : int
        Side of the window in pixels of the level.
    """
    assert level.block_width is not None
    assert level.block_height is not None
    columns, out_x, in_x, wide = _along(x, size, level.block_width, level.width)
    rows, out_y, in_y, high = _along(y, size, level.block_height, level.height)
    across, down = len(columns), len(rows)

    def pairs(vertical: NDArray[np.int64], horizontal: NDArray[np.int64]) -> NDArray[np.int32]:
        return np.stack([np.repeat(vertical, across), np.tile(horizontal, down)], axis=-1).astype(np.int32)

    return Pieces(
        columns=np.tile(columns, down),
        rows=np.repeat(rows, across),
        in_anchors=pairs(in_y, in_x),
        out_anchors=pairs(out_y, out_x),
        shapes=pairs(high, wide),
    )


def most_blocks(level: Level, x: NDArray[np.int64], y: NDArray[np.int64], size: NDArray[np.int64]) -> int:
    """Give the greatest number of blocks that any of the windows is made of."""
    if not len(x):
        return 0
    assert level.block_width is not None
    assert level.block_height is not None
    across = (np.minimum(x + size, level.width) - 1) // level.block_width - x // level.block_width + 1
    down = (np.minimum(y + size, level.height) - 1) // level.block_height - y // level.block_height + 1
    return int((across * down).max())


def _along(start: int, size: int, block: int, length: int) -> tuple[NDArray[np.int64], ...]:
    """One axis: block numbers, places in the window, places in the blocks, extents."""
    stop = min(start + size, length)
    numbers = np.arange(start // block, (stop - 1) // block + 1, dtype=np.int64)
    begin = np.maximum(numbers * block, start)
    end = np.minimum((numbers + 1) * block, stop)
    return numbers, begin - start, begin - numbers * block, end - begin
