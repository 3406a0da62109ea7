"""Pixels of a level and pixels of level 0: there and back, and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import openslide
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cellmix_dali import TileTable, grid_tiles, open_slide, read_tiles
from cellmix_dali.errors import ArgumentError
from cellmix_dali.pipelines import read_table
from cellmix_dali.slides import Level
from cellmix_dali.slides.scales import true_scales
from cellmix_dali.synthetic import RenderedSlide
from cellmix_dali.tables import from_level0, to_level0
from cellmix_dali.tables.tile_files import FRAME

# Sizes of level 0, 1, 2: whole downsamples; both axes rounded otherwise; three to one, rounded up.
PYRAMIDS = {
    "whole": [(10_000, 8_000), (2_500, 2_000), (625, 500)],
    "rounded down": [(10_003, 7_001), (2_500, 1_750), (625, 437)],
    "rounded otherwise": [(9_999, 8_002), (2_499, 2_000), (624, 501)],
    "thirds": [(5_000, 7_777), (1_667, 2_592), (556, 864)],
}


def a_slide(name: str) -> Any:
    sizes = PYRAMIDS[name]
    downsamples = [(sizes[0][0] / w + sizes[0][1] / h) / 2 for w, h in sizes]  # as OpenSlide counts
    scaled, notes = true_scales(sizes, [None] * len(sizes), downsamples)
    assert len(scaled) == 3, notes
    levels = tuple(Level(of.width, of.height, of.downsample) for of in scaled)
    return SimpleNamespace(path=Path(f"/slides/{name}.svs"), levels=levels)


@pytest.mark.parametrize("name", PYRAMIDS)
def test_from_a_level_to_level_0_and_back(name: str) -> None:
    slide, random = a_slide(name), np.random.default_rng(3)
    level = random.integers(0, 3, 4000)
    sizes = np.array([(of.width, of.height) for of in slide.levels])[level]
    places = random.integers(0, sizes)
    places[:300] = (sizes - 1)[:300]  # the last pixels
    back0 = to_level0(slide, places, level)
    assert back0.dtype == np.int64
    for size in (1, 256):  # also of windows that reach over the edge
        np.testing.assert_array_equal(from_level0(slide, back0, level, size=size, exact=True), places)
    downsample = np.array([of.downsample for of in slide.levels])[level][:, None]
    assert (np.abs(back0 - places * downsample) <= 0.5).all()
    if name == "whole":
        np.testing.assert_array_equal(back0, places * 4 ** level[:, None])


@pytest.mark.parametrize("name", PYRAMIDS)
def test_from_level_0_to_the_nearest_pixel(name: str) -> None:
    slide, random = a_slide(name), np.random.default_rng(4)
    places = random.integers(0, [slide.levels[0].width, slide.levels[0].height], (3000, 2))
    for level, of in enumerate(slide.levels):
        found = from_level0(slide, places, level)
        assert (found >= 0).all()
        assert (found < [of.width, of.height]).all()
        inside = (places / of.downsample < np.array([of.width, of.height]) - 1).all(1)
        assert (np.abs(found - places / of.downsample)[inside] <= 0.5).all()
    np.testing.assert_array_equal(from_level0(slide, places, 0, size=500), places)  # over the edge or not


def test_a_window_on_the_slide_stays_on_its_level() -> None:
    slide = a_slide("rounded otherwise")  # 9999 x 8002, level 1 of 2499 x 2000
    last = np.array([[9_999 - 1_024, 8_002 - 1_024]])
    (place,) = from_level0(slide, last, 1, size=256)
    assert tuple(place) == (2499 - 256, 2000 - 256)
    # One that reaches over by more begins at the nearest pixel, and reaches over the level's edge, too.
    assert from_level0(slide, last + 4, 1, size=256)[0].tolist() == [2244, 1745]
    assert from_level0(slide, [[9_998, 8_001]], 1, size=256)[0].tolist() == [2498, 1999]
    assert from_level0(slide, last, 0, size=1025)[0].tolist() == last[0].tolist()  # over by one pixel: not moved


def test_what_cannot_be_converted_is_refused() -> None:
    slide = a_slide("whole")
    for make, words in (
        (lambda: to_level0(slide, [[0, 0.5]], 1), r"integers of shape \(n, 2\), got float64"),
        (lambda: to_level0(slide, [0, 5], 1), r"got int64 \(2,\)"),
        (lambda: to_level0(slide, [[0, 0]], 3), r"levels 0 to 2, not 3 \(position or row 0\)"),
        (lambda: to_level0(slide, [[0, 0], [0, 0]], [0, -1]), r"not -1 \(position or row 1\)"),
        (lambda: to_level0(slide, [[0, 0]], [0, 1]), "one for each of 1 positions"),
        (lambda: to_level0(slide, [[0, 0]], 1.0), "level must be an integer"),
        (lambda: to_level0(slide, [[2499, 2000]], 1), r"number 0: \(2499, 2000\)\. Level 1 has 2500 x 2000 pixels"),
        (lambda: from_level0(slide, [[9999, 7999], [10_000, 0]], 1), r"number 1: \(10000, 0\)\. Level 0 has 10000"),
        (lambda: from_level0(slide, [[0, -1]], 1), r"number 0: \(0, -1\)"),
        (lambda: from_level0(slide, [[0, 0]], 1, size=2.5), "size must be an integer"),
        (lambda: from_level0(slide, [[4, 8], [4, 6]], 1, exact=True), r"1 of 2 .* \(4, 6\) .* level 1 .* \(1, 2\)"),
    ):
        with pytest.raises(ArgumentError, match=words):
            make()
    assert from_level0(slide, [[4, 8]], 1, exact=True).tolist() == [[1, 2]]


def test_a_tables_tiles_by_level_0_are_the_same_pixels(rendered: list[RenderedSlide]) -> None:
    with open_slide(rendered[1].path) as slide:
        table = grid_tiles(slide, 96, level=1, edge="pad").select([0, 3, 7, 12, 35])  # 512 x 512: the last reaches over
        places = to_level0(slide, table.positions, table.level)
        assert places.tolist() == [[2 * x, 2 * y] for x, y in zip(table.x.tolist(), table.y.tolist(), strict=True)]
        seen = read_tiles(slide, places, 96, level=1)
    np.testing.assert_array_equal(seen, read_table(table))
    with openslide.OpenSlide(rendered[1].path) as file:
        for place, tile in zip(places[:4].tolist(), seen, strict=False):
            np.testing.assert_array_equal(tile, np.asarray(file.read_region(place, 1, (96, 96)).convert("RGB")))


def test_tables_state_their_frame(tmp_path: Path) -> None:
    table = TileTable.from_columns("a.svs", x=[1, 2], y=[3, 4], size=5, level=1)
    ((key, stated),) = FRAME.items()
    assert b"pixels of the row's level" in stated
    table.to_parquet(tmp_path / "a.parquet")
    table.save(tmp_path / "a.arrow")
    assert pq.read_schema(tmp_path / "a.parquet").metadata[key] == stated
    assert pa.ipc.open_file(tmp_path / "a.arrow").schema.metadata[key] == stated
    other = table.arrow.replace_schema_metadata({key: b"x, y in pixels of level 0"})
    pq.write_table(other, tmp_path / "b.parquet")
    with pytest.raises(ArgumentError, match=r"b\.parquet: .*'x, y in pixels of level 0'.*from_level0"):
        TileTable.open(tmp_path / "b.parquet")
