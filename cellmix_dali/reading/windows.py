"""Which encoded blocks a window of a level is made of, and where their pixels go."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..slides import Level
from ..tables.tile_table import TileTable

__all__ = ["MARGIN", "Extents", "Pieces", "cut_windows", "extents", "lie", "of_rows", "on_level"]

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


#: What `extents` says of a level.
Extents: TypeAlias = tuple[int, int, int, int, int, int, int, int, int]


def extents(level: Level, size: int | None = None) -> Extents:
    """Return the extents of a level and its blocks.

    Parameters
    ----------
    level : Level
        The level.
    size : int, optional
        Side of windows: blocks that are joined of rows are then so high that a window takes one of each column.

    Returns
    -------
    tuple of int
        Width and height of the level, and of its blocks (1 where it has none); left, top, right and bottom in pixels of
        what the blocks show, the last two exclusive: the grid of blocks begins at its corner; how many pixels down the
        next row of blocks begins.
    """
    part, high = level.shown, level.block_height or 1
    step = high
    if size is not None and level.row_step is not None:
        step = level.row_step
        high = min(-(-(size - 1) // step) + 1, -(-part.height // step)) * step
    sides = part.x, part.y, part.x + part.width, part.y + part.height
    return level.width, level.height, level.block_width or 1, high, *sides, step


def of_rows(table: TileTable, rows: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the windows of some tiles, (n, 3): x, y and size."""
    return np.stack([table.x[rows], table.y[rows], table.size[rows]], axis=1).astype(np.int64)


def on_level(
    level: Level, table: TileTable, rows: NDArray[np.integer], size: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what `lie` and `cut_windows` take, of tiles that are all on one level; `size` as in `extents`."""
    return np.tile(np.array(extents(level, size), np.int64), (len(rows), 1)), of_rows(table, rows)


def lie(
    of: NDArray[np.int64], windows: NDArray[np.int64], pad: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    """Say how square windows lie on their levels.

    Parameters
    ----------
    of : int64 array (n, 9)
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
    blocks : int64 array (n,)
        Blocks that each is made of; 0 for one that reaches beyond the part of its level that the blocks show.
    """
    from . import _cut  # numba takes a second to import

    outside, whole, blocks = _cut.lie(of, windows, pad)
    return outside, whole, blocks


def cut_windows(of: NDArray[np.int64], windows: NDArray[np.int64]) -> Pieces:
    """Cut square windows along the blocks of their levels.

    Blocks at the edge of a level are encoded in full size; what lies beyond the level is left out, so a window that
    reaches over the edge is not covered there.

    Parameters
    ----------
    of : int64 array (n, 9)
        The `extents` of each window's level.
    windows : int64 array (n, 3)
        Upper left corners, x and y, and sides of the windows in pixels of the level; the corners lie within it. One of
        which `lie` says 0 blocks has none here, either.

    Returns
    -------
    Pieces
    """
    from ._cut import cut

    return Pieces(*cut(of, windows, MARGIN))
