"""Which encoded blocks a window of a level is made of, and where their pixels go."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .slides import Level

__all__ = ["MARGIN", "Pieces", "are_whole", "cut_windows", "extents", "lie", "most_blocks"]

#: Colour of subsampled JPEG is interpolated between neighbours: a part of a block that is decoded alone is as in the
#: whole only this far from its rim, in pixels (one MCU of 4:2:0; without it pixels at the rim differ).
MARGIN = 16


class Pieces(NamedTuple):
    """The blocks of windows, window by window, each window's in reading order.

    Attributes
    ----------
    firsts : int64 array (n + 1,)
        Window i is made of the blocks firsts[i] to firsts[i + 1].
    columns, rows : int64 arrays (blocks,)
        Which blocks.
    geometry : int32 array (blocks, 5, 2)
        For each block, y before x, in pixels: where the part that is used begins in it, where it goes in the window,
        its height and width; then the part of the block that must be decoded for that, its beginning and its height
        and width: `MARGIN` pixels more on every side, as far as the block reaches.
    """

    firsts: NDArray[np.int64]
    columns: NDArray[np.int64]
    rows: NDArray[np.int64]
    geometry: NDArray[np.int32]


def extents(level: Level) -> tuple[int, int, int, int]:
    """Give width and height of a level, and of its blocks (1 where it has none)."""
    return level.width, level.height, level.block_width or 1, level.block_height or 1


def lie(of: NDArray[np.int64], windows: NDArray[np.int64], pad: bool) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say how square windows lie on their levels.

    Parameters
    ----------
    of : int64 array (n, 4)
        The `extents` of each window's level.
    windows : int64 array (n, 3)
        Upper left corners, x and y, and sides of the windows in pixels of the level.
    pad : bool
        Whether windows may reach over the right and lower edge of the level.

    Returns
    -------
    outside : bool array (n,)
        Whether they reach over an edge that they must not, or lie wholly beyond the level.
    whole : bool array (n,)
        Whether they are just one block, in full.
    """
    from . import _cut  # numba takes a second to import

    outside, whole = _cut.lie(of, windows, pad)
    return outside, whole


def cut_windows(of: NDArray[np.int64], windows: NDArray[np.int64]) -> Pieces:
    """Cut square windows along the blocks of their levels.

    Blocks at the edge of a level are encoded in full size; what lies beyond the level is left out, so a window that
    reaches over the edge is not covered there.

    Parameters
    ----------
    of : int64 array (n, 4)
        The `extents` of each window's level.
    windows : int64 array (n, 3)
        Upper left corners, x and y, and sides of the windows in pixels of the level; the corners lie within it.

    Returns
    -------
    Pieces
    """
    from ._cut import cut

    return Pieces(*cut(of, windows, MARGIN))


def most_blocks(level: Level, x: NDArray[np.int64], y: NDArray[np.int64], size: NDArray[np.int64]) -> int:
    """Give the greatest number of blocks that any of the windows is made of."""
    if not len(x):
        return 0
    assert level.block_width is not None
    assert level.block_height is not None
    across = (np.minimum(x + size, level.width) - 1) // level.block_width - x // level.block_width + 1
    down = (np.minimum(y + size, level.height) - 1) // level.block_height - y // level.block_height + 1
    return int((across * down).max())


def are_whole(level: Level, x: NDArray[np.integer], y: NDArray[np.integer], size: NDArray[np.integer]) -> bool:
    """Say whether all windows are just one block of the level, in full."""
    wide, high = level.block_width, level.block_height
    inside = (x + size <= level.width) & (y + size <= level.height)
    return bool(np.all((size == wide) & (size == high) & (x % size == 0) & (y % size == 0) & inside))
