"""The tiling pipeline: tiles decoded, resized, and the share of tissue in each, for writing shards."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Unpack

from cellmix_dali.errors import ArgumentError, SlideError, unknown_name
from cellmix_dali.slides import Slide
from cellmix_dali.tables.tile_table import TileTable

from ._cutting import WindowCutter
from ._halving import halving
from ._tissue import SATURATION, check_saturation, tissue_share_node

if TYPE_CHECKING:  # DALI and PyTorch take seconds to import, and a job that decodes JPEG needs neither
    from cellmix_dali.plugins import Source, TileNodes, TileSource
    from cellmix_dali.plugins.dali import DataNode, Pipeline

    from .graph import GraphKeywords, GraphOptions

__all__ = ["DecodedTiles", "decoded_tiles", "tile_pipeline"]

_WINDOW_BYTES = 1 << 24  # of a batch's windows before they are resized


class DecodedTiles(NamedTuple):
    """Some tiles of a table.

    Attributes
    ----------
    rows : int64 array (n,)
        Their rows, ascending, from batch to batch too.
    images : uint8 array (n, tile_size, tile_size, 3)
        RGB; memory of their own.
    tissue : float32 array (n,)
        Share of tissue in each, 0 to 1; NaN where it was not asked for.
    faults : tuple of (int, SlideError)
        Rows that are left out, and why; a `NotReadError` for one that could not be read for a reason of the moment.
    """

    rows: NDArray[np.int64]
    images: NDArray[np.uint8]
    tissue: NDArray[np.float32]
    faults: tuple[tuple[int, SlideError], ...]


def tile_pipeline(source: TileSource, *, saturation: int = SATURATION, **options: Unpack[GraphKeywords]) -> Pipeline:
    """Define the tiling pipeline over a tile source: any order, slides and windows.

    Parameters
    ----------
    source : TileSource
        Usually with ``shuffle=False, drop_last=False``.
    saturation : int, default 20
        A pixel counts as tissue if its HSV saturation, of 255, is greater and its brightest channel is 40 or more.
    **options
        ``device``, ``num_threads``, ``prefetch_queue_depth``: see `cellmix_dali.pipelines.GraphOptions`.

    Returns
    -------
    nvidia.dali.Pipeline
        Outputs: images uint8 (height, width, 3), on the device; tissue float32 (), the share of tissue, measured on a
        raster of at most 32 x 32 pixels of the tile; labels as the table has them; the tile's row int64 (1,).

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    MissingDependencyError
        If the GPU is asked for where there is none.
    """
    from .graph import GraphOptions, source_pipeline

    check_saturation(saturation)

    def finish(batch: TileNodes, source: Source, _: GraphOptions) -> list[DataNode]:
        share = tissue_share_node(batch.images, source.tile_size, saturation)
        return [batch.images, share, batch.labels, batch.tile]

    return source_pipeline(source, GraphOptions(**options), finish)


def decoded_tiles(
    table: TileTable,
    *,
    tile_size: int | None = None,
    edge: str = "skip",
    device: str = "cpu",
    tissue: bool = True,
    saturation: int = SATURATION,
    num_threads: int = 1,
    batch_size: int = 64,
    slide: Slide | None = None,
) -> Iterator[DecodedTiles]:
    """Go through the tiles of one slide, in the table's order, decoding each block of the file once.

    The pixels are those of `cellmix_dali.read_tiles`. In a table that goes over the slide row by row, as `grid_tiles`
    makes it, a block is kept until no later tile needs it; at most 128 MiB of them, however large the slide.

    Parameters
    ----------
    table : TileTable
        Tiles of one level of one slide.
    tile_size : int, optional
        Side of the images in pixels, to which windows of another size are resized; by default that of the windows.
    edge : {"skip", "pad"}, default "skip"
        Whether windows may reach over the right and lower edge of the level; what lies beyond is then white.
    device : {"cpu", "gpu"}, default "cpu"
        Where blocks are decoded and windows resized. Images come to the host in both cases.
    tissue : bool, default True
        Whether to measure the share of tissue.
    saturation : int, default 20
        See `tile_pipeline`.
    num_threads : int, default 1
        That decode at once on the host.
    batch_size : int, default 64
        Tiles at once, at most; of large windows fewer are taken.
    slide : Slide, optional
        The table's slide, where it is open already; it stays open. By default it is opened.

    Yields
    ------
    DecodedTiles
        Each row of the table is in one of them: as an image, or, where it cannot be read, as a fault.

    Raises
    ------
    ArgumentError
        If an argument is out of range, or the table has tiles of several slides or levels.
    SlideError
        If the slide cannot be opened.
    MissingDependencyError
        If the GPU is asked for where there is none.
    """
    check_saturation(saturation)
    if edge not in ("skip", "pad"):
        raise unknown_name("edge", edge, ("skip", "pad"))
    if device != "cpu":
        from .device import device_name

        device = device_name(device)
    if num_threads < 1 or batch_size < 1:
        raise ArgumentError(f"num_threads={num_threads}, batch_size={batch_size}: both are at least 1.")
    if not len(table):
        return iter(())
    size, resizing = image_size(table, tile_size)
    batch_size = windows_at_once(table, batch_size)
    cutter = WindowCutter(table, edge=edge, device=device, num_threads=num_threads, slide=slide)
    finish = Finish(
        size,
        batch_size,
        resizing=resizing,
        halved=bool((table.size == 2 * size).all()),
        saturation=saturation if tissue else None,
        device=device,
        num_threads=num_threads,
    )
    return batches(cutter, finish, batch_size)


def batches(cutter: WindowCutter, finish: Finish, batch_size: int) -> Iterator[DecodedTiles]:
    """Cut and finish one batch after the other."""
    table, memory = cutter.table, np.empty((0, 0), np.uint8)
    largest = int(table.size.max())
    try:
        for first in range(0, len(table), batch_size):
            rows = np.arange(first, min(first + batch_size, len(table)))
            # Windows that are not resized are handed out. Memory for the others is used again: new one costs time.
            if not (finish.resizing and memory.size):
                memory = np.empty((len(rows), 3 * largest**2), np.uint8)
            windows = [
                own[: 3 * side**2].reshape(side, side, 3)
                for own, side in zip(memory, table.size[rows].tolist(), strict=False)
            ]
            bad = cutter.cut(rows, windows)
            kept = np.array([row not in bad for row in rows.tolist()])
            images, tissue = finish(list(compress(windows, kept)))
            if not finish.resizing:
                whole = memory.reshape(-1, finish.size, finish.size, 3)
                images = whole[kept] if bad else whole
            yield DecodedTiles(rows[kept], images, tissue, tuple((row, bad[row]) for row in sorted(bad)))
    finally:
        cutter.close()


_halving = functools.cache(halving)  # asking DALI takes some 30 ms


class Finish:
    """What is done to windows after they are cut: resized, if they must be, and looked at for tissue."""

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        resizing: bool,
        halved: bool,
        saturation: int | None,
        device: str,
        num_threads: int,
    ) -> None:
        self.size, self.resizing = size, resizing
        self._halve = _halving(size) if halved and device == "cpu" else None
        self._in_graph = resizing and self._halve is None
        self._measuring = saturation is not None
        self._pipeline: Pipeline | None = None
        if not (self._in_graph or self._measuring):
            return
        from cellmix_dali.plugins.dali import fn, types

        from .device import pipeline_on

        pipeline = pipeline_on(device, batch_size=batch_size, num_threads=num_threads)
        with pipeline:
            images = fn.external_source(name="windows", dtype=types.UINT8, ndim=3, layout="HWC", no_copy=True)
            images = images.gpu() if device == "gpu" else images
            if self._in_graph:
                # Each for itself and as in cellmix_dali.plugins.tiles: what lies beside a window must not come in.
                images = fn.resize(images, size=[size, size], antialias=True)
            outputs = [images.cpu()] if self._in_graph else []
            if saturation is not None:
                outputs.append(tissue_share_node(images, size, saturation).cpu())
            pipeline.set_outputs(*outputs)
        pipeline.build()
        self._pipeline = pipeline

    def __call__(self, windows: list[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return the images, if windows are resized, and the tissue."""
        images = np.empty((len(windows) if self._halve else 0, self.size, self.size, 3), np.uint8)
        tissue = np.full(len(windows), np.nan, np.float32)
        if self._halve:
            for window, image in zip(windows, images, strict=True):
                self._halve(window, image)
            windows = list(images)
        if self._pipeline is not None and windows:
            outputs = self._pipeline.run(windows=windows)
            # Copied, since DALI uses its memory again.
            if self._in_graph:
                images = np.array(outputs[0].as_tensor())
            if self._measuring:
                tissue = np.array(outputs[-1].as_tensor())
        return images, tissue


def windows_at_once(table: TileTable, batch_size: int) -> int:
    """Return how many windows are cut at once: of large ones fewer than asked."""
    return min(batch_size, max(1, _WINDOW_BYTES // (3 * int(table.size.max()) ** 2)))


def image_size(table: TileTable, tile_size: int | None) -> tuple[int, bool]:
    """The images' side, and whether any window has another."""
    least, most = int(table.size.min()), int(table.size.max())
    if tile_size is None and least != most:
        raise ArgumentError(
            f"The tile table mixes window sizes from {least} to {most} pixels: give tile_size, to which they are "
            "resized."
        )
    size = most if tile_size is None else tile_size
    if size < 1:
        raise ArgumentError(f"tile_size={tile_size}: an image has at least one pixel.")
    return size, least != size or most != size
