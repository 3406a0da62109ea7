"""The step of a grid in pixels of the level: at least a pixel, as a window is never smaller than the tile."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cellmix_dali import TileTable
from cellmix_dali.reading.cells import _column, grouped
from cellmix_dali.reading.slides import _uncut
from cellmix_dali.reading.windows import extents
from cellmix_dali.slides import Box, Level
from cellmix_dali.slides.resolution import choose_level
from cellmix_dali.tables.grids import grid_tiles, level0_windows, thumbnail_size


def slide(width: int = 100, height: int = 60, *, mpp: float = 0.5, bounds: Box | None = None) -> Any:
    levels = tuple(Level(width // by, height // by, float(by)) for by in (1, 4))
    return SimpleNamespace(
        path=Path("/a.svs"),
        levels=levels,
        mpp=(mpp, mpp),
        bounds=bounds or Box(0, 0, width, height),
        properties={},
        notes=(),
    )


def test_a_window_is_never_smaller_than_the_tile() -> None:
    for wanted in np.linspace(0.5, 4, 36):
        for size in (1, 2, 7, 50):
            choice = choose_level(slide(), size, mpp=float(wanted))
            assert choice.size >= size
            assert choice.resized == (choice.size != size)


@pytest.mark.parametrize(("stride", "xs"), [(1, [0, 1, 2, 3]), (2, [0, 2]), (3, [0, 3])])
def test_steps_of_single_pixels(stride: int, xs: list[int]) -> None:
    table = grid_tiles(slide(10, 8), 7, stride=stride)
    assert sorted(set(table.x.tolist())) == xs
    assert sorted(set(table.y.tolist())) == [y for y in xs if y <= 1]


def test_windows_that_fill_a_level_and_one_pixel_more() -> None:
    for width, height in ((7, 9), (9, 7)):
        assert len(grid_tiles(slide(width, height), 7)) == 1
        for edge, count in (("skip", None), ("pad", 4)):
            if count is None:
                with pytest.raises(Exception, match=r"too small for one tile: level 0 has \d x \d pixels"):
                    grid_tiles(slide(width, height), 8)
            else:
                assert len(grid_tiles(slide(width, height), 8, edge=edge)) == 2  # type: ignore[arg-type]


def test_windows_that_touch_the_bounds_and_those_that_do_not() -> None:
    """Bounds from pixel 20 to 40 across, 10 to 30 down; windows of 10 touch them from 11 to 39, and from 1 to 29."""
    table = grid_tiles(slide(bounds=Box(20, 10, 20, 20)), 10, stride=1)
    assert (table.x.min(), table.x.max()) == (11, 39)
    assert (table.y.min(), table.y.max()) == (1, 29)
    with pytest.raises(Exception, match="meets the bounds"):
        grid_tiles(slide(bounds=Box(85, 0, 5, 5)), 40)
    with pytest.raises(Exception, match="meets the bounds"):
        grid_tiles(slide(bounds=Box(0, 55, 5, 5)), 50)


def test_the_thumbnail_has_four_pixels_across_the_smallest_tile_between_its_limits() -> None:
    def side(size: list[int], level: int = 0, width: int = 100_000, height: int = 60_000) -> int:
        table = TileTable.from_columns("/a.svs", x=[0] * len(size), y=[0] * len(size), size=size, level=level)
        return thumbnail_size(slide(width, height), table)

    assert side([200, 500]) == 2000
    assert side([200], height=200_000) == 4000
    assert side([50], level=1) == 2000
    assert side([391]) == 1024  # 1023 would do
    assert side([390]) == 1025
    assert side([98]) == 4081
    assert side([97]) == 4096
    assert side([]) == 1024


def test_windows_in_pixels_of_the_first_level() -> None:
    table = TileTable.from_columns("/a.svs", x=[1, 2], y=[3, 4], size=[5, 6], level=[0, 1])
    for found, want in zip(level0_windows(slide(), table), ([1, 8], [3, 16], [5, 24]), strict=True):
        np.testing.assert_array_equal(found, want)
    with pytest.raises(Exception, match=r"/a.svs has levels 0 to 1, not 2 \(position or row 0\)"):
        level0_windows(slide(), TileTable.from_columns("/a.svs", x=[1], y=[3], size=[5], level=2))


def test_what_is_shared_cannot_be_written_to() -> None:
    for shared in (_column(4), _uncut(4)):
        with pytest.raises(ValueError, match="read-only"):
            shared[:] = 0
    np.testing.assert_array_equal(_column(3), np.full((3, 1, 3), 255))
    np.testing.assert_array_equal(_uncut(5)[0], [[0, 0], [0, 0], [5, 5], [0, 0], [5, 5]])


def test_a_level_without_blocks_has_blocks_of_a_pixel() -> None:
    assert extents(Level(7, 5, 1.0))[:4] == (7, 5, 1, 1)
    assert extents(Level(7, 5, 1.0, 3, 2))[:4] == (7, 5, 3, 2)


@pytest.mark.parametrize("slots", range(1, 19))
def test_slots_go_to_at_most_four_groups_that_are_full_but_for_the_last(slots: int) -> None:
    groups = grouped(slots)
    assert [slot for group in groups for slot in group] == list(range(slots))
    assert len(groups) <= 4
    size = -(-slots // 4)
    assert [len(group) for group in groups[:-1]] == [size] * (len(groups) - 1)
    assert len(groups[-1]) <= size
