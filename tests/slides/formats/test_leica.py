"""Leica SCN: regions on a canvas, whose blocks begin where the region does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest
from against_openslide import same_as_openslide
from slide_files import picture
from vendor_files import Region, write_leica

from cellmix_dali import TileTable, open_slide
from cellmix_dali.errors import ArgumentError
from cellmix_dali.reading import TileReader
from cellmix_dali.shards.encoding import can_copy
from cellmix_dali.slides import Box
from cellmix_dali.tiling.plans import check_aligned

LARGE, SMALL = picture(300, 260, seed=1), picture(100, 90, seed=2)


def ways(path: Path, level: int, places: list[tuple[int, int]], size: int) -> list[str]:
    x, y = zip(*places, strict=True)
    table = TileTable.from_columns(str(path), x=list(x), y=list(y), size=size, level=level)
    reader = TileReader(table, slots=16)
    try:
        return [tile.way for tile in reader.read(np.arange(len(places)))]
    finally:
        reader.close()


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return write_leica(tmp_path / "slide.scn", [Region(130, 70, LARGE)])


def test_levels(one: Path) -> None:
    with open_slide(one) as slide:
        assert (slide.format, slide.vendor, slide.route) == ("leica", "leica", "direct")
        assert slide.mpp == pytest.approx((0.25, 0.25))
        assert slide.bounds == Box(130, 70, 300, 260)
        first, second = slide.levels
        assert (first.width, first.height, first.columns, first.rows) == (640, 520, 5, 6)
        assert (first.block_width, first.block_height) == (64, 48)
        assert first.covered == first.shown == Box(130, 70, 300, 260)
        assert (second.width, second.height, second.covered) == (320, 260, Box(65, 35, 150, 130))


@pytest.mark.parametrize(("side", "step"), [(64, 51), (40, 33)])
def test_pixels_are_those_of_openslide(one: Path, side: int, step: int) -> None:
    """Within the region, over its rim, beyond it, and over the canvas' edges."""
    assert same_as_openslide(one, side, step) == [
        len(range(0, 640, step)) * len(range(0, 520, step)), len(range(0, 320, step)) * len(range(0, 260, step))
    ]  # fmt: skip


def test_windows_in_the_region_are_read_directly(one: Path) -> None:
    inside, rim = [(130, 70), (131, 75), (430 - 64, 330 - 64)], [(129, 70), (130, 69), (430 - 63, 70), (130, 330 - 63)]
    assert ways(one, 0, inside, 64) == ["direct"] * 3
    assert ways(one, 0, rim, 64) == ["openslide"] * 4
    assert ways(one, 1, [(65, 35), (64, 35)], 64) == ["direct", "openslide"]


def test_blocks_are_copied_where_they_lie(tmp_path: Path) -> None:
    path = write_leica(tmp_path / "slide.scn", [Region(64, 48, LARGE)])
    with open_slide(path) as slide:
        with pytest.raises(ArgumentError, match="cannot be aligned"):
            check_aligned(slide, 0, 64)
        assert not can_copy(slide, 0, [64], [48], 64).any()  # blocks are no squares


def test_several_regions(tmp_path: Path) -> None:
    """The largest is read directly, the others through OpenSlide, wherever they stand in the file."""
    regions = [Region(10, 20, SMALL), Region(200, 150, LARGE), Region(520, 20, SMALL[:, ::-1])]
    path = write_leica(tmp_path / "slide.scn", regions, z_planes=True)
    same_as_openslide(path, 64, 57)
    with open_slide(path) as slide:
        assert [of.covered for of in slide.levels] == [Box(200, 150, 300, 260), Box(100, 75, 150, 130)]
    assert ways(path, 0, [(200, 150), (10, 20), (530, 25)], 64) == ["direct", "openslide", "openslide"]


def test_regions_that_overlap_go_through_openslide(tmp_path: Path) -> None:
    path = write_leica(tmp_path / "slide.scn", [Region(100, 100, LARGE), Region(350, 300, SMALL)])
    with open_slide(path) as slide:
        assert slide.route == "openslide"
        assert "no region begins at a whole pixel, apart from the others" in slide.reason
    same_as_openslide(path, 64, 93)


def test_a_region_between_two_pixels_goes_through_openslide(tmp_path: Path) -> None:
    """On level 1 it begins at 65.5: OpenSlide interpolates there."""
    path = write_leica(tmp_path / "slide.scn", [Region(131, 70, LARGE)])
    with open_slide(path) as slide, openslide.OpenSlide(path) as other:
        assert [of.block_width for of in slide.levels] == [64, None]
        assert slide.route == "direct"
        want = np.asarray(other.read_region((140, 80), 1, (40, 40)).convert("RGB"))
        np.testing.assert_array_equal(slide.read_region(1, 70, 40, 40, 40), want)
    same_as_openslide(path, 64, 71)


def test_fluorescence_is_not_drawn(tmp_path: Path) -> None:
    path = write_leica(tmp_path / "slide.scn", [Region(300, 200, LARGE, "fluorescence"), Region(64, 96, SMALL)])
    with open_slide(path) as slide:
        assert slide.levels[0].covered == Box(64, 96, 100, 90)
    same_as_openslide(path, 48, 44)


def test_a_region_over_the_edge_of_the_canvas(tmp_path: Path) -> None:
    path = write_leica(tmp_path / "slide.scn", [Region(500, 400, LARGE)])
    with open_slide(path) as slide:
        assert slide.levels[0].covered == Box(500, 400, 140, 120)
    same_as_openslide(path, 64, 60)


def test_a_file_of_the_scanner(odd) -> None:
    path = odd("leica.scn")
    with open_slide(path) as slide:
        assert [of.block_width for of in slide.levels] == [256, 256, None]
    same_as_openslide(path, 300, 299, levels=[1, 2])
    assert ways(path, 0, [(2000, 1500), (1999, 1500)], 256) == ["direct", "openslide"]
