"""Copied blocks show OpenSlide's pixels in every decoder; encoded tiles are the same bytes every time."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import openslide
import pytest
from numpy.typing import NDArray
from nvidia.dali import fn, pipeline_def, types
from PIL import Image

from cellmix_dali import grid_tiles, open_slide, read_tiles
from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.shards import Encoding, can_copy, copy_blocks
from cellmix_dali.shards.png import PNG_SIGNATURE, png_damage
from cellmix_dali.slides.jpeg import parse_header
from cellmix_dali.synthetic import RenderedSlide


@pipeline_def(num_threads=2, device_id=None, prefetch_queue_depth=1)
def _decoding(streams: list[NDArray[np.uint8]]):
    encoded = fn.external_source(source=lambda: streams, batch=True, dtype=types.UINT8, ndim=1)
    return fn.decoders.image(encoded, device="cpu", output_type=types.RGB, jpeg_fancy_upsampling=True)


def by_dali(streams: list[bytes]) -> NDArray[np.uint8]:
    pipe = _decoding([np.frombuffer(stream, np.uint8) for stream in streams], batch_size=len(streams))
    pipe.build()
    (pictures,) = pipe.run()
    return np.stack([np.array(picture) for picture in pictures])


def by_pillow(streams: list[bytes]) -> NDArray[np.uint8]:
    return np.stack([np.asarray(Image.open(BytesIO(stream)).convert("RGB")) for stream in streams])


def smooth(side: int, seed: int = 0) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (side // 16, side // 16, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("name", "colour"), [("CMU-1-Small-Region.svs", "rgb"), ("CMU-1-Small-Region.jpeg.tiff", "ycbcr")]
)
def test_copied_blocks_are_openslides_pixels(real: Callable[[str], Path], name: str, colour: str) -> None:
    path = real(name)
    with open_slide(path) as slide, openslide.OpenSlide(path) as other:
        assert slide.levels[0].colour == colour
        side = slide.levels[0].block_width or 0
        table = grid_tiles(slide, side)
        streams = copy_blocks(slide, 0, table.x, table.y)
        places = [(int(x), int(y)) for x, y in zip(table.x, table.y, strict=True)]
        want = np.stack([np.asarray(other.read_region(place, 0, (side, side)))[..., :3] for place in places])
        raw = slide.blocks(0, (table.x // side).tolist(), (table.y // side).tolist())
    assert streams == raw  # nothing is encoded anew
    assert len(streams) == len(table) > 50
    np.testing.assert_array_equal(by_pillow(streams), want)
    np.testing.assert_array_equal(by_dali(streams), want)
    for stream in streams:
        header = parse_header(bytes(stream))
        # Decoders take three components for YCbCr unless Adobe's marker says otherwise, and none of JFIF speaks first.
        assert (header.adobe, header.jfif) == ((0, False) if colour == "rgb" else (None, True))


def test_what_can_be_copied(real: Callable[[str], Path], only_openslide: Path) -> None:
    with open_slide(real("CMU-1-Small-Region.svs")) as slide:  # 2220 x 2967, blocks of 240
        x, y = np.array([0, 240, 1, 0, 1980, 2160, 0, -240]), np.array([0, 480, 0, 7, 0, 0, 2880, 0])
        found = can_copy(slide, 0, x, y, 240)
        assert found.tolist() == [True, True, False, False, False, False, False, False]
        assert not can_copy(slide, 0, x, y, 256).any()
        sizes = np.full(8, 240)
        sizes[1] = 480
        assert can_copy(slide, 0, x, y, sizes).tolist() == [True, *[False] * 7]
        with pytest.raises(ArgumentError, match=r"x 1, y 0 .* is not one JPEG block"):
            copy_blocks(slide, 0, x[:3], y[:3])
        assert copy_blocks(slide, 0, x[:0], y[:0]) == []
    for path in (real("CMU-1-Small-Region.jp2.tiff"), only_openslide):  # JPEG 2000; through OpenSlide
        with open_slide(path) as slide:
            assert not can_copy(slide, 0, np.array([0]), np.array([0]), 256).any()


def test_damaged_and_blank_blocks(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    path = tmp_path / "slide.tiff"
    path.write_bytes(rendered[1].path.read_bytes())
    with open_slide(path) as slide:
        table = slide._blocks.tables[0]
        offset, count = int(table.offsets[2]), int(table.counts[2])
        good = slide.blocks(0, [0, 1, 3], [0, 0, 0])
    with path.open("r+b") as file:
        file.seek(offset + count // 2)
        file.write(bytes(200))
    with open_slide(path) as slide:
        slide._blocks.tables[0].places.packed[1] = 0
        found = copy_blocks(slide, 0, np.array([0, 256, 512, 768]), np.zeros(4, np.int64))
    assert found[0] == good[0]
    assert found[1] is None
    assert isinstance(found[2], SlideError)
    assert "2, 0 (column, row) of level 0" in str(found[2])
    assert found[3] == good[2]


def test_png_is_what_read_tiles_gives(real: Callable[[str], Path]) -> None:
    path = real("CMU-1-Small-Region.svs")
    places = np.array([[100, 200], [777, 1001], [2100, 2900]])
    pixels = read_tiles(path, places, 224)
    streams = [Encoding("png").encode(tile) for tile in pixels]
    np.testing.assert_array_equal(by_pillow(streams), pixels)
    np.testing.assert_array_equal(by_dali(streams), pixels)
    assert Encoding("png").extension == "png"


@pytest.mark.parametrize(
    ("subsampling", "sampling"), [("4:4:4", (1, 1)), ("4:2:2", (2, 1)), ("4:2:0", (2, 2))], ids=["444", "422", "420"]
)
def test_jpeg_has_the_quality_and_sampling_asked_for(subsampling: str, sampling: tuple[int, int]) -> None:
    pixels = smooth(128)
    encoding = Encoding(quality=92, subsampling=subsampling)
    stream = encoding.encode(pixels)
    assert encoding.extension == "jpg"
    assert stream == encoding.encode(pixels.copy())
    assert parse_header(stream).sampling[0] == sampling
    np.testing.assert_array_equal(by_pillow([stream]), by_dali([stream]))
    worse = Encoding(quality=20, subsampling=subsampling).encode(pixels)
    assert len(worse) < len(stream)
    errors = [np.abs(by_pillow([each])[0].astype(int) - pixels).mean() for each in (stream, worse)]
    assert errors[0] < 6
    assert errors[0] < errors[1]


def test_what_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(ArgumentError, match="Did you mean 'jpeg'"):
        Encoding("jpg")
    with pytest.raises(ArgumentError, match="quality=0"):
        Encoding(quality=0)
    with pytest.raises(ArgumentError, match="subsampling '4:1:1'"):
        Encoding(subsampling="4:1:1")
    with pytest.raises(ArgumentError, match="non-empty uint8 array"):
        Encoding().encode(np.zeros((8, 8), np.uint8))


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_damage_of_a_png_is_said() -> None:
    """Chunk by chunk, every limit from both sides."""
    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    whole = PNG_SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", b"12345") + chunk(b"IEND")
    assert png_damage(whole, 8) is None
    assert png_damage(Encoding("png").encode(np.zeros((8, 8, 3), np.uint8)), 8) is None
    ends = len(whole) - 12  # where the last chunk begins
    for stream, words in (
        (whole[:-1], "its PNG stream has no end"),
        (whole[:ends], "its PNG stream has no end"),
        (whole[: ends - 1] + b"", "is cut short"),
        (whole[: ends - 5], f"a PNG chunk at byte {8 + 25} is cut short"),
        (whole + b"\0", "there are bytes after the end of the PNG"),
        (PNG_SIGNATURE + chunk(b"IDAT") + chunk(b"IEND"), "its PNG header is missing"),
        (PNG_SIGNATURE + chunk(b"IHDR", head[:12]) + chunk(b"IEND"), "its PNG header is missing"),
        (whole.replace(b"12345", b"12346"), f"the checksum of the PNG chunk at byte {8 + 25} is wrong"),
    ):
        assert words in (png_damage(stream, 8) or "")
    for values in ((9, 8, 8, 2), (8, 9, 8, 2), (8, 8, 16, 2), (8, 8, 8, 6)):
        other = PNG_SIGNATURE + chunk(b"IHDR", struct.pack(">IIBB", *values) + head[10:]) + chunk(b"IEND")
        said = png_damage(other, 8) or ""
        assert (
            f"it says it is {values[0]} x {values[1]} pixels of {values[2]} bits, expected RGB of 8 x 8 and 8" in said
        )
