"""One instance of a DICOM whole-slide image: what its header says, and where its frames lie.

A DICOM file holds one instance, and an instance one level of the slide, or a part of one, in frames of one size. A
frame is one or several fragments, each an item of the pixel data with its length before it and of even length. Where
frames begin says the extended offset table, the basic one, or none: then the items are walked along, once. Where frames
go is said for each of them (TILED_SPARSE), or they come row by row (TILED_FULL).

Source: DICOM PS3.3, A.32.8 (VL Whole Slide Microscopy Image), C.7.6.3.1.8 (Extended Offset Table), C.7.6.16 (functional
groups, concatenations) and C.7.6.17.3 (tiles); PS3.5, A.4 (encapsulated pixel data).
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.slides.dicom_elements import (
    ITEM,
    META_PLACE,
    SEQUENCE_END,
    UNDEFINED,
    Element,
    ElementFile,
    begins_as_dicom,
)

__all__ = ["Frames", "Instance", "is_whole_slide", "read_frames", "read_instance", "series_of"]

_WHOLE_SLIDE = b"1.2.840.10008.5.1.4.1.1.77.1.6"
_CLASS_ELEMENT = b"\x02\0\x02\0UI\x1e\0" + _WHOLE_SLIDE  # MediaStorageSOPClassUID
_IMAGE_TYPE, _SERIES = 0x00080008, 0x0020000E
_SHARED_GROUPS, _MEASURES, _SPACING = 0x52009229, 0x00289110, 0x00280030
_OPTICAL_PATHS, _POWER = 0x00480105, 0x00480112
_PER_FRAME, _EXTENDED_OFFSETS, _PIXELS = 0x52009230, 0x7FE00001, 0x7FE00010
_TEXTS = {
    _IMAGE_TYPE: "image_type",
    0x00080018: "uid",
    _SERIES: "series",
    0x00209161: "concatenation",
    0x00209311: "organisation",
    0x00280004: "photometric",
}
# Written as text (IS) are those of "frames" only.
_NUMBERS = {
    0x00209162: "part",
    0x00209163: "parts",
    0x00209228: "first_frame",
    0x00280002: "samples",
    0x00280006: "planes_apart",
    0x00280008: "frames",
    0x00280010: "tile_height",
    0x00280011: "tile_width",
    0x00280100: "bits",
    0x00280101: "bits_stored",
    0x00280103: "signed",
    0x00480006: "width",
    0x00480007: "height",
    0x00480303: "focal_planes",
}
_FRAMES = 0x00280008
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")  # of a JPEG and of a JPEG 2000 code stream
_LEAST_ROOM = 4096  # items that are looked for at once
_FIRST_CHUNK = 1 << 20  # bytes of the frames' functional groups that are read first


@dataclass
class Instance:
    """What the header of an instance says, by the names of PS3.3; 0 or empty where it does not say it.

    Attributes
    ----------
    path : Path
        The file.
    syntax : str
        UID of the transfer syntax.
    image_type : str
        Values with a backslash between them; the third says what is shown: VOLUME, LABEL, OVERVIEW, THUMBNAIL.
    uid, series, concatenation : str
        UIDs of the instance, its series, and the concatenation that it is a part of.
    organisation : str
        "TILED_FULL" or "TILED_SPARSE".
    part, parts : int
        Number of this part of a concatenation from 1, and how many there are.
    first_frame : int
        How many frames the parts before have.
    width, height, tile_width, tile_height : int
        Of the whole level, and of a frame, in pixels.
    spacing : tuple of float
        Millimetres from one row to the next, and from one column to the next.
    power : float or None
        Of the objective; None where it is not said, or not as one number.
    """

    path: Path
    syntax: str = ""
    image_type: str = ""
    uid: str = ""
    series: str = ""
    concatenation: str = ""
    organisation: str = ""
    photometric: str = ""
    part: int = 0
    parts: int = 0
    first_frame: int = 0
    samples: int = 0
    planes_apart: int = 0
    frames: int = 0
    tile_width: int = 0
    tile_height: int = 0
    bits: int = 0
    bits_stored: int = 0
    signed: int = 0
    width: int = 0
    height: int = 0
    focal_planes: int = 1
    spacing: tuple[float, ...] = ()
    power: float | None = None
    places: dict[int, Element] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Whether its frames come row by row: where nothing is said of them, too."""
        return self.organisation == "TILED_FULL" or not (self.organisation or self.says_places)

    @property
    def says_places(self) -> bool:
        """Whether it has something to say of each frame."""
        return _PER_FRAME in self.places

    @property
    def shows(self) -> str:
        """What it shows: the third value of its ImageType."""
        return [*self.image_type.split("\\"), "", ""][2]


@dataclass(frozen=True, eq=False)
class Frames:
    """Where the frames of an instance lie.

    Attributes
    ----------
    offsets, counts : int64 arrays (n,)
        Of each frame: where its first item begins, and the bytes of all its items with their headers.
    columns, rows : int64 arrays (n,), or None
        Where it goes, in tiles; None where the frames come row by row.
    """

    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    columns: NDArray[np.int64] | None
    rows: NDArray[np.int64] | None


def is_whole_slide(head: bytes) -> bool:
    """Whether a file of these first bytes is an instance of a DICOM whole-slide image."""
    return begins_as_dicom(head) and _CLASS_ELEMENT in head[META_PLACE:]


def series_of(path: Path) -> tuple[str, str]:
    """Read SeriesInstanceUID and ImageType of a DICOM file; empty where it is not one, or does not say.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    found = {_SERIES: "", _IMAGE_TYPE: ""}
    with path.open("rb", buffering=0) as opened:
        file = ElementFile(opened.fileno())
        with suppress(ValueError):  # it ends early, or is damaged
            if begins_as_dicom(file.bytes_at(0, META_PLACE)):
                for element in file.elements(_SERIES):
                    if element.tag in found:
                        found[element.tag] = file.text(element)
    return found[_SERIES], found[_IMAGE_TYPE]


def read_instance(path: Path) -> Instance:
    """Read the header of an instance.

    Raises
    ------
    ValueError
        If it is cut short or damaged.
    OSError
        If the file cannot be read.
    """
    found = Instance(path)
    with path.open("rb", buffering=0) as opened:
        file = ElementFile(opened.fileno())
        for element in file.elements(_PIXELS):
            _take(found, file, element)
            if element.tag == _PIXELS:
                break
        found.syntax = file.syntax
    return found


def _take(found: Instance, file: ElementFile, element: Element) -> None:
    """Take what an element says."""
    tag = element.tag
    if tag in _TEXTS:
        setattr(found, _TEXTS[tag], file.text(element))
    elif tag in _NUMBERS:
        value = int(file.text(element) or 0) if tag == _FRAMES else file.number(element)
        setattr(found, _NUMBERS[tag], value)
    elif tag == _SHARED_GROUPS:
        for group in file.first_item(element):
            if group.tag == _MEASURES:
                for measure in file.first_item(group):
                    if measure.tag == _SPACING:
                        found.spacing = _decimals(file.text(measure))
    elif tag == _OPTICAL_PATHS:
        for of in file.first_item(element):
            if of.tag == _POWER:
                said = _decimals(file.text(of))
                found.power = said[0] if len(said) == 1 else None
    elif tag in (_PER_FRAME, _EXTENDED_OFFSETS, _PIXELS):
        found.places[tag] = element


def _decimals(text: str) -> tuple[float, ...]:
    """Decimal numbers with a backslash between them; none where one is not a number."""
    try:
        return tuple(map(float, text.split("\\")))
    except ValueError:
        return ()


def read_frames(instance: Instance) -> Frames:
    """Find the frames of an instance.

    Raises
    ------
    ValueError
        If the file is cut short or damaged, or does not say where its frames go.
    OSError
        If the file cannot be read.
    """
    with instance.path.open("rb", buffering=0) as opened:
        number = opened.fileno()
        file = ElementFile(number)
        if _PIXELS not in instance.places:
            raise ValueError("it has no pixel data")
        if instance.places[_PIXELS].length != UNDEFINED:
            raise ValueError("its pixel data are not in items")
        if not 0 < instance.frames <= file.size // 8:
            raise ValueError(f"it says that it has {instance.frames} frames, and has {file.size} bytes")
        columns = rows = None
        if not instance.is_full:
            if not instance.says_places:
                raise ValueError("it does not say where its frames go")
            columns, rows = _positions(number, instance)
        offsets, counts = _places(number, file, instance)
    return Frames(offsets, counts, columns, rows)


def _places(number: int, file: ElementFile, instance: Instance) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where frames begin, and their bytes."""
    place = instance.places[_PIXELS].place
    tag, length = _item(file, place)
    if tag != ITEM:
        raise ValueError(f"no item begins at byte {place}, where its pixel data do")
    first = place + 8 + length  # behind the basic offset table
    if first > file.size:
        raise ValueError(f"it ends within its offset table, at byte {file.size}")
    extended = instance.places.get(_EXTENDED_OFFSETS)
    table, kind = b"", "<u4"
    if extended is not None and extended.length == 8 * instance.frames:
        table, kind = os.pread(number, extended.length, extended.place), "<u8"
    elif length == 4 * instance.frames:
        table, kind = os.pread(number, length, place + 8), "<u4"
    edges = np.empty(instance.frames + 1, np.int64)
    if len(table) == (edges.size - 1) * (8 if kind == "<u8" else 4):
        np.add(np.frombuffer(table, kind), first, out=edges[:-1], casting="unsafe")
        last = int(edges[-2])
        if edges[0] == first and last >= first:
            if last + 8 > file.size:
                raise ValueError(f"it ends at byte {file.size}, and its last frame begins at byte {last}")
            edges[-1] = _end_of_frame(file, last)
            counts = edges[1:] - edges[:-1]
            if counts.min() > 0:
                return edges[:-1], counts
    return _walked(number, file.size, first, instance.frames)


def _item(file: ElementFile, place: int) -> tuple[int, int]:
    """Tag and length of the item at a place."""
    group, number, length = struct.unpack("<HHI", file.bytes_at(place, 8))
    return group << 16 | number, length


def _end_of_frame(file: ElementFile, place: int) -> int:
    """Where the last frame ends: its items go on up to the end of the pixel data."""
    while place + 8 <= file.size:
        tag, length = _item(file, place)
        if tag == SEQUENCE_END:
            return place
        if tag != ITEM or place + 8 + length > file.size:
            raise ValueError(f"its last frame is cut short: no whole item lies at byte {place}")
        place += 8 + length
    return place


def _walked(number: int, size: int, first: int, frames: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the frames without a table: each item is a fragment, and a code stream begins in the first of a frame."""
    from cellmix_dali.slides._dicom_walk import walk_items  # numba takes a second to import

    places: list[NDArray[np.int64]] = []
    starts: list[NDArray[np.uint32]] = []
    place, room = first, max(frames + 1, _LEAST_ROOM)
    while True:
        found, heads = np.empty(room, np.int64), np.empty(room, np.uint32)
        count, place, more = walk_items(number, place, size, found, heads)
        places.append(found[:count])
        starts.append(heads[:count])
        if not more:
            break
    offsets, heads = np.concatenate(places), np.concatenate(starts)
    if len(offsets) < frames:
        raise ValueError(f"{len(offsets)} of its {frames} frames are there, up to byte {place}")
    if len(offsets) > frames:
        begins = np.flatnonzero(_is_start(heads)) if frames > 1 else np.zeros(1, np.int64)
        if len(begins) != frames or begins[0]:
            raise ValueError(f"its pixel data are {len(offsets)} items without a table that says which are a frame")
        offsets = offsets[begins]
    return offsets, np.diff(offsets, append=place)


def _is_start(heads: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Whether a code stream begins with these four bytes."""
    jpeg, jpeg2000 = (int.from_bytes(start, "little") for start in _STARTS)
    return np.asarray((heads & 0xFFFFFF == jpeg) | (heads == jpeg2000))


def _positions(number: int, instance: Instance) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the frames go, in tiles: each says the place of its first pixel in the level, from 1."""
    from cellmix_dali.slides._dicom_walk import walk_positions  # numba takes a second to import

    groups = instance.places[_PER_FRAME]
    whole = None if groups.length == UNDEFINED else groups.length
    size, found = whole or _FIRST_CHUNK, np.empty((2, 0), np.int64)
    while True:
        data = np.frombuffer(os.pread(number, size, groups.place), np.uint8)
        if 8 * instance.frames > data.size and data.size < size:
            raise ValueError(f"it says that it has {instance.frames} frames, and ends before their places")
        found = np.zeros((2, min(instance.frames, data.size // 8 + 1)), np.int64)
        count = walk_positions(data, whole is None, found)
        if count >= 0 or whole is not None or data.size < size:
            break
        size *= 4  # it goes on
    if count != instance.frames or not found.all():
        raise ValueError("it does not say of each frame where it goes")
    columns, rows = found - 1
    wide, high = instance.tile_width, instance.tile_height
    if (columns % wide).any() or (rows % high).any():
        raise ValueError(f"its frames do not lie on a grid of {wide} x {high} pixels")
    return columns // wide, rows // high
