"""Whether a baseline JPEG scan holds its whole picture: the Huffman codes are followed, and no pixel is made.

Asked of blocks with bytes after their end only. Source: ITU-T T.81, annexes B.2, C and F.2.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc, unreachable"

from __future__ import annotations

import numpy as np

from cellmix_dali._compiled import compiled
from cellmix_dali.slides.jpeg import segments

__all__ = ["scan_is_whole"]

_DHT, _SOS, _DRI = 0xC4, 0xDA, 0xDD
_FRAMES = (0xC0, 0xC1)


def scan_is_whole(stream: bytes, start: int, end: int) -> bool:
    """Tell whether a scan has the codes of all its blocks, no fewer and no more.

    Parameters
    ----------
    stream : bytes
        A complete JPEG stream, baseline or extended sequential with all components in one scan.
    start, end : int
        Where the entropy-coded data begin, and where the marker after them stands.

    Returns
    -------
    bool
    """
    # Rows: direct-current tables 0 to 3, then alternating-current ones. Of each: the least code that is too large, the
    # place of the first symbol less the first code, both by length; then the symbols.
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
    if {component for component, _ in order} != set(sampling) or not order:
        return False
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
    data = np.frombuffer(stream[start:end], np.uint8)
    return bool(_follow(data, units, interval, np.array(tables, np.int64), limits, firsts, symbols))


def _read_tables(body: bytes, limits: np.ndarray, firsts: np.ndarray, symbols: np.ndarray) -> None:
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
def _follow(data, units, interval, tables, limits, firsts, symbols):
    place, bits, left = 0, 0, 0  # bits: of the byte that is being read, `left` of them unread
    for unit in range(units):
        if interval and unit and unit % interval == 0:
            # A restart marker stands at the next whole byte, with nothing else before it.
            if place + 2 > data.size or data[place] != 0xFF or not 0xD0 <= data[place + 1] <= 0xD7:
                return False
            place, left = place + 2, 0
        for block in range(tables.shape[0]):
            coefficient = 0
            while coefficient < 64:
                row = tables[block, 0] if coefficient == 0 else tables[block, 1]
                code, length, more = 0, 0, 0
                symbol = -1
                # First the bits of a code, then the bits of the number that it announces.
                while symbol < 0 or more > 0:
                    if left == 0:
                        if place >= data.size:
                            return False
                        bits, left = data[place], 8
                        place += 1
                        if bits == 0xFF:
                            if place >= data.size or data[place] != 0:
                                return False
                            place += 1
                    left -= 1
                    if symbol >= 0:
                        more -= 1
                        continue
                    code = (code << 1) | ((bits >> left) & 1)
                    length += 1
                    if length > 16:
                        return False
                    if code < limits[row, length]:
                        at = firsts[row, length] + code
                        if at < 0 or at > 255:
                            return False
                        symbol = symbols[row, at]
                        more = symbol & 15
                        if coefficient == 0 and symbol > 15:
                            return False
                if coefficient == 0:
                    coefficient = 1
                elif symbol & 15:
                    coefficient += (symbol >> 4) + 1
                    if coefficient > 64:
                        return False
                elif symbol == 0xF0:
                    coefficient += 16
                    if coefficient > 64:
                        return False
                else:
                    coefficient = 64
    return place == data.size
