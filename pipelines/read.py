"""Tiles as an array: what training sees before augmentation, read by the same code."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellmix_dali._arguments import integer
from cellmix_dali._cores import usable_cores
from cellmix_dali.errors import CellMixDaliError, SlideError
from cellmix_dali.shards import is_sharded
from cellmix_dali.slides import Slide
from cellmix_dali.slides.resolution import choose_level
from cellmix_dali.tables.positions import from_level0
from cellmix_dali.tables.tile_table import TileTable

from ._cutting import WindowCutter
from ._kept import Kept, KeptSlide
from .tile import Finish, batches, image_size, windows_at_once

__all__ = ["read_table", "read_tiles"]

_MOST_THREADS = 16
# Of slides the last eight stay open for the next call, and as many pipelines that resize.
_SLIDES: Kept[KeptSlide] = Kept(8, KeptSlide.close)
_FINISHES: Kept[Finish] = Kept(8, lambda _: None)


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
    if not isinstance(slide, Slide):
        with _SLIDES.use(_absolute(slide), lambda: KeptSlide(slide)) as kept:
            opened = kept.current()
            kept.rest()
    else:
        opened = slide
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
    batch_size = integer("batch_size", batch_size, low=1)
    images = _on_host(table, tile_size, edge, batch_size, device, num_threads)
    if images is not None:
        return images
    return _by_graph(table, tile_size, edge=edge, batch_size=batch_size, device=device, num_threads=num_threads)


def _on_host(
    table: TileTable, tile_size: int | None, edge: str, batch_size: int, device: str, num_threads: int | None
) -> NDArray[np.uint8] | None:
    """Read tiles of one level of one slide without a graph; None where that cannot be, or a tile cannot be read.

    The pixels are those of the graph, see `cellmix_dali.pipelines.decoded_tiles`. What is opened is kept for the next
    call.
    """
    threads = min(_MOST_THREADS, usable_cores()) if num_threads is None else num_threads
    if device != "cpu" or threads < 1 or is_sharded(table) or not len(table):
        return None
    one = all(column.min() == column.max() for column in (table.slide, table.level))
    if not one or not (tile_size or table.size.min() == table.size.max()) or (tile_size or 1) < 1:
        return None
    size, resizing = image_size(table, tile_size)
    at_once, halved = windows_at_once(table, batch_size), bool((table.size == 2 * size).all())
    path = Path(table.slides[int(table.slide[0])])
    found = np.empty((len(table), size, size, 3), np.uint8)
    make = partial(
        Finish, size, at_once, resizing=resizing, halved=halved, saturation=None, device="cpu", num_threads=threads
    )
    try:
        with (
            _SLIDES.use(_absolute(path), lambda: KeptSlide(path)) as kept,
            _FINISHES.use((size, at_once, resizing, halved, threads), make) as finish,
        ):
            slide = kept.current()
            blocks = kept.blocks(int(table.level[0]), threads)
            cutter = WindowCutter(table, edge=edge, device="cpu", num_threads=threads, slide=slide, blocks=blocks)
            bad = False
            for batch in batches(cutter, finish, at_once):
                bad = bad or bool(batch.faults)
                found[batch.rows] = batch.images
            kept.rest()
    except (SlideError, RuntimeError):
        return None  # the graph says it better, or waits until it can be read
    return None if bad else found


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()


def _by_graph(
    table: TileTable, tile_size: int | None, *, edge: str, batch_size: int, device: str, num_threads: int | None
) -> NDArray[np.uint8]:
    """Read tiles by the graph of a loader."""
    from cellmix_dali.plugins import TileSource

    from .graph import GraphOptions, source_pipeline

    batch_size = min(batch_size, len(table))
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
