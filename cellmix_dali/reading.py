"""From rows of a tile table to encoded streams, and where their pixels go."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError, SlideError, unknown_name
from .slides import Level, Slide, open_slide
from .slides.damage import BlockCheck
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
_ORIGIN = np.zeros((1, 2), np.int32)


class EncodedTile(NamedTuple):
    """One tile, still encoded.

    Attributes
    ----------
    streams : tuple of uint8 arrays (bytes,)
        One stream a slot, in the order in which they are pasted.
    in_anchors, out_anchors, shapes : int32 arrays (slots, 2)
        For each stream: where the used part begins in it, where it goes in the window, its height and width; y, x.
    way : str
        "direct": the file's own blocks; "openslide": pixels that OpenSlide has read.
    """

    streams: tuple[NDArray[np.uint8], ...]
    in_anchors: NDArray[np.int32]
    out_anchors: NDArray[np.int32]
    shapes: NDArray[np.int32]
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
        self._checks: dict[tuple[int, int], BlockCheck] = {}
        self._blocks, whole = self._look_at_first_slides(lenient)
        if slots is not None:
            self._blocks = slots
        if self._blocks < 1:
            raise ArgumentError(f"slots={slots}: a tile has at least one stream.")
        self.slots = self._blocks + self.pad
        self.whole = whole and self.slots == 1

    def read(self, rows: NDArray[np.int64]) -> list[EncodedTile | SlideError]:
        """Read tiles; in the place of one that cannot be read stands the reason."""
        found: dict[int, EncodedTile | SlideError] = {}
        together: dict[tuple[int, int], list[int]] = defaultdict(list)
        for row in rows.tolist():
            together[int(self.table.slide[row]), int(self.table.level[row])].append(row)
        for (number, level), own in together.items():
            try:
                found |= self._read_level(number, level, own)
            except SlideError as error:  # the slide cannot be opened, or has no such level
                found |= dict.fromkeys(own, error)
        return [found[row] for row in rows.tolist()]

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

    def _read_level(self, number: int, level: int, rows: list[int]) -> dict[int, EncodedTile | SlideError]:
        """Read tiles of one level of one slide: all their blocks in one call, pixels one by one."""
        slide = self.slide(number)
        if level >= len(slide.levels):
            raise SlideError(f"There is no such level: {self.table.describe(rows[0])}; levels: {len(slide.levels)}.")
        of = slide.levels[level]
        found: dict[int, EncodedTile | SlideError] = {}
        cuts: dict[int, Pieces] = {}
        others: dict[int, Pieces] = {}
        outside = self._outside(of, rows)
        found |= {row: self._beyond(row, of) for row, is_outside in zip(rows, outside, strict=True) if is_outside}
        inside = [row for row in rows if row not in found]
        if slide.route == "direct" and inside:
            cuts, others = self._cuts(of, inside)
        found |= self._read_blocks(slide, number, level, cuts)
        for row, cut in others.items():
            # OpenSlide shows damaged blocks as well as it can, without a word.
            check = self._check(slide, number, level)
            try:
                blocks = slide.blocks(level, cut.columns.tolist(), cut.rows.tolist())
            except SlideError as error:
                found[row] = error
            else:
                wrong = next(filter(None, (check.damage(block) for block in blocks if block is not None)), None)
                if wrong:
                    found[row] = self._damaged(row, wrong)
        for row in rows:
            if row not in found:
                try:
                    found[row] = self._pixels(slide, level, row)
                except SlideError as error:
                    found[row] = error
        return found

    def _cuts(self, level: Level, rows: list[int]) -> tuple[dict[int, Pieces], dict[int, Pieces]]:
        """Cut windows along the blocks: those that are read block by block, and those that have too many blocks."""
        x, y, size = self.table.x[rows], self.table.y[rows], self.table.size[rows]
        if not self.whole:
            cut = dict(zip(rows, pieces(level, x, y, size), strict=True))
            fitting = {row: each for row, each in cut.items() if len(each.columns) <= self._blocks}
            return fitting, {row: each for row, each in cut.items() if row not in fitting}
        whole = _is_whole(level, x, y, size)
        if not whole.all():
            own, rest = np.flatnonzero(whole), np.flatnonzero(~whole)
            rest_rows = [rows[place] for place in rest.tolist()]
            others = dict(zip(rest_rows, pieces(level, x[rest], y[rest], size[rest]), strict=True))
            rows, x, y, size = [rows[place] for place in own.tolist()], x[own], y[own], size[own]
        else:
            others = {}
        # The hot path of training on whole blocks: nothing is cut, so nothing is worked out but the blocks' places.
        columns, lines, full = x // size, y // size, np.full((1, 2), level.block_width, np.int32)
        return {
            row: Pieces(columns[place : place + 1], lines[place : place + 1], _ORIGIN, _ORIGIN, full)
            for place, row in enumerate(rows)
        }, others

    def _read_blocks(
        self, slide: Slide, number: int, level: int, cuts: dict[int, Pieces]
    ) -> dict[int, EncodedTile | SlideError]:
        """Read the blocks of several tiles; tiles with a blank block are left out, and read as pixels."""
        if not cuts:
            return {}
        # Neighbouring windows share blocks: each is read, and checked, once.
        wanted = [list(zip(cut.columns.tolist(), cut.rows.tolist(), strict=True)) for cut in cuts.values()]
        places = list(dict.fromkeys(place for own in wanted for place in own))
        try:
            blocks = dict(zip(places, slide.blocks(level, *zip(*places, strict=True)), strict=True))
        except SlideError as error:
            if len(cuts) == 1:
                return {next(iter(cuts)): error}
            # One bad block fails the call: tile by tile, only its own tile fails.
            found: dict[int, EncodedTile | SlideError] = {}
            for row, cut in cuts.items():
                found |= self._read_blocks(slide, number, level, {row: cut})
            return found
        check = self._check(slide, number, level)
        damage = {place: check.damage(block) for place, block in blocks.items() if block is not None}
        found = {}
        for (row, cut), own in zip(cuts.items(), wanted, strict=True):
            wrong = next(filter(None, map(damage.get, own)), None)
            whole = [np.frombuffer(block, np.uint8) for place in own if (block := blocks[place]) is not None]
            if wrong:
                found[row] = self._damaged(row, wrong)
            elif len(whole) == len(own):
                found[row] = self._tile(whole, cut, row, "direct")
        return found

    def _damaged(self, row: int, wrong: str) -> SlideError:
        return SlideError(f"A block is damaged: {wrong} ({self.table.describe(row)}).")

    def _pixels(self, slide: Slide, level: int, row: int) -> EncodedTile:
        """Read a tile's pixels; beyond the level they are white."""
        x, y, size = int(self.table.x[row]), int(self.table.y[row]), int(self.table.size[row])
        none = np.zeros(1, np.int64)
        cut = Pieces(none, none, _ORIGIN, _ORIGIN, np.full((1, 2), size, np.int32))
        return self._tile([ppm(slide.read_region(level, x, y, size, size))], cut, row, "openslide")

    def _tile(self, streams: list[NDArray[np.uint8]], cut: Pieces, row: int, way: str) -> EncodedTile:
        """Fill up the slots: stand-ins first, so that what is real hides them."""
        size = int(self.table.size[row])
        empty = self.slots - len(streams)
        if not empty:
            return EncodedTile(tuple(streams), cut.in_anchors, cut.out_anchors, cut.shapes, way)
        fill, fill_shape = [_NOTHING] * empty, np.ones((empty, 2), np.int32)
        covered = int(np.prod(cut.shapes, axis=1, dtype=np.int64).sum())
        if covered < size * size:
            fill[0], fill_shape[0] = ppm(np.full((size, size, 3), 255, np.uint8)), size
        none = np.zeros((empty, 2), np.int32)
        return EncodedTile(
            streams=(*fill, *streams),
            in_anchors=np.concatenate([none, cut.in_anchors]),
            out_anchors=np.concatenate([none, cut.out_anchors]),
            shapes=np.concatenate([fill_shape, cut.shapes]),
            way=way,
        )

    def _outside(self, level: Level, rows: list[int]) -> list[bool]:
        """Whether the rows' windows lie over the edge and must not, or wholly beyond it."""
        x, y, size = self.table.x[rows], self.table.y[rows], self.table.size[rows]
        outside = (x < 0) | (y < 0) | (x >= level.width) | (y >= level.height)
        if not self.pad:
            outside |= (x + size > level.width) | (y + size > level.height)
        answer: list[bool] = outside.tolist()
        return answer

    def _beyond(self, row: int, level: Level) -> SlideError:
        return SlideError(
            f"The tile lies over the edge of its level of {level.width} x {level.height} pixels: "
            f"{self.table.describe(row)}. Leave it out, or read with edge='pad'."
        )

    def _check(self, slide: Slide, number: int, level: int) -> BlockCheck:
        """The check of a level's blocks; it remembers headers, so there is one a level."""
        check = self._checks.get((number, level))
        if check is None:
            of = slide.levels[level]
            check = BlockCheck(of.block_width or 0, of.block_height or 0)
            self._checks[number, level] = check
        return check

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
