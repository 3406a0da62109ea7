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
def splice(number, blocks, pieces, offsets, counts, lead, zeros, buffer, starts, ends):
    """Read blocks into a buffer as complete JPEG streams.

    Parameters
    ----------
    number : int
        Of the open file.
    blocks : int64 array (n,)
        Which blocks of the table; -1 for one to be left out.
    pieces : int
        Restart intervals of a block.
    offsets, counts : int64 arrays (blocks * pieces,)
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
    free = 0
    for block in range(blocks.size):
        starts[block] = ends[block] = -1
        if blocks[block] < 0:
            continue
        first, end = blocks[block] * pieces, (blocks[block] + 1) * pieces
        at, piece = free + lead.size, first
        while piece < end:
            # Intervals that follow each other in the file are read at once.
            after, length = piece + 1, counts[piece]
            while after < end and offsets[after] == offsets[piece] + length:
                length += counts[after]
                after += 1
            # The two bytes before are looked at, too: what follows them may be anything, and look like a scan.
            if _read(number, offsets[piece] - 2, buffer[at - 2 : at + length]) < length + 2:
                break
            if offsets[piece] != offsets[0] and not _marker(buffer[at - 2 : at]):
                break
            if piece > first:
                buffer[at - 2], buffer[at - 1] = 0xFF, 0xD0 + (piece - 1 - first) % 8
            while piece < after:
                if not _sound(buffer[at : at + counts[piece]], zeros):
                    break
                at += counts[piece]
                piece += 1
                buffer[at - 1] = 0xD9 if piece == end else 0xD0 + (piece - 1 - first) % 8
            if piece < after:
                break
        if piece == end:
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
