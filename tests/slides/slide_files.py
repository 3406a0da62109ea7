"""Slides rendered for the tests, written apart from the code under test."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def picture(width: int, height: int, seed: int = 0) -> Pixels:
    """A colourful picture, smooth enough for JPEG and different everywhere."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    big = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(big)


def jpeg(pixels: Pixels, *, rgb: bool = False, subsampling: int = 2) -> bytes:
    """A complete JPEG: RGB (with an Adobe marker) or YCbCr (with a JFIF marker), 4:2:0 unless told."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "jpeg", quality=90, keep_rgb=rgb, **({} if rgb else {"subsampling": subsampling}))
    return out.getvalue()


def without(stream: bytes, *markers: int) -> bytes:
    """The stream without its segments of these markers."""
    out, place = bytearray(stream[:2]), 2
    while stream[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
        if stream[place + 1] not in markers:
            out += stream[place:end]
        place = end
    return bytes(out) + stream[place:]


@dataclass
class Directory:
    """One TIFF directory to write: blocks row by row (None: blank) and the tags that differ."""

    width: int
    height: int
    side: int
    blocks: list[bytes | None]
    photometric: int = 6
    compression: int = 7
    subfiletype: int | None = None
    description: str | None = None
    tables: bytes | None = None
    pixels_per_cm: int | None = None
    tiled: bool = True
    samples: int = 3
    down: int | None = None  # height of a block where it is not square; `side` is its width then
    more: dict[int, tuple[int, list[Any] | bytes]] = field(default_factory=dict)  # tags: their kinds and values


def write_tiff(path: Path, directories: Sequence[Directory], *, big: bool = False) -> Path:
    """Write a little-endian TIFF (or BigTIFF): blocks first, directories last. TIFF 6.0, section 2."""
    word, count_format = ("<Q", "<Q") if big else ("<I", "<H")
    size = struct.calcsize(word)
    out = bytearray(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0) if big else struct.pack("<2sHI", b"II", 42, 0))
    link = 8 if big else 4

    def put(data: bytes) -> int:
        out.extend(b"\0" * (len(out) % 2))
        out.extend(data)
        return len(out) - len(data)

    for d in directories:
        offsets = [put(block) if block else 0 for block in d.blocks]
        counts = [len(block or b"") for block in d.blocks]
        places = (324, 325) if d.tiled else (273, 279)
        long = 16 if big else 4
        tags: dict[int, tuple[int, list[Any] | bytes]] = {
            256: (4, [d.width]), 257: (4, [d.height]), 258: (3, [8] * d.samples), 259: (3, [d.compression]),
            262: (3, [d.photometric]), 277: (3, [d.samples]), 284: (3, [1]),
            places[0]: (long, offsets), places[1]: (long, counts),
        }  # fmt: skip
        tags |= {322: (4, [d.side]), 323: (4, [d.down or d.side])} if d.tiled else {278: (4, [d.height])}
        if d.subfiletype is not None:
            tags[254] = (4, [d.subfiletype])
        if d.description is not None:
            tags[270] = (2, d.description.encode() + b"\0")
        if d.tables is not None:
            tags[347] = (7, d.tables)
        if d.pixels_per_cm is not None:
            tags |= {282: (5, [d.pixels_per_cm, 1]), 283: (5, [d.pixels_per_cm, 1]), 296: (3, [3])}
        tags |= d.more
        entries = []
        for tag, (kind, value) in sorted(tags.items()):
            letter = {2: "B", 3: "H", 4: "I", 5: "I", 7: "B", 9: "i", 11: "f", 16: "Q"}[kind]
            data = struct.pack(f"<{len(value)}{letter}", *value)
            number = len(value) // (2 if kind == 5 else 1)
            inline = data.ljust(size, b"\0") if len(data) <= size else struct.pack(word, put(data))
            entries.append(struct.pack("<HH", tag, kind) + struct.pack(word, number) + inline)
        body = struct.pack(count_format, len(entries)) + b"".join(entries) + struct.pack(word, 0)
        start = put(body)
        struct.pack_into(word, out, link, start)
        link = len(out) - size
    path.write_bytes(out)
    return path


def directory(
    pixels: Pixels,
    side: int = 64,
    *,
    encode: Callable[[Pixels], bytes] = jpeg,
    blank: Sequence[tuple[int, int]] = (),
    down: int | None = None,
    **tags: Any,
) -> Directory:
    """A directory that shows this picture; `blank` are the (column, row) of blocks without bytes."""
    height, width = pixels.shape[:2]
    high = down or side
    columns, rows = -(-width // side), -(-height // high)
    padded = np.pad(pixels, ((0, rows * high - height), (0, columns * side - width), (0, 0)), "edge")
    blocks: list[bytes | None] = []
    for row in range(rows):
        for column in range(columns):
            block = padded[row * high : (row + 1) * high, column * side : (column + 1) * side]
            blocks.append(None if (column, row) in blank else encode(np.ascontiguousarray(block)))
    return Directory(width, height, side, blocks, down=down, **tags)
