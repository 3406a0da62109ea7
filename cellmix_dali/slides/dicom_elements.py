"""Data elements of DICOM files, read one after the other, only as far as somebody wants to know.

Source: DICOM PS3.5, 7.1 (data elements) and 7.5 (sequences and items); PS3.10, 7.1 (a file's own header).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

__all__ = [
    "ITEM",
    "META_PLACE",
    "SEQUENCE_END",
    "UNDEFINED",
    "Element",
    "ElementFile",
    "begins_as_dicom",
]

META_PLACE = 132
#: A length that is not said: the value goes on up to its delimiter.
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_DELIMITERS = frozenset({ITEM, ITEM_END, SEQUENCE_END})
_TRANSFER_SYNTAX = 0x00020010
_IMPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_SHORT = frozenset(
    {b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS"}
    | {b"ST", b"TM", b"UI", b"UL", b"US"}
)
_WINDOW = 1 << 14  # bytes that are read at once: most headers up to their sequences of frames
_MANY = 4096  # elements of a sequence that are looked at one by one
_CHUNK = 1 << 20
_MOST_VALUE = 1 << 16  # bytes of a value that is wanted


def begins_as_dicom(head: bytes) -> bool:
    """Whether a file of these first bytes is a DICOM file (PS3.10, 7.1)."""
    return head[128:META_PLACE] == b"DICM"


class Element(NamedTuple):
    """A data element: its tag (group and number as one), its length in bytes, and where its value begins."""

    tag: int
    length: int
    place: int


class ElementFile:
    """Reads the data elements of an open DICOM file.

    Its errors are ValueErrors that say where in the file something is wrong; an OSError is the system's.

    Parameters
    ----------
    number : int
        The open file.

    Attributes
    ----------
    syntax : str
        The UID of the transfer syntax (PS3.5, 10), known when `elements` has gone through the file's own header.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._start, self._window = 0, b""
        self._implicit, self._order = False, "<"
        self.syntax = ""
        self.size = os.fstat(number).st_size

    def bytes_at(self, place: int, length: int) -> bytes:
        """Return bytes of the file; a ValueError where it ends before."""
        first = place - self._start
        if first < 0 or first + length > len(self._window):
            self._start, self._window = place, os.pread(self._number, max(length, _WINDOW), place)
            first = 0
            if len(self._window) < length:
                raise ValueError(f"it ends within its header, at byte {place + len(self._window)}")
        return self._window[first : first + length]

    def elements(self, last: int) -> Iterator[Element]:
        """Yield the file's elements in order, up to those of tag `last`; not those within sequences."""
        place = META_PLACE
        while place < self.size:
            in_meta = self.bytes_at(place, 2) == b"\x02\0"  # the file's own header is explicit and little-endian
            self._implicit = self.syntax == _IMPLICIT and not in_meta
            self._order = ">" if self.syntax == _BIG_ENDIAN and not in_meta else "<"
            element = self._element(place)
            if element.tag > last:
                return
            if element.tag == _TRANSFER_SYNTAX:
                self.syntax = self.text(element)
            yield element
            place = self._behind(element)

    def first_item(self, sequence: Element) -> Iterator[Element]:
        """Yield the elements of a sequence's first item; none where it has none."""
        if sequence.length < 8:
            return
        item = self._element(sequence.place)
        if item.tag != ITEM:
            return
        place, end = item.place, self.size if item.length == UNDEFINED else item.place + item.length
        while place < end:
            element = self._element(place)
            if element.tag in _DELIMITERS:
                return
            yield element
            place = self._behind(element)

    def value(self, element: Element) -> bytes:
        """Return an element's value; a ValueError where it is far too long."""
        if element.length > _MOST_VALUE:
            raise ValueError(f"its element {_name(element.tag)} takes {element.length} bytes")
        return self.bytes_at(element.place, element.length)

    def text(self, element: Element) -> str:
        """Return the text of an element without its padding."""
        return self.value(element).decode("ascii", "replace").rstrip("\0 ").strip()

    def number(self, element: Element) -> int:
        """Return the first number of an element: US, UL and others of up to eight bytes, unsigned."""
        value = self.value(element)
        if len(value) not in (2, 4, 8):
            raise ValueError(f"its element {_name(element.tag)} has {len(value)} bytes, and is a number")
        return int.from_bytes(value, "little" if self._order == "<" else "big")

    def _element(self, place: int) -> Element:
        """The element that begins at a place (PS3.5, 7.1)."""
        head = self.bytes_at(place, 8)
        group, number = struct.unpack_from(f"{self._order}HH", head)
        tag = group << 16 | number
        if self._implicit or tag in _DELIMITERS:
            (length,) = struct.unpack_from(f"{self._order}I", head, 4)
            return Element(tag, length, place + 8)
        kind = head[4:6]
        if kind in _SHORT:
            (length,) = struct.unpack_from(f"{self._order}H", head, 6)
            return Element(tag, length, place + 8)
        if kind not in _LONG:
            raise ValueError(f"no data element begins at byte {place} of its header")
        (length,) = struct.unpack(f"{self._order}I", self.bytes_at(place + 8, 4))
        return Element(tag, length, place + 12)

    def _behind(self, element: Element) -> int:
        """Where the next element begins: behind all items of a sequence of undefined length (PS3.5, 7.5)."""
        if element.length != UNDEFINED:
            return element.place + element.length
        place, depth = element.place, 1
        for _ in range(_MANY):
            inner = self._element(place)
            place = inner.place
            if inner.tag in (ITEM_END, SEQUENCE_END):
                depth -= 1
                if not depth:
                    return place
            elif inner.length == UNDEFINED:
                depth += 1
            elif inner.tag != ITEM:  # an item of known length is gone through, which is as good as skipping it
                place += inner.length
        return self._far_behind(place, depth)

    def _far_behind(self, place: int, depth: int) -> int:
        """Go on by compiled code: a sequence may say something of each of 100,000 frames."""
        if self._implicit or self._order == ">":
            raise ValueError(f"a sequence in it has more than {_MANY} elements, up to byte {place}")
        from cellmix_dali.slides._dicom_walk import walk_sequence  # numba takes a second to import

        while depth:
            data = np.frombuffer(os.pread(self._number, _CHUNK, place), np.uint8)
            passed, depth = walk_sequence(data, depth)
            if passed <= 0:
                raise ValueError(f"it ends within a sequence, or no data element begins at byte {place}")
            place += passed
        return place


def _name(tag: int) -> str:
    """A tag as the standard writes it."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
