"""Whether a baseline JPEG scan holds its whole picture: the Huffman codes are followed, and no pixel is made.

Source: ITU-T T.81, annexes B.2, C and F.2. What a scan that ends early, or whose bits are changed, decodes to depends
on the decoder: DALI makes grey of it without a word, OpenSlide an error.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc, unreachable"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._compiled import compiled
from cellmix_dali.slides.jpeg import segments

__all__ = ["ScanCheck"]

_DHT, _SOS, _DRI = 0xC4, 0xDA, 0xDD
_FRAMES = (0xC0, 0xC1)
_SHORT = 9  # bits of the codes that are looked up at once
_LONGEST = 16
_SHORT_MASK = (1 << _SHORT) - 1
_TO_THE_END = 128  # more coefficients than a block has: no other follows


class ScanCheck:
    """Tells of scans under one header whether they have the codes of all their blocks, no fewer and no more.

    Parameters
    ----------
    stream : bytes
        A JPEG stream, or its header: baseline or extended sequential, with all components in one scan.
    """

    def __init__(self, stream: bytes) -> None:
        # Rows: direct-current tables 0 to 3, then alternating-current ones. Of each: the least code that is too large,
        # the place of the first symbol less the first code, both by length; then the symbols.
        limits, firsts = np.zeros((8, 17), np.int64), np.zeros((8, 17), np.int64)
        symbols = np.zeros((8, 256), np.uint8)
        size, sampling, order, interval = (0, 0), {}, [], 0
        for marker, at, stop in segments(stream):
            body = stream[at:stop].lstrip(b"\xff")[3:]
            if marker in _FRAMES:
                size = int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
                sampling = {body[6 + 3 * i]: (body[7 + 3 * i] >> 4, body[7 + 3 * i] & 15) for i in range(body[5])}
            elif marker == _DRI:
                interval = int.from_bytes(body[:2], "big")
            elif marker == _DHT:
                _read_tables(body, limits, firsts, symbols)
            elif marker == _SOS:
                order = [(body[1 + 2 * i], body[2 + 2 * i]) for i in range(body[0])]
        self._known = bool(order) and {component for component, _ in order} == set(sampling)
        if not self._known:
            return
        across, down = (8 * max(factor) for factor in zip(*sampling.values(), strict=True))
        units = -(-size[0] // across) * -(-size[1] // down)
        tables = []  # the table numbers of each block of a unit
        for component, numbers in order:
            wide, high = sampling[component]
            if len(order) == 1:  # a scan of one component is not interleaved: A.2.2
                wide = high = 1
            tables += [(numbers >> 4 & 3, 4 + (numbers & 3))] * (wide * high)
        if len(order) == 1:
            units = -(-size[0] // 8) * -(-size[1] // 8)
        self._followed = units, interval, np.array(tables, np.int64), _looked_up(limits, firsts, symbols)
        self._long = limits, firsts, symbols

    def is_whole(self, scan: NDArray[np.uint8]) -> bool:
        """Tell whether a scan is whole.

        Parameters
        ----------
        scan : uint8 array
            The entropy-coded data, without the marker after them.
        """
        return self._known and bool(_follow(scan, *self._followed, *self._long))


def _read_tables(body: bytes, limits: NDArray[np.int64], firsts: NDArray[np.int64], symbols: NDArray[np.uint8]) -> None:
    # B.2.4.2 and C.2: how many codes there are of each length, then the symbols in the order of their codes.
    place = 0
    while place + 17 <= len(body):
        row = (body[place] >> 4 & 1) * 4 + (body[place] & 3)
        numbers = body[place + 1 : place + 17]
        values = body[place + 17 : place + 17 + sum(numbers)][:256]
        symbols[row] = 0
        symbols[row, : len(values)] = np.frombuffer(values, np.uint8)
        code = first = 0
        for length, number in enumerate(numbers, 1):
            firsts[row, length], limits[row, length] = first - code, code + number
            code, first = (code + number) << 1, first + number
        place += 17 + sum(numbers)


@compiled()
def _looked_up(limits, firsts, symbols):
    # For the code that so many bits begin with: how many bits it and the number after it take, and by how many
    # coefficients it goes on; 0 where the code is longer, or is none.
    found = np.zeros((limits.shape[0], 1 << _SHORT), np.int64)
    for row in range(limits.shape[0]):
        for bits in range(1 << _SHORT):
            for length in range(1, _SHORT + 1):
                code = bits >> (_SHORT - length)
                if code < limits[row, length]:
                    at = firsts[row, length] + code
                    if 0 <= at <= 255:
                        found[row, bits] = _taken(length, symbols[row, at], row < 4)
                    break
    return found


@compiled()
def _taken(length, symbol, direct):
    # Bits and coefficients that a code takes, as one number; 0 where it cannot be.
    if direct:
        return (length + symbol) << 8 | 1 if symbol < 16 else 0
    if symbol & 15:
        return (length + (symbol & 15)) << 8 | (symbol >> 4) + 1
    if symbol == 0xF0:
        return length << 8 | 16
    return length << 8 | _TO_THE_END


@compiled()
def _follow(data, units, interval, tables, short, limits, firsts, symbols):
    size = np.uint64(data.size)
    place = np.uint64(0)
    bits, left = 0, 0  # the last `left` of the bits are unread
    for unit in range(units):
        if interval and unit and unit % interval == 0:
            # A restart marker stands at the next whole byte, with nothing else before it.
            if left > 7 or place + np.uint64(2) > size or data[place] != 0xFF:
                return False
            if not 0xD0 <= data[place + np.uint64(1)] <= 0xD7:
                return False
            place, left = place + np.uint64(2), 0
        for block in range(tables.shape[0]):
            row = tables[block, 0]
            coefficient = 0
            while coefficient < 64:
                if left <= 32:
                    while left <= 48 and place < size:
                        byte = data[place]
                        place += np.uint64(1)
                        if byte == 0xFF:
                            if place >= size or data[place] != 0:
                                place -= np.uint64(1)
                                break
                            place += np.uint64(1)
                        bits = bits << 8 | byte
                        left += 8
                    bits &= 0xFFFFFFFFFFFFFF
                # What is ahead; zeros follow the last bits.
                if left >= _SHORT:
                    taken = short[row, np.uint64(bits >> (left - _SHORT) & _SHORT_MASK)]
                else:
                    taken = short[row, np.uint64(bits << (_SHORT - left) & _SHORT_MASK)]
                if taken == 0:
                    taken = _long_code(bits, left, row, limits, firsts, symbols)
                    if taken == 0:
                        return False
                left -= taken >> 8
                coefficient += taken & 255
                if left < 0 or (coefficient > 64 and taken & 255 != _TO_THE_END):
                    return False
                row = tables[block, 1]
    return place == size and left < 8


@compiled()
def _long_code(bits, left, row, limits, firsts, symbols):
    # As `_looked_up`, for a code that is longer; 0 where there is none.
    ahead = (bits >> (left - _LONGEST) if left >= _LONGEST else bits << (_LONGEST - left)) & 0xFFFF
    for length in range(_SHORT + 1, _LONGEST + 1):
        code = ahead >> (_LONGEST - length)
        if code < limits[row, length]:
            at = firsts[row, length] + code
            return _taken(length, symbols[row, at], row < 4) if 0 <= at <= 255 else 0
    return 0
