"""Long lists in DICOM files gone through by compiled code: the items of pixel data, and the places of frames.

Source: DICOM PS3.5, 7.5 and A.4; PS3.3, C.8.12.6.1 (Plane Position (Slide)).
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc, unreachable"

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from cellmix_dali._compiled import compiled

__all__ = ["walk_items", "walk_positions", "walk_sequence"]

_GROUP, _ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFE, 0xE000, 0xE00D, 0xE0DD
_UNDEFINED = 0xFFFFFFFF
_SLIDE_GROUP, _COLUMN, _ROW = 0x0048, 0x021E, 0x021F
_DEEPEST = 32
# Kinds of values whose length takes two bytes, each as a number: those of PS3.5, 7.1.2, and no others.
_SHORT = np.frombuffer(b"AEASATCSDADSDTFLFDISLOLTPNSHSLSSSTTMUIULUS", "<u2").astype(np.int64)
_SQ, _UN = ord("S") | ord("Q") << 8, ord("U") | ord("N") << 8
# Of the C library.
_pread: Any = types.ExternalFunction("pread", types.intp(types.intc, types.uintp, types.uintp, types.int64))


@compiled()
def walk_items(number, place, size, places, heads):
    """Go through the items of pixel data, as far as there is room for them.

    Parameters
    ----------
    number : int
        The open file.
    place : int
        Where the first item begins.
    size : int
        Bytes of the file.
    places : int64 array (n,)
        Out: where items begin.
    heads : uint32 array (n,)
        Out: the first four bytes of each.

    Returns
    -------
    count : int
        How many items there were; one that the file ends within is left out.
    place : int
        Where the next would begin.
    more : bool
        Whether there may be more.
    """
    head = np.zeros(3, np.uint32)
    count = 0
    while count < places.size:
        if place + 8 > size:
            return count, place, False
        head[2] = 0
        if _pread(number, head.ctypes.data, np.uint64(12), place) < 8:
            return count, place, False
        end = place + 8 + np.int64(head[1])
        if head[0] != np.uint32(_ITEM << 16 | _GROUP) or end > size:
            return count, place, False
        places[count], heads[count] = place, head[2]
        count += 1
        place = end
    return count, place, True


@compiled()
def walk_positions(data, undefined, found):
    """Find where frames go, in the items of PerFrameFunctionalGroupsSequence, explicit and little-endian.

    Parameters
    ----------
    data : uint8 array
        The sequence's value, or as much of it as was read.
    undefined : bool
        Whether the sequence ends with its delimiter.
    found : int64 array (2, n)
        Out: column and row of the first pixel of each frame, from 1; both 0 before.

    Returns
    -------
    int
        Number of frames; -1 where the data are damaged, or end before the sequence does.
    """
    ends = np.zeros(_DEEPEST, np.int64)  # of the sequences and items that the place is in; -1: with a delimiter
    ends[0] = -1 if undefined else data.size
    depth, place, frames = 0, 0, 0
    while True:
        while depth >= 0 and ends[depth] == place:
            depth -= 1
        if depth < 0:
            return frames
        if place + 8 > data.size or (ends[depth] >= 0 and place + 8 > ends[depth]):
            return -1
        group, element = _word(data, place), _word(data, place + 2)
        length = _word(data, place + 4) | _word(data, place + 6) << 16
        inside = place + 8
        if group == _GROUP:
            if element == _ITEM:
                if depth == 0:
                    frames += 1
            elif element in (_ITEM_END, _SEQUENCE_END) and ends[depth] == -1:
                depth -= 1
                place = inside
                if depth < 0:
                    return frames
                continue
            else:
                return -1
        else:
            kind = _word(data, place + 4)
            if _is_short(kind):
                length = _word(data, place + 6)
                if group == _SLIDE_GROUP and length == 4 and inside + 4 <= data.size and 0 < frames <= found.shape[1]:
                    value = _word(data, inside) | _word(data, inside + 2) << 16
                    if element == _COLUMN:
                        found[0, frames - 1] = value
                    elif element == _ROW:
                        found[1, frames - 1] = value
                place = inside + length
                continue
            inside = place + 12
            if inside > data.size:
                return -1
            length = _word(data, place + 8) | _word(data, place + 10) << 16
            if kind != _SQ and not (kind == _UN and length == _UNDEFINED):
                place = inside + length
                continue
        # The beginning of a sequence, or of an item.
        depth += 1
        if depth == _DEEPEST:
            return -1
        ends[depth] = -1 if length == _UNDEFINED else inside + length
        place = inside


@compiled()
def walk_sequence(data, depth):
    """Go on through sequences and items of undefined length, explicit and little-endian, until they end.

    Parameters
    ----------
    data : uint8 array
        From a data element on.
    depth : int
        How many of them are open.

    Returns
    -------
    passed : int
        Bytes that were gone through, which may lead beyond the data; -1 where no data element begins.
    depth : int
        How many are open still.
    """
    place = 0
    while depth > 0 and place + 12 <= data.size:
        group, element, kind = _word(data, place), _word(data, place + 2), _word(data, place + 4)
        length = kind | _word(data, place + 6) << 16
        inside = place + 8
        if group == _GROUP:
            if element == _ITEM:
                depth += length == _UNDEFINED
            elif element in (_ITEM_END, _SEQUENCE_END):
                depth -= 1
            else:
                return -1, depth
            place = inside
            continue
        if _is_short(kind):
            place = inside + _word(data, place + 6)
            continue
        if not (65 <= kind & 255 <= 90 and 65 <= kind >> 8 <= 90):
            return -1, depth
        length = _word(data, place + 8) | _word(data, place + 10) << 16
        place += 12
        if length == _UNDEFINED:
            depth += 1
        else:
            place += length
    return place, depth


@compiled()
def _word(data, place):
    return np.int64(data[place]) | np.int64(data[place + 1]) << 8


@compiled()
def _is_short(kind):
    found = False
    for short in _SHORT:
        found |= kind == short
    return found
