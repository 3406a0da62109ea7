"""The directories of a Hamamatsu NDPI file, and where the restart intervals of its pictures begin.

An NDPI file begins as a classic TIFF, but the places of its directories have 64 bits. Behind each directory stand the
upper halves of its entries' values, four bytes for each: of a place where values stand, or of a single number. Each
picture is one JPEG; a file of several gigabytes says where its restart intervals begin, in McuStarts.

Sources: OpenSlide's page "Hamamatsu format" and what its reader makes of the tags; tifffile, which names them.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["NdpiPicture", "read_pictures"]

_LENS, _FOCAL_PLANE, _MCU_STARTS, _MCU_STARTS_HIGH = 65421, 65424, 65426, 65432
_WIDTH, _HEIGHT, _STRIP_OFFSETS, _STRIP_COUNTS = 256, 257, 273, 279
_MOST_DIRECTORIES, _MOST_ENTRIES = 1000, 4096
_LONG = 4
#: Of the kinds of values that are looked at: how numpy reads them.
_TYPES = {1: "u1", 3: "<u2", 4: "<u4", 6: "i1", 8: "<i2", 9: "<i4", 11: "<f4", 12: "<f8", 16: "<u8"}


class NdpiPicture(NamedTuple):
    """One picture of the pyramid, in the plane of focus.

    Attributes
    ----------
    width, height : int
        Size in pixels.
    start, length : int
        Where its JPEG begins in the file, and its bytes.
    mcu_starts : int64 array or None
        Where its restart intervals begin in the file; None where that is not said.
    """

    width: int
    height: int
    start: int
    length: int
    mcu_starts: NDArray[np.int64] | None


class _Entry(NamedTuple):
    """A tag: kind and number of its values, and these, or where they stand; eight bytes."""

    kind: int
    number: int
    content: bytes


class _Directories:
    """The directories of an open NDPI file."""

    def __init__(self, file: int) -> None:
        self._file, self._size = file, os.fstat(file).st_size
        self.all: list[dict[int, _Entry]] = []
        (place,) = struct.unpack("<Q", self._read(4, 8))
        seen: set[int] = set()
        while place:
            if place in seen or len(seen) == _MOST_DIRECTORIES:
                raise ValueError("its directories go in a circle, or are far too many")
            seen.add(place)
            entries, place = self._directory(place)
            self.all.append(entries)

    def _read(self, place: int, length: int) -> bytes:
        if length > self._size:
            raise ValueError(f"a tag says it has {length} bytes, and the file has {self._size}")
        found = os.pread(self._file, length, place)
        if len(found) < length:
            raise ValueError("a directory, or what it speaks of, lies outside the file")
        return found

    def _directory(self, place: int) -> tuple[dict[int, _Entry], int]:
        (number,) = struct.unpack("<H", self._read(place, 2))
        if not 0 < number <= _MOST_ENTRIES:
            raise ValueError(f"directory {len(self.all)} has {number} entries")
        content = self._read(place + 2, 16 * number + 8)
        entries: dict[int, _Entry] = {}
        for at in range(number):
            tag, kind, count = struct.unpack_from("<HHI", content, 12 * at)
            low = content[12 * at + 8 : 12 * at + 12]
            whole = low + content[12 * number + 8 + 4 * at :][:4]
            entries[tag] = _Entry(kind, count, whole)
        return entries, int(struct.unpack_from("<Q", content, 12 * number)[0])

    def values(self, number: int, tag: int) -> NDArray[np.generic] | None:
        """The values of a tag, as its kind says; None where it is not there, or of no kind of number."""
        entry = self.all[number].get(tag)
        if entry is None or entry.kind not in _TYPES or entry.number == 0:
            return None
        of, place = np.dtype(_TYPES[entry.kind]), int.from_bytes(entry.content, "little")
        if entry.kind == _LONG and entry.number == 1:
            return np.array([place], np.int64)
        length = entry.number * of.itemsize
        return np.frombuffer(entry.content[:length] if length <= 4 else self._read(place, length), of)

    def value(self, number: int, tag: int) -> float:
        """The first value of a tag."""
        values = self.values(number, tag)
        if values is None:
            raise ValueError(f"directory {number} has no tag {tag}")
        return float(values[0])


def _mcu_starts(directories: _Directories, number: int, start: int) -> NDArray[np.int64] | None:
    """Where the restart intervals of a picture begin in the file, by McuStarts and their upper halves."""
    low, high = (directories.values(number, tag) for tag in (_MCU_STARTS, _MCU_STARTS_HIGH))
    if low is None:
        return None
    if high is not None and high.size != low.size:
        raise ValueError(f"directory {number} has {low.size} McuStarts, but {high.size} upper halves")
    upper = np.zeros(low.size, np.int64) if high is None else high.astype(np.int64) << 32
    return start + low.astype(np.int64) + upper


def read_pictures(path: Path) -> list[NdpiPicture]:
    """Read the pictures of the pyramid, in the file's order.

    Parameters
    ----------
    path : Path
        An NDPI file.

    Returns
    -------
    list of NdpiPicture
        The macro, and planes beside the focus, are left out, as OpenSlide does.

    Raises
    ------
    ValueError
        If its directories cannot be read.
    """
    with path.open("rb") as file:
        directories = _Directories(file.fileno())
        found = []
        for number in range(len(directories.all)):
            if directories.value(number, _LENS) <= 0 or directories.value(number, _FOCAL_PLANE) != 0:
                continue
            tags = _WIDTH, _HEIGHT, _STRIP_OFFSETS, _STRIP_COUNTS
            width, height, start, length = (int(directories.value(number, tag)) for tag in tags)
            found.append(NdpiPicture(width, height, start, length, _mcu_starts(directories, number, start)))
    return found
