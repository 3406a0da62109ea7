"""How fast tiles of one slide are read here: through DALI, by OpenSlide alone, and by cuCIM if it is there."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._arguments import integer
from cellmix_dali.errors import ArgumentError, CellMixDaliError
from cellmix_dali.plugins import TileSource
from cellmix_dali.slides import Box, Slide, open_slide
from cellmix_dali.slides.openslide import OpenSlideFile
from cellmix_dali.tables.tile_table import TileTable

from .graph import GraphOptions, source_pipeline

__all__ = ["ReadingTime", "reading_times"]

_BATCH, _ROUNDS = 32, 2
_Read = Callable[[NDArray[np.int64]], float]


class ReadingTime(NamedTuple):
    """How long one way of reading takes.

    Attributes
    ----------
    way : str
        "direct", "openslide" or "cucim"; "direct" is this package's, whatever way it takes.
    places : str
        "on the grid" of windows, or "anywhere".
    milliseconds : float or None
        Of processor time a tile, all threads together; None where the slide cannot be read so.
    note : str
        Why not.
    """

    way: str
    places: str
    milliseconds: float | None
    note: str = ""


def reading_times(
    path: str | Path, *, size: int = 256, tiles: int = 256, level: int = 0, seed: int = 0
) -> list[ReadingTime]:
    """Time the ways of reading one slide, one after the other, twice; the shorter time counts.

    Parameters
    ----------
    path : str or Path
        The slide.
    size : int, default 256
        Side of the tiles in pixels.
    tiles : int, default 256
        How many are read, at random places within the slide's bounds; in whole batches of 32.
    level : int, default 0
        Pyramid level.
    seed : int, default 0
        Of the places.

    Returns
    -------
    list of ReadingTime
        Each way on the grid, then anywhere.

    Raises
    ------
    SlideError
        If the slide cannot be opened.
    ArgumentError
        If it has no such level, or is smaller than a tile.
    """
    size = integer("size", size, low=1)
    tiles = -(-integer("tiles", tiles, low=1) // _BATCH) * _BATCH
    with open_slide(path) as slide:
        grids = _places(slide, size, tiles, integer("level", level, low=0), np.random.default_rng(seed))
        ways = {"direct": _direct(slide, size, level), "openslide": _openslide(slide, size, level)}
        ways["cucim"] = _cucim(slide, size, level)
        return [_shortest(way, read, name, places) for name, places in grids.items() for way, read in ways.items()]


def _places(
    slide: Slide, size: int, tiles: int, level: int, random: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    """Upper left corners, x and y, in pixels of the level."""
    if level >= len(slide.levels):
        raise ArgumentError(f"{slide.path} has levels 0 to {len(slide.levels) - 1}, not {level}.")
    of, bounds = slide.levels[level], slide.bounds
    sides = (bounds.x, bounds.y, bounds.width, bounds.height)
    part = of.covered or Box(*(int(side / of.downsample) for side in sides))
    left, top, width, height = part.x, part.y, part.width, part.height
    if min(width, height) < size:
        raise ArgumentError(
            f"Level {level} of {slide.path} is smaller than a tile of {size} pixels: give a smaller one."
        )
    cells = np.stack([random.integers(0, side // size, tiles) for side in (width, height)], axis=1) * size
    anywhere = np.stack([random.integers(0, side - size + 1, tiles) for side in (width, height)], axis=1)
    corner = np.array([left, top])
    return {"on the grid": cells + corner, "anywhere": anywhere + corner}


def _shortest(way: str, read: _Read | str, name: str, places: NDArray[np.int64]) -> ReadingTime:
    if isinstance(read, str):
        return ReadingTime(way, name, None, read)
    try:
        seconds = min(read(places) for _ in range(_ROUNDS))
    except CellMixDaliError as error:
        return ReadingTime(way, name, None, str(error))
    return ReadingTime(way, name, 1000 * seconds / len(places))


def _direct(slide: Slide, size: int, level: int) -> _Read:
    def read(places: NDArray[np.int64]) -> float:
        table = TileTable.from_columns(slide.path, x=places[:, 0], y=places[:, 1], size=size, level=level)
        table = TileTable.concat([table.select(np.arange(_BATCH)), table])  # a batch to get going
        source = TileSource(table, batch_size=_BATCH, shuffle=False, drop_last=False, num_workers=1)
        options = GraphOptions("cpu", num_threads=1, prefetch_queue_depth=1)
        pipeline = source_pipeline(source, options, lambda batch, *_: [batch.images, batch.labels, batch.tile])
        pipeline.build()
        try:
            pipeline.run()
            start = time.process_time()
            for _ in range(len(source) - 1):
                pipeline.run()
            return time.process_time() - start
        except RuntimeError as error:
            raise CellMixDaliError(f"A tile could not be decoded: {str(error).splitlines()[0]}") from error
        finally:
            source.close()

    return read


def _openslide(slide: Slide, size: int, level: int) -> _Read | str:
    if slide.vendor is None:
        return "OpenSlide knows no format for it"
    file, number = OpenSlideFile(slide.path, slide.vendor), slide.file_levels[level]

    def read(places: NDArray[np.int64]) -> float:
        file.close()
        handle, scale = file.handle(), slide.levels[level].downsample
        start = time.process_time()
        for x, y in places.tolist():
            np.asarray(handle.read_region((round(x * scale), round(y * scale)), number, (size, size)).convert("RGB"))
        return time.process_time() - start

    return read


def _cucim(slide: Slide, size: int, level: int) -> _Read | str:
    try:
        make = importlib.import_module("cucim").CuImage
    except ImportError:
        return "cuCIM is not installed: pip install cucim-cu12"
    try:
        image: Any = make(str(slide.path))
        np.asarray(image.read_region((0, 0), (size, size), slide.file_levels[level]))
    except Exception as error:  # whatever it says, it does not read the slide
        return f"cuCIM cannot read it ({error})"

    def read(places: NDArray[np.int64]) -> float:
        scale = slide.levels[level].downsample
        start = time.process_time()
        for x, y in places.tolist():
            np.asarray(image.read_region((round(x * scale), round(y * scale)), (size, size), slide.file_levels[level]))
        return time.process_time() - start

    return read
