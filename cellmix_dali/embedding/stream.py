"""Tiles of many slides as one stream of full batches, decoded ahead of whoever takes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..collection import CollectionIndex
from ..collection.index import open_with
from ..errors import ArgumentError, MissingDependencyError, SlideError
from ..pipelines import decoded_tiles
from ..plugins.decode import decoded, undecodable
from ..reading.shards import ShardReader
from ..shards.table import image_sizes, is_sharded
from ..slides import Slide
from ..storage.moment import is_missing
from ..storage.paths import home_expanded
from ..tables.positions import to_level0
from ..tables.tile_table import TileTable
from .model import FeatureModel

__all__ = ["Batch", "Ended", "SlideTiles", "batches_of", "pieces_of", "rows_by_slide"]

_AT_ONCE = 64  # tiles that are decoded together


@dataclass(frozen=True, eq=False)
class SlideTiles:
    """The tiles of one slide.

    Attributes
    ----------
    slide : str
        The slide's path.
    table : TileTable or None
        Its tiles, of this slide alone; None where they could not be found.
    error : Exception or None
        Why not.
    about : object
        Whatever is to come with it.
    index : CollectionIndex or None
        What is known of the slides.
    """

    slide: str
    table: TileTable | None
    error: Exception | None = None
    about: Any = None
    index: CollectionIndex | None = None


def rows_by_slide(table: TileTable) -> list[NDArray[np.int64]]:
    """Return the rows of each slide, in the order in which the table meets them."""
    order = np.argsort(table.slide, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(table.slide[order])) + 1)
    return sorted((part for part in parts if len(part)), key=lambda part: int(part[0]))


@dataclass(frozen=True, eq=False)
class Ended:
    """The end of a slide.

    Attributes
    ----------
    tiles : SlideTiles
    coords : int64 array (n, 2)
        Upper left corners of all its tiles, x and y in pixels of level 0.
    downsample : float
        Of the level that was read.
    size : tuple of int
        Width and height of level 0; (0, 0) where the slide is not there.
    faults : tuple of (int, SlideError)
        Rows that could not be read.
    error : Exception or None
        Why the slide was given up.
    """

    tiles: SlideTiles
    coords: NDArray[np.int64]
    downsample: float = 1.0
    size: tuple[int, int] = (0, 0)
    faults: tuple[tuple[int, SlideError], ...] = ()
    error: Exception | None = None


# Images of rows of the slide under way, uint8 (n, size, size, 3).
Piece: TypeAlias = "tuple[NDArray[np.int64], NDArray[np.uint8]]"


@dataclass(frozen=True, eq=False)
class Batch:
    """Tiles to be given to the model, and what is known when it has them.

    Attributes
    ----------
    images : float32 tensor (n, 3, size, size) or None
        Prepared; None where slides end without a further tile.
    parts : tuple
        In order: the rows of some tiles of the slide under way, or an `Ended`.
    count : int
        Tiles that count; those after them fill the batch up.
    """

    images: Tensor | None
    parts: tuple[NDArray[np.int64] | Ended, ...]
    count: int


def pieces_of(
    slides: Iterable[SlideTiles], *, tile_size: int, edge: str, device: str, num_threads: int
) -> Iterator[Piece | Ended]:
    """Decode the tiles of slides, one slide after the other, each followed by its end.

    Whatever is wrong with a slide is in its end, and the next one follows.
    """
    for tiles in slides:
        coords = np.empty((0, 2), np.int64)
        downsample, size = 1.0, (0, 0)
        faults: list[tuple[int, SlideError]] = []
        error = tiles.error
        try:
            if tiles.table is not None:
                coords, downsample, size = _places(tiles)
                if is_sharded(tiles.table):
                    found = _of_shards(tiles.table, tile_size)
                else:
                    found = _of_slide(
                        tiles,
                        tiles.table,
                        tile_size=tile_size,
                        edge=edge,
                        device=device,
                        num_threads=num_threads,
                    )
                for rows, images, bad in found:
                    faults += bad
                    if len(rows):
                        yield rows, images
        except (MissingDependencyError, GeneratorExit):
            raise
        except Exception as why:  # whatever a library raises on a strange file must not end the job
            error = why
        yield Ended(tiles, coords, downsample, size, tuple(faults), error)


def batches_of(
    pieces: Iterable[Piece | Ended], model: FeatureModel, *, across: bool, tile_size: int
) -> Iterator[Batch]:
    """Make full batches of what comes, across slides, or of one slide each and then filled up at its end."""
    size = model.settings.batch_size
    memory = np.empty((size, tile_size, tile_size, 3), np.uint8)
    parts: list[NDArray[np.int64] | Ended] = []
    count = 0

    def batch(fill: bool) -> Batch:
        nonlocal count
        filled = size if fill else count
        memory[count:filled] = 255
        made = Batch(model.prepare(memory[:filled]) if count else None, tuple(parts), count)
        parts.clear()
        count = 0
        return made

    for piece in pieces:
        if isinstance(piece, Ended):
            parts.append(piece)
            if not across or not count:
                yield batch(fill=not across)
            continue
        rows, images = piece
        while len(rows):
            taken = min(size - count, len(rows))
            memory[count : count + taken] = images[:taken]
            parts.append(rows[:taken])
            count += taken
            rows, images = rows[taken:], images[taken:]
            if count == size:
                yield batch(fill=False)
    if parts:
        yield batch(fill=False)


_Found: TypeAlias = "Iterator[tuple[NDArray[np.int64], NDArray[np.uint8], tuple[tuple[int, SlideError], ...]]]"


def _of_slide(
    tiles: SlideTiles, table: TileTable, *, tile_size: int, edge: str, device: str, num_threads: int
) -> _Found:
    """Tiles of a slide, level by level."""
    with open_with(tiles.index, tiles.slide) as slide:
        for level in np.unique(table.level).tolist():
            own = np.flatnonzero(table.level == level)
            found = decoded_tiles(
                table if len(own) == len(table) else table.select(own),
                tile_size=tile_size,
                edge=edge,
                device=device,
                tissue=False,
                num_threads=num_threads,
                batch_size=_AT_ONCE,
                slide=slide,
            )
            for some in found:
                yield own[some.rows], some.images, tuple((int(own[row]), why) for row, why in some.faults)


def _of_shards(table: TileTable, tile_size: int) -> _Found:
    """Finished tiles."""
    sizes = image_sizes(table)
    if (sizes != tile_size).any():
        raise ArgumentError(
            f"Tiles in shards are finished, with {int(sizes.min())} to {int(sizes.max())} pixels a side, and "
            f"{tile_size} are wanted: give tile_size={int(sizes[0])}, or embed from the slides."
        )
    reader = ShardReader(table)
    try:
        for first in range(0, len(table), _AT_ONCE):
            rows = np.arange(first, min(first + _AT_ONCE, len(table)))
            read = dict(zip(rows.tolist(), reader.read(rows), strict=True))
            bad = [(row, tile) for row, tile in read.items() if isinstance(tile, SlideError)]
            streams = {row: tile.streams for row, tile in read.items() if not isinstance(tile, SlideError)}
            try:
                images = decoded([of[0] for of in streams.values()]) if streams else []
            except RuntimeError:
                wrong = undecodable(streams)
                bad += [(row, SlideError(f"{why} ({table.describe(row)})")) for row, why in wrong.items()]
                streams = {row: of for row, of in streams.items() if row not in wrong}
                images = decoded([of[0] for of in streams.values()]) if streams else []
            whole = np.stack(images) if images else np.empty((0, tile_size, tile_size, 3), np.uint8)
            yield np.array(list(streams), np.int64), whole, tuple(sorted(bad, key=lambda each: each[0]))
    finally:
        reader.close()


def _places(tiles: SlideTiles) -> tuple[NDArray[np.int64], float, tuple[int, int]]:
    """Where tiles lie on level 0, the downsample of their level, and the size of level 0."""
    path, table = tiles.slide, tiles.table
    assert table is not None
    if is_sharded(table) and is_missing(home_expanded(path)):
        if table.level.any():
            raise SlideError(
                f"There is no slide at {path}, so it is not known where its tiles of level {int(table.level.max())} "
                "lie on level 0. Correct the path in the table."
            )
        return table.positions, 1.0, (0, 0)
    with open_with(tiles.index, path) as slide:
        return to_level0(slide, table.positions, table.level), _downsample(slide, table), _size(slide)


def _downsample(slide: Slide, table: TileTable) -> float:
    return slide.levels[int(table.level[0])].downsample if len(table) else 1.0


def _size(slide: Slide) -> tuple[int, int]:
    return slide.levels[0].width, slide.levels[0].height
