"""Damage that shows in an encoded block without decoding it: cheap enough for every tile of a training."""

from __future__ import annotations

import re

from .jpeg import parse_header
from .jpeg2000 import parse_codestream

__all__ = ["BlockCheck"]

_SOS = b"\xff\xda"
_SOF_BASELINE = (0xC0, 0xC1)
# In the data of a scan, 0xFF is followed by 0 (a data byte), by a restart marker, or by fill (ITU T.81, B.1.1).
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_EOI = b"\xff\xd9"
_KNOWN = 64  # headers remembered: all blocks of a level have one, as a rule


class BlockCheck:
    """Tells whether stand-alone streams of one level look whole.

    Seen are: another size than the level's blocks (a header that would decode to a huge picture, too), a header that
    is no header, a scan that ends early or goes on after its end. Bits flipped within a scan are not seen: they decode to
    wrong pixels, in every reader.

    Parameters
    ----------
    width, height : int
        Of the level's blocks, in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._headers: dict[bytes, bool] = {}

    def damage(self, stream: bytes) -> str | None:
        """Say what is wrong with a stream, or None.

        Parameters
        ----------
        stream : bytes
            A complete JPEG or JPEG 2000 stream, as `Slide.blocks` gives it.
        """
        try:
            if stream.startswith(b"\xff\xd8"):
                return self._jpeg(stream)
            header = parse_codestream(stream[:4096])
        except ValueError as error:
            return str(error)
        if (header.width, header.height) != self._size:
            return self._wrong_size(header.width, header.height)
        return None if stream.rstrip(b"\0").endswith(_EOI) else "its JPEG 2000 codestream has no end"

    def _jpeg(self, stream: bytes) -> str | None:
        start = stream.find(_SOS)
        head = stream[:start]
        baseline = self._headers.get(head)
        if baseline is None:
            header = parse_header(stream)
            if (header.width, header.height) != self._size:
                return self._wrong_size(header.width, header.height)
            baseline = header.process in _SOF_BASELINE
            if len(self._headers) < _KNOWN and start + 2 <= header.length:
                self._headers[head] = baseline
        if not baseline:  # a progressive picture has several scans with tables between them
            return None if stream.rstrip(b"\0").endswith(_EOI) else "its JPEG stream has no end"
        first = _MARKER.search(stream, start + 2 + int.from_bytes(stream[start + 2 : start + 4], "big"))
        if first is None:
            return "its JPEG scan has no end"
        if first.group() != _EOI:
            return f"there is a marker {first.group().hex(' ')} in its JPEG scan"
        return "its JPEG scan ends early" if len(stream.rstrip(b"\0\xff")) > first.end() else None

    def _wrong_size(self, width: int, height: int) -> str:
        return f"it says it is {width} x {height} pixels, the level's blocks are {self._size[0]} x {self._size[1]}"
