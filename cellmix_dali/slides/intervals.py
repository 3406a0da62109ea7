"""JPEG streams spliced from restart intervals, without decoding: a block of a picture that is one large JPEG.

Between two restart markers a scan knows nothing of what came before. So the intervals of a block, in their order, with
the markers between them numbered anew (RST0 to RST7 and round), an end, and the picture's header with the block's size
in it, are a JPEG of the block. Source: ITU-T T.81, B.2.1 (restart markers), B.2.2 (frame header), F.1.1.5.1, E.2.4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import copy
from typing import Literal

from cellmix_dali.slides.jpeg import JpegHeader, adobe_marker, parse_header, segments

__all__ = ["IntervalStreams"]

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_APP0, _APP14, _APPS, _COM, _DRI = 0xE0, 0xEE, range(0xE0, 0xF0), 0xFE, 0xDD
_SEQUENTIAL = (0xC0, 0xC1)  # with Huffman codes
_MARKER = re.compile(rb"\xff[^\x00]")
_END = re.compile(rb"\xff[\xd0-\xd7\xd9]")


class IntervalStreams:
    """Makes restart intervals of one picture complete JPEG streams.

    Parameters
    ----------
    header : bytes
        The picture's JPEG, up to the end of its SOS header at least.

    Attributes
    ----------
    header : JpegHeader
        What it says.
    made_of : bytes
        The picture's header, which makes the same once more.
    size : (int, int)
        Width and height of its streams in pixels, once they have a size.
    lead : bytes
        What its streams begin with, once they have a size.
    colour : {"rgb", "ycbcr"}
        What the samples mean, by libjpeg's rule: a JFIF marker, else Adobe's, else the components' names.
    interval : int
        Units (MCUs) of a restart interval; 0 where there are none.
    unit : (int, int)
        Width and height of a unit in pixels.

    Raises
    ------
    ValueError
        If that is not the header of a sequential JPEG of three components of 8 bits in one scan.
    """

    def __init__(self, header: bytes) -> None:
        self.header = parse_header(header)
        self.made_of, self.size = header[: self.header.length], (0, 0)
        if self.header.process not in _SEQUENTIAL or self.header.components != 3 or self.header.precision != 8:
            raise ValueError("it is not a sequential JPEG of three components of 8 bits")
        if not self.header.quantised or not self.header.huffman:
            raise ValueError("its JPEG header has no quantisation or no Huffman tables")
        self.colour: Literal["rgb", "ycbcr"] = "rgb" if _is_rgb(self.header) else "ycbcr"
        self.interval, self._kept, self._size_at = 0, b"", -1
        for marker, start, end in segments(header):
            segment = header[start:end].lstrip(b"\xff")
            if marker == _DRI:
                self.interval = int.from_bytes(segment[3:5], "big")
            if marker in _APPS or marker == _COM:
                continue
            if marker == self.header.process:
                self._size_at = len(self._kept) + 5  # behind the marker, the length and the precision
            self._kept += b"\xff" + segment
        across, down = (max(factor) for factor in zip(*self.header.sampling, strict=True))
        if not (1 <= across <= 4 and 1 <= down <= 4):
            raise ValueError(f"its JPEG components are sampled {self.header.sampling}")
        self.unit = 8 * across, 8 * down
        self.lead, self._number = b"", 0

    def sized(self, width: int, height: int) -> IntervalStreams:
        """Return what makes streams of this size in pixels."""
        self, at = copy(self), self._size_at
        self.size = width, height
        size = height.to_bytes(2, "big") + width.to_bytes(2, "big")
        self.lead = _SOI + adobe_marker(self.colour) + self._kept[:at] + size + self._kept[at + 4 :]
        units = -(-width // self.unit[0]) * -(-height // self.unit[1])
        self._number = -(-units // self.interval) if self.interval else 1
        return self

    def splice(self, pieces: Sequence[bytes], before: Sequence[bytes]) -> bytes:
        """Make a complete stream of a block's intervals.

        Parameters
        ----------
        pieces : sequence of bytes
            Each with the marker after it.
        before : sequence of bytes
            The two bytes before each in the file; none before the picture's first.

        Raises
        ------
        ValueError
            If there are too many or too few, or one does not stand between two markers, or has others in it.
        """
        if len(pieces) != self._number:
            raise ValueError(f"it has {len(pieces)} restart intervals instead of {self._number}")
        parts = [self.lead]
        for number, (piece, lead) in enumerate(zip(pieces, before, strict=True)):
            end = len(piece) - 2
            for marker in (lead, piece[-2:]):
                if marker and not _END.match(marker):
                    raise ValueError(f"no restart marker stands where one should (bytes {marker.hex(' ')})")
            found = _MARKER.search(piece, 0, end)
            if found is not None:
                raise ValueError(f"there is a marker {found.group().hex(' ')} in its JPEG scan")
            # The picture's last interval, which ends the picture, may fill up a block.
            parts += [piece[:end], _EOI if number == len(pieces) - 1 else bytes((0xFF, 0xD0 + number % 8))]
        return b"".join(parts)


def _is_rgb(header: JpegHeader) -> bool:
    if header.jfif:
        return False
    return header.adobe == 0 if header.adobe is not None else header.ids == tuple(b"RGB")
