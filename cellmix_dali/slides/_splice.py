"""Blocks spliced from JPEG restart intervals by compiled code, without the interpreter lock.

What does not look as it should is left to the careful way in Python (`IntervalStreams.join` and `BlockCheck`).
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

from cellmix_dali._compiled import compiled
from cellmix_dali.slides._quick import _marker_before_end, _read, _without_zeros

__all__ = ["splice"]


@compiled()
def splice(number, places, wanted, offsets, counts, lead, zeros, buffer, starts, ends):
    """Read blocks into a buffer as complete JPEG streams.

    Parameters
    ----------
    number : int
        Of the open file.
    places : int64 array (n, pieces)
        Which restart intervals make each block.
    wanted : bool array (n,)
        False for a block to be left out.
    offsets, counts : int64 arrays (intervals,)
        Where the intervals lie in the file, and their bytes, the marker behind each among them.
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
    for block in range(places.shape[0]):
        starts[block] = ends[block] = -1
        if not wanted[block]:
            continue
        at, piece = free + lead.size, 0
        while piece < pieces:
            # Intervals that follow each other in the file are read at once.
            offset, length, after = offsets[places[block, piece]], counts[places[block, piece]], piece + 1
            while after < pieces and offsets[places[block, after]] == offset + length:
                length += counts[places[block, after]]
                after += 1
            # The two bytes before are looked at, too: what follows them may be anything, and look like a scan.
            if _read(number, offset - 2, buffer[at - 2 : at + length]) < length + 2:
                break
            if offset != offsets[0] and not _marker(buffer[at - 2 : at]):
                break
            if piece > 0:
                buffer[at - 2], buffer[at - 1] = 0xFF, 0xD0 + (piece - 1) % 8
            while piece < after:
                count = counts[places[block, piece]]
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
