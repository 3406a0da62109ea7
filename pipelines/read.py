"""Tiles as an array: what training sees before augmentation, read by the same code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellmix_dali._arguments import integer
from cellmix_dali.errors import CellMixDaliError
from cellmix_dali.plugins import TileSource
from cellmix_dali.slides import Slide, open_slide
from cellmix_dali.slides.resolution import choose_level
from cellmix_dali.tables.positions import from_level0
from cellmix_dali.tables.tile_table import TileTable

from .graph import GraphOptions, source_pipeline

__all__ = ["read_table", "read_tiles"]


def read_tiles(
    slide: Slide | str | Path,
    positions: ArrayLike,
    size: int,
    *,
    level: int | None = None,
    mpp: float | None = None,
    magnification: float | None = None,
    mpp_override: float | None = None,
    edge: str = "pad",
    batch_size: int = 64,
    device: str = "cpu",
    num_threads: int | None = None,
) -> NDArray[np.uint8]:
    """Read tiles of one slide.

    Parameters
    ----------
    slide : Slide or path
        The slide.
    positions : integer array (n, 2)
        Upper left corners, x and y, in pixels of level 0, whatever level is read, as OpenSlide, CLAM and TRIDENT have
        them. `cellmix_dali.tables.from_level0` converts them to the nearest pixels of the level. A tile table's are in
        pixels of its levels: give ``to_level0(slide, table.positions, table.level)``.
    size : int
        Side of a tile in pixels of the result.
    level, mpp, magnification, mpp_override
        The resolution, see `cellmix_dali.slides.resolution.choose_level`; by default level 0.
    edge : {"pad", "skip"}, default "pad"
        "pad": what lies beyond the right and lower edge is white; "skip": such a tile is refused.
    batch_size : int
        Tiles at once.
    num_threads : int, optional
        See `cellmix_dali.pipelines.GraphOptions`.
    device : {"cpu", "gpu"}, default "cpu"
        Where tiles are decoded.

    Returns
    -------
    uint8 array (n, size, size, 3)
        RGB.

    Raises
    ------
    CellMixDaliError
        If the slide, a position or the resolution cannot be read.
    """
    opened = slide if isinstance(slide, Slide) else open_slide(slide)
    choice = choose_level(opened, size, mpp=mpp, level=level, magnification=magnification, mpp_override=mpp_override)
    x, y = from_level0(opened, positions, choice.level, size=choice.size).T
    if not len(x):
        return np.empty((0, size, size, 3), np.uint8)
    table = TileTable.from_columns(opened.path, x=x, y=y, size=choice.size, level=choice.level)
    return read_table(table, size, edge=edge, batch_size=batch_size, device=device, num_threads=num_threads)


def read_table(
    table: TileTable,
    tile_size: int | None = None,
    *,
    edge: str = "pad",
    batch_size: int = 64,
    device: str = "cpu",
    num_threads: int | None = None,
) -> NDArray[np.uint8]:
    """Read all tiles of a table, in its order.

    Parameters
    ----------
    table : TileTable
        The tiles.
    tile_size : int, optional
        Side of a tile in pixels of the result; by default that of the windows.
    edge, batch_size, device, num_threads
        See `read_tiles`.

    Returns
    -------
    uint8 array (n, tile_size, tile_size, 3)
        RGB.

    Raises
    ------
    CellMixDaliError
        If a tile cannot be read.
    """
    batch_size = min(integer("batch_size", batch_size, low=1), len(table))
    source = TileSource(table, batch_size=batch_size, tile_size=tile_size, edge=edge, shuffle=False, drop_last=False)
    options = GraphOptions(device, num_threads=num_threads, prefetch_queue_depth=1)
    pipeline = source_pipeline(source, options, lambda batch, *_: [batch.images.cpu(), batch.labels, batch.tile])
    pipeline.build()
    result = np.empty((len(table), source.tile_size, source.tile_size, 3), np.uint8)
    try:
        for number in range(len(source)):
            images = pipeline.run()[0].as_array()
            result[number * batch_size : number * batch_size + len(images)] = images
    except RuntimeError as error:
        raise CellMixDaliError(
            f"A tile could not be decoded: its block in the slide file is damaged.\n{error}"
        ) from error
    finally:
        source.close()
    return result
