"""Windows cut along blocks by compiled code: NumPy takes hundreds of small steps for a batch of windows."""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import numpy as np

from .._compiled import compiled

__all__ = ["cut", "lie"]


@compiled(nogil=False)
def lie(of, windows, pad):
    """Say how windows lie on their levels; arguments and results are those of `cellmix_dali.reading.windows.lie`."""
    outside, whole = np.empty(len(windows), np.bool_), np.empty(len(windows), np.bool_)
    blocks = np.empty(len(windows), np.int64)
    for window in range(len(windows)):
        (width, height, wide, high, left, top, right, bottom, step), (x, y, size) = of[window], windows[window]
        over = x + size > width or y + size > height
        outside[window] = x < 0 or y < 0 or x >= width or y >= height or (over and not pad)
        covered = x >= left and y >= top and min(x + size, width) <= right and min(y + size, height) <= bottom
        across = (min(x + size, width) - 1 - left) // wide - (x - left) // wide + 1
        down = (min(y + size, height) - 1 - top - (y - top) // step * step) // high + 1
        blocks[window] = across * down if covered else 0
        whole[window] = covered and size == wide and size == high and not over
        whole[window] &= (x - left) % wide == 0 and (y - top) % step == 0
    return outside, whole, blocks


@compiled(nogil=False)
def cut(of, windows, margin):
    """Cut square windows along the blocks of their levels.

    Parameters
    ----------
    of : int64 array (n, 9)
        See `cellmix_dali.reading.windows.extents`.
    windows : int64 array (n, 3)
        Upper left corners, x and y, and sides in pixels; the corners lie within the level.
    margin : int
        Pixels around the part that is used that are decoded with it, as far as the block reaches.

    Returns
    -------
    firsts : int64 array (n + 1,)
        Number of each window's first block, and of all.
    columns, rows : int64 arrays (blocks,)
        Which blocks, in reading order.
    geometry : int32 array (blocks, 5, 2)
        See `cellmix_dali.reading.windows.Pieces`.
    """
    firsts = np.zeros(len(windows) + 1, np.int64)
    blocks = lie(of, windows, np.bool_(True))[2]
    for window in range(len(windows)):
        firsts[window + 1] = firsts[window] + blocks[window]
    columns, rows = np.empty(firsts[-1], np.int64), np.empty(firsts[-1], np.int64)
    geometry = np.empty((firsts[-1], 5, 2), np.int32)
    for window in range(len(windows)):
        (width, height, wide, high, from_x, from_y, _, _, step), (left, top, size) = of[window], windows[window]
        # From here on as the grid of blocks counts.
        right, bottom = min(left + size, width) - from_x, min(top + size, height) - from_y
        left, top = left - from_x, top - from_y
        block = firsts[window]
        if block == firsts[window + 1]:
            continue
        first = top // step * step
        for begin in range(first, bottom, high):
            for column in range(left // wide, (right - 1) // wide + 1):
                columns[block], rows[block] = column, begin // step
                _along(geometry[block, :, 0], top, bottom, begin, high, margin)
                _along(geometry[block, :, 1], left, right, column * wide, wide, margin)
                block += 1
    return firsts, columns, rows, geometry


@compiled(nogil=False)
def _along(geometry, start, end, first, length, margin):
    """One axis of one block of a window."""
    begin, stop = max(first, start), min(first + length, end)
    decoded = max(begin - first - margin, 0)
    geometry[0], geometry[1], geometry[2] = begin - first, begin - start, stop - begin
    geometry[3], geometry[4] = decoded, min(stop - first + margin, length) - decoded
