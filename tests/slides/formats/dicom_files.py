"""DICOM whole-slide images for the tests, written apart from the code under test (DICOM PS3.3, PS3.5, PS3.10)."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from slide_files import Pixels, jpeg

WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
PLAIN, JPEG, JPEG2000_LOSSLESS, JPEG2000 = (f"1.2.840.10008.1.2.{of}" for of in ("1", "4.50", "4.90", "4.91"))
LONG = ("OB", "OV", "SQ", "UN")
UNDEFINED = 0xFFFFFFFF


@dataclass(frozen=True)
class Written:
    """One instance: its frames, and how they are written.

    `places` are column and row of each frame in tiles (TILED_SPARSE). `table` is "basic", "extended" or "". `fragment`
    is the most bytes of one; `undefined` says that sequences end with a delimiter. `others` replaces elements, by tag.
    """

    width: int
    height: int
    tile_width: int
    tile_height: int
    frames: Sequence[bytes]
    places: Sequence[tuple[int, int]] | None = None
    syntax: str = JPEG
    photometric: str = "YBR_FULL_422"
    organisation: str | None = None
    table: str = "basic"
    fragment: int | None = None
    undefined: bool = False
    series: str = "1.2.826.1"
    uid: str = "1.2.826.2.1"
    image_type: str = "ORIGINAL\\PRIMARY\\VOLUME\\NONE"
    spacing: str | None = "0.0005\\0.00025"
    power: str | None = "40"
    concatenation: str | None = None
    part: int | None = None
    parts: int | None = None
    first_frame: int | None = None
    others: dict[int, tuple[str, Any] | None] = field(default_factory=dict)


def element(tag: int, kind: str, value: Any) -> bytes:
    """A data element, explicit and little-endian."""
    if isinstance(value, str):
        value = value.encode() + (b"\0" if kind == "UI" else b" ") * (len(value) % 2)
    elif isinstance(value, int):
        value = struct.pack({"US": "<H", "UL": "<I", "SL": "<i"}[kind], value)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, kind.encode())
    return head + (struct.pack("<HI", 0, len(value)) if kind in LONG else struct.pack("<H", len(value))) + value


def sequence(tag: int, items: Sequence[bytes], undefined: bool) -> bytes:
    """A sequence; of undefined length, as its items are, or of known lengths."""
    if not undefined:
        return element(tag, "SQ", b"".join(item(of) for of in items))
    head = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, UNDEFINED)
    start, stop = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED), struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    return head + b"".join(start + of + stop for of in items) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def item(value: bytes) -> bytes:
    """An item of known length."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


def fragments(frame: bytes, most: int | None) -> list[bytes]:
    """A frame's fragments, each of even length."""
    most = most or max(len(frame), 1)
    parts = [frame[place : place + most] for place in range(0, len(frame), most)] or [b""]
    return [part + b"\0" * (len(part) % 2) for part in parts]


def write_dicom(path: Path, of: Written) -> Path:
    """Write an instance."""
    encapsulated = of.syntax != PLAIN
    frames = [b"".join(map(item, fragments(frame, of.fragment))) for frame in of.frames]
    offsets = np.cumsum([0, *map(len, frames)])[:-1]
    organisation = of.organisation or ("TILED_FULL" if of.places is None else "TILED_SPARSE")
    measures = [] if of.spacing is None else [element(0x00280030, "DS", of.spacing)]
    power = [] if of.power is None else [element(0x00480112, "DS", of.power)]
    elements: dict[int, bytes] = {}
    for tag, kind, value in (
        (0x00080008, "CS", of.image_type), (0x00080016, "UI", WHOLE_SLIDE), (0x00080018, "UI", of.uid),
        (0x00080060, "CS", "SM"), (0x0020000D, "UI", of.series + ".9"), (0x0020000E, "UI", of.series),
        (0x00209161, "UI", of.concatenation), (0x00209162, "US", of.part), (0x00209163, "US", of.parts),
        (0x00209228, "UL", of.first_frame), (0x00209311, "CS", organisation), (0x00280002, "US", 3),
        (0x00280004, "CS", of.photometric), (0x00280006, "US", 0), (0x00280008, "IS", str(len(frames))),
        (0x00280010, "US", of.tile_height), (0x00280011, "US", of.tile_width), (0x00280100, "US", 8),
        (0x00280101, "US", 8), (0x00280102, "US", 7), (0x00280103, "US", 0), (0x00480006, "UL", of.width),
        (0x00480007, "UL", of.height), (0x00480303, "UL", 1),
    ):  # fmt: skip
        if value is not None:
            elements[tag] = element(tag, kind, value)
    elements[0x00480105] = sequence(0x00480105, [element(0x00480106, "SH", "1") + b"".join(power)], of.undefined)
    shared = sequence(0x00289110, [b"".join(measures)], of.undefined)
    elements[0x52009229] = sequence(0x52009229, [shared], of.undefined)
    if of.places is not None:
        groups = []
        for column, row in of.places:
            place = element(0x0040072A, "DS", "1.5") + b"".join(
                element(tag, "SL", value)
                for tag, value in ((0x0048021E, column * of.tile_width + 1), (0x0048021F, row * of.tile_height + 1))
            )
            content = element(0x00209157, "UL", struct.pack("<II", column + 1, row + 1))
            inner = [sequence(0x00209111, [content], of.undefined), sequence(0x0048021A, [place], of.undefined)]
            groups.append(b"".join(inner))
        elements[0x52009230] = sequence(0x52009230, groups, of.undefined)
    if encapsulated and of.table == "extended":
        sizes = [len(frame) for frame in of.frames]
        elements[0x7FE00001] = element(0x7FE00001, "OV", offsets.astype("<u8").tobytes())
        elements[0x7FE00002] = element(0x7FE00002, "OV", np.array(sizes, "<u8").tobytes())
    for tag, value in of.others.items():
        elements.pop(tag, None)
        if value is not None:
            elements[tag] = element(tag, *value)
    if encapsulated:
        table = offsets.astype("<u4").tobytes() if of.table == "basic" else b""
        head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED)
        pixels = head + item(table) + b"".join(frames) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    else:
        pixels = element(0x7FE00010, "OB", b"".join(of.frames))
    meta = element(0x00020001, "OB", b"\0\1") + element(0x00020002, "UI", WHOLE_SLIDE)
    meta += element(0x00020003, "UI", of.uid) + element(0x00020010, "UI", of.syntax)
    meta = element(0x00020000, "UL", len(meta)) + meta
    path.write_bytes(bytes(128) + b"DICM" + meta + b"".join(elements[tag] for tag in sorted(elements)) + pixels)
    return path


def with_tiff_head(path: Path, of: Written, *, sound: bool = True) -> Path:
    """Write an instance that is a TIFF, too: its directory, behind all else, has the frames as tiles."""
    data = bytearray(write_dicom(path, of).read_bytes())
    data += bytes(len(data) % 2)
    offsets, place = [], 0
    for frame in of.frames:
        offsets.append(place := data.index(frame, place))
        place += len(frame)
    entries = b""
    for tag, kind, values in (
        (256, "I", [of.width]), (257, "I", [of.height]), (258, "H", [8, 8, 8]), (259, "H", [7]), (262, "H", [6]),
        (277, "H", [3]), (284, "H", [1]), (322, "I", [of.tile_width]), (323, "I", [of.tile_height]),
        (324, "I", offsets), (325, "I", [len(frame) for frame in of.frames]), (530, "H", [2, 2]),
    ):  # fmt: skip
        value = struct.pack(f"<{len(values)}{kind}", *values)
        if len(value) > 4:
            value, place = struct.pack("<I", len(data)), len(data)
            data += struct.pack(f"<{len(values)}{kind}", *values) + bytes(-len(values) * struct.calcsize(kind) % 2)
        entries += struct.pack("<HHI", tag, "HI".index(kind) + 3, len(values)) + value.ljust(4, b"\0")
    data[:8] = struct.pack("<2sHI", b"II", 42, len(data) if sound else len(data) * 2)
    path.write_bytes(data + struct.pack("<H", 12) + entries + bytes(4))
    return path


def jpeg2000(pixels: Pixels, *, lossless: bool = True, mct: bool = True) -> bytes:
    """A bare JPEG 2000 code stream; with the component transform, which is RCT where it is lossless, else ICT."""
    out = io.BytesIO()
    options: dict[str, Any] = {} if lossless else {"irreversible": True, "quality_mode": "rates", "quality_layers": [8]}
    Image.fromarray(pixels).save(out, "jpeg2000", no_jp2=True, mct=int(mct), **options)
    return out.getvalue()


def tiles_of(
    pixels: Pixels, tile_width: int, tile_height: int, encode: Callable[[Pixels], bytes] = jpeg
) -> list[bytes]:
    """The frames that show a picture, row by row."""
    height, width = pixels.shape[:2]
    columns, rows = -(-width // tile_width), -(-height // tile_height)
    padded = np.pad(pixels, ((0, rows * tile_height - height), (0, columns * tile_width - width), (0, 0)), "edge")
    return [
        encode(np.ascontiguousarray(padded[y : y + tile_height, x : x + tile_width]))
        for y in range(0, height, tile_height)
        for x in range(0, width, tile_width)
    ]


def image(
    pixels: Pixels, tile_width: int = 64, tile_height: int = 48, encode: Callable[[Pixels], bytes] = jpeg, **how: Any
) -> Written:
    """An instance that shows a picture."""
    height, width = pixels.shape[:2]
    return Written(width, height, tile_width, tile_height, tiles_of(pixels, tile_width, tile_height, encode), **how)


def sparse(of: Written, missing: Sequence[int] = (), order: int | None = None) -> Written:
    """The same instance, TILED_SPARSE: without some frames, and the others in an order of a seed."""
    columns = -(-of.width // of.tile_width)
    left = [number for number in range(len(of.frames)) if number not in missing]
    if order is not None:
        left = np.random.default_rng(order).permutation(left).tolist()
    frames, places = [of.frames[number] for number in left], [(number % columns, number // columns) for number in left]
    return replace(of, frames=frames, places=places)


def concatenation(of: Written, parts: int) -> list[Written]:
    """The parts of an instance, of as many frames each, but for the last."""
    step = -(-len(of.frames) // parts)
    return [
        replace(
            of,
            frames=of.frames[first : first + step],
            places=None if of.places is None else of.places[first : first + step],
            organisation="TILED_FULL" if of.places is None else "TILED_SPARSE",
            uid=f"{of.uid}.{number + 1}",
            concatenation=f"{of.uid}.99",
            part=number + 1,
            parts=parts,
            first_frame=first,
        )
        for number, first in enumerate(range(0, len(of.frames), step))
    ]
