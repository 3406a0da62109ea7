"""Blocks read by compiled code, without the interpreter lock: the usual ones, while any other is told apart.

A batch of blocks, of any number of files, is read into one buffer by one call. A block that begins with the header that
most blocks of its level have, and whose scan shows no damage, becomes a complete stream in place. All else is left to
the careful way in Python (`Slide.blocks` and `BlockCheck`), which says what is wrong.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc, attr-defined, call-arg"
# mypy: disable-error-code="unreachable"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types

from cellmix_dali._compiled import compiled, copy_bytes, pointer
from cellmix_dali.slides.block_places import ELSEWHERE, OFFSET_BITS

__all__ = ["look_up", "read_quickly", "unpacked"]

_OFFSETS, _OFFSET_BITS, _ELSEWHERE = np.uint64((1 << OFFSET_BITS) - 1), np.uint64(OFFSET_BITS), np.uint64(ELSEWHERE)
_RUN = 32  # any 64 zeros in a row hold 32 that begin at a multiple of 32
# Of the C library.
_pread: Any = types.ExternalFunction("pread", types.intp(types.intc, types.uintp, types.uintp, types.int64))


@compiled(nogil=False)
def look_up(which, tables, columns, rows):
    """Look up where blocks lie in their files.

    Parameters
    ----------
    which : int64 array (n,)
        The table of each block.
    tables : int64 array (tables, 3)
        Of each level: the address of its blocks' places, see `cellmix_dali.slides.block_places`; its columns and rows.
    columns, rows : int64 arrays (n,)
        The blocks' places.

    Returns
    -------
    offsets, counts : int64 arrays (n,)
        A block that is not in its table, or whose place is `ELSEWHERE`, has -1 bytes.
    """
    offsets, counts = np.empty(which.size, np.int64), np.empty(which.size, np.int64)
    for block in range(which.size):
        places_at, across, down = tables[which[block]]
        column, row = columns[block], rows[block]
        offsets[block], counts[block] = 0, -1
        if 0 <= column < across and 0 <= row < down:
            offsets[block], counts[block] = unpacked(
                carray(pointer(places_at), across * down, np.uint64)[row * across + column]
            )
    return offsets, counts


@compiled()
def unpacked(packed):
    """Return the offset and the bytes of a packed place; 0 and -1 of one that is `ELSEWHERE`."""
    if packed == _ELSEWHERE:
        return np.int64(0), np.int64(-1)
    return np.int64(packed & _OFFSETS), np.int64(packed >> _OFFSET_BITS)


@compiled()
def read_quickly(which, headers, offsets, counts, most, buffer, spans):
    """Read JPEG blocks into a buffer, and give them another header.

    Parameters
    ----------
    which : int64 array (n,)
        The header of each block; -1 for one to be left out.
    headers : int64 array (headers, 7)
        The number of the open file; the address and the length of the header that blocks begin with, uint8, and of the
        one that takes its place; whether runs of zeros may be data; the bytes of a DICOM item's header before it, or 0.
    offsets, counts : int64 arrays (n,)
        Where the blocks lie in their files, and their bytes.
    most : int
        Bytes of a block; larger ones are left out.
    buffer : uint8 array
        Takes the blocks one after the other, each with as many bytes before it as its header becomes longer.
    spans : int64 array (n, 2)
        Out: where in the buffer a stream begins and ends; -1 for a block that needs the careful way.
    """
    free = 0
    for block in range(offsets.size):
        spans[block] = -1
        count = counts[block]
        if which[block] < 0 or count > most:
            continue
        number, lead_at, lead_size, new_at, new_size, zeros, before = headers[which[block]]
        first = free + max(new_size - lead_size - before, 0)
        end = first + count
        if count < before + lead_size + 2 or _read(number, offsets[block], buffer[first:end]) < count:
            continue
        if before and not _is_item(buffer[first:end]):
            continue
        lead = carray(pointer(lead_at), lead_size, np.uint8)
        first += before
        if not _same(buffer[first : first + lead_size], lead):
            continue
        if buffer[end - 1] == 0 and buffer[end - 2] == 0xD9:  # a zero behind the end, which makes the length even
            end -= 1
        scan = buffer[first + lead_size : end]
        if scan.size < 2 or scan[-2] != 0xFF or scan[-1] != 0xD9:
            continue
        if _marker_before_end(scan) or not (zeros or _without_zeros(scan)):
            continue
        start = first + lead_size - new_size
        copy_bytes(buffer.ctypes.data + start, new_at, new_size)
        spans[block, 0], spans[block, 1] = start, end
        free = end


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
def _is_item(block):
    """Whether a block is just one DICOM item (PS3.5, A.4): little-endian, FFFE,E000 and the length of what follows."""
    length = np.int64(block[4]) | np.int64(block[5]) << 8 | np.int64(block[6]) << 16 | np.int64(block[7]) << 24
    begins = (block[0] == 0xFE) & (block[1] == 0xFF) & (block[2] == 0x00) & (block[3] == 0xE0)
    return begins and length == block.size - 8


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
