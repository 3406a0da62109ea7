"""The directories of a TIFF file as far as slides need them, read in a fraction of a millisecond.

A directory is read in one piece, its values only where somebody asks for them: the places of 130,000 blocks go straight
from the file into an array. tifffile makes tuples of them, which takes longer than all else that opening a slide does;
where pictures are decoded by it, it is used.

An entry of an unknown kind, or whose values lie beyond the file, counts as missing. A directory that cannot be read
ends the chain, as it does in libtiff.

Source: TIFF 6.0, section 2, and the BigTIFF design.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._cached import cached_property

__all__ = ["TiffFile", "TiffPage", "Value"]

Value: TypeAlias = "int | float | str | bytes | tuple[int | float, ...]"

# Kinds of values: how struct and NumPy call one of their numbers, its bytes, and how many of them make a value.
_KINDS = {
    1: ("B", 1, 1), 2: ("s", 1, 1), 3: ("H", 2, 1), 4: ("I", 4, 1), 5: ("I", 4, 2), 6: ("b", 1, 1), 7: ("s", 1, 1),
    8: ("h", 2, 1), 9: ("i", 4, 1), 10: ("i", 4, 2), 11: ("f", 4, 1), 12: ("d", 8, 1), 13: ("I", 4, 1),
    16: ("Q", 8, 1), 17: ("q", 8, 1), 18: ("Q", 8, 1),
}  # fmt: skip
_BYTES, _TEXT, _UNDEFINED = 1, 2, 7
_REAL = (5, 11, 12)
_MOST_ENTRIES = 4096
_MOST_DIRECTORIES = 1000
_TILES, _STRIPS, _TILED = (324, 325), (273, 279), (322, 323, 324, 325)
_PHILIPS = "Philips DP"


class _Entry(NamedTuple):
    """An entry: kind and number of its values, where in the file they stand, and these where they are in the entry."""

    kind: int
    number: int
    place: int
    content: bytes | None


class TiffFile:
    """An open TIFF or BigTIFF.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    pages : list of TiffPage
        Its directories in the order of their chain; never empty.

    Raises
    ------
    ValueError
        If it is not a TIFF, or its first directory cannot be read.
    OSError
        If the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self.size = os.fstat(self._file.fileno()).st_size
        try:
            head = self.bytes_at(0, 16)
            self.order = {b"II": "<", b"MM": ">"}[head[:2]]
            (version,) = struct.unpack_from(f"{self.order}H", head, 2)
            self.big = {42: False, 43: True}[version]
            (place,) = struct.unpack_from(f"{self.order}{'Q' if self.big else 'I'}", head, 8 if self.big else 4)
            self.pages = list(self._chain(place))
        except (KeyError, struct.error) as error:
            self._file.close()
            raise ValueError("it does not begin as a TIFF does") from error
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> TiffFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; what was not read yet cannot be read any more."""
        self._file.close()

    def bytes_at(self, place: int, count: int) -> bytes:
        """Return bytes of the file, fewer where it ends."""
        return os.pread(self._file.fileno(), count, place)

    def _chain(self, place: int) -> Iterator[TiffPage]:
        for index in range(_MOST_DIRECTORIES):
            if not place:
                break
            try:
                page = TiffPage(self, index, place)
            except ValueError:
                break
            yield page
            place = page.following
        else:
            raise ValueError(f"there are more than {_MOST_DIRECTORIES} directories")
        if not index:
            raise ValueError("its first directory cannot be read")


class TiffPage:
    """One directory.

    Parameters
    ----------
    file : TiffFile
        The file, which must be open while values are asked for.
    index : int
        Its number in the chain; -1 for one that is not in it.
    place : int
        Where it begins.

    Attributes
    ----------
    following : int
        Where the next directory begins; 0 where there is none.

    Raises
    ------
    ValueError
        If the file ends within it, or it has far too many entries.
    """

    def __init__(self, file: TiffFile, index: int, place: int) -> None:
        self._file, self.index = file, index
        number, entry, link = ("Q", "HHQ8s", "Q") if file.big else ("H", "HHI4s", "I")
        before, each = struct.calcsize(f"<{number}"), struct.calcsize(f"<{entry}")
        head = file.bytes_at(place, before) if 8 <= place < file.size else b""
        count = struct.unpack(file.order + number, head)[0] if len(head) == before else 0
        if not 0 < count <= _MOST_ENTRIES:
            raise ValueError(f"no directory begins at byte {place}")
        content = file.bytes_at(place + before, count * each + struct.calcsize(f"<{link}"))
        if len(content) < count * each:
            raise ValueError(f"the file ends within the directory at byte {place}")
        after = content[count * each :]
        self.following = struct.unpack(file.order + link, after)[0] if len(after) == struct.calcsize(f"<{link}") else 0
        self._entries: dict[int, _Entry] = {}
        room = 8 if file.big else 4
        for tag, kind, values, value in struct.iter_unpack(file.order + entry, content[: count * each]):
            if kind not in _KINDS:
                continue
            _, size, parts = _KINDS[kind]
            length = size * parts * values
            if length <= room:
                self._entries.setdefault(tag, _Entry(kind, values, 0, value[:length]))
                continue
            (start,) = struct.unpack(file.order + link, value)
            if start >= 8 and start + length <= file.size:
                self._entries.setdefault(tag, _Entry(kind, values, start, None))

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def _content(self, entry: _Entry) -> bytes:
        """The bytes of an entry's values, fewer where the file ends."""
        _, size, parts = _KINDS[entry.kind]
        if entry.content is not None:
            return entry.content
        return self._file.bytes_at(entry.place, size * parts * entry.number)

    def numbers(self, tag: int) -> NDArray[np.int64]:
        """Return a tag's whole numbers, (n,); none where it is missing or of another kind."""
        entry = self._entries.get(tag)
        if entry is None or _KINDS[entry.kind][0] not in "BHIQbhiq" or _KINDS[entry.kind][2] != 1:
            return np.zeros(0, np.int64)
        letter, size, _ = _KINDS[entry.kind]
        data = self._content(entry)
        found = np.frombuffer(data, np.dtype(self._file.order + letter), len(data) // size)
        return found.astype(np.int64)  # beyond 2 ** 63 they become negative, which is damage

    def value(self, tag: int, default: Value | None = None) -> Value | None:
        """Return a tag's value: text without its end, bytes, a number, or a tuple of those where there are several."""
        entry = self._entries.get(tag)
        if entry is None:
            return default
        letter, size, _ = _KINDS[entry.kind]
        data = self._content(entry)
        if entry.kind == _TEXT:
            return _text(data)
        if entry.kind == _UNDEFINED or (entry.kind == _BYTES and entry.number != 1):
            return data
        found = struct.unpack_from(f"{self._file.order}{len(data) // size}{letter}", data)
        return found[0] if len(found) == 1 else found

    def real(self, tag: int) -> float | None:
        """Return a tag's fraction, or its number with a point; None where it is neither, or divided by zero."""
        entry, found = self._entries.get(tag), self.value(tag)
        if entry is None or entry.kind not in _REAL:
            return None
        first, over = (*found, 1)[:2] if isinstance(found, tuple) else (found, 1)
        return first / over if isinstance(first, (int, float)) and over else None

    def number(self, tag: int, default: int) -> int:
        """Return a tag's whole number, the first of several."""
        found = self.numbers(tag)[:1]
        return int(found[0]) if found.size else default

    @property
    def imagewidth(self) -> int:
        """Width in pixels, and so on: what TIFF 6.0 calls by these names, in whole numbers."""
        return self.number(256, 0)

    @property
    def imagelength(self) -> int:  # noqa: D102
        return self.number(257, 0)

    @property
    def tilewidth(self) -> int:  # noqa: D102
        return self.number(322, 0)

    @property
    def tilelength(self) -> int:  # noqa: D102
        return self.number(323, 0)

    @property
    def is_tiled(self) -> bool:
        """Whether it says that it is made of tiles, not of strips; they may be of no size, if it is damaged."""
        return not self._entries.keys().isdisjoint(_TILED)

    @property
    def compression(self) -> int:  # noqa: D102
        return self.number(259, 1)

    @property
    def photometric(self) -> int:  # noqa: D102
        return self.number(262, 0)

    @property
    def planarconfig(self) -> int:  # noqa: D102
        return self.number(284, 1)

    @property
    def predictor(self) -> int:  # noqa: D102
        return self.number(317, 1)

    @property
    def samplesperpixel(self) -> int:  # noqa: D102
        return self.number(277, 1)

    @property
    def bitspersample(self) -> int:
        """Bits of each sample; a ValueError where they differ."""
        return self._alike(258)

    @property
    def sampleformat(self) -> int:
        """What kind of number a sample is; a ValueError where they differ."""
        return self._alike(339)

    def _alike(self, tag: int) -> int:
        found = set(self.numbers(tag)[: max(self.samplesperpixel, 1)].tolist()) or {1}
        if len(found) > 1:
            raise ValueError(f"its samples differ in the tag {tag}: {sorted(found)}")
        return int(found.pop())

    @property
    def imagedepth(self) -> int:
        """Slices of a volume; Philips writes another number there."""
        return 1 if self._is_philips else self.number(32997, 1)

    @property
    def tiledepth(self) -> int:  # noqa: D102
        return 1 if self._is_philips else self.number(32998, 1)

    @cached_property
    def _is_philips(self) -> bool:
        return any(str(page.value(305, "")).startswith(_PHILIPS) for page in (self, *self._file.pages[:1]))

    @property
    def subfiletype(self) -> int:
        """Bits: 1 for a reduced picture, 4 for a mask. The tag before TIFF 6.0 counts, too."""
        return self.number(254, 0) or {2: 1, 3: 2}.get(self.number(255, 0), 0)

    @property
    def description(self) -> str:
        """Its ImageDescription; empty where it has none."""
        found = self.value(270, "")
        return found if isinstance(found, str) else ""

    @property
    def jpegtables(self) -> bytes | None:
        """JPEGTables, by which all its blocks are decoded."""
        found = self.value(347)
        return found if isinstance(found, bytes) else None

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where its tiles or strips begin."""
        return self.numbers(_TILES[0] if _TILES[0] in self else _STRIPS[0])

    @property
    def counts(self) -> NDArray[np.int64]:
        """Bytes of each of them."""
        return self.numbers(_TILES[1] if _TILES[1] in self else _STRIPS[1])

    @property
    def subifds(self) -> list[int]:
        """Where the directories of its SubIFDs begin."""
        return [int(place) for place in self.numbers(330)]

    def subpages(self) -> list[TiffPage]:
        """Return the directories of its SubIFDs; a ValueError where one cannot be read."""
        return [TiffPage(self._file, -1, place) for place in self.subifds]


def _text(data: bytes) -> str:
    data = data.rstrip(b"\0")
    for code in ("utf-8", "cp1252"):
        try:
            return data.decode(code).strip()
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1").strip()
