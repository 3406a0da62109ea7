"""From rows of a tile table to encoded streams, and where their pixels go."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..collection.index import CollectionIndex, index_at
from ..errors import ArgumentError, SlideError, unknown_name
from ..slides import Level, Slide
from ..slides.block_reader import Block, BlockReader, read_blocks
from ..slides.pool import SLIDE_CACHE, OpenSlides
from ..slides.ppm import ppm
from ..slides.stream_kinds import KINDS, PIXELS, stream_kind
from ..storage.open_file import read_in_parts
from ..storage.patience import AT_ONCE, Patience, Retry
from ..tables.tile_table import TileTable
from .windows import Extents, cut_windows, extents, lie, of_rows, on_level

__all__ = ["SLIDE_CACHE", "VERIFY", "EncodedTile", "TileReader"]

#: What is verified of a tile before it is handed on. "headers": what shows without following the codes. "scan": the
#: codes of JPEG scans, too. "hash": of tiles in shards, the SHA-256 that was taken when they were written.
VERIFY = ("headers", "scan", "hash")

_LOOKED_AT = 4  # slides that are opened beforehand to see of how many blocks their tiles are made
_MOST_SLOTS = 16
_NOWHERE = 0, 0, 1, 1, 0, 0, 0, 0, 1  # of a level of no size: all windows lie beyond it
_NO_PIECES = np.empty((0, 5, 2), np.int32)
_ONE_PIXEL = np.array([[0, 0], [0, 0], [1, 1], [0, 0], [1, 1]], np.int32)


class _Source(NamedTuple):
    # A level of a slide.
    level: Level | None  # None where there is none of that number
    reader: BlockReader | None  # None where OpenSlide reads the level
    extents: Extents


class _Windows(NamedTuple):
    # Windows of levels that are read directly.
    readers: Sequence[BlockReader | None]
    which: NDArray[np.int64]  # (n,): the reader of each
    of: NDArray[np.int64]  # (n, 9): extents of its level
    windows: NDArray[np.int64]  # (n, 3): x, y and size


class EncodedTile(NamedTuple):
    """One tile, still encoded.

    Attributes
    ----------
    streams : tuple of uint8 arrays (bytes,)
        The blocks that it is made of; those that two tiles share are the same array. None where there are pixels.
    geometry : int32 array (streams, 5, 2)
        Where the streams' pixels go, see `cellmix_dali.reading.windows.Pieces`.
    way : str
        "direct": the file's own blocks; "openslide": pixels that OpenSlide has read; "shard": a tile of a shard.
    pixels : uint8 array (height, width, 3), optional
        RGB, instead of streams.
    mask : uint8 array (tile_size, tile_size, 1), optional
        Classes of the finished tile's pixels.
    """

    streams: tuple[NDArray[np.uint8], ...]
    geometry: NDArray[np.int32]
    way: str
    pixels: NDArray[np.uint8] | None = None
    mask: NDArray[np.uint8] | None = None


class TileReader:
    """Reads rows of a tile table as encoded streams; several threads may read at once.

    A tile whose window lies on blocks of a directly readable slide comes as these blocks; any other as the pixels that
    OpenSlide reads.

    Parameters
    ----------
    table : TileTable
        The tiles.
    slots : int, optional
        Tiles that lie on more blocks are not read directly. By default as many as tiles of the first few slides lie on.
    edge : {"skip", "pad"}, default "skip"
        Whether windows may reach over the right and lower edge of their level. "pad": what lies beyond is white.
    lenient : bool, default False
        Whether a slide that cannot be opened may be among the first ones, as long as another one can.
    retry : Retry, optional
        How long what cannot be read for a reason of the moment is tried again. By default it is not.
    verify : {"headers", "scan"}, default "headers"
        See `VERIFY`.
    opened : mapping of int to Slide, optional
        Slides that are open already, by their numbers in the table; they are not closed.
    slide_cache : int or str, default "512MB"
        Bytes that the block tables of slides may take, see `cellmix_dali.slides.pool.OpenSlides`.
    index : CollectionIndex or path, optional
        What is known of the slides, so that none is looked at to be opened, see `cellmix_dali.collection`.
    like : TileTable, optional
        Tiles of the same slides that are looked at beforehand instead of the table's, where that has no end.

    Raises
    ------
    SlideError
        If one of the first slides cannot be opened, or, when lenient, none of them.
    NotReadError
        If that is for a reason of the moment.

    Attributes
    ----------
    slots : int
        The most streams of a tile.
    whole : bool
        Whether each tile is just one stream in full, so that nothing is to be put together. It is decided by the first
        slides; a tile of a later one that is a part of a block, or of several, is then read through OpenSlide, and its
        pixels come as a PPM stream, which the same decoder takes.
    looked_at : list of int
        The first slides, by their numbers.
    kinds : frozenset of str
        Those of `cellmix_dali.slides.stream_kinds.KINDS` that the tiles of the first slides hold; empty where OpenSlide
        reads them all.
    """

    def __init__(
        self,
        table: TileTable,
        *,
        slots: int | None = None,
        edge: str = "skip",
        lenient: bool = False,
        retry: Retry = AT_ONCE,
        verify: str = "headers",
        opened: Mapping[int, Slide] | None = None,
        slide_cache: int | str = SLIDE_CACHE,
        index: CollectionIndex | str | Path | None = None,
        like: TileTable | None = None,
    ) -> None:
        self.table = table
        if verify not in VERIFY:
            raise unknown_name("verify", verify, VERIFY)
        if verify == "hash":
            raise ArgumentError(
                "verify='hash' compares with the hashes of tiles in shards, and these tiles are read from slides, "
                "which have none: use verify='scan'."
            )
        self._scans = verify == "scan"
        if edge not in ("skip", "pad"):
            raise unknown_name("edge", edge, ("skip", "pad"))
        self.pad = edge == "pad"
        self._like = table if like is None else like
        self._size = int(self._like.size.max()) if len(table) else 1
        self._slides = OpenSlides(
            table.slides, opened, cache=slide_cache, open_one=None if index is None else index_at(index).open
        )
        self._patience = Patience(retry)
        self._direct: frozenset[str] = frozenset(KINDS)
        self._blocks, whole, self.kinds = self._look_at_first_slides(lenient)
        if slots is not None:
            self._blocks = slots
        if self._blocks < 1:
            raise ArgumentError(f"slots={slots}: a tile has at least one stream.")
        self.slots = self._blocks
        self.whole = whole and self.slots == 1 and not self.pad

    def read(self, rows: NDArray[np.int64], *, patient: bool = True) -> list[EncodedTile | SlideError]:
        """Read tiles; in the place of one that cannot be read stands the reason.

        Parameters
        ----------
        rows : int64 array (n,)
            Rows of the table.
        patient : bool, default True
            Whether to try again, see `retry`, where the reason is one of the moment (`NotReadError`).
        """
        return self._patience.read(self._read_now, rows, self.table.slide) if patient else self._read_now(rows)

    def stop_waiting(self) -> None:
        """Let threads that wait before they try again go on at once, now and later."""
        self._patience.stop()

    def _read_now(self, rows: NDArray[np.int64]) -> list[EncodedTile | SlideError]:
        """Read tiles, each once."""
        return read_in_parts(self._read, rows, self.table.slide) if len(rows) else []

    def _read(self, rows: NDArray[np.int64]) -> list[EncodedTile | SlideError]:
        """Read tiles of a few slides."""
        sources, which = self._sources_of(rows)
        of = np.array([_NOWHERE if isinstance(source, SlideError) else source.extents for source in sources])[which]
        windows = of_rows(self.table, rows)
        found: list[EncodedTile | SlideError | None] = [None] * len(rows)
        outside, whole, blocks = lie(of, windows, self.pad)
        for place in np.flatnonzero(outside).tolist():
            source = sources[which[place]]
            if isinstance(source, SlideError):
                found[place] = source
            else:
                found[place] = self._beyond(int(rows[place]), source.level)
        readers = [None if isinstance(source, SlideError) else source.reader for source in sources]
        direct = np.array([reader is not None for reader in readers])[which] & ~outside & (blocks > 0)
        if not self.whole:
            whole[:] = False
        for own, read in ((direct & whole, self._whole_tiles), (direct & ~whole, self._cut_tiles)):
            places = np.flatnonzero(own)
            if places.size:
                tiles = read(_Windows(readers, which[places], of[places], windows[places]))
                for place, tile in zip(places.tolist(), tiles, strict=True):
                    found[place] = tile
        # Row by row of each level, so that what OpenSlide keeps of the blocks serves the next tile, too.
        left = np.array([place for place, tile in enumerate(found) if tile is None], np.int64)
        for place in left[np.lexsort((windows[left, 0], windows[left, 1], which[left]))].tolist():
            found[place] = self._pixels(int(rows[place]))
        return cast("list[EncodedTile | SlideError]", found)

    def only(self, kinds: Iterable[str]) -> None:
        """Read only blocks of these of `cellmix_dali.slides.stream_kinds.KINDS` directly, others through OpenSlide."""
        self._direct = frozenset(kinds)

    def close(self) -> None:
        """Close the slides."""
        self._slides.close()

    def kinds_of(self, rows: NDArray[np.int64]) -> list[str]:
        """Return the kind of the blocks that tiles lie on, of `cellmix_dali.slides.stream_kinds`."""
        sources, which = self._sources_of(rows)
        kinds = [
            PIXELS if isinstance(each, SlideError) or each.level is None else _kind(each.level) for each in sources
        ]
        return [kinds[number] for number in which.tolist()]

    def slide(self, number: int) -> Slide:
        """Return a slide by its number in the table."""
        return self._slides[number]

    def _sources_of(self, rows: NDArray[np.int64]) -> tuple[list[_Source | SlideError], NDArray[np.int64]]:
        """Return the levels that tiles lie on, or why they cannot be read, and the number of each tile's."""
        keys = zip(self.table.slide[rows].tolist(), self.table.level[rows].tolist(), strict=True)
        numbers: dict[tuple[int, int], int] = {}
        which = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
        return [self._source(*key) for key in numbers], which

    def _source(self, number: int, level: int) -> _Source | SlideError:
        """A level of a slide, opened where it is not; its reader remembers the blocks' header.

        Whoever reads holds what this returns: the tables of a slide that is dropped meanwhile live as long.
        """
        try:
            slide, notes = self._slides.with_notes(number)
        except SlideError as error:
            return error
        key, source = (level, self._direct), notes.get((level, self._direct))
        if source is None:
            if level >= len(slide.levels):
                new = _Source(None, None, _NOWHERE)
            else:
                of = slide.levels[level]
                direct = _kind(of) in self._direct
                own = extents(of, self._size)
                height = None if of.row_step is None else own[3]
                reader = slide.block_reader(level, scans=self._scans, height=height) if direct else None
                new = _Source(of, reader, own)
            source = notes.setdefault(key, new)
        return cast("_Source", source)

    def _whole_tiles(self, given: _Windows) -> list[EncodedTile | SlideError | None]:
        """Read tiles that are one block each: nothing is cut. None stands for a blank one."""
        columns, rows = ((given.windows[:, :2] - given.of[:, 4:6]) // given.of[:, [2, 8]]).T
        blocks = read_blocks(given.readers, given.which, columns, rows)
        return [
            EncodedTile((block,), _uncut(side), "direct") if isinstance(block, np.ndarray) else block
            for block, side in zip(blocks, given.windows[:, 2].tolist(), strict=True)
        ]

    def _cut_tiles(self, given: _Windows) -> list[EncodedTile | SlideError | None]:
        """Read the blocks of tiles. None stands for one with a blank block, or with too many.

        Damage is looked for in their blocks, too: OpenSlide shows them as well as it can.
        """
        cuts = cut_windows(given.of, given.windows)
        which = np.repeat(given.which, np.diff(cuts.firsts))
        blocks = _read_each_once(given.readers, which, cuts.columns, cuts.rows)
        most = 0 if self.whole else self._blocks
        found: list[EncodedTile | SlideError | None] = []
        for first, end in pairwise(cuts.firsts.tolist()):
            streams = [block for block in blocks[first:end] if isinstance(block, np.ndarray)]
            if len(streams) == end - first <= most:
                found.append(EncodedTile(tuple(streams), cuts.geometry[first:end], "direct"))
            else:
                found.append(next((block for block in blocks[first:end] if isinstance(block, SlideError)), None))
        return found

    def _pixels(self, row: int) -> EncodedTile | SlideError:
        """Read a tile's pixels; beyond the level they are white."""
        x, y, size = int(self.table.x[row]), int(self.table.y[row]), int(self.table.size[row])
        try:
            slide = self._slides[int(self.table.slide[row])]
            pixels = slide.read_region(int(self.table.level[row]), x, y, size, size)
        except SlideError as error:
            return error
        if self.whole:
            return EncodedTile((ppm(pixels),), _uncut(size), "openslide")
        return EncodedTile((), _NO_PIECES, "openslide", pixels)

    def _beyond(self, row: int, level: Level | None) -> SlideError:
        where = self.table.describe(row)
        if level is None:
            levels = len(self._slides[int(self.table.slide[row])].levels)
            return SlideError(f"There is no such level: {where}; levels: {levels}.")
        return SlideError(
            f"The tile lies over the edge of its level of {level.width} x {level.height} pixels: {where}. Leave it "
            "out, or read with edge='pad'."
        )

    def _look_at_first_slides(self, lenient: bool) -> tuple[int, bool, frozenset[str]]:
        """The most blocks that a tile of the first slides is made of, if each is one whole block, and their kinds."""
        table, most, whole, direct = self._like, 1, True, False
        refused: list[SlideError] = []
        kinds: set[str] = set()
        self.looked_at = numbers = np.unique(table.slide[: 1 << 20])[:_LOOKED_AT].tolist()
        for number in numbers:
            try:
                slide = self._patience.call(partial(self._slides.__getitem__, number), number)
            except SlideError as error:
                refused.append(error)
                continue
            if slide.route != "direct":
                continue
            mine = table.slide == number
            for level in np.unique(table.level[mine]).tolist():
                if level < len(slide.levels) and slide.levels[level].block_width is not None:
                    direct = True
                    on = np.flatnonzero(mine & (table.level == level))
                    kinds.add(_kind(slide.levels[level]))
                    _, are_whole, blocks = lie(*on_level(slide.levels[level], table, on, self._size), self.pad)
                    most, whole = max(most, int(blocks.max())), whole and bool(are_whole.all())
        if refused and (not lenient or len(refused) == len(numbers)):
            raise refused[0]
        return min(most, _MOST_SLOTS), whole and direct, frozenset(kinds)


def _kind(level: Level) -> str:
    """The kind of a level's blocks."""
    return stream_kind(level.compression, level.colour)


@functools.lru_cache(maxsize=64)
def _uncut(size: int) -> NDArray[np.int32]:
    """The geometry of a stream that is a tile; not to be written to."""
    geometry = _ONE_PIXEL[None] * np.int32(size)
    geometry.flags.writeable = False
    return geometry


def _read_each_once(
    readers: Sequence[BlockReader | None], which: NDArray[np.int64], columns: NDArray[np.int64], rows: NDArray[np.int64]
) -> list[Block]:
    """Read blocks; neighbouring tiles may want the same ones."""
    keys = np.stack([which, rows, columns])
    order = np.lexsort(keys[::-1])
    new = np.ones(len(order), bool)
    new[1:] = (keys[:, order[1:]] != keys[:, order[:-1]]).any(axis=0)
    first, number = order[new], np.empty(len(order), np.int64)
    number[order] = np.cumsum(new) - 1
    blocks = read_blocks(readers, which[first], columns[first], rows[first])
    return [blocks[each] for each in number.tolist()]
