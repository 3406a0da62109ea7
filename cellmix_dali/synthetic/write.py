"""Writes pictures as slide files: Aperio's SVS and generic tiled TIFF, both JPEG pyramids."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import ArgumentError

__all__ = ["write_slide"]

ByteArray = npt.NDArray[np.uint8]

_APP14_BYTES = 16  # marker, length and Adobe's fourteen bytes, right behind the start of the image
_SMALLEST_LEVEL = 16  # pixels
_THUMBNAIL = 768  # the longer side, pixels


def _encode(block: ByteArray, quality: int, **how: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(block).save(stream, "JPEG", quality=quality, **how)
    return stream.getvalue()


def _abbreviated_rgb(block: ByteArray, quality: int) -> bytes:
    """Encode RGB as Aperio does: no colour transform, no tables, nothing that says which colours it has."""
    encoded = _encode(block, quality, keep_rgb=True, subsampling=0, streamtype=2)
    if encoded[2:4] != b"\xff\xee":
        raise RuntimeError(f"Pillow put no APP14 segment into an RGB JPEG: it starts with {encoded[:20].hex()}.")
    return encoded[:2] + encoded[2 + _APP14_BYTES :]


def _blocks(level: ByteArray, block: int) -> Iterator[ByteArray]:
    """Cut a level into full blocks, row by row; those at the edge repeat the last pixels."""
    height, width = level.shape[:2]
    padding = ((0, -height % block), (0, -width % block), (0, 0))
    level = np.pad(level, padding, mode="edge")
    for top in range(0, level.shape[0], block):
        for left in range(0, level.shape[1], block):
            yield level[top : top + block, left : left + block]


def _pyramid(pixels: ByteArray, levels: int, factor: int) -> list[ByteArray]:
    """Average boxes of factor x factor pixels, level by level; rows and columns left over are dropped."""
    pyramid = [pixels]
    while len(pyramid) < levels:
        height, width = (side // factor for side in pyramid[-1].shape[:2])
        if min(height, width) < _SMALLEST_LEVEL:
            break
        cropped = Image.fromarray(pyramid[-1][: height * factor, : width * factor])
        pyramid.append(np.asarray(cropped.reduce(factor)))
    return pyramid


class _TiffFile:
    """Writes a classic TIFF, directory by directory, out of image data that is encoded already.

    tifffile does not write JPEG without imagecodecs, not even blocks that come encoded; what is needed of
    TIFF 6.0 here is small.
    """

    # Field types of TIFF 6.0: code in the file, code for struct.
    _TYPES: ClassVar = {
        "ascii": (2, "s"),
        "short": (3, "H"),
        "long": (4, "I"),
        "rational": (5, "I"),
        "undefined": (7, "s"),
    }

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        stream.write(b"II*\0" + bytes(4))
        self._link = 4  # where the offset of the next directory goes

    def write_directory(self, tags: dict[int, tuple[str, Any]], data: Iterable[bytes], strips: bool = False) -> None:
        """Append one image: its tiles (or strips) and its directory.

        Parameters
        ----------
        tags : dict
            Tag code to field type and value: bytes, or a sequence of whole numbers; a rational takes two.
        data : iterable of bytes
            The encoded tiles or strips in the file's order.
        strips : bool
            Whether they are strips.
        """
        offsets, counts = [], []
        for encoded in data:
            offsets.append(self._stream.tell())
            counts.append(len(encoded))
            self._stream.write(encoded + bytes(len(encoded) % 2))  # offsets are to be even
        tags = tags | dict(
            zip((273, 279) if strips else (324, 325), (("long", offsets), ("long", counts)), strict=True)
        )
        directory, overflow = struct.pack("<H", len(tags)), b""
        start = self._stream.tell()
        behind = start + 2 + 12 * len(tags) + 4
        for tag, (kind, value) in sorted(tags.items()):
            code, letter = self._TYPES[kind]
            packed = value if letter == "s" else struct.pack(f"<{len(value)}{letter}", *value)
            number = len(value) // 2 if kind == "rational" else len(value)
            if len(packed) <= 4:
                field = packed.ljust(4, b"\0")
            else:
                field = struct.pack("<I", behind + len(overflow))
                overflow += packed + bytes(len(packed) % 2)
            directory += struct.pack("<HHI", tag, code, number) + field
        self._stream.write(directory + bytes(4) + overflow)
        self._stream.seek(self._link)
        self._stream.write(struct.pack("<I", start))
        self._stream.seek(0, io.SEEK_END)
        self._link = behind - 4


def _image_tags(level: ByteArray, photometric: int, subsampling: int) -> dict[int, tuple[str, Any]]:
    """Tags that every directory here has: 8-bit RGB or YCbCr pixels, interleaved, compressed by JPEG."""
    return {
        256: ("long", [level.shape[1]]),
        257: ("long", [level.shape[0]]),
        258: ("short", [8, 8, 8]),
        259: ("short", [7]),
        262: ("short", [photometric]),
        277: ("short", [3]),
        284: ("short", [1]),
        530: ("short", [subsampling, subsampling]),
    }


def _text(text: str) -> tuple[str, bytes]:
    return "ascii", text.encode("ascii") + b"\0"


def _write_aperio(stream: BinaryIO, pixels: ByteArray, mpp: float, block: int, quality: int, levels: int) -> None:
    height, width = pixels.shape[:2]
    tables = _encode(pixels[:16, :16], quality, subsampling=0, streamtype=1)
    # Aperio's scanners: 20x is half a micron.
    facts = f"AppMag = {10 / mpp:g}|MPP = {mpp:.10g}|OriginalWidth = {width}|OriginalHeight = {height}"

    def tags(level: ByteArray, what: str) -> dict[int, tuple[str, Any]]:
        description = _text(f"Aperio Image Library v11.2.1 \r\n{what}|{facts}")
        return _image_tags(level, 2, 1) | {270: description, 347: ("undefined", tables)}

    tif = _TiffFile(stream)
    thumbnail = Image.fromarray(pixels)
    thumbnail.thumbnail((_THUMBNAIL, _THUMBNAIL))
    small = np.asarray(thumbnail)
    for number, level in enumerate(_pyramid(pixels, levels, 4)):
        size = f"{width}x{height} [0,0 {width}x{height}] ({block}x{block})"
        if number:
            size += f" -> {level.shape[1]}x{level.shape[0]}"
        tiled = {322: ("long", [block]), 323: ("long", [block])}
        encoded = (_abbreviated_rgb(part, quality) for part in _blocks(level, block))
        tif.write_directory(tags(level, f"{size} JPEG/RGB Q={quality}") | tiled, encoded)
        if not number:
            # The thumbnail comes second and in one strip, which tells it from a level.
            what = f"{width}x{height} -> {small.shape[1]}x{small.shape[0]} - "
            striped = tags(small, what) | {278: ("long", [small.shape[0]])}
            tif.write_directory(striped, [_abbreviated_rgb(small, quality)], strips=True)


def _write_generic(stream: BinaryIO, pixels: ByteArray, mpp: float, block: int, quality: int, levels: int) -> None:
    tif = _TiffFile(stream)
    for number, level in enumerate(_pyramid(pixels, levels, 2)):
        per_centimetre = 1e4 / mpp * level.shape[1] / pixels.shape[1]
        resolution = ("rational", [round(per_centimetre * 1000), 1000])
        tags = _image_tags(level, 6, 2) | {
            254: ("long", [int(number > 0)]),  # reduced-resolution image
            282: resolution,
            283: resolution,
            296: ("short", [3]),  # per centimetre
            322: ("long", [block]),
            323: ("long", [block]),
            532: ("rational", [0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1]),
        }
        encoded = (_encode(part, quality, subsampling="4:2:0") for part in _blocks(level, block))
        tif.write_directory(tags, encoded)


_WRITERS = {".svs": _write_aperio, ".tif": _write_generic, ".tiff": _write_generic}


def write_slide(
    path: str | Path,
    pixels: ByteArray,
    *,
    mpp: float = 0.5,
    block: int = 256,
    quality: int = 85,
    levels: int = 3,
) -> None:
    """Write a picture as a slide file, of the kind that the path's suffix names.

    ``.svs`` is Aperio's: RGB JPEG blocks without colour transform, their tables in the JPEGTables tag and no
    APP14 segment, each level four times smaller, a thumbnail in the second directory. ``.tif`` and ``.tiff``
    are generic tiled TIFF: YCbCr 4:2:0 JPEG blocks with full headers, each level two times smaller, the
    resolution in its tags. The same arguments give the same bytes. A file that is there is replaced.

    Parameters
    ----------
    path : str or Path
        Where to write; its folder must exist.
    pixels : uint8 array (height, width, 3)
        RGB.
    mpp : float
        Microns per pixel of the first level, 0.01 to 1000.
    block : int
        Side of the square blocks in pixels, a multiple of 16.
    quality : int
        JPEG quality, 1 to 95.
    levels : int
        Levels of the pyramid, the picture itself included; fewer where one would be under 16 pixels.

    Raises
    ------
    ArgumentError
        For another suffix, other pixels, or values out of range.
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise ArgumentError(f"Cannot write {path}: suffix {path.suffix!r} is unknown. Use {', '.join(_WRITERS)}.")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape[:2]) < _SMALLEST_LEVEL:
        raise ArgumentError(
            f"Cannot write {path}: expected uint8 pixels (height, width, 3) of at least {_SMALLEST_LEVEL} x "
            f"{_SMALLEST_LEVEL}, got {pixels.dtype} {pixels.shape}."
        )
    if pixels.nbytes >= 2**32:
        raise ArgumentError(f"Cannot write {path}: {pixels.shape} pixels are 4 GiB or more, too much for classic TIFF.")
    if not 0.01 <= mpp <= 1000:
        raise ArgumentError(f"mpp {mpp} is out of range: give microns per pixel from 0.01 to 1000, such as 0.5.")
    if block < 16 or block % 16:
        raise ArgumentError(f"block {block} is not a multiple of 16, as TIFF asks: 256 is usual.")
    if not 1 <= quality <= 95:
        raise ArgumentError(f"quality {quality} is out of range: give 1 to 95.")
    if levels < 1:
        raise ArgumentError(f"levels {levels}: a slide has at least one level.")
    with path.open("wb") as stream:
        writer(stream, pixels, mpp, block, quality, levels)
