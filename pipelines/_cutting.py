"""Windows of one slide cut out of its decoded blocks, so that neighbours do not decode a block twice."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.reading.slides import TileReader
from cellmix_dali.reading.windows import cut_windows, extents, lie, on_level
from cellmix_dali.slides import Level, Slide
from cellmix_dali.tables.tile_table import TileTable

from ._block_cache import DecodedBlocks, Place

__all__ = ["WindowCutter"]


class WindowCutter:
    """Gives the pixels of a table's windows, those that `TileReader` and DALI's decoder give for each alone.

    Rows must be asked for in order: a block is dropped after the last row that needs it.

    Parameters
    ----------
    table : TileTable
        Tiles of one level of one slide.
    edge : {"skip", "pad"}
        See `TileReader`.
    device, num_threads
        See `DecodedBlocks`.
    slide : Slide, optional
        The table's slide, where it is open already; it is not closed.
    blocks : DecodedBlocks, optional
        Of the table's level of that slide, instead of new ones; they are not closed.

    Raises
    ------
    ArgumentError
        If the table has tiles of several slides or levels.
    SlideError
        If the slide cannot be opened.
    """

    def __init__(
        self,
        table: TileTable,
        *,
        edge: str,
        device: str,
        num_threads: int,
        slide: Slide | None = None,
        blocks: DecodedBlocks | None = None,
    ) -> None:
        for name, column in (("slides", table.slide), ("levels", table.level)):
            if len(table) and column.min() != column.max():
                raise ArgumentError(f"The tile table has tiles of several {name}: select the rows of one.")
        self.table = table
        first, number = int(table.slide[0]), int(table.level[0])
        self._reader = TileReader(table, edge=edge, opened=None if slide is None else {first: slide})
        slide = self._reader.slide(first)
        self._given = blocks is not None
        self._blocks = blocks
        if number < len(slide.levels) and slide.levels[number].block_width is not None:
            self._level = slide.levels[number]
            self._blocks = blocks or DecodedBlocks(slide, number, device=device, num_threads=num_threads)
            self._last = _last_rows(self._level, table)

    @property
    def decoded(self) -> int:
        """Blocks decoded so far."""
        return 0 if self._blocks is None else self._blocks.decoded

    def cut(self, rows: NDArray[np.int64], into: list[NDArray[np.uint8]]) -> dict[int, SlideError]:
        """Write the windows of rows into arrays.

        Parameters
        ----------
        rows : int64 array (n,)
            Rows of the table, ascending.
        into : list of n uint8 arrays (size, size, 3)
            Overwritten; those of rows that cannot be read are left with anything in them.

        Returns
        -------
        dict of int to SlideError
            Rows that cannot be read, and why.
        """
        bad: dict[int, SlideError] = {}
        rest = list(zip(rows.tolist(), into, strict=True))
        if self._blocks is not None:
            rest = self._cut_blocks(self._blocks, rest, bad)
        tiles = self._reader.read(np.array([row for row, _ in rest], np.int64))
        for (row, out), tile in zip(rest, tiles, strict=True):
            if isinstance(tile, SlideError):
                bad[row] = tile
            else:
                assert tile.pixels is not None  # blocks are cut above, or the reader leaves the tile to OpenSlide
                out[...] = tile.pixels
        return bad

    def close(self) -> None:
        """Close the slide."""
        if self._blocks is not None and not self._given:
            self._blocks.close()
        self._reader.close()

    def _cut_blocks(
        self, blocks: DecodedBlocks, wanted: list[tuple[int, NDArray[np.uint8]]], bad: dict[int, SlideError]
    ) -> list[tuple[int, NDArray[np.uint8]]]:
        """Cut what lies on blocks; return what does not."""
        table, level = self.table, self._level
        rows = np.array([row for row, _ in wanted])
        of, windows = on_level(level, table, rows)
        outside, _, number_of_blocks = lie(of, windows, self._reader.pad)
        inside = ~outside & (number_of_blocks > 0)
        cuts = cut_windows(of[inside], windows[inside])
        # Decoders of JPEG 2000 round differently: a window that the reader leaves to OpenSlide stays with it.
        most = np.inf if level.compression == "jpeg" else self._reader.slots
        places, geometry = {}, {}
        for number, (first, end) in zip(np.flatnonzero(inside).tolist(), pairwise(cuts.firsts.tolist()), strict=True):
            if end - first <= most:
                columns, down = cuts.columns[first:end].tolist(), cuts.rows[first:end].tolist()
                places[number], geometry[number] = list(zip(columns, down, strict=True)), cuts.geometry[first:end]
        blocks.load(dict.fromkeys(place for own in places.values() for place in own))
        rest = []
        for number, (row, out) in enumerate(wanted):
            own = places.get(number)
            problem = next(filter(None, map(blocks.problem, own or ())), None)
            if problem is not None:
                bad[row] = problem
            elif own is None or not _paste(blocks, own, geometry[number], out):
                rest.append((row, out))
        blocks.keep(lambda place: bool(self._last[place[1], place[0]] > rows[-1]))
        return rest


def _paste(blocks: DecodedBlocks, places: list[Place], geometry: NDArray[np.int32], out: NDArray[np.uint8]) -> bool:
    """Put a window together; False where a block is blank."""
    from ._paste import paste  # numba takes a while to import

    pixels = [blocks.pixels(place) for place in places]
    addresses = [block.__array_interface__["data"][0] for block in pixels if block is not None]
    if len(addresses) < len(pixels):
        return False
    paste(np.array(addresses, np.int64), pixels[0].shape[1] if pixels[0] is not None else 0, geometry, out)
    return True


def _last_rows(level: Level, table: TileTable) -> NDArray[np.int64]:
    """For each block of a level, (rows, columns), the last row of the table that needs it; -1 for none."""
    lines, columns = level.rows or 0, level.columns or 0
    last = np.full((lines, columns), -1, np.int64)
    _, _, wide, high, from_x, from_y, *_ = extents(level)
    left, top = (table.x - from_x) // wide, (table.y - from_y) // high
    right = np.minimum((table.x + table.size - 1 - from_x) // wide, columns - 1)
    bottom = np.minimum((table.y + table.size - 1 - from_y) // high, lines - 1)
    rows = np.arange(len(table))
    for down in range(int((bottom - top).max()) + 1):
        for across in range(int((right - left).max()) + 1):
            line, column = top + down, left + across
            on = (line >= 0) & (line <= bottom) & (column >= 0) & (column <= right)
            # Rows ascend, and where a block comes twice the last one counts.
            last[line[on], column[on]] = np.maximum(last[line[on], column[on]], rows[on])
    return last
