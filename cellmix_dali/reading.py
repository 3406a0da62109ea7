"""From rows of a tile table to encoded streams, and where their pixels go."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError, SlideError, unknown_name
from .slides import Level, Slide, open_slide
from .slides.block_reader import Block, BlockReader
from .slides.ppm import ppm
from .tiles import TileTable
from .windows import Pieces, most_blocks, pieces

__all__ = ["EncodedTile", "TileReader"]

_LOOKED_AT = 4  # slides that are opened beforehand to see of how many blocks their tiles are made
_MOST_SLOTS = 16
_MOST_OPEN = 256  # slides whose files are open at once: systems allow a process about 1,000 files
_Version: TypeAlias = tuple[int, int, int] | None
# A picture of one pixel stands in for a block that a tile does not have; whatever is pasted later hides it.
_NOTHING = ppm(np.full((1, 1, 3), 255, np.uint8))
_ONE_PIXEL = np.array([[0, 0], [0, 0], [1, 1], [0, 0], [1, 1]], np.int32)


class EncodedTile(NamedTuple):
    """One tile, still encoded.

    Attributes
    ----------
    streams : tuple of uint8 arrays (bytes,)
        One stream a slot, in the order in which they are pasted.
    geometry : int32 array (slots, 5, 2)
        Where the streams' pixels go, as of `cellmix_dali.windows.Pieces`.
    way : str
        "direct": the file's own blocks; "openslide": pixels that OpenSlide has read; "shard": a tile of a shard.
    """

    streams: tuple[NDArray[np.uint8], ...]
    geometry: NDArray[np.int32]
    way: str


class TileReader:
    """Reads rows of a tile table as encoded streams; several threads may read at once.

    A tile whose window lies on blocks of a directly readable slide comes as these blocks; any other as the pixels that
    OpenSlide reads, in a PPM stream, which the same decoder takes. Each tile has the same number of slots.

    Parameters
    ----------
    table : TileTable
        The tiles.
    slots : int, optional
        The most blocks a tile may have to be read directly. By default what the tiles of the first few slides need.
    edge : {"skip", "pad"}, default "skip"
        Whether windows may reach over the right and lower edge of their level. "pad": what lies beyond is white.
    lenient : bool, default False
        Whether a slide that cannot be opened may be among the first ones, as long as another one can.

    Raises
    ------
    SlideError
        If one of the first slides cannot be opened, or, when lenient, none of them.

    Attributes
    ----------
    slots : int
        Streams a tile, one more for the white background with ``edge="pad"``.
    whole : bool
        Whether each tile is just one stream in full, so that nothing is to be put together. It is decided by the first
        slides; a tile of a later one that is a part of a block, or of several, is then read through OpenSlide.
    """

    def __init__(
        self, table: TileTable, *, slots: int | None = None, edge: str = "skip", lenient: bool = False
    ) -> None:
        self.table = table
        if edge not in ("skip", "pad"):
            raise unknown_name("edge", edge, ("skip", "pad"))
        self.pad = edge == "pad"
        self._slides: dict[int, Slide] = {}
        self._recent: OrderedDict[int, Slide] = OrderedDict()
        self._lock = Lock()
        self._refused: dict[int, tuple[_Version, SlideError]] = {}
        self._readers: dict[tuple[int, int], BlockReader] = {}
        self._blocks, whole = self._look_at_first_slides(lenient)
        if slots is not None:
            self._blocks = slots
        if self._blocks < 1:
            raise ArgumentError(f"slots={slots}: a tile has at least one stream.")
        self.slots = self._blocks + self.pad
        self.whole = whole and self.slots == 1

    def read(self, rows: NDArray[np.int64]) -> list[EncodedTile | SlideError]:
        """Read tiles; in the place of one that cannot be read stands the reason."""
        found: list[EncodedTile | SlideError | None] = [None] * len(rows)
        numbers, levels = self.table.slide[rows], self.table.level[rows]
        for number, level in dict.fromkeys(zip(numbers.tolist(), levels.tolist(), strict=True)):
            places = np.flatnonzero((numbers == number) & (levels == level))
            try:
                tiles = self._read_level(number, level, rows[places])
            except SlideError as error:  # the slide cannot be opened, or has no such level
                tiles = [error] * len(places)
            for place, tile in zip(places.tolist(), tiles, strict=True):
                found[place] = tile
        return [each for each in found if each is not None]

    def close(self) -> None:
        """Close the slides."""
        for slide in self._slides.values():
            slide.close()
        self._slides.clear()
        self._recent.clear()

    def slide(self, number: int) -> Slide:
        """Give a slide by its number in the table. Files of the slides used last stay open."""
        slide = self._slides.get(number)
        if slide is None:  # two threads may both open it; one of the two is kept
            slide = self._slides.setdefault(number, self._open(number))
        with self._lock:
            self._recent[number] = slide
            self._recent.move_to_end(number)
            if len(self._recent) > _MOST_OPEN:
                # What is known of a slide is kept; its file is opened again when it is read again.
                self._recent.popitem(last=False)[1].close()
        return slide

    def _open(self, number: int) -> Slide:
        """Open a slide, or say why it cannot be; that takes long, so only once for each version of the file."""
        path = self.table.slides[number]
        version = _version(path)
        refused = self._refused.get(number)
        if refused is not None and refused[0] == version:
            raise SlideError(str(refused[1])) from refused[1]
        try:
            return open_slide(path)
        except SlideError as error:
            self._refused[number] = version, error
            raise

    def _read_level(self, number: int, level: int, rows: NDArray[np.int64]) -> list[EncodedTile | SlideError]:
        """Read tiles of one level of one slide: all their blocks in one call, pixels one by one."""
        slide = self.slide(number)
        if level >= len(slide.levels):
            raise SlideError(f"There is no such level: {self.table.describe(rows[0])}; levels: {len(slide.levels)}.")
        of = slide.levels[level]
        x, y, size = self.table.x[rows], self.table.y[rows], self.table.size[rows]
        found: list[EncodedTile | SlideError | None] = [None] * len(rows)
        outside = self._outside(of, x, y, size)
        for place in np.flatnonzero(outside).tolist():
            found[place] = self._beyond(int(rows[place]), of)
        if slide.route == "direct":
            inside, reader = np.flatnonzero(~outside), self._reader(slide, number, level)
            if self.whole:
                self._read_whole(reader, of, inside, x, y, size, found)
            else:
                cut = pieces(of, x[inside], y[inside], size[inside])
                self._read_pieces(reader, dict(zip(inside.tolist(), cut, strict=True)), size, found)
        return [
            self._pixels(slide, level, row) if tile is None else tile
            for row, tile in zip(rows.tolist(), found, strict=True)
        ]

    def _read_whole(
        self,
        reader: BlockReader,
        level: Level,
        places: NDArray[np.intp],
        x: NDArray[np.int64],
        y: NDArray[np.int64],
        size: NDArray[np.int64],
        found: list[EncodedTile | SlideError | None],
    ) -> None:
        """Read tiles that are one block each: nothing is cut, so nothing is worked out but the blocks' places."""
        whole, geometry = _is_whole(level, x[places], y[places], size[places]), _uncut(level.block_width or 1)
        own, others = places[whole], places[~whole]
        for place, block in zip(own.tolist(), reader.read(x[own] // size[own], y[own] // size[own]), strict=True):
            if isinstance(block, SlideError):
                found[place] = block
            elif block is not None:
                found[place] = EncodedTile((block,), geometry, "direct")
        if others.size:
            cuts = pieces(level, x[others], y[others], size[others])
            self._check_blocks(reader, dict(zip(others.tolist(), cuts, strict=True)), found)

    def _read_pieces(
        self,
        reader: BlockReader,
        cuts: dict[int, Pieces],
        size: NDArray[np.int64],
        found: list[EncodedTile | SlideError | None],
    ) -> None:
        """Read the blocks of several tiles; tiles with a blank block are left out, to be read as pixels."""
        fitting = {place: cut for place, cut in cuts.items() if len(cut.columns) <= self._blocks}
        if len(fitting) < len(cuts):
            others = {place: cut for place, cut in cuts.items() if place not in fitting}
            self._check_blocks(reader, others, found)
        if not fitting:
            return
        blocks = self._blocks_of(reader, fitting)
        for (place, cut), own in zip(fitting.items(), blocks, strict=True):
            streams = [block for block in own if isinstance(block, np.ndarray)]
            if len(streams) == len(own):
                found[place] = self._tile(streams, cut.geometry, int(size[place]), "direct")
            else:
                found[place] = next((block for block in own if isinstance(block, SlideError)), None)

    def _check_blocks(
        self, reader: BlockReader, cuts: dict[int, Pieces], found: list[EncodedTile | SlideError | None]
    ) -> None:
        """Look for damage in the blocks of tiles that OpenSlide will read: it shows them as well as it can."""
        for place, own in zip(cuts, self._blocks_of(reader, cuts), strict=True):
            found[place] = next((block for block in own if isinstance(block, SlideError)), None)

    def _blocks_of(self, reader: BlockReader, cuts: dict[int, Pieces]) -> list[list[Block]]:
        """Read the blocks of several tiles; neighbours share blocks, and each is read once."""
        columns = np.concatenate([cut.columns for cut in cuts.values()])
        rows = np.concatenate([cut.rows for cut in cuts.values()])
        _, first, inverse = np.unique(rows << 32 | columns, return_index=True, return_inverse=True)
        blocks = reader.read(columns[first], rows[first])
        wanted = iter(inverse.tolist())
        return [[blocks[next(wanted)] for _ in range(len(cut.columns))] for cut in cuts.values()]

    def _pixels(self, slide: Slide, level: int, row: int) -> EncodedTile | SlideError:
        """Read a tile's pixels; beyond the level they are white."""
        x, y, size = int(self.table.x[row]), int(self.table.y[row]), int(self.table.size[row])
        try:
            stream = ppm(slide.read_region(level, x, y, size, size))
        except SlideError as error:
            return error
        return self._tile([stream], _uncut(size), size, "openslide")

    def _tile(self, streams: list[NDArray[np.uint8]], cut: NDArray[np.int32], size: int, way: str) -> EncodedTile:
        """Fill up the slots: stand-ins first, so that what is real hides them."""
        empty = self.slots - len(streams)
        if not empty:
            return EncodedTile(tuple(streams), cut, way)
        fill = [_NOTHING] * empty
        geometry = np.empty((self.slots, 5, 2), np.int32)
        geometry[:empty] = _ONE_PIXEL
        geometry[empty:] = cut
        if self.pad and int(cut[:, 2].prod(axis=1, dtype=np.int64).sum()) < size * size:
            fill[0], geometry[0] = ppm(np.full((size, size, 3), 255, np.uint8)), _uncut(size)
        return EncodedTile((*fill, *streams), geometry, way)

    def _outside(
        self, level: Level, x: NDArray[np.int64], y: NDArray[np.int64], size: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Whether windows lie over the edge and must not, or wholly beyond it."""
        outside: NDArray[np.bool_] = (x < 0) | (y < 0) | (x >= level.width) | (y >= level.height)
        if not self.pad:
            outside |= (x + size > level.width) | (y + size > level.height)
        return outside

    def _beyond(self, row: int, level: Level) -> SlideError:
        return SlideError(
            f"The tile lies over the edge of its level of {level.width} x {level.height} pixels: "
            f"{self.table.describe(row)}. Leave it out, or read with edge='pad'."
        )

    def _reader(self, slide: Slide, number: int, level: int) -> BlockReader:
        """The reader of a level's blocks; it remembers their header, so there is one a level."""
        reader = self._readers.get((number, level))
        if reader is None:
            reader = self._readers.setdefault((number, level), slide.block_reader(level))
        return reader

    def _look_at_first_slides(self, lenient: bool) -> tuple[int, bool]:
        """The most blocks that a tile of the first few slides is made of, and whether each is just one whole block."""
        table, most, whole = self.table, 1, True
        refused: list[SlideError] = []
        numbers = np.unique(table.slide[: 1 << 20])[:_LOOKED_AT].tolist()
        for number in numbers:
            try:
                slide = self.slide(number)
            except SlideError as error:
                refused.append(error)
                continue
            if slide.route != "direct":
                continue
            mine = table.slide == number
            for level in np.unique(table.level[mine]).tolist():
                if level < len(slide.levels):
                    of, on = slide.levels[level], np.flatnonzero(mine & (table.level == level))
                    x, y, size = table.x[on], table.y[on], table.size[on]
                    most = max(most, most_blocks(of, x, y, size))
                    whole = whole and bool(np.all(_is_whole(of, x, y, size)))
        if refused and (not lenient or len(refused) == len(numbers)):
            raise refused[0]
        return min(most, _MOST_SLOTS), whole


def _uncut(size: int) -> NDArray[np.int32]:
    """The geometry of a stream that is a tile."""
    return _ONE_PIXEL[None] * np.int32(size)


def _version(path: str) -> _Version:
    """What changes when a file does; None where it is not there."""
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


def _is_whole(level: Level, x: Any, y: Any, size: Any) -> Any:
    """Whether windows (numbers or arrays) are just one block of the level, in full."""
    width, height = level.block_width, level.block_height
    same = (size == width) & (size == height) & (x + size <= level.width) & (y + size <= level.height)
    return same & (x % size == 0) & (y % size == 0)
