"""JPEG 2000 headers: what a codestream says of its size, and whether its parts agree (ITU-T T.800, annex A)."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from .jp2 import CODESTREAM, JP2_SIGNATURE

__all__ = ["CodestreamHeader", "check_codestream", "parse_codestream"]

_SIZ, _COD, _QCD, _SOT, _SOD, _EOC = 0xFF51, 0xFF52, 0xFF5C, 0xFF90, 0xFF93, 0xFFD9
_MOST_LEVELS = 32
_LAST_ORDER = 4  # A.6.1, table A.16
# Coded data hold no 0xFF90 to 0xFFFF (B.10.1, C.2.2), but for marks that the header announces.
_MARKER = re.compile(rb"\xff[\x90-\xff]")
_MARKER_BUT_MARKS = re.compile(rb"\xff[\x90\x93-\xff]")


@dataclass(frozen=True)
class CodestreamHeader:
    """What the SIZ marker says: size in pixels, number of components, bits per sample of each."""

    width: int
    height: int
    bits: tuple[int, ...]


def parse_codestream(stream: bytes) -> CodestreamHeader:
    """Read the size of a JPEG 2000 codestream, bare or in a JP2 file.

    Parameters
    ----------
    stream : bytes
        The stream, or its first kilobytes.

    Returns
    -------
    CodestreamHeader
        What it says.

    Raises
    ------
    ValueError
        If no codestream is there or its header is cut short.
    """
    siz = stream[_start(stream) + 4 :]
    # Length, capabilities, eight numbers of four bytes, the number of components, three bytes for each.
    count = int.from_bytes(siz[36:38], "big")
    if count == 0 or len(siz) < 38 + 3 * count:
        raise ValueError("its JPEG 2000 header is cut short")
    right, bottom, left, top = (int.from_bytes(siz[4 + 4 * i : 8 + 4 * i], "big") for i in range(4))
    bits = tuple((siz[38 + 3 * i] & 0x7F) + 1 for i in range(count))
    return CodestreamHeader(right - left, bottom - top, bits)


def check_codestream(stream: bytes) -> None:
    """Check what decoders rely on: sizes that agree, and tile-parts that follow each other up to the end.

    Decoders are known to crash on tiles of no size or by the thousand, and on too many decomposition levels.

    Parameters
    ----------
    stream : bytes
        A complete codestream, bare or in a JP2 file.

    Raises
    ------
    ValueError
        If something does not agree.
    """
    place = _start(stream) + 2
    found: dict[int, bytes] = {}
    try:
        while (marker := _word(stream, place)) != _SOT:
            end = place + 2 + _word(stream, place + 2)
            if not 0xFF4F < marker < 0xFF90 or end < place + 4:
                raise ValueError(f"its JPEG 2000 header has no marker at byte {place}")
            found.setdefault(marker, stream[place + 4 : end])
            place = end
        tiles, width, height, components = _tiles(found[_SIZ])
        packets = components * _packets(found[_COD], found[_QCD], width, height)
        if tiles * packets > 8 * len(stream):
            raise ValueError(f"its JPEG 2000 header says it has {tiles * packets} packets, in {len(stream)} bytes")
        _check_tile_parts(stream, place, tiles, marks=bool(found[_COD][0] & 6), zeros=bytes(packets + 64))
    except KeyError as error:
        raise ValueError(f"its JPEG 2000 header has no marker {error.args[0]:x}") from None
    except (struct.error, IndexError):
        raise ValueError("its JPEG 2000 codestream is cut short") from None


def _start(stream: bytes) -> int:
    # Where the codestream begins.
    start = stream.find(CODESTREAM) if stream.startswith(JP2_SIGNATURE) else 0
    if start < 0 or not stream.startswith(CODESTREAM, start):
        raise ValueError(f"no JPEG 2000 starts here (bytes {stream[:4].hex(' ') or 'none'})")
    return start


def _word(stream: bytes, place: int) -> int:
    (word,) = struct.unpack_from(">H", stream, place)
    return int(word)


def _tiles(siz: bytes) -> tuple[int, int, int, int]:
    # Number of tiles, their width and height at most, and the number of components (A.5.1).
    right, bottom, left, top, wide, high, x, y, components = struct.unpack_from(">8IH", siz, 2)
    if not (x <= left < min(x + wide, right) and y <= top < min(y + high, bottom)):
        raise ValueError(f"its JPEG 2000 tiles of {wide} x {high} pixels do not cover the picture")
    sampling = siz[36:]
    if any(sampling[3 * i + 1 : 3 * i + 3] != b"\x01\x01" for i in range(components)):
        raise ValueError("its JPEG 2000 components are not sampled alike")
    tiles = -(-(right - x) // wide) * -(-(bottom - y) // high)
    return tiles, min(wide, right - left), min(high, bottom - top), components


def _packets(cod: bytes, qcd: bytes, width: int, height: int) -> int:
    # How many packets a component has in each tile (A.6.1, A.6.4, B.6).
    style, order, layers, _, levels, block_width, block_height = struct.unpack_from(">BBHBBBB", cod)
    if order > _LAST_ORDER:
        raise ValueError(f"its JPEG 2000 header says the progression order {order}, which there is not")
    if levels > _MOST_LEVELS or layers == 0 or block_width > 8 or block_width + block_height > 8:
        raise ValueError(f"its JPEG 2000 header says {levels} decompositions and {layers} layers")
    steps = {0: len(qcd) - 1, 1: 3 * levels + 1, 2: (len(qcd) - 1) // 2}.get(qcd[0] & 31, 0)
    if steps < 3 * levels + 1:
        raise ValueError(f"its JPEG 2000 header has {steps} quantisation steps for {levels} decompositions")
    precincts = cod[10 : 11 + levels] if style & 1 else b"\xff" * (levels + 1)
    if len(precincts) <= levels:
        raise ValueError("its JPEG 2000 header says too few precincts")
    packets = 0
    for level, precinct in enumerate(precincts):
        reduced = levels - level
        across, down = reduced + (precinct & 15), reduced + (precinct >> 4)
        packets += layers * -(-width >> across) * -(-height >> down)
    return packets


def _check_tile_parts(stream: bytes, place: int, tiles: int, *, marks: bool, zeros: bytes) -> None:
    # From the first tile-part to the end of the codestream (A.4.2).
    seen: set[int] = set()
    pattern = _MARKER_BUT_MARKS if marks else _MARKER
    while (marker := _word(stream, place)) == _SOT:
        size, number, length = struct.unpack_from(">HHI", stream, place + 2)
        end = place + length if length else stream.rfind(b"\xff\xd9")
        data = stream.find(b"\xff\x93", place + 12, end) + 2
        if size != 10 or number >= tiles or not place + 14 <= data <= end <= len(stream) - 2:
            raise ValueError(f"the JPEG 2000 tile-part at byte {place} is of a wrong length")
        wrong = pattern.search(stream, data, end)
        if wrong is not None:
            raise ValueError(f"there is a marker {wrong.group().hex(' ')} in its JPEG 2000 data")
        if stream.find(zeros, data, end) >= 0:
            raise ValueError("there is a run of zeros in its JPEG 2000 data")
        seen.add(number)
        place = end
    if marker != _EOC:
        raise ValueError(f"after a JPEG 2000 tile-part comes {marker:04x}, neither another one nor the end")
    if stream.startswith(CODESTREAM) and stream[place + 2 :].strip(b"\0"):  # in a JP2 file, boxes may follow
        raise ValueError("its JPEG 2000 codestream ends early")
    if len(seen) != tiles:
        raise ValueError(f"it has {len(seen)} of its {tiles} JPEG 2000 tiles")
