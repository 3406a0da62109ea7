"""What is seen in an encoded block without decoding it, and that nothing is seen where nothing is wrong."""

from __future__ import annotations

import io
import itertools
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image
from slide_files import jpeg, picture, without

from cellmix_dali.slides import open_slide
from cellmix_dali.slides.damage import BlockCheck

TILE = picture(64, 48)


def stream(**options: Any) -> bytes:
    out = io.BytesIO()
    kind = "jpeg2000" if "irreversible" in options else "jpeg"
    Image.fromarray(options.pop("pixels", TILE)).save(out, kind, **options)
    return out.getvalue()


def decode(block: bytes) -> bytes:
    return Image.open(io.BytesIO(block)).convert("RGB").tobytes()


def wrong(block: bytes) -> str | None:
    return BlockCheck(64, 48).damage(block)


@pytest.mark.parametrize(
    "name", ["CMU-1-Small-Region.svs", "CMU-1-Small-Region.jpeg.tiff", "CMU-1-Small-Region.jp2.tiff"]
)
def test_every_block_of_real_slides_is_whole(real, name) -> None:
    with open_slide(real(name)) as slide:
        level = slide.levels[0]
        columns, rows = zip(*itertools.product(range(level.columns), range(level.rows)), strict=True)
        check = BlockCheck(level.block_width, level.block_height)
        assert [check.damage(block) for block in slide.blocks(0, columns, rows)] == [None] * len(rows)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimize": True},
        {"progressive": True},
        {"quality": 3},
        {"quality": 100, "subsampling": 0},
        {"restart_marker_blocks": 1},
        {"restart_marker_blocks": 3, "subsampling": 2},
        {"restart_marker_rows": 1},
        {"comment": b"\xff\xda in a comment"},
        {"keep_rgb": True},
        {"irreversible": True, "no_jp2": True},
        {"irreversible": False, "no_jp2": True},
        {"irreversible": True},
        {"irreversible": True, "tile_size": (16, 16), "no_jp2": True},
        {"irreversible": False, "num_resolutions": 1, "no_jp2": True},
        {"irreversible": True, "quality_layers": [80, 40, 20], "precinct_size": (32, 32), "no_jp2": True},
        {"irreversible": True, "progression": "RPCL", "plt": True, "no_jp2": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("flat", [False, True])
def test_whole_streams_pass(options: dict[str, Any], flat: bool) -> None:
    block = stream(**options, **({"pixels": np.full_like(TILE, 255)} if flat else {}))
    check = BlockCheck(64, 48)
    assert [check.damage(block), check.damage(block + bytes(3)), check.damage(block)] == [None] * 3


def test_a_flat_picture_with_its_own_tables_is_a_run_of_zeros_and_passes() -> None:
    block = stream(pixels=np.full((1024, 1024, 3), 128, np.uint8), optimize=True)
    assert bytes(64) in block
    assert BlockCheck(1024, 1024).damage(block) is None


def test_what_is_seen_in_jpeg() -> None:
    block = jpeg(TILE)
    scan = block.index(b"\xff\xda") + 14
    middle = (scan + len(block)) // 2
    restarts = stream(restart_marker_blocks=2)

    def put(place: int, value: bytes, of: bytes = block) -> bytes:
        return of[:place] + value + of[place + len(value) :]

    frame = block.index(b"\xff\xc0")
    for broken, words in [
        (put(frame + 5, (60000).to_bytes(2, "big") * 2), "it says it is 60000 x 60000 pixels"),
        (put(frame + 1, b"\xc9"), "lossless or arithmetic"),
        (put(frame + 11, b"\x00"), r"components are sampled \(\(0, 0\)"),
        (put(frame + 11, b"\x51"), r"components are sampled \(\(5, 1\)"),
        (put(frame + 11, b"\x15"), r"components are sampled \(\(1, 5\)"),
        (put(frame + 4, b"\x0c"), "components of (12, 12, 12) bits"),
        (put(block.index(b"\xff\xdb") + 20, b"\0"), "quantisation table has a value of 0"),
        (block[:-2], "no end"),
        (block[: len(block) // 2], "no end"),
        (block[:300], "header ends before the picture begins|cut short"),
        (put(middle, b"\xff\xd9"), "ends early"),
        (put(middle, b"\xff\xc4"), "marker ff c4 in its JPEG scan"),
        (put(middle, b"\xff\xd3"), "marker ff d3 in its JPEG scan"),
        (put(middle, b"\xff" * 40 + b"\0"), "marker ff"),
        (put(middle, bytes(100)), "run of zeros"),
        (re.sub(rb"\xff\xd1", b"\xff\xd2", restarts), "restart markers"),
        (re.sub(rb"\xff\xd1.*?(?=\xff\xd2)", b"", restarts, count=1, flags=re.DOTALL), "restart markers"),
        (without(block, 0xC0), "it says it is 0 x 0 pixels"),
        (put(block.index(b"\xff\xdb") + 4, b"\x10"), "a JPEG quantisation table is cut short"),
        (stream(progressive=True)[:-2], "its JPEG stream has no end"),
        (b"", "no JPEG 2000 starts here"),
    ]:
        found = wrong(broken)
        assert found is not None, words
        assert words in found or re.search(words, found), found
    for most in (b"\x41", b"\x14"):  # four of each is what the standard allows
        assert "are sampled" not in (wrong(put(frame + 11, most)) or "")


JUNK = [b"more", bytes(range(1, 17)), b"\xff\xd9" * 3, b"\xff\xc4\xff\xd3 text", b"\0\xff" * 40 + b"end"]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"subsampling": 0},
        {"subsampling": 1},
        {"optimize": True},
        {"keep_rgb": True},
        {"restart_marker_blocks": 2},
        {"restart_marker_rows": 1},
        {"progressive": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("flat", [False, True])
def test_bytes_after_the_end_of_a_jpeg_are_let_pass(options: dict[str, Any], junk: bytes, flat: bool) -> None:
    block = stream(**options, **({"pixels": np.full_like(TILE, 255)} if flat else {}))
    assert wrong(block + junk) is None
    assert decode(block + junk) == decode(block)


@pytest.mark.parametrize("junk", [*JUNK, jpeg(TILE)], ids=range(len(JUNK) + 1))
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"restart_marker_blocks": 2}], ids=str)
def test_an_end_that_comes_early_is_seen_whatever_follows(options: dict[str, Any], junk: bytes) -> None:
    block = stream(**options)
    scan = block.index(b"\xff\xda") + 14
    for place in {scan + 1, (scan + len(block)) // 2, len(block) - 20, len(block) - 4}:
        early = block[:place].rstrip(b"\xff") + b"\xff\xd9"
        found = wrong(early + junk)
        assert found is not None, place
        assert "ends early" in found or "another JPEG" in found, found


def test_a_scan_with_more_than_its_picture_needs_is_not_whole() -> None:
    block = jpeg(TILE)
    found = wrong(block[:-2] + b"\x12\x34\x56" + b"\xff\xd9" + b"junk")
    assert found is not None


def test_a_block_that_runs_into_the_next_is_seen() -> None:
    found = wrong(jpeg(TILE) + jpeg(TILE))
    assert found is not None
    assert "another JPEG begins after its end" in found


def test_a_header_met_before_does_not_hide_what_follows() -> None:
    check = BlockCheck(64, 48)
    block = jpeg(TILE)
    assert check.damage(block) is None
    assert check.damage(block[:-2]) is not None
    assert check.damage(block.replace(b"\xff\xc0", b"\xff\xc3", 1)) is not None
    assert check.damage(jpeg(picture(64, 64))) == "it says it is 64 x 64 pixels, the level's blocks are 64 x 48"


def test_what_is_seen_in_jpeg_2000() -> None:
    block = stream(
        irreversible=True, no_jp2=True, pixels=np.random.default_rng(0).integers(0, 256, TILE.shape, np.uint8)
    )
    part, data = block.index(b"\xff\x90"), block.index(b"\xff\x93") + 2
    style = block.index(b"\xff\x52")

    def put(place: int, value: bytes) -> bytes:
        return block[:place] + value + block[place + len(value) :]

    middle = (data + len(block)) // 2
    for broken, words in [
        (put(8, (60000).to_bytes(4, "big") * 2), "60000 x 60000 pixels"),
        (put(24, bytes(8)), "tiles of 0 x 0 pixels do not cover the picture"),
        (put(24, b"\0\0\0\1" * 2), "1 of its 3072 JPEG 2000 tiles"),
        (put(40, b"\x40\x00"), "cut short"),
        (put(42, b"\x25"), r"components of \(38, 8, 8\) bits"),
        (put(43, b"\2\2"), "not sampled alike"),
        (put(style + 9, b"\x21"), "33 decompositions"),
        (put(style + 5, b"\x05"), "progression order 5"),
        (put(style + 6, b"\xff\xff"), "packets"),
        (put(style + 1, b"\x64"), "no marker ff52"),
        (put(part + 6, (50).to_bytes(4, "big")), "wrong length|neither another one nor the end"),
        (put(part + 4, b"\0\7"), "wrong length"),
        (put(middle, b"\xff\x93"), "marker ff 93 in its JPEG 2000 data"),
        (put(middle, bytes(200)), "run of zeros"),
        (put(style + 6, bytes(2)), "and 0 layers"),
        (put(style + 10, b"\x09"), "decompositions"),
        (put(style + 11, b"\x08"), "decompositions"),
        (put(style + 9, b"\x06"), "has 16 quantisation steps for 6 decompositions"),
        (put(style + 4, b"\x01"), "says too few precincts"),
        (put(style + 3, b"\x03"), "no marker at byte|no marker|cut short"),
        (put(style, b"\xff\x4f"), f"no marker at byte {style}"),
        (put(style, b"\xff\x90"), "no marker ff52"),
        (block[:-2], "wrong length|cut short"),
        (block[:middle], "wrong length"),
        (block[:60], "cut short"),
        (block + b"more", "ends early"),
    ]:
        found = wrong(broken)
        assert found is not None, words
        assert re.search(words, found), (words, found)
