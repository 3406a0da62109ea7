"""Grids over slides: which windows, where, how far apart; and how much tissue they show."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from cellmix_dali import TileTable, grid_tiles, open_slide
from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.slides import Box, Level
from cellmix_dali.synthetic import write_slide
from cellmix_dali.tables.grids import thumbnail_size, tissue_shares
from cellmix_dali.tables.positions import level0_windows
from cellmix_dali.tissue.slide_mask import find_tissue

GLASS, TISSUE = (245, 245, 245), (200, 120, 170)


def fake(path, width, height, bounds=None):
    levels = (Level(width, height, 1.0), Level(width // 2, height // 2, 2.0))
    return SimpleNamespace(
        path=path / "a.svs", levels=levels, mpp=(0.5, 0.5), properties={}, bounds=bounds or Box(0, 0, width, height)
    )


def places(table):
    return list(zip(table.x.tolist(), table.y.tolist(), strict=True))


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A slide of 1024 x 768 at 0.5 mpp, tissue on its left half."""
    pixels = np.empty((768, 1024, 3), np.uint8)
    pixels[:], pixels[:, :512] = GLASS, TISSUE
    path = tmp_path_factory.mktemp("half") / "half.tiff"
    write_slide(path, pixels, mpp=0.5)
    with open_slide(path) as slide:
        yield slide


def test_whole_tiles_row_by_row(tmp_path):
    table = grid_tiles(fake(tmp_path, 700, 500), 200)
    assert places(table) == [(0, 0), (200, 0), (400, 0), (0, 200), (200, 200), (400, 200)]
    assert set(table.size) == {200}
    assert set(table.level) == {0}
    assert table.label is None
    assert table.slides == (str(tmp_path / "a.svs"),)
    exact = grid_tiles(fake(tmp_path, 400, 400), 200)
    assert places(exact) == [(0, 0), (200, 0), (0, 200), (200, 200)]


def test_padding_adds_the_windows_that_begin_inside(tmp_path):
    table = grid_tiles(fake(tmp_path, 500, 400), 200, edge="pad")
    assert places(table) == [(x, y) for y in (0, 200) for x in (0, 200, 400)]
    small = grid_tiles(fake(tmp_path, 50, 60), 200, edge="pad")
    assert places(small) == [(0, 0)]
    with pytest.raises(ArgumentError, match=r"too small for one tile: level 0 has 50 x 60 .* or edge='pad'"):
        grid_tiles(fake(tmp_path, 50, 60), 200)


def test_overlap_and_stride_say_the_same(tmp_path):
    slide = fake(tmp_path, 500, 300)
    assert places(grid_tiles(slide, 200, overlap=50)) == [(0, 0), (150, 0), (300, 0)]
    assert places(grid_tiles(slide, 200, stride=150)) == [(0, 0), (150, 0), (300, 0)]
    assert places(grid_tiles(slide, 100, stride=300)) == [(0, 0), (300, 0)]
    assert places(grid_tiles(slide, 100, level=1, stride=75)) == [(x, y) for y in (0,) for x in (0, 75, 150)]


def test_windows_of_a_finer_level_join_exactly(half):
    # 0.6 of 0.5 mpp: windows of 120 pixels make tiles of 100.
    table = grid_tiles(half, 100, mpp=0.6)
    assert set(table.size) == {120}
    assert sorted(set(table.x)) == list(range(0, 1024 - 119, 120))
    assert sorted(set(table.y)) == list(range(0, 768 - 119, 120))
    # 0.613 makes 122.6, rounded to 123: still joined, and half of it is 61.5, rounded to one step for all.
    assert set(grid_tiles(half, 100, mpp=0.613).size) == {123}
    steps = np.diff(np.unique(grid_tiles(half, 100, mpp=0.613, overlap=50).x))
    assert len(set(steps)) == 1
    assert steps[0] in (61, 62)
    assert set(grid_tiles(half, 100, mpp=1.0).level) == {1}


def test_resolution_is_passed_on(half):
    assert set(grid_tiles(half, 64, mpp=1.0, mpp_override=0.25).level) == {2}
    with pytest.raises(SlideError, match="objective power"):
        grid_tiles(half, 64, magnification=20)
    with pytest.raises(ArgumentError, match="levels 0 to 2, not 7"):
        grid_tiles(half, 64, level=7)


def test_windows_outside_the_bounds_are_left_out(tmp_path):
    table = grid_tiles(fake(tmp_path, 1000, 1000, Box(250, 400, 300, 100)), 100)
    assert places(table) == [(200, 400), (300, 400), (400, 400), (500, 400)]
    # Level 1 counts half as many pixels.
    assert places(grid_tiles(fake(tmp_path, 1000, 1000, Box(250, 400, 300, 100)), 100, level=1)) == [
        (100, 200),
        (200, 200),
    ]
    with pytest.raises(ArgumentError, match="meets the bounds"):
        grid_tiles(fake(tmp_path, 1000, 1000, Box(950, 950, 50, 50)), 300)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"edge": "padd"}, "Did you mean 'pad'"),
        ({"overlap": 100}, "overlap=100: with tile_size=100 give 0 to 99"),
        ({"overlap": -1}, "overlap=-1"),
        ({"overlap": 10, "stride": 90}, "give only one"),
        ({"stride": 0}, "stride=0"),
        ({"tile_size": 0}, "tile_size=0"),
        ({"mpp": 1, "level": 0}, "give only one"),
    ],
)
def test_bad_arguments(tmp_path, how, message):
    with pytest.raises(ArgumentError, match=message):
        grid_tiles(fake(tmp_path, 500, 500), **({"tile_size": 100} | how))


def test_a_real_slide_is_covered_without_gaps(real):
    with open_slide(real("CMU-1-Small-Region.svs")) as slide:
        table = grid_tiles(slide, 240, edge="pad")
    covered = np.zeros((2967 + 240, 2220 + 240), np.uint8)
    for x, y in places(table):
        covered[y : y + 240, x : x + 240] += 1
    assert (covered[:2967, :2220] == 1).all()


def test_many_tiles_take_little_time_and_memory(tmp_path):
    table = grid_tiles(fake(tmp_path, 100_000, 80_000), 100, stride=50)
    assert len(table) == 1999 * 1599
    assert (table.x[1999], table.y[1999]) == (0, 50)


def test_tissue_shares_of_a_known_picture(half):
    for level in (0, 1):
        table = grid_tiles(half, 128, level=level, stride=64)
        x, _, size = level0_windows(half, table)
        expected = np.clip((512 - x) / size, 0, 1)
        assert np.abs(tissue_shares(half, table) - expected).max() < 0.06
    over = TileTable.from_columns(half.path, x=[0], y=[640], size=256)
    assert tissue_shares(half, over)[0] == pytest.approx(0.5, abs=0.03)  # its lower half lies beyond the slide


def test_a_mask_of_ones_own(half):
    table = grid_tiles(half, 256)
    mask = np.zeros((96, 128), bool)
    mask[:, 96:] = True
    assert places(table.select(tissue_shares(half, table, mask=mask) >= 0.5)) == [(768, 0), (768, 256), (768, 512)]
    with pytest.raises(ArgumentError, match=r"shape \(128, 96\).*proportions"):
        tissue_shares(half, table, mask=mask.T)
    with pytest.raises(ArgumentError, match="proportions"):
        tissue_shares(half, table, mask=mask.ravel())


def test_a_thumbnail_shows_small_tiles(half, tmp_path):
    # 4 pixels per tile, if they can be had within 1024 to 4096 pixels.
    assert thumbnail_size(half, grid_tiles(half, 256)) == 1024
    large = fake(tmp_path, 60_000, 40_000)
    assert thumbnail_size(large, grid_tiles(large, 128)) == 1875
    assert thumbnail_size(large, grid_tiles(large, 64, level=1)) == 1875
    assert thumbnail_size(large, grid_tiles(large, 20)) == 4096
    assert thumbnail_size(large, grid_tiles(large, 128).select(np.zeros(468 * 312, bool))) == 1024


def test_a_mask_found_beforehand_gives_the_same_shares(half):
    table = grid_tiles(half, 100)
    mask = find_tissue(half, thumbnail_size(half, table))
    assert (tissue_shares(half, table, mask=mask) == tissue_shares(half, table)).all()


def test_tiles_of_another_slide_are_refused(half, rendered):
    with open_slide(rendered[0].path) as other:
        both = TileTable.concat([grid_tiles(half, 256), grid_tiles(other, 256)])
    with pytest.raises(ArgumentError, match="select the rows of one slide"):
        tissue_shares(half, both)
    # Once selected, the other slide's name in the dictionary does no harm.
    own = both.select(both.slide == 0)
    assert len(tissue_shares(half, own)) == 12
    with pytest.raises(ArgumentError, match="levels 0 to 2, not 9"):
        tissue_shares(half, TileTable.from_columns(half.path, x=[0], y=[0], size=10, level=9))
