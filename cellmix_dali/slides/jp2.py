"""JP2 boxes around a JPEG 2000 code stream (ITU-T T.800, annex I): read, and taken off.

Decoders are given bare code streams alone. OpenJPEG before 2.5.4, which DALI 2.4.0 holds, writes through a dangling
pointer when the boxes are damaged (CVE-2025-54874), and the process dies sooner or later. A bare code stream says
nothing of colours: so the boxes are read first, and must say that its three components are red, green and blue.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["CODESTREAM", "JP2_SIGNATURE", "bare_codestream", "strange_colours"]

JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
#: How a code stream begins: its markers SOC and SIZ (ISO/IEC 15444-1, A.4).
CODESTREAM = b"\xff\x4f\xff\x51"
_JPEG2000 = 7  # the only kind of compression that there is (I.5.3.1)
_ENUMERATED, _RESTRICTED_ICC, _ANY_ICC, _VENDOR = 1, 2, 3, 4
_SPACES = {16: "sRGB", 17: "grey", 18: "sYCC"}
_SRGB = 16
_RGB_PROFILE = slice(16, 20)  # where an ICC profile says its colour space
_PALETTE = {b"pclr", b"cmap"}


def bare_codestream(stream: bytes) -> bytes:
    """Take the boxes off a JP2 stream; a bare code stream comes back as it is.

    Parameters
    ----------
    stream : bytes
        A complete JPEG 2000 stream.

    Returns
    -------
    bytes
        The code stream.

    Raises
    ------
    ValueError
        If the boxes are damaged, or say that the components are not red, green and blue.
    """
    if not stream.startswith(JP2_SIGNATURE):
        return stream
    header, codestream = _parts(stream)
    strange = _strange(header, codestream)
    if strange is not None:
        raise ValueError(f"its JP2 boxes say {strange}, where red, green and blue are expected")
    return codestream


def strange_colours(stream: bytes) -> str | None:
    """Say what the boxes of a JP2 stream, or of its first kilobytes, tell that a bare code stream cannot; or None.

    Raises
    ------
    ValueError
        If the boxes are damaged.
    """
    if not stream.startswith(JP2_SIGNATURE):
        return None
    return _strange(*_parts(stream, whole=False))


def _parts(stream: bytes, *, whole: bool = True) -> tuple[dict[bytes, bytes], bytes]:
    """The boxes of the header box (of equal ones the first), and the code stream."""
    header: dict[bytes, bytes] | None = None
    for kind, content in _boxes(stream, whole=whole):
        if kind == b"jp2h" and header is None:
            header = {}
            for inner, body in _boxes(content, whole=True):
                header.setdefault(inner, body)
        elif kind == b"jp2c":
            if header is None:
                raise ValueError("it has a JP2 code stream before its JP2 header")
            if not content.startswith(CODESTREAM):
                raise ValueError("no JPEG 2000 code stream begins in its JP2 box")
            return header, content
    raise ValueError("its JP2 boxes hold no code stream")


def _boxes(stream: bytes, *, whole: bool) -> Iterator[tuple[bytes, bytes]]:
    """Kind and content of each box (I.4); the last may be cut short where the stream is not `whole`."""
    place = 0
    while place < len(stream):
        try:
            length, kind = struct.unpack_from(">I4s", stream, place)
            begin = place + 8
            if length == 1:
                (length,) = struct.unpack_from(">Q", stream, begin)
                begin += 8
        except struct.error:
            raise ValueError("its JP2 boxes are cut short") from None
        end = place + length if length else len(stream)
        if end < begin or (end > len(stream) and (whole or kind != b"jp2c")):
            raise ValueError(f"the JP2 box at byte {place} says it is {length} bytes long")
        yield kind, stream[begin : min(end, len(stream))]
        place = end


def _strange(header: dict[bytes, bytes], codestream: bytes) -> str | None:
    """What the header says that its code stream does not; None for three components of red, green and blue."""
    try:
        height, width, components, bits, kind = struct.unpack_from(">IIHBB", header[b"ihdr"])
        right, bottom, left, top = struct.unpack_from(">4I", codestream, 8)
        (in_codestream,) = struct.unpack_from(">H", codestream, 40)
    except KeyError:
        raise ValueError("its JP2 header has no image header box") from None
    except struct.error:
        raise ValueError("its JP2 header is cut short") from None
    if kind != _JPEG2000 or (width, height, components) != (right - left, bottom - top, in_codestream):
        raise ValueError(
            f"its JP2 header says {width} x {height} pixels of {components} components, its code stream "
            f"{right - left} x {bottom - top} of {in_codestream}"
        )
    depths = header.get(b"bpcc", b"") if bits == 0xFF else bytes([bits]) * components
    if len(depths) != components:
        raise ValueError("its JP2 header does not say the bits of each component")
    if _PALETTE & header.keys():
        return "that its components are numbers of a palette"
    channels = header.get(b"cdef")
    if channels is not None and channels != _plain_channels(components):
        return "that its components are not red, green and blue in this order"
    return _strange_space(header.get(b"colr", b""))


def _plain_channels(components: int) -> bytes:
    """The channel definition box (I.5.3.6) of components that are colours, in order."""
    return struct.pack(">H", components) + b"".join(struct.pack(">HHH", i, 0, i + 1) for i in range(components))


def _strange_space(colour: bytes) -> str | None:
    """What the colour specification box (I.5.3.3) says, if it is not a kind of RGB."""
    method = colour[0] if len(colour) >= 3 else 0
    if method == _ENUMERATED and len(colour) >= 7:
        space = int.from_bytes(colour[3:7], "big")
        return None if space == _SRGB else f"that its colours are {_SPACES.get(space, f'of the space {space}')}"
    if method in (_RESTRICTED_ICC, _ANY_ICC):
        profile_of = colour[3:][_RGB_PROFILE]
        # The profile itself is left alone, as a TIFF's is.
        return None if profile_of == b"RGB " else f"that its colours are those of an ICC profile for {profile_of!r}"
    if method == _VENDOR:
        return "that its colours are a vendor's own"
    raise ValueError("its JP2 header does not say its colours")
