"""JPEG 2000 headers made by hand: every limit from both sides, tiles and packets as the standard counts them."""

from __future__ import annotations

import itertools
import re
import struct
from typing import Any

import numpy as np
import pytest

from cellmix_dali.slides.jpeg2000 import _packets, _tiles, check_codestream, parse_codestream


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">HH", marker, len(body) + 2) + body


def siz(
    size: tuple[int, int] = (40, 24),
    *,
    start: tuple[int, int] = (0, 0),
    tile: tuple[int, int] = (40, 24),
    first: tuple[int, int] = (0, 0),
    bits: tuple[int, ...] = (8, 8, 8),
    sampling: tuple[int, int] = (1, 1),
) -> bytes:
    """The body of SIZ (A.5.1): right and lower end, where the picture begins, tiles, where they begin."""
    ends = size[0] + start[0], size[1] + start[1]
    parts = b"".join(bytes([of - 1, *sampling]) for of in bits)
    return struct.pack(">H8IH", 0, *ends, *start, *tile, *first, len(bits)) + parts


def cod(
    *,
    style: int = 0,
    order: int = 0,
    layers: int = 1,
    levels: int = 2,
    block: tuple[int, int] = (4, 4),
    sizes: bytes = b"",
) -> bytes:
    """The body of COD (A.6.1)."""
    return struct.pack(">BBHBBBBBB", style, order, layers, 1, levels, *block, 0, 1) + sizes


def qcd(style: int, steps: int) -> bytes:
    """The body of QCD (A.6.4): of style 0 a byte for a step, else two."""
    return bytes([style | 2 << 5]) + bytes(steps * (1 if style == 0 else 2))


def part(tile: int, data: bytes = b"\x11\x22", *, size: int = 10, length: int | None = None) -> bytes:
    """A tile-part (A.4.2) of no other markers."""
    whole = 12 + 2 + len(data) if length is None else length
    return struct.pack(">HHHIBB", 0xFF90, size, tile, whole, 0, 1) + b"\xff\x93" + data


def stream(
    *,
    siz_: bytes | None = None,
    cod_: bytes | None = None,
    qcd_: bytes | None = None,
    parts: bytes | None = None,
    end: bytes = b"\xff\xd9",
) -> bytes:
    head = segment(0xFF51, siz() if siz_ is None else siz_) + segment(0xFF52, cod() if cod_ is None else cod_)
    head += segment(0xFF5C, qcd(0, 7) if qcd_ is None else qcd_)
    return b"\xff\x4f" + head + (part(0, bytes(range(60))) if parts is None else parts) + end


def said(codestream: bytes) -> str | None:
    try:
        check_codestream(codestream)
    except ValueError as error:
        return str(error)
    return None


def test_sizes_are_differences_and_bits_one_more_than_stored() -> None:
    header = parse_codestream(stream(siz_=siz((40, 24), start=(3, 5), tile=(60, 60), bits=(8, 1, 38))))
    assert (header.width, header.height, header.bits) == (40, 24, (8, 1, 38))
    assert parse_codestream(stream(siz_=siz(bits=(8,)))).bits == (8,)
    signed = bytearray(siz())
    signed[36] |= 0x80  # the sign is no bit of the sample
    assert parse_codestream(stream(siz_=bytes(signed))).bits == (8, 8, 8)


def test_tiles_are_those_that_the_standards_grid_has() -> None:
    random = np.random.default_rng(1)
    for _ in range(300):
        left, top, x, y = (int(n) for n in random.integers(0, 6, 4))
        width, height, wide, high = (int(n) for n in random.integers(1, 30, 4))
        of = siz((width, height), start=(left, top), tile=(wide, high), first=(x, y), bits=(8,) * 2)
        right, bottom = left + width, top + height
        meet = x <= left < x + wide and y <= top < y + high
        if not meet:
            with pytest.raises(ValueError, match="do not cover the picture"):
                _tiles(of)
            continue
        columns = {(column - x) // wide for column in range(left, right)}
        rows = {(row - y) // high for row in range(top, bottom)}
        assert _tiles(of) == (len(columns) * len(rows), min(wide, width), min(high, height), 2)
    for size in ((0, 5), (5, 0)):
        with pytest.raises(ValueError, match="do not cover"):
            _tiles(siz(size))
    for sampling in ((2, 1), (1, 2)):
        with pytest.raises(ValueError, match="not sampled alike"):
            _tiles(siz(sampling=sampling))


def test_packets_are_layers_times_precincts_of_each_resolution() -> None:
    """B.6 and B.12: ceil(side / 2**(levels left + precinct's exponent)), which is 15 where none is said."""
    random = np.random.default_rng(2)
    for _ in range(300):
        levels, layers = int(random.integers(0, 7)), int(random.integers(1, 5))
        width, height = (int(n) for n in random.integers(1, 70_000, 2))
        exponents = random.integers(0, 16, (levels + 1, 2)) if random.random() < 0.7 else None
        sizes = b"" if exponents is None else bytes(int(wide) | int(high) << 4 for wide, high in exponents)
        told = np.full((levels + 1, 2), 15) if exponents is None else exponents
        want = sum(
            layers
            * int(np.ceil(width / 2 ** (levels - number + int(wide))))
            * int(np.ceil(height / 2 ** (levels - number + int(high))))
            for number, (wide, high) in enumerate(told)
        )
        of = cod(style=0 if exponents is None else 1, layers=layers, levels=levels, sizes=sizes)
        assert _packets(of, qcd(0, 3 * levels + 1), width, height) == want


@pytest.mark.parametrize(
    ("taken", "refused", "words"),
    [
        ({"order": 4}, {"order": 5}, "progression order 5, which there is not"),
        ({"layers": 1}, {"layers": 0}, "2 decompositions and 0 layers"),
        ({"block": (8, 0)}, {"block": (9, 0)}, "decompositions"),
        ({"block": (4, 4)}, {"block": (4, 5)}, "decompositions"),
        ({"block": (0, 8)}, {"block": (1, 8)}, "decompositions"),
        ({"style": 1, "sizes": bytes(3)}, {"style": 1, "sizes": bytes(2)}, "too few precincts"),
        ({"style": 2, "sizes": b""}, {"style": 3, "sizes": b""}, "too few precincts"),
    ],
)
def test_coding_styles_at_their_limits(taken: dict[str, Any], refused: dict[str, Any], words: str) -> None:
    assert _packets(cod(**taken), qcd(0, 7), 40, 24) > 0
    with pytest.raises(ValueError, match=words):
        _packets(cod(**refused), qcd(0, 7), 40, 24)


def test_decompositions_and_quantisation_steps_at_their_limits() -> None:
    for levels, style in itertools.product((0, 1, 5, 32), (0, 2)):
        steps = 3 * levels + 1
        assert _packets(cod(levels=levels), qcd(style, steps), 8, 8) == levels + 1
        assert _packets(cod(levels=levels), qcd(style, steps + 1), 8, 8) == levels + 1
        with pytest.raises(ValueError, match=f"has {steps - 1} quantisation steps for {levels} decompositions"):
            _packets(cod(levels=levels), qcd(style, steps - 1), 8, 8)
        assert _packets(cod(levels=levels), qcd(1, 1), 8, 8) == levels + 1  # derived: one step stands for all
    with pytest.raises(ValueError, match="33 decompositions"):
        _packets(cod(levels=33), qcd(0, 100), 8, 8)
    with pytest.raises(ValueError, match="0 quantisation steps"):
        _packets(cod(levels=0), qcd(3, 9), 8, 8)


def test_tile_parts_follow_each_other_to_the_end() -> None:
    two = siz((40, 24), tile=(20, 24))
    one_each = part(0, bytes(range(40))) + part(1, bytes(range(40)))
    assert said(stream()) is None
    assert said(stream(siz_=two, parts=one_each)) is None
    assert said(stream(siz_=two, parts=one_each + part(0))) is None  # a tile may have several
    assert said(stream(siz_=two, parts=part(1, bytes(range(40))) + part(0, bytes(range(40))))) is None
    assert said(stream(parts=part(0, b"")[:-2] + b"\xff\x93" + bytes(range(60)), end=b"")) is not None
    assert said(stream(parts=part(0, bytes(range(60)), length=0))) is None  # 0: up to the end
    assert said(stream() + bytes(5)) is None
    for broken, words in (
        (stream(siz_=two, parts=part(0, bytes(range(80)))), "it has 1 of its 2 JPEG 2000 tiles"),
        (stream(siz_=two, parts=one_each + part(2)), "is of a wrong length"),
        (stream(parts=part(0, bytes(range(60)), size=11)), "is of a wrong length"),
        (stream(parts=part(0, bytes(range(60)), length=13)), "is of a wrong length"),
        (stream(parts=part(0, bytes(range(60)), length=75)), "wrong length|comes"),
        (stream(parts=part(0, bytes(range(60)), length=73)), "after a JPEG 2000 tile-part comes 3bff"),
        (stream(end=b"\xff\xd8"), "after a JPEG 2000 tile-part comes ffd8"),
        (stream(parts=part(0, bytes(range(60)) + b"\xff\x90")), "marker ff 90 in its JPEG 2000 data"),
        (stream(parts=part(0, bytes(range(60)) + b"\xff\x91")), "marker ff 91"),
        (stream() + b"\0\1", "codestream ends early"),
    ):
        assert re.search(words, said(broken) or "None"), (words, said(broken))
    marks = cod(style=2)
    assert said(stream(cod_=marks, parts=part(0, bytes(range(60)) + b"\xff\x91\xff\x92"))) is None
    assert "ff 93" in (said(stream(cod_=cod(style=4), parts=part(0, bytes(range(60)) + b"\xff\x93"))) or "")
    assert said(stream(parts=part(0, bytes(range(60)) + b"\xff\x8f"))) is None  # data may hold it


def test_runs_of_zeros_and_packets_at_their_limits() -> None:
    """As many zeros as packets may be empty packets, and 63 more may be anything; of more packets than bits none."""
    packets = 3 * 3  # three components, two decompositions
    for zeros, passes in ((packets + 63, True), (packets + 64, False)):
        assert (said(stream(parts=part(0, b"\1" + bytes(zeros) + b"\1"))) is None) is passes
    short = stream(cod_=cod(layers=1), parts=part(0, b"\1"))
    most = 8 * len(short) // packets
    assert said(stream(cod_=cod(layers=most), parts=part(0, b"\1"))) is None
    told = said(stream(cod_=cod(layers=most + 1), parts=part(0, b"\1"))) or ""
    assert f"says it has {packets * (most + 1)} packets, in {len(short)} bytes" in told


def test_markers_of_the_header_are_each_taken_once_and_must_be_there() -> None:
    twice = stream().replace(segment(0xFF52, cod()), segment(0xFF52, cod()) + segment(0xFF52, cod(order=9)), 1)
    assert said(twice) is None
    for marker, body in ((0xFF51, siz()), (0xFF52, cod()), (0xFF5C, qcd(0, 7))):
        told = said(stream().replace(segment(marker, body), b"", 1))
        assert told is not None
    assert "no marker ff52" in (said(stream().replace(segment(0xFF52, cod()), b"", 1)) or "")
    for marker, passes in ((0xFF8F, True), (0xFF50, True), (0xFF4F, False)):
        more = stream().replace(segment(0xFF52, cod()), segment(0xFF52, cod()) + segment(marker, b""), 1)
        assert (said(more) is None) is passes, hex(marker)
    cut = stream().replace(segment(0xFF52, cod()), segment(0xFF52, cod()) + b"\xff\x64\0\1", 1)
    assert "has no marker at byte" in (said(cut) or "")
