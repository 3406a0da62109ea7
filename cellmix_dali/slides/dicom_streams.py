"""Frames of DICOM files made code streams: their items joined, and the colours that the file says.

Source: DICOM PS3.5, 8.2 and A.4; PS3.3, C.7.6.3.1.2 (Photometric Interpretation).
"""

from __future__ import annotations

import struct
from typing import Literal

from cellmix_dali.slides.jp2 import CODESTREAM
from cellmix_dali.slides.jpeg import BlockStreams
from cellmix_dali.slides.jpeg2000 import parse_codestream
from cellmix_dali.slides.usual_blocks import ITEM_BYTES

__all__ = ["FrameStreams", "look_at_frame"]

_ITEM = b"\xfe\xff\x00\xe0"


class FrameStreams:
    """Makes a frame's items a code stream; made by `look_at_frame`.

    Parameters
    ----------
    colours : BlockStreams or None
        Gives JPEG the colour that the photometric interpretation says; None for JPEG 2000.
    """

    def __init__(self, colours: BlockStreams | None) -> None:
        self.colours = colours

    def join(self, block: bytes) -> bytes:
        """Return the stream of a frame; a ValueError says what is wrong with its items."""
        stream = _joined(block)
        if self.colours is not None:
            return self.colours.join(stream)
        if not stream.startswith(CODESTREAM):
            raise ValueError(f"no JPEG 2000 starts here (bytes {stream[:4].hex(' ') or 'none'})")
        return stream


def _joined(block: bytes, *, whole: bool = True) -> bytes:
    """The values of a frame's items (PS3.5, A.4); of the last one, as much as is there where it is not `whole`."""
    parts, place = [], 0
    while place < len(block):
        if block[place : place + 4] != _ITEM or len(block) < place + ITEM_BYTES:
            raise ValueError(f"no item begins at byte {place} of it (bytes {block[place : place + 4].hex(' ')})")
        (length,) = struct.unpack_from("<I", block, place + 4)
        place += ITEM_BYTES
        parts.append(block[place : place + length])
        place += length
    if whole and place != len(block):
        raise ValueError(f"its item says it is {place - len(block)} bytes longer than it is")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def look_at_frame(
    block: bytes, colour: Literal["rgb", "ycbcr"] | None
) -> tuple[FrameStreams, tuple[int, int, int, int]]:
    """Learn from one frame how frames become streams.

    Parameters
    ----------
    block : bytes
        The frame's items, or its first kilobytes.
    colour : {"rgb", "ycbcr"} or None
        What the samples of a JPEG mean; None for JPEG 2000, which says it itself.

    Returns
    -------
    FrameStreams
    (int, int, int, int)
        Width, height, components and bits of this frame.

    Raises
    ------
    ValueError
        If it is not a frame of that kind, or its header goes on.
    """
    stream = _joined(block, whole=False)
    if colour is None:
        codestream = parse_codestream(stream)
        return FrameStreams(None), (codestream.width, codestream.height, len(codestream.bits), max(codestream.bits))
    colours = BlockStreams(colour, None, stream)
    header = colours.header
    if header.process not in (0xC0, 0xC1, 0xC2):
        raise ValueError("it is a JPEG of a kind that decoders do not know (lossless or arithmetic)")
    return FrameStreams(colours), (header.width, header.height, header.components, header.precision)
