"""Blocks dealt to cells: each is decoded once per batch, and every tile finds its regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cellmix_dali import TileTable
from cellmix_dali.pipelines import read_table
from cellmix_dali.reading.cells import Cells, deal, grouped
from cellmix_dali.reading.slides import EncodedTile, TileReader
from cellmix_dali.slides import open_slide
from cellmix_dali.synthetic import RenderedSlide, render_tissue, write_slide


def tiles_of(table: TileTable, edge: str = "skip") -> tuple[list[EncodedTile], TileReader]:
    reader = TileReader(table, edge=edge)
    tiles = reader.read(np.arange(len(table)))
    assert all(isinstance(tile, EncodedTile) for tile in tiles)
    return [tile for tile in tiles if isinstance(tile, EncodedTile)], reader


def grid(path: Path, size: int, step: int, count: int, first: int = 30) -> TileTable:
    x, y = (first + step * place.ravel() for place in np.meshgrid(np.arange(count), np.arange(count)))
    return TileTable.from_columns(path, x=x, y=y, size=size)


def used(cells: Cells) -> int:
    """Cells that hold a block."""
    return len({id(stream) for slot in cells.streams for stream in slot}) - 1  # and the one that stands in


def test_each_block_of_the_batch_has_one_cell(rendered: list[RenderedSlide]) -> None:
    tiles, reader = tiles_of(grid(rendered[0].path, 224, 100, 6))
    cells = deal(tiles, reader.slots, [224] * len(tiles))
    assert reader.slots == 4
    # The windows go from 30 to 754: blocks 0 to 2, three times three; alone they would decode many times as many.
    assert used(cells) == 9
    assert sum(len(tile.streams) for tile in tiles) > 5 * 9
    assert [len(slot) for slot in cells.streams] == [36] * 4


def test_a_block_is_decoded_for_the_union_of_what_is_used(rendered: list[RenderedSlide]) -> None:
    table = TileTable.from_columns(rendered[0].path, x=[60, 120], y=[70, 100], size=100)
    tiles, reader = tiles_of(table)
    cells = deal(tiles, reader.slots, [100, 100])
    assert used(cells) == 1
    assert reader.slots == 1
    # From the first tile's corner to the second's, 16 px more on each side: MARGIN.
    np.testing.assert_array_equal(cells.parts[0, :, 0], [[70 - 16, 60 - 16], [130 + 32, 160 + 32]])
    np.testing.assert_array_equal(cells.parts[0, :, 1], [[0, 0], [1, 1]])  # nothing is decoded there
    np.testing.assert_array_equal(cells.regions[:, 0, :4], [[0, 0, 16, 16], [0, 0, 46, 76]])


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 5, 7, 8, 9, 16])
def test_regions_and_bytes_say_the_same_place(slots: int) -> None:
    """The place by slot, row and column, and the one by group, byte and pitch, hold the same pixels."""
    random = np.random.default_rng(slots)
    batch, side = 5, 20
    blocks = [np.full(3, number, np.uint8) for number in range(slots * batch)]
    order = random.permutation(slots * batch)
    tiles = []
    for tile in range(batch):
        own = order[tile * slots : (tile + 1) * slots][: random.integers(1, slots + 1)]
        geometry = np.empty((len(own), 5, 2), np.int32)
        for piece in geometry:
            piece[3], piece[4] = random.integers(0, 5, 2), random.integers(6, 9, 2)  # decoded
            piece[2] = random.integers(1, 4, 2)  # used: height and width
            piece[0] = piece[3] + random.integers(0, 3, 2)
            piece[1] = random.integers(0, side - 4, 2)
        tiles.append(EncodedTile(tuple(blocks[number] for number in own), geometry, "direct"))
    drawn = random.integers(0, 256, (side, side, 3), dtype=np.uint8)
    tiles[3] = EncodedTile((), np.empty((0, 5, 2), np.int32), "openslide", drawn)
    cells = deal(tiles, slots, [side] * batch)
    parts = [
        [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in cells.parts[slot, 1].tolist()]
        for slot in range(slots)
    ]
    groups = [
        [np.concatenate([parts[slot][i].ravel() for slot in group]) for i in range(batch)] for group in grouped(slots)
    ]
    groups.append([pixels.ravel() for pixels in cells.pixels])
    assert len(groups) <= 5
    for number, tile in enumerate(tiles):
        first, last = cells.firsts[number, 0], cells.firsts[number, -1]
        assert (first, last) == (0, len(tile.streams) + (tile.pixels is not None))
        for slot in range(slots + 1):
            rows = cells.regions[number, cells.firsts[number, slot] : cells.firsts[number, slot + 1]]
            assert set(rows[:, 0].tolist()) <= {slot}
        assert not cells.regions[number, last:].any()
        for slot, of, y, x, _, _, height, width, group, byte, pitch in cells.regions[number, :last].tolist():
            image = (cells.pixels if slot == slots else parts[slot])[of]
            want = image[y : y + height, x : x + width]
            assert want.shape == (height, width, 3)
            flat = groups[group][of]
            got = [flat[byte + pitch * row : byte + pitch * row + 3 * width] for row in range(height)]
            np.testing.assert_array_equal(np.stack(got), want.reshape(height, -1))


@pytest.mark.parametrize("block", [64, 112])
@pytest.mark.parametrize("suffix", ["svs", "tiff"])
def test_windows_of_many_blocks_are_openslides(tmp_path: Path, block: int, suffix: str) -> None:
    """Up to 16 blocks a tile in four groups; what needs more is read through OpenSlide, beside the others."""
    pixels, _ = render_tissue(800, 700, seed=3)
    path = tmp_path / f"small-blocks.{suffix}"
    write_slide(path, pixels, block=block, levels=1)
    table = grid(path, 200, 45, 8, first=7)
    table = table.select(np.flatnonzero((table.x + 200 <= 700) & (table.y + 200 <= 700)))
    tiles, reader = tiles_of(table)
    assert reader.slots == (16 if block == 64 else 9)
    assert {tile.way for tile in tiles} == ({"direct", "openslide"} if block == 64 else {"direct"})
    with open_slide(path) as slide:
        want = np.stack(
            [slide.read_region(0, x, y, 200, 200) for x, y in zip(table.x.tolist(), table.y.tolist(), strict=True)]
        )
    np.testing.assert_array_equal(read_table(table, edge="skip", batch_size=7), want)


def test_pixels_of_openslide_are_not_encoded(rendered: list[RenderedSlide]) -> None:
    table = grid(rendered[0].path, 224, 100, 2)
    reader = TileReader(table)
    reader.only([])
    tiles = reader.read(np.arange(4))
    with open_slide(rendered[0].path) as slide:
        for tile, x, y in zip(tiles, table.x.tolist(), table.y.tolist(), strict=True):
            assert isinstance(tile, EncodedTile)
            assert (tile.streams, tile.way) == ((), "openslide")
            assert tile.pixels is not None
            np.testing.assert_array_equal(tile.pixels, slide.read_region(0, x, y, 224, 224))
