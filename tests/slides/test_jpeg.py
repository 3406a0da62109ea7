"""JPEG headers: what they say, and blocks made whole."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from slide_files import jpeg, picture, without

from cellmix_dali.slides.jpeg import BlockStreams, parse_header, segments
from cellmix_dali.slides.jpeg2000 import parse_codestream

JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\x00\x00\x01\x00\x01\x00\x00"
ADOBE_RGB = bytes.fromhex("ffee000e41646f62650064000000000000")[:16]
APP0, APP14, DQT, DHT = 0xE0, 0xEE, 0xDB, 0xC4


def shown(stream: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(stream)).convert("RGB"))


def tables_of(stream: bytes) -> bytes:
    kept, place = b"", 2
    while stream[place + 1] != 0xDA:
        end = place + 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
        if stream[place + 1] in (DQT, DHT):
            kept += stream[place:end]
        place = end
    return b"\xff\xd8" + kept + b"\xff\xd9"


def named(stream: bytes, ids: bytes) -> bytes:
    """The stream with its components renamed, in the frame and in the scan."""
    out = bytearray(stream)
    frame = stream.index(b"\xff\xc0")
    scan = stream.index(b"\xff\xda")
    for i, name in enumerate(ids):
        out[frame + 10 + 3 * i] = name
        out[scan + 5 + 2 * i] = name
    return bytes(out)


PICTURE = picture(48, 32)


def test_header_of_ycbcr_420():
    stream = jpeg(PICTURE)
    header = parse_header(stream)
    assert (header.width, header.height, header.components, header.precision) == (48, 32, 3, 8)
    assert header.sampling == ((2, 2), (1, 1), (1, 1))
    assert header.ids == (1, 2, 3)
    assert (header.jfif, header.adobe, header.quantised, header.huffman) == (True, None, True, True)
    assert header.process == 0xC0
    scan = stream.index(b"\xff\xda")
    assert header.length == scan + 2 + int.from_bytes(stream[scan + 2 : scan + 4], "big")


def test_header_of_rgb():
    header = parse_header(jpeg(PICTURE, rgb=True))
    assert (header.jfif, header.adobe, header.sampling) == (False, 0, ((1, 1),) * 3)


def test_header_of_tables_only():
    header = parse_header(tables_of(jpeg(PICTURE)))
    assert (header.process, header.quantised, header.huffman, header.components) == (None, True, True, 0)


def test_fill_bytes_before_a_marker():
    stream = jpeg(PICTURE)
    padded = stream[:2] + b"\xff\xff" + stream[2:]
    assert parse_header(padded).ids == (1, 2, 3)
    assert parse_header(padded).jfif


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (b"", "no JPEG starts here"),
        (b"\0" * 100, "no JPEG starts here"),
        (jpeg(PICTURE)[:300], "cut short|ends before"),
        (jpeg(PICTURE)[:2] + b"abc" + jpeg(PICTURE)[2:], "no JPEG marker at byte 2"),
    ],
)
def test_broken_headers_are_refused(broken, words):
    with pytest.raises(ValueError, match=words):
        parse_header(broken)


def test_where_a_header_ends_too_early_is_said() -> None:
    frame = b"\xff\xc0\x00\x11\x08\x00\x20\x00\x30\x03" + b"\x01\x22\x00" * 3
    scan = b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00"
    header = parse_header(b"\xff\xd8" + frame + scan)
    assert (header.width, header.height, header.length) == (48, 32, 2 + len(frame) + len(scan))
    for end in (b"", b"\xff", b"\xff\xff", b"\xff\xff\xff"):
        with pytest.raises(ValueError, match="its JPEG header ends before the picture begins"):
            parse_header(b"\xff\xd8" + frame + end)
    for short in (b"\xff\xc0\x00\x07\x08\x00\x20\x00\x30", b"\xff\xc0\x00\x10" + frame[4:18]):
        with pytest.raises(ValueError, match="the JPEG frame header at byte 2 is cut short"):
            parse_header(b"\xff\xd8" + short + scan)


def test_rgb_with_shared_tables_and_no_marker():
    whole = jpeg(PICTURE, rgb=True)
    block = without(whole, APP14, DQT, DHT)
    assert np.abs(shown(without(whole, APP14)).astype(int) - PICTURE).mean() < 5  # libjpeg sees R, G, B
    anonymous = named(block, b"\1\2\3")
    streams = BlockStreams("rgb", tables_of(whole), anonymous)
    stream = streams.join(anonymous)
    assert stream.startswith(b"\xff\xd8" + ADOBE_RGB)
    np.testing.assert_array_equal(shown(stream), shown(whole))
    wrong = b"\xff\xd8" + tables_of(whole)[2:-2] + anonymous[2:]
    assert np.abs(shown(wrong).astype(int) - shown(whole)).mean() > 20  # what it would be without the marker


def test_jfif_that_contradicts_rgb_is_stripped():
    whole = jpeg(PICTURE, rgb=True)
    contradicting = whole[:2] + JFIF + named(without(whole, APP14), b"\1\2\3")[2:]
    streams = BlockStreams("rgb", None, contradicting)
    stream = streams.join(contradicting)
    assert JFIF[:9] not in stream
    np.testing.assert_array_equal(shown(stream), shown(whole))


def test_rgb_block_unlike_the_example():
    whole = jpeg(PICTURE, rgb=True)
    bare = named(without(whole, APP14), b"\1\2\3")
    streams = BlockStreams("rgb", None, bare)
    late = bare.index(b"\xff\xc0")  # markers after the tables
    for other in (
        bare[:2] + JFIF + bare[2:],
        bare[:late] + JFIF + bare[late:],
        bare[:late] + ADOBE_RGB[:-1] + b"\1" + bare[late:],
    ):
        np.testing.assert_array_equal(shown(streams.join(other)), shown(whole))


def test_ycbcr_stays_as_it_is():
    block = jpeg(PICTURE)
    assert BlockStreams("ycbcr", None, block).join(block) == block
    tables, bare = tables_of(block), without(block, APP0, DQT, DHT)
    stream = BlockStreams("ycbcr", tables, bare).join(bare)
    assert stream == b"\xff\xd8" + tables[2:-2] + bare[2:]
    np.testing.assert_array_equal(shown(stream), shown(block))


@pytest.mark.parametrize("contradiction", ["adobe", "names", "adobe in one block only"])
def test_ycbcr_that_claims_rgb_is_corrected(contradiction):
    right = jpeg(PICTURE)
    plain = without(right, APP0)
    adobe = plain[:2] + ADOBE_RGB + plain[2:]
    claim = named(plain, b"RGB") if contradiction == "names" else adobe
    assert np.abs(shown(claim).astype(int) - shown(right)).mean() > 20
    example = right if contradiction == "adobe in one block only" else claim
    stream = BlockStreams("ycbcr", None, example).join(claim)
    np.testing.assert_array_equal(shown(stream), shown(right))


def test_colour_markers_inside_the_tables():
    whole = jpeg(PICTURE, rgb=True)
    tables = tables_of(whole)
    lying = tables[:2] + ADOBE_RGB[:-1] + b"\1" + tables[2:]
    block = named(without(whole, APP14, DQT, DHT), b"\1\2\3")
    np.testing.assert_array_equal(shown(BlockStreams("rgb", lying, block).join(block)), shown(whole))


def test_other_leading_markers_are_kept():
    comment = b"\xff\xfe\x00\x06note"
    block = jpeg(PICTURE, rgb=True)
    block = block[:2] + comment + block[2:]
    stream = BlockStreams("rgb", None, block).join(block)
    assert stream.count(comment) == 1
    assert stream.count(b"Adobe") == 1


def test_missing_tables_are_refused():
    block = without(jpeg(PICTURE), DQT)
    with pytest.raises(ValueError, match="quantisation tables are neither"):
        BlockStreams("ycbcr", None, block)
    with pytest.raises(ValueError, match="Huffman tables are neither"):
        BlockStreams("ycbcr", None, without(jpeg(PICTURE), DHT))


def test_join_refuses_what_is_no_jpeg():
    streams = BlockStreams("rgb", None, jpeg(PICTURE, rgb=True))
    with pytest.raises(ValueError, match="no JPEG starts here"):
        streams.join(b"\0" * 500)


@pytest.mark.parametrize("bare", [True, False])
def test_jpeg2000_header(bare):
    out = io.BytesIO()
    Image.fromarray(PICTURE).save(out, "jpeg2000", no_jp2=bare)
    stream = out.getvalue()
    assert stream.startswith(b"\xff\x4f\xff\x51") == bare
    header = parse_codestream(stream)
    assert (header.width, header.height, header.bits) == (48, 32, (8, 8, 8))


@pytest.mark.parametrize("broken", [b"", b"\0" * 99, b"\xff\x4f\xff\x51\0\x2f\0\0\0\0", jpeg(PICTURE)])
def test_jpeg2000_broken_headers_are_refused(broken):
    with pytest.raises(ValueError, match="JPEG 2000"):
        parse_codestream(broken)


def test_a_segment_may_be_empty_and_not_shorter() -> None:
    """Its length counts itself, two bytes: a comment of none is the least."""
    assert [marker for marker, _, _ in segments(b"\xff\xd8\xff\xfe\x00\x02\xff\xd9")] == [0xFE]
    for comment in (b"\xff\xfe\x00\x01", b"\xff\xfe\x00\x05"):
        with pytest.raises(ValueError, match="is cut short"):
            list(segments(b"\xff\xd8" + comment + b"\xff\xd9"))
