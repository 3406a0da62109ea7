"""Blocks read by compiled code, without the interpreter lock: the usual ones, while any other is told apart.

A batch of blocks is read into one buffer by one call. A block that begins with the header that most blocks of its level
have, and whose scan shows no damage, becomes a complete stream in place. All else is left to the careful way in Python
(`Slide.blocks` and `BlockCheck`), which says what is wrong.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from cellmix_dali._compiled import compiled

__all__ = ["read_quickly"]

_RUN = 32  # any 64 zeros in a row hold 32 that begin at a multiple of 32
# Of the C library.
_pread: Any = types.ExternalFunction("pread", types.intp(types.intc, types.uintp, types.uintp, types.int64))


@compiled()
def read_quickly(number, offsets, counts, lead, new_lead, zeros, buffer, starts):
    """Read JPEG blocks into a buffer, and give them another header.

    Parameters
    ----------
    number : int
        Of the open file.
    offsets, counts : int64 arrays (n,)
        Where the blocks lie in the file, and their bytes.
    lead, new_lead : uint8 arrays
        The header that blocks begin with, and the one that takes its place.
    zeros : bool
        Whether runs of zeros may be data.
    buffer : uint8 array
        Takes the blocks one after the other, each with ``max(new_lead.size - lead.size, 0)`` bytes before it.
    starts : int64 array (n,)
        Out: where in the buffer a stream of ``counts[i] - lead.size + new_lead.size`` bytes begins; -1 for a block that
        needs the careful way.
    """
    gap = max(new_lead.size - lead.size, 0)
    free = 0
    for block in range(offsets.size):
        starts[block] = -1
        first, count = free + gap, counts[block]
        free = first + max(count, 0)
        if count < lead.size + 2 or _read(number, offsets[block], buffer[first:free]) < count:
            continue
        if not _same(buffer[first : first + lead.size], lead):
            continue
        scan = buffer[first + lead.size : free]
        if scan[-2] != 0xFF or scan[-1] != 0xD9 or _marker_before_end(scan) or not (zeros or _without_zeros(scan)):
            continue
        start = first + lead.size - new_lead.size
        buffer[start : first + lead.size] = new_lead
        starts[block] = start


@compiled()
def _read(number, offset, target):
    """Fill the target from the file; gives the bytes that there were."""
    got = 0
    while got < target.size:
        part = _pread(number, target.ctypes.data + got, target.size - got, offset + got)
        if part <= 0:
            break
        got += part
    return got


@compiled()
def _same(one, other):
    same = True
    for place in range(one.size):
        same &= one[place] == other[place]
    return same


@compiled()
def _marker_before_end(scan):
    """Whether a marker, 0xFF and no zero after it (ITU T.81, B.1.1), comes before the scan's last two bytes."""
    seen = False  # no counter: a flag is as wide as the bytes, so the processor takes many at once
    for place in range(scan.size - 2):
        seen |= (scan[place] == 0xFF) & (scan[place + 1] != 0)
    return seen


@compiled()
def _without_zeros(scan):
    """Whether there is surely no long run of zeros."""
    # Any 64 zeros in a row hold eight that the processor takes as one word. Nearly no scan has a word of zeros.
    unaligned = -scan.ctypes.data % 8
    words = scan[unaligned : unaligned + (scan.size - unaligned) // 8 * 8].view(np.uint64)
    empty = 0
    for word in words:
        empty += word == 0
    if empty == 0:
        return True
    for start in range(0, scan.size - _RUN + 1, _RUN):
        seen = np.uint8(0)
        for place in range(start, start + _RUN):
            seen |= scan[place]
        if seen == 0:
            return False
    return True
