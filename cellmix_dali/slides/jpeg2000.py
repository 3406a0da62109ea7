"""JPEG 2000 headers: what a codestream says of its size (ITU-T T.800, annex A.5.1)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CodestreamHeader", "parse_codestream"]

_SOC_SIZ = b"\xff\x4f\xff\x51"
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"


@dataclass(frozen=True)
class CodestreamHeader:
    """What the SIZ marker says: size in pixels, number of components, bits a sample of each."""

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
    start = 0
    if stream.startswith(_JP2_SIGNATURE):
        start = stream.find(_SOC_SIZ)
    if start < 0 or not stream.startswith(_SOC_SIZ, start):
        raise ValueError(f"no JPEG 2000 starts here (bytes {stream[:4].hex(' ') or 'none'})")
    siz = stream[start + 4 :]
    # Length, capabilities, eight numbers of four bytes, the number of components, three bytes for each.
    count = int.from_bytes(siz[36:38], "big")
    if count == 0 or len(siz) < 38 + 3 * count:
        raise ValueError("its JPEG 2000 header is cut short")
    right, bottom, left, top = (int.from_bytes(siz[4 + 4 * i : 8 + 4 * i], "big") for i in range(4))
    bits = tuple((siz[38 + 3 * i] & 0x7F) + 1 for i in range(count))
    return CodestreamHeader(right - left, bottom - top, bits)
