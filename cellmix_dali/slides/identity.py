"""Which files are one slide: links to one file, and the instances of one DICOM series."""

from __future__ import annotations

import os
import struct
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Repeats", "slide_identity", "unique_slides"]

# Files whose first bytes are looked at: a look at each file of a large collection would cost a request each.
_DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ""})
_READ = 1 << 17  # bytes: the patient, study and series of an instance come before its pixels
_EXPLICIT_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_IMPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_TRANSFER_SYNTAX, _IMAGE_TYPE, _SERIES = (0x0002, 0x0010), (0x0008, 0x0008), (0x0020, 0x000E)
_UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class Repeats:
    """A slide, and the other files by which it was reached.

    Attributes
    ----------
    slide : Path
        The file that stands for the slide.
    also : tuple of Path
        The others; none, where the one file is named several times.
    """

    slide: Path
    also: tuple[Path, ...]

    def __str__(self) -> str:
        """Two of the files, for a message: "a.svs and b.svs"."""
        return f"{self.slide} and {self.also[0] if self.also else self.slide}"


def slide_identity(path: str | os.PathLike[str]) -> Hashable:
    """Return what is the same for all files of one slide, and for no file of another.

    A DICOM instance (PS3.10) belongs to its series, by SeriesInstanceUID (0020,000E): levels, label, overview and
    thumbnail of one scan are instances of one series, and OpenSlide opens the whole series by any of them. Any other
    file is itself, by device and inode, whatever links lead to it. A file that is not there, or cannot be read, is its
    real path. Copies of a file are slides of their own.

    Parameters
    ----------
    path : path-like
        A slide file.

    Returns
    -------
    hashable
    """
    place = Path(path)
    try:
        stat = place.stat()
        if place.suffix.lower() in _DICOM_SUFFIXES and place.is_file():
            series = _dicom(place)[0]
            if series:
                return "series", series
    except (OSError, ValueError):  # a circular link, a name with a zero byte, a file that must not be read
        return "path", os.path.realpath(os.fsencode(place)) if b"\0" not in os.fsencode(place) else os.fsencode(place)
    return "file", stat.st_dev, stat.st_ino


def unique_slides(paths: Iterable[Path]) -> tuple[list[Path], list[Repeats]]:
    """Keep one file for each slide.

    Parameters
    ----------
    paths : iterable of Path
        Slide files, in order.

    Returns
    -------
    slides : list of Path
        Each slide once, where its first file stands: that file, or, of a DICOM series, the first of its instances that
        is a level (ImageType VOLUME). A series of which only label, overview or thumbnail is there is kept as it is:
        OpenSlide looks for the others in its folder.
    repeats : list of Repeats
        The slides that were reached by several files.
    """
    groups: dict[Hashable, list[Path]] = {}
    for path in paths:
        groups.setdefault(slide_identity(path), []).append(path)
    slides, repeats = [], []
    for identity, files in groups.items():
        chosen = files[0]
        if len(files) > 1:
            if isinstance(identity, tuple) and identity[0] == "series":
                chosen = next((file for file in files if "VOLUME" in _dicom(file)[1]), files[0])
            repeats.append(Repeats(chosen, tuple(file for file in files if file != chosen)))
        slides.append(chosen)
    return slides, repeats


def _dicom(path: Path) -> tuple[str, tuple[str, ...]]:
    """Series and ImageType of a DICOM file; empty where it is not one, or does not say."""
    with path.open("rb") as file:
        head = file.read(132)
        if head[128:] != b"DICM":
            return "", ()
        head += file.read(_READ)
    found: dict[tuple[int, int], bytes] = {}
    place, implicit, order = 132, False, "<"
    try:
        while place < len(head):
            if head[place : place + 2] != b"\x02\x00":  # the file's own header is always explicit and little-endian
                syntax = _text(found.get(_TRANSFER_SYNTAX, b""))
                implicit, order = syntax == _IMPLICIT, ">" if syntax == _BIG_ENDIAN else "<"
            tag, length, place = _element(head, place, implicit and head[place : place + 2] != b"\x02\x00", order)
            if tag > _SERIES:
                break
            if length == _UNDEFINED:
                place = _behind_sequence(head, place, implicit, order)
                continue
            if tag in (_TRANSFER_SYNTAX, _IMAGE_TYPE, _SERIES):
                found[tag] = head[place : place + length]
            place += length
    except (struct.error, IndexError):  # it ends early
        pass
    return _text(found.get(_SERIES, b"")), tuple(_text(found.get(_IMAGE_TYPE, b"")).split("\\"))


def _element(head: bytes, place: int, implicit: bool, order: str) -> tuple[tuple[int, int], int, int]:
    """Tag and length of the data element at a place, and where its value begins (PS3.5, 7.1)."""
    group, element = struct.unpack_from(f"{order}HH", head, place)
    if implicit or group == 0xFFFE:
        (length,) = struct.unpack_from(f"{order}I", head, place + 4)
        return (group, element), length, place + 8
    if head[place + 4 : place + 6] in _EXPLICIT_LONG:
        (length,) = struct.unpack_from(f"{order}I", head, place + 8)
        return (group, element), length, place + 12
    (length,) = struct.unpack_from(f"{order}H", head, place + 6)
    return (group, element), length, place + 8


def _behind_sequence(head: bytes, place: int, implicit: bool, order: str) -> int:
    """Where a sequence or item of undefined length ends (PS3.5, 7.5)."""
    depth = 1
    while depth:
        tag, length, place = _element(head, place, implicit, order)
        if tag in ((0xFFFE, 0xE0DD), (0xFFFE, 0xE00D)):
            depth -= 1
        elif length == _UNDEFINED:
            depth += 1
        elif tag != (0xFFFE, 0xE000):  # an item of known length is gone through, which is as good as skipping it
            place += length
    return place


def _text(value: bytes) -> str:
    """Text of a data element, without its padding."""
    return value.decode("ascii", "replace").rstrip("\0 ").strip()
