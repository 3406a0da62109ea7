"""Slide tiles as a DALI external source: encoded blocks straight from the files, labels, and the batch's plan."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.mixing.random import generator
from cellmix_dali.sampling import EpochOrder
from cellmix_dali.slides import Level, Slide, open_slide
from cellmix_dali.slides.ppm import ppm
from cellmix_dali.tiles import TileTable

from ._dali import DataNode, fn, types
from .clock import BatchPosition, EpochClock
from .plan_source import PlanArrays, PlanNodes, PlanSource

__all__ = ["TileNodes", "TileSource", "tiles"]

_FLIPS = 2  # the stream of random numbers for the tiles' orientation
_AHEAD = 2  # batches read in the background while DALI works


class _Read(NamedTuple):
    """One tile as a stream for the decoder, and which way it came."""

    stream: NDArray[np.uint8]
    way: str


class TileNodes(NamedTuple):
    """Tiles as nodes of a DALI graph.

    Attributes
    ----------
    images : DataNode, uint8 HWC
        Decoded tiles, RGB.
    labels : DataNode
        int32 (1,) class index, or float32 (classes,) class shares; int32 (1,) of -1 where the table has no labels.
    tile : DataNode, int64 (1,)
        Row of the tile table.
    flips : DataNode, int32 (2,), or None
        Two random bits a tile for `fn.flip`, drawn by the batch's key: horizontal, vertical; if the source draws them.
    plan : PlanNodes or None
        The batch's mixing plan, if the source draws one.
    """

    images: DataNode
    labels: DataNode
    tile: DataNode
    flips: DataNode | None
    plan: PlanNodes | None


class TileSource:
    """Feeds a tile table to a DALI graph, batch by batch; a source for `fn.external_source`, and its epoch clock.

    A tile that is just one block of a directly readable slide comes as the file's own encoded bytes; every other tile
    is read through OpenSlide and comes as a PPM stream, which the same decoder takes. What a batch holds is a pure
    function of (seed, epoch, iteration, rank). Reading runs ahead in threads.

    Parameters
    ----------
    table : TileTable
        The tiles; all of one size.
    batch_size : int
        Tiles a batch: the pipeline's batch size.
    plans : PlanSource, optional
        Draws each batch's mixing plan, under the curriculum.
    flips : bool, default False
        Whether to draw random flips for the tiles.
    shuffle, drop_last, seed, rank, world_size
        As of `cellmix_dali.sampling.EpochOrder`.
    num_workers : int, default 2
        Reading threads.

    Raises
    ------
    ArgumentError
        If the tiles are too few for a batch or of several sizes, or the plans are drawn for another batch or tile size.
    SlideError
        If a slide is not there.

    Attributes
    ----------
    read : collections.Counter
        How many tiles were delivered by which way: "direct" or "openslide".
    """

    def __init__(
        self,
        table: TileTable,
        *,
        batch_size: int,
        plans: PlanSource | None = None,
        flips: bool = False,
        shuffle: bool = True,
        drop_last: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 2,
    ) -> None:
        self.table = table
        self.batch_size = batch_size
        self.plans = plans
        self.flips = flips
        self.seed, self.rank = seed, rank
        self.order = EpochOrder(
            len(table),
            batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
        self.clock = EpochClock(len(self.order))
        self.read: Counter[str] = Counter()
        self._check(num_workers)
        self._slides: dict[int, Slide] = {}
        self._workers = ThreadPoolExecutor(num_workers, thread_name_prefix="cellmix-dali-read")
        self._num_workers = num_workers
        self._pending: dict[tuple[int, int], list[Future[list[_Read]]]] = {}

    @property
    def tile_size(self) -> int:
        """Side of a tile in pixels."""
        return int(self.table.size[0])

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(self.order)

    def __call__(self, info: BatchPosition) -> tuple[object, ...]:
        """Give one batch: encoded tiles, labels, rows; flips and the plan's arrays where they are drawn."""
        epoch, iteration = self.clock.at(info)
        rows = self.order.batch(epoch, iteration)
        self._read_ahead(epoch, iteration)
        read = [tile for part in self._pending.pop((epoch, iteration)) for tile in part.result()]
        self.read.update(tile.way for tile in read)
        label = np.full(len(rows), -1, np.int32) if self.table.label is None else self.table.label[rows]
        batch: list[object] = [[tile.stream for tile in read], label.reshape(len(rows), -1), rows[:, None]]
        if self.flips:
            random = generator(self.seed, epoch=epoch, iteration=iteration, rank=self.rank, stream=_FLIPS)
            batch.append(random.integers(0, 2, (len(rows), 2), dtype=np.int32))
        if self.plans is not None:
            batch.extend(self.plans.draw(epoch, iteration))
        return tuple(batch)

    def forget(self) -> None:
        """Drop what was read ahead; for an epoch that ends early."""
        for futures in self._pending.values():
            for future in futures:
                future.cancel()
        self._pending.clear()

    def close(self) -> None:
        """Stop the reading threads and close the slides."""
        self.forget()
        self._workers.shutdown(wait=True, cancel_futures=True)
        for slide in self._slides.values():
            slide.close()
        self._slides.clear()

    def nodes(self) -> TileNodes:
        """Put the source into the DALI graph that is being defined; the images are still encoded."""
        soft = self.table.label is not None and self.table.label.ndim == 2
        dtypes = [types.UINT8, types.FLOAT if soft else types.INT32, types.INT64]
        ndims = [1, 1, 1]
        if self.flips:
            dtypes, ndims = [*dtypes, types.INT32], [*ndims, 1]
        if self.plans is not None:
            dtypes, ndims = dtypes + PlanArrays.dtypes(), ndims + PlanArrays.ndims()
        nodes = fn.external_source(
            source=self, num_outputs=len(dtypes), batch=True, batch_info=True, dtype=dtypes, ndim=ndims
        )
        encoded, labels, tile, *others = nodes
        flips = others.pop(0) if self.flips else None
        return TileNodes(encoded, labels, tile, flips, PlanNodes(*others) if others else None)

    def _read_ahead(self, epoch: int, iteration: int) -> None:
        """Have this batch and the next ones read."""
        for number in range(iteration, min(iteration + 1 + _AHEAD, len(self.order))):
            if (epoch, number) not in self._pending:
                parts = np.array_split(self.order.batch(epoch, number), self._num_workers)
                self._pending[epoch, number] = [self._workers.submit(self._tiles, part) for part in parts]

    def _tiles(self, rows: NDArray[np.int64]) -> list[_Read]:
        """Read a part of a batch: the blocks of one level together, then what must be read as pixels."""
        table, size = self.table, self.tile_size
        read: dict[int, _Read] = {}
        for number, level in {(int(table.slide[row]), int(table.level[row])) for row in rows}:
            slide = self._slide(number)
            own = [int(row) for row in rows if table.slide[row] == number and table.level[row] == level]
            of = self._level(slide, level, own)
            if slide.route == "direct" and of.block_width == of.block_height == size:
                aligned = [row for row in own if not (table.x[row] % size or table.y[row] % size)]
                columns, lines = table.x[aligned] // size, table.y[aligned] // size
                blocks = slide.blocks(level, columns.tolist(), lines.tolist())
                for row, block in zip(aligned, blocks, strict=True):
                    if block is not None:
                        read[row] = _Read(np.frombuffer(block, np.uint8), "direct")
            for row in own:
                if row not in read:
                    pixels = slide.read_region(level, int(table.x[row]), int(table.y[row]), size, size)
                    read[row] = _Read(ppm(pixels), "openslide")
        return [read[int(row)] for row in rows]

    def _level(self, slide: Slide, level: int, rows: list[int]) -> Level:
        """The level that rows lie on; refused where there is none, or a tile lies over its edge."""
        table = self.table
        if level >= len(slide.levels):
            raise SlideError(f"There is no such level: {table.describe(rows[0])}; levels: {len(slide.levels)}.")
        of = slide.levels[level]
        for row in rows:
            if table.x[row] + table.size[row] > of.width or table.y[row] + table.size[row] > of.height:
                raise SlideError(
                    f"The tile lies over the edge of its level of {of.width} x {of.height}: {table.describe(row)}."
                )
        return of

    def _slide(self, number: int) -> Slide:
        """Open a slide once. Two threads may both open it; one of the two is kept."""
        slide = self._slides.get(number)
        return slide if slide is not None else self._slides.setdefault(number, open_slide(self.table.slides[number]))

    def _check(self, num_workers: int) -> None:
        """Refuse at once what would fail in the middle of an epoch."""
        if num_workers < 1:
            raise ArgumentError(f"num_workers={num_workers}: at least one thread must read.")
        sizes = np.unique(self.table.size)
        if len(sizes) > 1:
            raise ArgumentError(
                f"The tile table mixes tile sizes ({', '.join(map(str, sizes[:5]))}): a batch needs tiles of one size."
            )
        for path in self.table.slides:
            if not Path(path).exists():
                raise SlideError(f"There is no slide at {path}. The tile table names it: correct the path there.")
        if self.plans is None:
            return
        if self.plans.batch_size != self.batch_size:
            raise ArgumentError(
                f"Plans are drawn for batch_size={self.plans.batch_size}, tiles come by {self.batch_size}."
            )
        if self.plans.tile_size != (self.tile_size, self.tile_size):
            raise ArgumentError(
                f"Plans are drawn for tiles of {self.plans.tile_size}, the table's are {self.tile_size}."
            )
        if not self.order.drop_last:
            raise ArgumentError("Batches that are mixed must be full: use drop_last=True.")


def tiles(source: TileSource, *, device: str = "cpu") -> TileNodes:
    """Decode a source's tiles in the DALI graph that is being defined.

    Parameters
    ----------
    source : TileSource
        Where the tiles come from.
    device : {"cpu", "mixed"}, default "cpu"
        Of `fn.decoders.image`: "mixed" decodes on the GPU.

    Returns
    -------
    TileNodes
        Images on the CPU, or on the GPU for "mixed".
    """
    nodes = source.nodes()
    # Fancy upsampling is what OpenSlide's libjpeg does for 4:2:0; without it pixels differ.
    images = fn.decoders.image(nodes.images, device=device, output_type=types.RGB, jpeg_fancy_upsampling=True)
    return nodes._replace(images=images)
