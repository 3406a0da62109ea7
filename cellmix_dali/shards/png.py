"""Damage of a PNG file that shows without decoding it."""

from __future__ import annotations

import struct
import zlib

__all__ = ["PNG_SIGNATURE", "png_damage"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB = 2  # colour type


def png_damage(stream: bytes, side: int) -> str | None:
    """Say what is wrong with a tile's PNG file, or None.

    Every chunk carries a checksum of its bytes (PNG specification, third edition, 5.3), so nearly all damage is seen.

    Parameters
    ----------
    stream : bytes
        The file; it begins with the signature.
    side : int
        How many pixels it must have across and down.
    """
    place, view = len(PNG_SIGNATURE), memoryview(stream)
    while place + 12 <= len(stream):
        (length,) = struct.unpack_from(">I", stream, place)
        kind, end = stream[place + 4 : place + 8], place + 8 + length
        if end + 4 > len(stream):
            return f"a PNG chunk at byte {place} is cut short"
        if zlib.crc32(view[place + 4 : end]) != int.from_bytes(stream[end : end + 4], "big"):
            return f"the checksum of the PNG chunk at byte {place} is wrong"
        if place == len(PNG_SIGNATURE):
            if kind != b"IHDR" or length < 13:
                return "its PNG header is missing"
            width, height, depth, colour = struct.unpack_from(">IIBB", stream, place + 8)
            if (width, height, depth, colour) != (side, side, 8, _RGB):
                return f"it says it is {width} x {height} pixels of {depth} bits, expected RGB of {side} x {side} and 8"
        if kind == b"IEND":
            return None if end + 4 == len(stream) else "there are bytes after the end of the PNG"
        place = end + 4
    return "its PNG stream has no end"
