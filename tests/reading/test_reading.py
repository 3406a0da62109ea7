"""Tiles of many slides at once are the tiles of each slide alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellmix_dali import TileTable, open_slide
from cellmix_dali.errors import SlideError
from cellmix_dali.reading.slides import EncodedTile, TileReader
from cellmix_dali.slides import openslide
from cellmix_dali.storage import open_file as _open_file
from cellmix_dali.synthetic import RenderedSlide

REAL = (
    "CMU-1-Small-Region.svs",
    "CMU-1-Small-Region.jpeg.tiff",
    "CMU-1-Small-Region.jp2.tiff",
    "gcp-camelyon-multiframe-jpeg.dcm",
)


def content(tile: EncodedTile | SlideError) -> Any:
    if isinstance(tile, SlideError):
        return str(tile)
    drawn = None if tile.pixels is None else tile.pixels.tobytes()
    return [stream.tobytes() for stream in tile.streams], tile.geometry.tolist(), tile.way, drawn


def mixed_table(paths: list[Path], size: int) -> TileTable:
    """Windows anywhere, over the edges and beyond them, too; the last is of a level that is not there."""
    random = np.random.default_rng(size)
    parts = []
    for path in paths:
        with open_slide(path) as slide:
            extent = np.array([slide.levels[0].width, slide.levels[0].height])
        x, y = random.integers(0, extent[:, None], (2, 9))
        x[:3], y[:3] = x[:3] // size * size, y[:3] // size * size
        parts.append(TileTable.from_columns(path, x=x, y=y, size=size, level=[0] * 8 + [9]))
    table = TileTable.concat(parts)
    return table.select(random.permutation(len(table)))


@pytest.mark.parametrize("edge", ["skip", "pad"])
@pytest.mark.parametrize("size", [100, 240, 256])
def test_many_slides_at_once(
    real: Callable[[str], Path], only_openslide: Path, rendered: list[RenderedSlide], size: int, edge: str
) -> None:
    table = mixed_table([*map(real, REAL), only_openslide, *(slide.path for slide in rendered)], size)
    rows = np.arange(len(table))
    reader, alone = TileReader(table, edge=edge), TileReader(table, edge=edge)
    want = [content(tile) for row in rows for tile in alone.read(np.array([row]))]
    for _ in range(3):  # at first no header is known, then all are
        assert [content(tile) for tile in reader.read(rows)] == want
    assert {way for _, _, way, _ in (each for each in want if not isinstance(each, str))} == {"direct", "openslide"}
    # Each says of which tile.
    nowhere = [table.describe(row) for row in rows if table.level[row] == 9]
    assert [
        each.split(": ")[1].split(";")[0] for each in want if isinstance(each, str) and "no such" in each
    ] == nowhere
    assert reader.read(rows[:0]) == []


def test_slides_that_are_not_there_or_damaged_among_others(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    good = [tmp_path / f"{number}.svs" for number in range(4)]
    for path in good:
        path.write_bytes(rendered[0].path.read_bytes())
    table = TileTable.concat([TileTable.from_columns(path, x=[0, 256], y=[256, 256], size=256) for path in good])
    reader = TileReader(table)
    first = [content(tile) for tile in reader.read(np.arange(8))]
    reader.read(np.arange(8))
    with open_slide(good[1]) as slide:
        offset = int(
            slide._blocks.tables[0].offsets[slide._blocks.tables[0].columns]
        )  # of the block in column 0, row 1
    with good[1].open("r+b") as file:  # the reader's open file is this one
        file.seek(offset + 2000)
        file.write(bytes(300))
    reader.close()
    good[2].unlink()
    now = [content(tile) for tile in reader.read(np.arange(8))]
    assert "Block 0, 1" in now[2]
    assert str(good[1]) in now[2]
    assert all(str(good[2]) in reason for reason in now[4:6])
    assert [now[place] for place in (0, 1, 3, 6, 7)] == [first[place] for place in (0, 1, 3, 6, 7)]


def test_a_batch_of_more_slides_than_may_be_open(
    linked: Callable[[int], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = linked(9)
    table = TileTable.concat([TileTable.from_columns(path, x=[256, 0], y=[0, 512], size=256) for path in paths])
    rows = np.random.default_rng(0).permutation(len(table))
    want = [content(tile) for tile in TileReader(table).read(rows)]
    monkeypatch.setattr(_open_file, "most_open", lambda: 12)
    reader = TileReader(table)
    for _ in range(2):
        assert [content(tile) for tile in reader.read(rows)] == want


def test_fewer_slides_stay_open_to_openslide(
    linked: Callable[[int], list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = linked(6)
    table = TileTable.concat([TileTable.from_columns(path, x=[100], y=[60], size=256) for path in paths])
    monkeypatch.setattr(openslide, "_MOST_HANDLES", 2)
    reader = TileReader(table, slots=1)  # so these tiles of four blocks are drawn
    for _ in range(2):
        tiles = reader.read(np.arange(6))
        assert [tile.way for tile in tiles if isinstance(tile, EncodedTile)] == ["openslide"] * 6
        held = {key() for key in openslide._HANDLES._recent}
        assert [kept.slide._pixels in held for kept in reader._slides._slides.values()].count(True) == 2
        assert len(openslide._HANDLES) == 2


def test_slides_that_are_dropped_while_others_read_them(rendered: list[RenderedSlide], tmp_path: Path) -> None:
    """Compiled code reads by the address of a table: it lives as long as a batch that uses it."""
    paths = []
    for number, slide in enumerate((*rendered[:2], *rendered[:2])):
        paths.append(tmp_path / f"{number}{slide.path.suffix}")
        paths[-1].symlink_to(slide.path)
    table = mixed_table(paths, 256)
    rows = np.arange(len(table))
    want = [content(tile) for tile in TileReader(table, edge="pad").read(rows)]
    reader = TileReader(table, edge="pad", slide_cache=0)  # keeps one slide at a time

    def read(seed: int) -> bool:
        order = np.random.default_rng(seed).permutation(len(rows))
        return [content(tile) for tile in reader.read(rows[order])] == [want[row] for row in order]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(40)))
    assert len(reader._slides) == 1
    reader.close()
