"""The file of an index: entries one after the other, a directory of them sorted by the names' hashes, and a footer.

It is written from front to end, the directory last, and read where it lies: nothing grows with the slides but the
directory, 24 bytes each.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..storage.foreign_files import reading
from ..storage.objects import own_copy
from .entry import Entry, read_entry

__all__ = ["IndexFile", "finish_index", "hash_of"]

_MAGIC = b"cellmix_dali index 1\n".ljust(24, b"\0")
_FOOTER = struct.Struct("<24sQQQI4x")  # magic, where the directory begins, its rows, bytes of the settings, checksum
_ROW = np.dtype([("name", "<u8"), ("offset", "<u8"), ("length", "<u8")])
_REMEDY = "Make it again: cellmix-dali index."


def hash_of(location: str) -> int:
    """Return the number by which a slide's name is looked up."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(location), digest_size=8).digest(), "little")


def finish_index(file: BinaryIO, places: Mapping[int, tuple[int, int]], settings: Mapping[str, Any]) -> None:
    """Write directory and footer behind the entries.

    Parameters
    ----------
    file : binary file
        At its end, which is a multiple of eight bytes.
    places : mapping of int to (int, int)
        Where entries begin, and their bytes, by `hash_of` their slides' names.
    settings : mapping
        JSON values: what the index was asked for.
    """
    rows = np.array([(name, *place) for name, place in sorted(places.items())], _ROW)
    text = json.dumps(settings).encode()
    at, directory = file.tell(), rows.tobytes() + text
    file.write(directory)
    file.write(_FOOTER.pack(_MAGIC, at, len(rows), len(text), zlib.crc32(directory)))


class IndexFile:
    """An index's file, mapped into memory: pages that several processes look at are there once.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    ArgumentError
        If it is not there, not an index, of another version, or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path, "The index", _REMEDY), own_copy(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < _FOOTER.size:
                raise ValueError("it is too short")
            mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
            mapped.madvise(mmap.MADV_RANDOM)  # a tile needs one page of its slide's tables, not the next thirty
            self._content = np.frombuffer(mapped, np.uint8)
            footer = self._content[size - _FOOTER.size :].tobytes()
            magic, at, rows, length, checksum = _FOOTER.unpack(footer)
            if magic != _MAGIC:
                if magic.startswith(_MAGIC[:18]):
                    raise ArgumentError(f"{path} is an index of another version of cellmix_dali. {_REMEDY}")
                raise ValueError("it does not end as an index does")
            end = at + rows * _ROW.itemsize
            if end + length + _FOOTER.size != size or zlib.crc32(self._content[at : end + length].data) != checksum:
                raise ValueError("its directory is damaged")
            self._rows = self._content[at:end].view(_ROW)
            self.settings: dict[str, Any] = json.loads(self._content[end : end + length].tobytes())

    def __len__(self) -> int:
        return len(self._rows)

    def entry(self, location: str) -> Entry | None:
        """Return what is known of a slide; None where it is not in the index.

        Raises
        ------
        ArgumentError
            If its entry is damaged.
        """
        name = np.uint64(hash_of(location))
        place = int(np.searchsorted(self._rows["name"], name))
        if place == len(self._rows) or self._rows["name"][place] != name:
            return None
        entry = self._read(self._rows[place])
        return entry if entry.said["location"] == location else None

    def entries(self) -> Iterator[Entry]:
        """Return all entries, in no order that means anything."""
        return map(self._read, self._rows)

    def content(self, location: str) -> NDArray[np.uint8] | None:
        """Return the bytes of an entry; None where there is none."""
        name = np.uint64(hash_of(location))
        place = int(np.searchsorted(self._rows["name"], name))
        if place == len(self._rows) or self._rows["name"][place] != name:
            return None
        return self._bytes(self._rows[place])

    def _read(self, row: Any) -> Entry:
        try:
            return read_entry(self._bytes(row))
        except (ValueError, zlib.error) as error:
            raise ArgumentError(f"{self.path} is damaged: {error}. {_REMEDY}") from error

    def _bytes(self, row: Any) -> NDArray[np.uint8]:
        first, length = int(row["offset"]), int(row["length"])
        return self._content[first : first + length]
