"""Positions of frames are found whatever else stands beside them in the items."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from cellmix_dali.slides._dicom_walk import walk_positions

UNDEFINED = 0xFFFFFFFF


def short(group: int, element: int, kind: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, element, kind, len(value)) + value


def long(group: int, element: int, kind: bytes, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HH2sHI", group, element, kind, 0, len(value) if length is None else length) + value


def item(value: bytes, *, delimited: bool) -> bytes:
    if not delimited:
        return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value
    return struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED) + value + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)


def sequence(*items: bytes, delimited: bool, kind: bytes = b"SQ") -> bytes:
    value = b"".join(items)
    if not delimited:
        return long(0x0048, 0x021A, kind, value)
    return long(0x0048, 0x021A, kind, value + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), UNDEFINED)


def frame(column: int, row: int, other: bytes, *, delimited: bool) -> bytes:
    """An item with its place in a sequence of its own, and something else before, between and after."""
    place = short(0x0048, 0x021E, b"SL", struct.pack("<i", column)) + other
    place += short(0x0048, 0x021F, b"SL", struct.pack("<i", row))
    return item(other + sequence(item(place, delimited=delimited), delimited=delimited) + other, delimited=delimited)


# Values that would be taken for delimiters, items or positions, were they walked into.
TRAPS = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + short(0x0048, 0x021E, b"SL", struct.pack("<i", 77))


@pytest.mark.parametrize("delimited", [False, True])
@pytest.mark.parametrize(
    "other",
    [
        b"",
        long(0x0009, 0x1001, b"UT", TRAPS),
        long(0x0009, 0x1001, b"OB", b""),
        long(0x0009, 0x1001, b"UN", TRAPS),
        short(0x0009, 0x1001, b"LO", TRAPS),
        sequence(item(b"", delimited=False), delimited=True, kind=b"UN"),
    ],
    ids=["nothing", "text", "no bytes", "unknown", "short", "unknown sequence"],
)
def test_what_stands_beside_is_passed_over(other: bytes, delimited: bool) -> None:
    places = [(1, 1), (257, 1), (1, 513)]
    data = b"".join(frame(column, row, other, delimited=delimited) for column, row in places)
    found = np.zeros((2, len(places)), np.int64)
    assert walk_positions(np.frombuffer(data, np.uint8), False, found) == len(places)
    assert found.T.tolist() == [list(place) for place in places]
    with_end = data + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) + b"what follows"
    found[:] = 0
    assert walk_positions(np.frombuffer(with_end, np.uint8), True, found) == len(places)
    assert found.T.tolist() == [list(place) for place in places]
    for cut in range(1, len(data), 7):
        assert walk_positions(np.frombuffer(data[:cut], np.uint8), True, found) == -1
