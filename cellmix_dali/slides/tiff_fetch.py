"""The directories of a TIFF in a store: what has to be there before the file is looked at like any other.

Directories, the values that do not fit in them (tables of blocks among them), and the beginning of one block of each
tiled picture. Sources: TIFF 6.0, section 2, and the BigTIFF design.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress

import numpy as np

from cellmix_dali.storage.mirror import Mirror, Wanted, fetch

__all__ = ["fetch_structure"]

_AHEAD = 1 << 14  # bytes that come with a directory: its values nearly always stand beside it
_BEGINNING = 1 << 16  # of a block: its header
_MOST_DIRECTORIES = 1000
_MOST_VALUES = 1 << 28  # bytes of one tag: 32 million blocks
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_SUBIFDS, _OFFSETS, _COUNTS = 330, 324, 325
_KINDS = {3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}


class _Reader:
    """Reads parts of an object, and remembers which."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror, self.spans = mirror, set[tuple[int, int]]()

    def bring(self, spans: list[tuple[int, int]]) -> None:
        """Have ranges (start, end) there, at once."""
        size = self.mirror.of.size
        cut = [(max(start, 0), min(end, size)) for start, end in spans if 0 <= start < size and end > start]
        self.spans.update(cut)
        with fetch([_wanted(self.mirror, cut)]):
            pass

    def read(self, spans: list[tuple[int, int]]) -> list[bytes]:
        """Read ranges, in one round."""
        self.bring(spans)
        number = os.open(self.mirror.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with fetch([_wanted(self.mirror, spans)]):
                return [os.pread(number, end - start, start) if 0 <= start < end else b"" for start, end in spans]
        finally:
            os.close(number)


def _wanted(mirror: Mirror, spans: list[tuple[int, int]]) -> Wanted:
    places = np.array(spans, np.int64).reshape(-1, 2)
    return mirror, places[:, 0], places[:, 1]


def fetch_structure(mirror: Mirror) -> Wanted:
    """Fetch the structure of a TIFF, in two or three rounds of requests for each directory that is not near another.

    What is broken is left as it is: who looks at the file afterwards says so.

    Returns
    -------
    (Mirror, int64 array, int64 array)
        The ranges that were read, to be held while the file is looked at.
    """
    reader = _Reader(mirror)
    with suppress(struct.error, ValueError, OverflowError):
        _walk(reader)
    return _wanted(mirror, sorted(reader.spans))


def _walk(reader: _Reader) -> None:
    (start,) = reader.read([(0, _BEGINNING)])
    order = "<" if start.startswith(b"II") else ">"
    big = 43 in start[2:4]
    link, place_format = ("Q", 8) if big else ("I", 4)
    places = list(struct.unpack_from(f"{order}{link}", start, place_format))
    seen: set[int] = set()
    firsts: list[tuple[int, int]] = []
    try:
        while places and len(seen) < _MOST_DIRECTORIES:
            place = places.pop()
            if place and place not in seen:
                seen.add(place)
                further, blocks = _directory(reader, place, order, big)
                places += further
                firsts += blocks
    finally:
        reader.bring(firsts)


def _directory(reader: _Reader, place: int, order: str, big: bool) -> tuple[list[int], list[tuple[int, int]]]:
    """Read a directory and its values; gives the places of further ones, and of the beginnings of blocks."""
    entry, link, count_size = (20, "Q", 8) if big else (12, "I", 2)
    (data,) = reader.read([(place, place + _AHEAD)])
    (entries,) = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data)
    length = count_size + entries * entry + struct.calcsize(link)
    if length > _AHEAD:
        (data,) = reader.read([(place, place + min(length, _MOST_VALUES))])
    (following,) = struct.unpack_from(f"{order}{link}", data, length - struct.calcsize(link))
    inside = 8 if big else 4
    spans: dict[int, tuple[int, int, int]] = {}
    for number in range(entries):
        at = count_size + number * entry
        tag, kind, count = struct.unpack_from(f"{order}HH{link}", data, at)
        size = min(_SIZES.get(kind, 1) * count, _MOST_VALUES)
        first = at + entry - inside
        (outside,) = struct.unpack_from(f"{order}{link}", data, first)
        spans[tag] = (kind, place + first if size <= inside else outside, size)
    values = dict(zip(spans, reader.read([(at, at + size) for _, at, size in spans.values()]), strict=True))

    def numbers(tag: int) -> list[int]:
        kind = spans.get(tag, (0, 0, 0))[0]
        of = _KINDS.get(kind)
        whole = values.get(tag, b"")
        return [] if of is None else np.frombuffer(whole[: len(whole) // int(of[1]) * int(of[1])], order + of).tolist()

    offsets, counts = numbers(_OFFSETS), numbers(_COUNTS)
    block = next(((at, at + min(size, _BEGINNING)) for at, size in zip(offsets, counts, strict=False) if size), None)
    return [*numbers(_SUBIFDS), following], [block] if block else []
