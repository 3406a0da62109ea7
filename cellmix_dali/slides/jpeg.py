"""JPEG headers: a block of a TIFF file made into a complete stream that says its own colour.

In a TIFF the quantisation and Huffman tables may stand once per level (JPEGTables) and the colour in the
photometric tag alone; a decoder that sees only a block needs both in the stream. Sources: ITU-T T.81
(markers), T.871 (JFIF), Adobe Technical Notes #5116 (APP14) and the TIFF supplement 2 (JPEGTables).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["BlockStreams", "JpegHeader", "adobe_marker", "parse_header", "segments", "without_padding"]

Colour = Literal["rgb", "ycbcr"]

_SOI = b"\xff\xd8"
_PADDED = b"\xff\xd9\0"
_EOI, _SOS, _DQT, _DHT, _APP0, _APP14, _COM = 0xD9, 0xDA, 0xDB, 0xC4, 0xE0, 0xEE, 0xFE
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_APP0_MARKER, _APP14_MARKER = b"\xff\xe0", b"\xff\xee"
# Marker, length 14, "Adobe", version 100, two words of flags, then the transform: 0 = as it is, 1 = YCbCr.
_ADOBE_START = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00"
_ADOBE: dict[Colour, bytes] = {"rgb": _ADOBE_START + b"\x00", "ycbcr": _ADOBE_START + b"\x01"}


@dataclass(frozen=True)
class JpegHeader:
    """What the markers of one JPEG stream say, up to its first scan (ITU-T T.81, annex B).

    Attributes
    ----------
    process : int or None
        Second byte of the frame marker: 0xC0 baseline, 0xC1 extended, 0xC2 progressive, ...; None in a stream
        of tables only, as are the fields of the frame.
    width, height : int
        Size in pixels; 0 in a stream of tables only.
    precision : int
        Bits a sample.
    ids : tuple of int
        Component identifiers.
    sampling : tuple of (int, int)
        Horizontal and vertical sampling factor of each component; the first is ``(2, 2)`` under 4:2:0.
    jfif : bool
        Whether there is a JFIF marker (APP0), which means YCbCr.
    adobe : int or None
        Colour transform of the Adobe marker (APP14): 0 none, 1 YCbCr; None without the marker.
    quantised, huffman : bool
        Whether the stream carries quantisation tables, and Huffman tables.
    length : int
        Bytes of the header: where the entropy-coded data begin.
    """

    process: int | None
    width: int
    height: int
    precision: int
    ids: tuple[int, ...]
    sampling: tuple[tuple[int, int], ...]
    jfif: bool
    adobe: int | None
    quantised: bool
    huffman: bool
    length: int

    @property
    def components(self) -> int:
        """Number of colour components."""
        return len(self.ids)


def segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each segment of a header after SOI, SOS the last; EOI ends a stream of tables.

    Raises
    ------
    ValueError
        If it is not a JPEG, or its header is cut short; the message says where.
    """
    if not stream.startswith(_SOI):
        raise ValueError(f"no JPEG starts here (bytes {stream[:4].hex(' ') or 'none'}, expected ff d8)")
    place, size = 2, len(stream)
    while place + 2 <= size:
        if stream[place] != 0xFF:
            raise ValueError(f"no JPEG marker at byte {place} of its header")
        start = place
        while place + 1 < size and stream[place + 1] == 0xFF:  # fill bytes are allowed before a marker
            place += 1
        if place + 1 >= size:
            break
        marker = stream[place + 1]
        if marker == _EOI:
            return
        end = place + 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
        if end < place + 4 or end > size:
            raise ValueError(f"the JPEG segment at byte {place} of its header is cut short")
        yield marker, start, end
        if marker == _SOS:
            return
        place = end
    raise ValueError("its JPEG header ends before the picture begins")


def parse_header(stream: bytes) -> JpegHeader:
    """Read the markers of a JPEG stream up to its first scan.

    Parameters
    ----------
    stream : bytes
        A JPEG stream, or TIFF JPEGTables (tables between SOI and EOI).

    Returns
    -------
    JpegHeader
        What it says.

    Raises
    ------
    ValueError
        If it is not a JPEG, or its header is cut short; the message says where.
    """
    process: int | None = None
    width = height = precision = 0
    ids: tuple[int, ...] = ()
    sampling: tuple[tuple[int, int], ...] = ()
    jfif = quantised = huffman = False
    adobe: int | None = None
    length = len(stream)
    for marker, start, end in segments(stream):
        body = stream[stream.index(bytes((0xFF, marker)), start) + 4 : end]
        if marker in _SOF:
            if len(body) < 6 or len(body) < 6 + 3 * body[5]:
                raise ValueError(f"the JPEG frame header at byte {start} is cut short")
            process, precision = marker, body[0]
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            parts = [body[6 + 3 * i : 9 + 3 * i] for i in range(body[5])]
            ids = tuple(part[0] for part in parts)
            sampling = tuple((part[1] >> 4, part[1] & 15) for part in parts)
        elif marker == _APP0 and body.startswith(b"JFIF\0"):
            jfif = True
        elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        elif marker == _DQT:
            quantised = True
        elif marker == _DHT:
            huffman = True
        elif marker == _SOS:
            length = end
    return JpegHeader(process, width, height, precision, ids, sampling, jfif, adobe, quantised, huffman, length)


def without_padding(stream: bytes) -> bytes:
    """Return a JPEG or JPEG 2000 stream without the zero that some files put behind it, to make its length even."""
    return stream[:-1] if stream.endswith(_PADDED) else stream


def _without_colour_markers(stream: bytes) -> bytes:
    # The stream's segments between SOI and the end of its SOS header (or EOI), less APP0 and APP14.
    kept = [stream[a:b] for marker, a, b in segments(stream) if marker not in (_APP0, _APP14)]
    return b"".join(kept)


def adobe_marker(colour: Colour) -> bytes:
    """Return the segment that says what three components mean, to whoever knows Adobe's APP14."""
    return _ADOBE[colour]


class BlockStreams:
    """Makes blocks of one TIFF level into complete JPEG streams of the right colour.

    The TIFF's photometric tag decides the colour, as it does for OpenSlide: RGB blocks lose their JFIF and
    Adobe markers and get an Adobe marker of transform 0. YCbCr blocks stay as they are, unless they say
    otherwise themselves (Adobe transform other than 1, or components named R, G, B): then they get
    transform 1.

    Parameters
    ----------
    colour : {"rgb", "ycbcr"}
        What the photometric tag says.
    tables : bytes or None
        The level's JPEGTables.
    example : bytes
        A block of the level; others may differ from it, only more slowly.

    Attributes
    ----------
    header : JpegHeader
        The example's header.
    made_of : (str, bytes or None, bytes)
        What makes the same once more: colour, tables, and the example as far as its header goes.

    Raises
    ------
    ValueError
        If tables or example are not JPEG, or neither has quantisation or Huffman tables.
    """

    def __init__(self, colour: Colour, tables: bytes | None, example: bytes) -> None:
        self.header = parse_header(example)
        self.made_of = colour, tables, example[: self.header.length]
        self._colour: Colour = colour
        self._tables = parse_header(tables) if tables else None
        for name, here, shared in (
            ("quantisation", self.header.quantised, self._tables is not None and self._tables.quantised),
            ("Huffman", self.header.huffman, self._tables is not None and self._tables.huffman),
        ):
            if not here and not shared:
                raise ValueError(f"its JPEG {name} tables are neither in the block nor in the JPEGTables tag")
        # All between SOI and EOI; with and without the markers that speak of colour.
        self._all_tables = b"".join(tables[a:b] for _, a, b in segments(tables)) if tables else b""
        self._plain_tables = _without_colour_markers(tables) if tables else b""
        forced = self._is_forced(self.header)
        # The example's first markers: a block that begins with the same bytes is joined by one slice.
        self._lead, kept = _leading_markers(example)
        self._skip = len(self._lead)
        self._window = self.header.length
        if forced:
            self._prefix = _SOI + _ADOBE[colour] + kept + self._plain_tables
        else:
            self._prefix = self._lead + self._all_tables
        # A marker of these kinds further on in a block sends it the slow way round.
        self._watched = (_APP14_MARKER, _APP0_MARKER) if forced else (_APP14_MARKER,)

    def _is_forced(self, header: JpegHeader) -> bool:
        # Whether the colour must be written into the stream, instead of what the stream says.
        if self._colour == "rgb":
            return True
        adobe = header.adobe
        if adobe is None and self._tables is not None:
            adobe = self._tables.adobe
        return adobe not in (None, 1) or header.ids == (ord("R"), ord("G"), ord("B"))

    def join(self, block: bytes) -> bytes:
        """Make one block into a complete stream.

        Parameters
        ----------
        block : bytes
            The block as it lies in the file.

        Returns
        -------
        bytes
            A JPEG stream that needs nothing else.

        Raises
        ------
        ValueError
            If the block does not begin as a JPEG stream does.
        """
        skip = self._skip
        if block.startswith(self._lead):
            for marker in self._watched:
                if block.find(marker, skip, self._window) >= 0:
                    return self._rebuild(block)
            return block if self._prefix == self._lead else self._prefix + block[skip:]
        return self._rebuild(block)

    def _rebuild(self, block: bytes) -> bytes:
        header = parse_header(block)
        rest = block[header.length :]
        if self._is_forced(header):
            adobe = _ADOBE[self._colour]
            return b"".join((_SOI, adobe, self._plain_tables, _without_colour_markers(block), rest))
        lead, _ = _leading_markers(block)
        return lead + self._all_tables + block[len(lead) :]


def _leading_markers(stream: bytes) -> tuple[bytes, bytes]:
    # SOI with the application and comment segments right after it; those of them that say nothing of colour.
    end, kept = 2, b""
    for marker, start, stop in segments(stream):
        if not (_APP0 <= marker <= 0xEF or marker == _COM):
            break
        end = stop
        if marker not in (_APP0, _APP14):
            kept += stream[start:stop]
    return stream[:end], kept
