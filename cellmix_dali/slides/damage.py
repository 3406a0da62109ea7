"""Damage that shows in an encoded block without decoding it: cheap enough for every tile of a training."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .jpeg import parse_header, segments
from .jpeg2000 import check_codestream, parse_codestream

if TYPE_CHECKING:
    from ._scan import ScanCheck

__all__ = ["BlockCheck", "zeros_may_be_data"]

_DHT, _SOS, _DQT, _DRI = 0xC4, 0xDA, 0xDB, 0xDD
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
# In the data of a scan, 0xFF is followed by 0 (a data byte) or by a restart marker (ITU T.81, B.1.1); several 0xFF in a
# row may only stand before a marker.
_MARKER = re.compile(rb"\xff+[^\x00\xff]|\xff\xff+\x00")
_MARKER_BUT_RESTARTS = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]|\xff\xff+\x00")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_EOI = b"\xff\xd9"
_ANOTHER = b"\xff\xd8\xff"
_ZEROS = bytes(64)  # as many are never in a scan, unless zeros are the code of a flat picture
_KNOWN = 64  # headers remembered: all blocks of a level have one, as a rule


class _Head(NamedTuple):
    # What a JPEG header says of the data behind it.
    one_scan: bool
    restarts: int | None  # how many restart markers there must be; None without any
    zeros: bool  # whether long runs of zeros may be data


class BlockCheck:
    """Tells whether stand-alone streams of one level look whole.

    Seen are: another size than the level's blocks (a header that would decode to a huge picture, too), headers that
    decoders fall over or take for something else, a scan that ends early, another picture after its end (other bytes
    there are let pass), markers within it, runs of zeros in it as a lost page of a disk leaves them. Huffman tables are
    left to the decoder, which refuses bad ones.

    With `scans`, the codes of a scan are followed, too: all scans are found that end early, and of those with a changed
    bit the ones whose codes no longer fit. What is left decodes to wrong pixels, in every reader. Of
    progressive JPEG and of JPEG 2000 no scan is followed.

    Parameters
    ----------
    width, height : int
        Of the level's blocks, in pixels.
    scans : bool, default False
        Whether to follow the scans.
    """

    def __init__(self, width: int, height: int, *, scans: bool = False) -> None:
        self._size = (width, height)
        self.scans = scans
        self._checks: dict[bytes, ScanCheck] = {}
        self._heads: dict[bytes, _Head] = {}
        self._lengths: set[int] = set()

    def damage(self, stream: bytes) -> str | None:
        """Say what is wrong with a stream, or None.

        Parameters
        ----------
        stream : bytes
            A complete JPEG or JPEG 2000 stream, as `Slide.blocks` gives it.
        """
        try:
            if stream.startswith(b"\xff\xd8"):
                self._check_jpeg(stream)
            else:
                header = parse_codestream(stream)
                self._check_samples(header.width, header.height, header.bits)
                check_codestream(stream)
        except ValueError as error:
            return str(error)
        return None

    def plain_head(self, stream: bytes) -> tuple[int, bool] | None:
        """Say how long a sound JPEG stream's header is, and whether runs of zeros may be data.

        Parameters
        ----------
        stream : bytes
            One in which `damage` has found none.

        Returns
        -------
        (int, bool) or None
            None if what follows is not just one scan without restart markers.
        """
        for length in self._lengths:
            head = self._heads.get(stream[:length])
            if head is not None:
                return (length, head.zeros) if head.one_scan and head.restarts is None else None
        return None

    def scan_fault(self, header: bytes, scan: NDArray[np.uint8]) -> str | None:
        """Say what is wrong with the scan of a JPEG, where scans are followed.

        Parameters
        ----------
        header : bytes
            What comes before the scan: baseline or extended sequential, all components in one scan.
        scan : uint8 array
            The scan, without the marker after it.
        """
        if not self.scans:
            return None
        check = self._checks.get(header)
        if check is None:
            from ._scan import ScanCheck  # numba takes a second to import

            check = ScanCheck(header)
            if len(self._checks) < _KNOWN:
                self._checks[header] = check
        return None if check.is_whole(scan) else "its JPEG scan ends early, or bits in it are changed"

    def _check_samples(self, width: int, height: int, bits: tuple[int, ...]) -> None:
        if (width, height) != self._size:
            raise ValueError(
                f"it says it is {width} x {height} pixels, the level's blocks are {self._size[0]} x {self._size[1]}"
            )
        if bits != (8, 8, 8):
            raise ValueError(f"it says it has components of {bits} bits, not three of 8")

    def _check_jpeg(self, stream: bytes) -> None:
        for length in self._lengths:
            head = self._heads.get(stream[:length])
            if head is not None:
                break
        else:
            head, length = self._read_head(stream)
        if not head.one_scan:  # tables may stand between the scans
            if stream.find(_EOI, length) < 0:
                raise ValueError("its JPEG stream has no end")
            return
        if (
            head.restarts is None
            and stream.endswith(_EOI)
            and stream.count(b"\xff", length) == stream.count(b"\xff\x00", length) + 1
            and (head.zeros or stream.find(_ZEROS, length) < 0)
        ):
            self._require_whole(stream, length, len(stream) - 2)
            return  # the quick way to the same answer
        marker = _MARKER if head.restarts is None else _MARKER_BUT_RESTARTS
        first = marker.search(stream, length)
        if first is None:
            raise ValueError("its JPEG scan has no end")
        if first.group().lstrip(b"\xff") != _EOI[1:]:
            raise ValueError(f"there is a marker {first.group().hex(' ')} in its JPEG scan")
        if len(stream.rstrip(b"\0\xff")) > first.end():
            # Bytes after the end are harmless, an end that was not meant is not: only the codes before it can tell.
            if stream.find(_ANOTHER, first.end()) >= 0:
                raise ValueError(
                    "another JPEG begins after its end: its place in the file, or its byte count, is wrong"
                )
            from ._scan import ScanCheck  # numba takes a second to import

            if not ScanCheck(stream).is_whole(np.frombuffer(stream[length : first.start()], np.uint8)):
                raise ValueError("its JPEG scan ends early")
        if head.restarts is not None:
            restarts = b"".join(_RESTART.findall(stream, length, first.start()))
            if restarts != bytes(0xD0 + i % 8 for i in range(head.restarts)):
                raise ValueError("the restart markers of its JPEG scan are not those that must be there")
        if not head.zeros and stream.find(_ZEROS, length, first.start()) >= 0:
            raise ValueError("there is a run of zeros in its JPEG scan")
        self._require_whole(stream, length, first.start())

    def _require_whole(self, stream: bytes, start: int, end: int) -> None:
        fault = self.scan_fault(stream[:start], np.frombuffer(stream, np.uint8)[start:end])
        if fault is not None:
            raise ValueError(fault)

    def _read_head(self, stream: bytes) -> tuple[_Head, int]:
        # Reads a header that is met for the first time, and remembers it.
        header = parse_header(stream)
        self._check_samples(header.width, header.height, (header.precision,) * header.components)
        if header.process not in (_BASELINE, _EXTENDED, _PROGRESSIVE):
            raise ValueError("it is a JPEG of a kind that decoders do not know (lossless or arithmetic)")
        if not all(1 <= h <= 4 and 1 <= v <= 4 for h, v in header.sampling):
            raise ValueError(f"its JPEG components are sampled {header.sampling}")
        interval, zeros, in_scan = 0, True, 0
        for marker, start, end in segments(stream):
            body = stream[start:end].lstrip(b"\xff")[3:]
            if marker == _DQT:
                _check_quantisation(body)
            elif marker == _DHT:
                zeros = zeros and _zeros_are_flat(body)
            elif marker == _DRI:
                interval = int.from_bytes(body[:2], "big")
            elif marker == _SOS:
                in_scan = body[0] if body else 0
        restarts = None
        if interval:
            across, down = (8 * max(factor) for factor in zip(*header.sampling, strict=True))
            units = -(-header.width // across) * -(-header.height // down)
            restarts = -(-units // interval) - 1
        one_scan = header.process != _PROGRESSIVE and in_scan == header.components
        head = _Head(one_scan, restarts, zeros)
        if len(self._heads) < _KNOWN:
            self._heads[stream[: header.length]] = head
            self._lengths = self._lengths | {header.length}  # another thread may go through the old set
        return head, header.length


def zeros_may_be_data(header: bytes) -> bool:
    """Say whether long runs of zeros may be the data of a JPEG with this header: the codes of a flat picture."""
    tables = (header[start:end].lstrip(b"\xff")[3:] for marker, start, end in segments(header) if marker == _DHT)
    return all(map(_zeros_are_flat, tables))


def _check_quantisation(body: bytes) -> None:
    # ITU T.81, B.2.4.1: precision and number, then 64 values from 1 on.
    place = 0
    while place < len(body):
        wide = 2 if body[place] >> 4 else 1
        values = body[place + 1 : place + 1 + 64 * wide]
        if len(values) < 64 * wide:
            raise ValueError("a JPEG quantisation table is cut short")
        if any(values[i : i + wide] == bytes(wide) for i in range(0, len(values), wide)):
            raise ValueError("a JPEG quantisation table has a value of 0")
        place += 1 + 64 * wide


def _zeros_are_flat(body: bytes) -> bool:
    # Whether bits of zero mean "as before" and "end of block" in all these tables. The shortest code is all zeros, and
    # its symbol comes first (ITU T.81, annex C).
    place = 0
    while place + 17 < len(body):
        if body[place + 17] != 0:
            return False
        place += 17 + sum(body[place + 1 : place + 17])
    return True
