"""Blocks spliced from JPEG restart intervals by compiled code, without the interpreter lock.

What does not look as it should is left to the careful way in Python (`IntervalStreams.join` and `BlockCheck`).
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, attr-defined, call-arg"
# mypy: disable-error-code="unreachable"

from __future__ import annotations

import numpy as np
from numba import carray

from cellmix_dali._compiled import compiled, pointer
from cellmix_dali.slides._quick import _marker_before_end, _read, _without_zeros, unpacked

__all__ = ["splice"]


@compiled()
def splice(number, places, wanted, packed_at, intervals, lead, zeros, buffer, starts, ends):
    """Read blocks into a buffer as complete JPEG streams.

    Parameters
    ----------
    number : int
        Of the open file.
    places : int64 array (n, pieces)
        Which restart intervals make each block.
    wanted : bool array (n,)
        False for a block to be left out.
    packed_at, intervals : int
        Address and number of the intervals' places, see `cellmix_dali.slides.block_places`; their bytes count the
        marker behind each.
    lead : uint8 array
        The header of the streams.
    zeros : bool
        Whether runs of zeros may be data.
    buffer : uint8 array
        Takes the streams one after the other.
    starts, ends : int64 arrays (n,)
        Out: where in the buffer each stream begins and ends; -1 for one that needs the careful way.
    """
    free, pieces = 0, places.shape[1]
    packed = carray(pointer(packed_at), intervals, np.uint64)
    begin, _ = unpacked(packed[0])
    for block in range(places.shape[0]):
        starts[block] = ends[block] = -1
        if not wanted[block]:
            continue
        at, piece = free + lead.size, 0
        while piece < pieces:
            # Intervals that follow each other in the file are read at once.
            offset, length = unpacked(packed[places[block, piece]])
            if length < 0:
                break
            after = piece + 1
            while after < pieces:
                next_offset, count = unpacked(packed[places[block, after]])
                if count < 0 or next_offset != offset + length:
                    break
                length += count
                after += 1
            # The two bytes before are looked at, too: what follows them may be anything, and look like a scan.
            if _read(number, offset - 2, buffer[at - 2 : at + length]) < length + 2:
                break
            if offset != begin and not _marker(buffer[at - 2 : at]):
                break
            if piece > 0:
                buffer[at - 2], buffer[at - 1] = 0xFF, 0xD0 + (piece - 1) % 8
            while piece < after:
                _, count = unpacked(packed[places[block, piece]])
                if not _sound(buffer[at : at + count], zeros):
                    break
                at += count
                piece += 1
                buffer[at - 1] = 0xD9 if piece == pieces else 0xD0 + (piece - 1) % 8
            if piece < after:
                break
        if piece == pieces:
            buffer[free : free + lead.size] = lead
            starts[block], ends[block] = free, at
            free = at


@compiled()
def _sound(interval, zeros):
    """Whether an interval ends with a restart marker, or the picture's end, and nothing in it looks damaged."""
    if interval.size < 3 or not _marker(interval[-2:]):
        return False
    return not _marker_before_end(interval) and (zeros or _without_zeros(interval))


@compiled()
def _marker(two):
    return two[0] == 0xFF and (0xD0 <= two[1] <= 0xD7 or two[1] == 0xD9)
