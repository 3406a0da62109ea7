"""Cells of a batch worked out by compiled code: NumPy takes hundreds of small steps for a batch."""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import numpy as np

from .._compiled import compiled

__all__ = ["dealt"]


@compiled(nogil=False)
def dealt(geometry, of, counts, sides, slots, group):
    """Work out what `cellmix_dali.reading.cells.Cells` holds.

    Parameters
    ----------
    geometry : int32 array (pieces, 5, 2)
        Of all tiles' streams, see `cellmix_dali.reading.windows.Pieces`.
    of : int64 array (pieces,)
        Number of each piece's cell: sample by sample, slot by slot.
    counts : int64 array (batch,)
        Pieces of each tile.
    sides : int64 array (batch,)
        Side of a tile that comes as pixels, in pixels; 0 for others.
    slots : int
        Cells per sample.
    group : int
        Slots in a group.

    Returns
    -------
    parts, regions, firsts : int32 arrays
    """
    batch = len(counts)
    low, high = np.empty((slots * batch, 2), np.int32), np.zeros((slots * batch, 2), np.int32)
    for piece in range(len(of)):
        cell = of[piece]
        for axis in range(2):
            begin = geometry[piece, 3, axis]
            end = begin + geometry[piece, 4, axis]
            if high[cell, axis] == 0:  # a cell's first piece
                low[cell, axis], high[cell, axis] = begin, end
            else:
                low[cell, axis], high[cell, axis] = min(low[cell, axis], begin), max(high[cell, axis], end)
    parts = np.zeros((slots, 2, batch, 2), np.int32)
    for slot in range(slots):
        for sample in range(batch):
            cell = slot * batch + sample
            for axis in range(2):
                used = high[cell, axis] > 0
                parts[slot, 0, sample, axis] = low[cell, axis] if used else 0
                parts[slot, 1, sample, axis] = high[cell, axis] - low[cell, axis] if used else 1
    most = 1
    for tile in range(batch):
        most = max(most, counts[tile] + (sides[tile] > 0))
    regions, firsts = np.zeros((batch, most, 11), np.int32), np.zeros((batch, slots + 2), np.int32)
    at = np.empty(slots + 1, np.int64)
    end = 0
    for tile in range(batch):
        start, end = end, end + counts[tile]
        for piece in range(start, end):
            firsts[tile, of[piece] // batch + 1] += 1
        firsts[tile, slots + 1] += sides[tile] > 0
        at[0] = 0
        for slot in range(1, slots + 2):
            firsts[tile, slot] += firsts[tile, slot - 1]
            if slot <= slots:
                at[slot] = firsts[tile, slot]
        for piece in range(start, end):
            cell = of[piece]
            slot = cell // batch
            region = regions[tile, at[slot]]
            at[slot] += 1
            region[0], region[1] = slot, cell % batch
            for axis in range(2):
                region[2 + axis] = geometry[piece, 0, axis] - low[cell, axis]
                region[4 + axis] = geometry[piece, 1, axis]
                region[6 + axis] = geometry[piece, 2, axis]
            region[8] = slot // group
            before = 0  # pixels of the group's slots before this one
            for other in range(slot - slot % group, slot):
                before += parts[other, 1, cell % batch, 0] * parts[other, 1, cell % batch, 1]
            width = parts[slot, 1, cell % batch, 1]
            region[9] = 3 * (before + region[2] * width + region[3])
            region[10] = 3 * width
        if sides[tile] > 0:
            region = regions[tile, at[slots]]
            region[0], region[1] = slots, tile
            region[6] = region[7] = sides[tile]
            region[8], region[10] = (slots + group - 1) // group, 3 * sides[tile]
    return parts, regions, firsts
