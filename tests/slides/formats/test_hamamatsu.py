"""Hamamatsu NDPI: streams spliced from restart intervals, which are OpenSlide's pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import openslide
import pytest
from against_openslide import over_white, same_as_openslide
from PIL import Image
from slide_files import picture
from vendor_files import NdpiLevel, ndpi_level, ndpi_levels, starts_of, write_ndpi

from cellmix_dali import TileTable, open_slide
from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.pipelines import read_table
from cellmix_dali.reading import TileReader
from cellmix_dali.slides import Slide
from cellmix_dali.slides.formats.hamamatsu import _tables
from cellmix_dali.slides.ndpi import read_pictures


def every_block(slide: Slide, number: int, **options: bool) -> list[np.ndarray]:
    level = slide.levels[number]
    assert level.columns is not None
    assert level.rows is not None
    at = np.arange(level.columns * level.rows)
    return slide.block_reader(number, **options).read(at % level.columns, at // level.columns)


def test_levels(tmp_path: Path) -> None:
    with open_slide(write_ndpi(tmp_path / "slide.ndpi")) as slide:
        assert (slide.format, slide.vendor, slide.route) == ("hamamatsu", "hamamatsu", "direct")
        assert slide.mpp == pytest.approx((0.25, 0.25))
        assert [(of.width, of.height) for of in slide.levels] == [(384 >> n, 256 >> n) for n in range(6)]
        assert [of.block_width for of in slide.levels] == [96, None, 96, None, None, None]
        first = slide.levels[0]
        assert (first.block_height, first.columns, first.rows, first.colour) == (64, 4, 4, "ycbcr")


@pytest.mark.parametrize("subsampling", [0, 1])
@pytest.mark.parametrize(("side", "step"), [(64, 64), (50, 47)])
@pytest.mark.parametrize("said", [True, False])
def test_pixels_are_those_of_openslide(tmp_path: Path, subsampling: int, side: int, step: int, said: bool) -> None:
    """In 4:4:4 and 4:2:2; with McuStarts, and without: then the intervals are looked for."""
    levels = ndpi_levels(picture(384, 264, seed=3)[:, :], subsampling=subsampling)
    for level in levels:
        level.starts = level.starts if said else None
    path = write_ndpi(tmp_path / "slide.ndpi", levels)
    assert len(same_as_openslide(path, side, step)) >= 4


def test_the_streams_are_whole(tmp_path: Path) -> None:
    """Compiled code and the careful way give the same bytes, whose codes can be followed to their end."""
    path = write_ndpi(tmp_path / "slide.ndpi", [ndpi_level(picture(384, 200, seed=3), 6)])
    with open_slide(path) as slide, openslide.OpenSlide(path) as other:
        level = slide.levels[0]
        assert (level.columns, level.rows) == (4, 4)
        for at, (quick, checked) in enumerate(
            zip(every_block(slide, 0), every_block(slide, 0, scans=True), strict=True)
        ):
            column, row = at % 4, at // 4
            assert quick.tobytes() == checked.tobytes() == slide.block(0, column, row)
            pixels = np.asarray(Image.open(io.BytesIO(quick)))
            assert pixels.shape == (64, 96, 3)
            high = min(64, 200 - 64 * row)  # the last block is filled up with its last row
            want = over_white(other.read_region((96 * column, 64 * row), 0, (96, high)))
            np.testing.assert_array_equal(pixels[:high], want)


def test_a_file_of_the_scanner(odd) -> None:
    path = odd("hamamatsu.ndpi")
    with open_slide(path) as slide:
        assert [of.block_width for of in slide.levels] == [2048, None, 512, None, None, None]
    same_as_openslide(path, 250, 610, levels=[0, 1, 2])


def test_a_level_without_restart_markers_is_one_block(tmp_path: Path) -> None:
    levels = [ndpi_level(picture(384, 256, seed=3), 6), ndpi_level(picture(96, 64, seed=3), 0)]
    path = write_ndpi(tmp_path / "slide.ndpi", levels)
    with open_slide(path) as slide:
        assert [(of.block_width, of.block_height) for of in slide.levels if of.block_width] == [(96, 64), (96, 64)]
    same_as_openslide(path, 40, 37)


def test_colours_halved_in_height_go_through_openslide(tmp_path: Path) -> None:
    """They are interpolated over the rim of a row of intervals: OpenSlide says what it makes of them."""
    path = write_ndpi(tmp_path / "slide.ndpi", ndpi_levels(subsampling=2))
    with open_slide(path) as slide:
        assert slide.route == "openslide"
        assert "the JPEG colours of level 0 are halved in height" in slide.reason


@pytest.mark.parametrize(("side", "high"), [(64, 72), (57, 64), (240, 248)])
def test_a_window_takes_one_stream_of_each_column(tmp_path: Path, side: int, high: int) -> None:
    """Its rows are joined as the window lies; windows beside each other share the stream."""
    path = write_ndpi(tmp_path / "slide.ndpi", [ndpi_level(picture(384, 260, seed=3)[:256], 12)])
    table = TileTable.from_columns(str(path), x=[0, 1, 128, 144], y=[0, 7, 8, 9], size=side, level=0)
    reader = TileReader(table)
    found = reader.read(np.arange(4))
    reader.close()
    assert reader.slots == 2
    streams = [tile.streams for tile in found]  # type: ignore[union-attr]
    assert streams[0][0] is streams[1][0]
    assert streams[2][0] is streams[3][0]
    assert streams[2][0] is not streams[0][0]
    assert all(Image.open(io.BytesIO(stream)).size == (192, high) for own in streams for stream in own)


def test_blocks_of_another_height(tmp_path: Path) -> None:
    path = write_ndpi(tmp_path / "slide.ndpi", [ndpi_level(picture(384, 256, seed=3), 12)])
    with open_slide(path) as slide, openslide.OpenSlide(path) as other:
        reader = slide.block_reader(0, height=24)
        whole = over_white(other.read_region((192, 0), 0, (192, 256)))
        for row, stream in zip((0, 1, 17, 31), reader.read(np.ones(4, int), np.array([0, 1, 17, 31])), strict=True):
            high = min(24, 256 - 8 * row)
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stream)))[:high], whole[8 * row :][:high])
        for height in (0, 4, 20):
            with pytest.raises(ArgumentError, match="or of any multiple of 8"):
                slide.block_reader(0, height=height)


def test_planes_beside_the_focus_are_no_levels(tmp_path: Path) -> None:
    levels = ndpi_levels()
    beside = ndpi_level(picture(384, 256, seed=9), 6)
    beside.plane = 1
    path = write_ndpi(tmp_path / "slide.ndpi", [beside, *levels])
    assert [(of.width, of.mcu_starts is not None) for of in read_pictures(path)] == [(384, True), (96, True)]
    same_as_openslide(path, 64, 120, levels=[0, 2])


def wide(columns: int, rows: int) -> tuple[NdpiLevel, list[np.ndarray]]:
    """A level of intervals of 1024 x 8 px, wider than a JPEG may say; and the intervals' pixels."""
    intervals = [picture(1024, 8, seed=at) for at in range(columns * rows)]
    streams = [ndpi_level(pixels, 64).jpeg for pixels in intervals]
    first = streams[0]
    begin = starts_of(first)[0]
    header = bytearray(first[:begin])
    at = header.index(b"\xff\xc0") + 5
    header[at : at + 4] = (8 * rows).to_bytes(2, "big") + bytes(2)  # width 0
    scan = b"".join(stream[begin:-2] + bytes((0xFF, 0xD0 + at % 8)) for at, stream in enumerate(streams))
    stream = bytes(header) + scan[:-2] + b"\xff\xd9"
    return NdpiLevel(1024 * columns, 8 * rows, stream, starts=starts_of(stream)), intervals


def test_wider_than_a_jpeg_may_be(tmp_path: Path) -> None:
    level, intervals = wide(66, 12)
    path = write_ndpi(tmp_path / "slide.ndpi", [level])
    with open_slide(path) as slide, openslide.OpenSlide(path) as other:
        assert (slide.levels[0].width, slide.levels[0].height) == (67584, 96)
        assert (slide.levels[0].columns, slide.levels[0].rows) == (66, 2)
        places = [(0, 0), (1000, 30), (66500, 32), (67584 - 64, 20)]
        table = TileTable.from_columns(str(path), x=[x for x, _ in places], y=[y for _, y in places], size=64, level=0)
        for place, tile in zip(places, read_table(table), strict=True):
            np.testing.assert_array_equal(tile, over_white(other.read_region(place, 0, (64, 64))))
        stream = slide.block(0, 65, 0)
        assert stream is not None
        pixels = np.asarray(Image.open(io.BytesIO(stream)))
        own = Image.open(io.BytesIO(ndpi_level(intervals[65 + 66], 64).jpeg))
        np.testing.assert_array_equal(pixels[8:16], np.asarray(own))


def test_beyond_4_gib(tmp_path: Path) -> None:
    """Places of pictures and tags keep 32 bits; what is above them follows from the directory's."""
    path = write_ndpi(tmp_path / "slide.ndpi", hole=(1 << 32) + 12345)
    try:
        with open_slide(path) as slide:
            assert slide.route == "direct"
            assert all(isinstance(block, np.ndarray) for block in every_block(slide, 0))
        same_as_openslide(path, 64, 150, levels=[0, 2])
    finally:
        path.unlink()


def test_upper_halves_of_mcu_starts(tmp_path: Path) -> None:
    path = write_ndpi(tmp_path / "slide.ndpi", high=True)
    same_as_openslide(path, 64, 150, levels=[0, 2])
    levels = ndpi_levels()
    assert levels[0].starts is not None
    levels[0].starts[5] += 3 << 32
    picture_, _ = read_pictures(write_ndpi(path, levels, high=True))
    assert picture_.mcu_starts is not None
    assert picture_.mcu_starts[5] == picture_.start + levels[0].starts[5] >= 3 << 32


def tiles(path: Path) -> list[object]:
    table = TileTable.from_columns(str(path), x=[0, 96, 192, 288], y=[64] * 4, size=64, level=0)
    reader = TileReader(table)
    try:
        return reader.read(np.arange(4))
    finally:
        reader.close()


def test_a_wrong_start_is_refused(tmp_path: Path) -> None:
    """A place where no restart marker stands costs the blocks on both sides of it, and no other."""
    levels = ndpi_levels()
    assert levels[0].starts is not None
    levels[0].starts[9 * 4 + 2] += 5
    path = write_ndpi(tmp_path / "slide.ndpi", levels)
    found = tiles(path)
    assert [isinstance(each, SlideError) for each in found] == [False, True, True, False]
    assert "marker" in str(found[1])


def test_starts_that_go_back_are_refused(tmp_path: Path) -> None:
    levels = ndpi_levels()
    assert levels[0].starts is not None
    levels[0].starts[20], levels[0].starts[21] = levels[0].starts[21], levels[0].starts[20]
    with pytest.raises(SlideError, match="not behind each other; the first, number 20"):
        open_slide(write_ndpi(tmp_path / "slide.ndpi", levels))


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = write_ndpi(tmp_path / "slide.ndpi")
    pictures = read_pictures(path)
    with path.open("r+b") as file:
        file.truncate(pictures[0].start + pictures[0].length - 100)
    with pytest.raises(SlideError, match="1 of the 128 restart intervals of level 0 lie outside"):
        _tables(path, pictures)


def test_too_few_markers_are_refused(tmp_path: Path) -> None:
    levels = ndpi_levels()
    levels[0].starts, levels[0].jpeg = None, levels[0].jpeg.replace(b"\xff\xd3", b"\x12\xd3", 1)
    with pytest.raises(SlideError, match="level 0 has 127 restart intervals, and needs 128"):
        open_slide(write_ndpi(tmp_path / "slide.ndpi", levels))
