"""Features of tiles: slide by slide as they come, or of a whole table at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._cores import usable_cores
from ..errors import ArgumentError, SlideError
from ..shards.table import image_sizes
from ..tables.tile_table import TileTable, require_table
from .ahead import Ahead
from .model import FeatureModel, open_model
from .settings import ModelSettings
from .stream import Batch, Ended, SlideTiles, batches_of, pieces_of, rows_by_slide

__all__ = ["Clock", "FeaturesOfSlides", "SlideFeatures", "embed", "slide_features"]

_SLIDES_AHEAD, _PIECES_AHEAD, _BATCHES_AHEAD = 2, 4, 2


@dataclass(frozen=True, eq=False)
class SlideFeatures:
    """The features of one slide.

    Attributes
    ----------
    slide : str
        Its path.
    coords : int64 array (n, 2)
        Upper left corners of the tiles, x and y in pixels of level 0.
    features : float32 or float16 array (n, numbers)
        All finite.
    rows : int64 array (n,)
        The tiles' rows among those of the slide, ascending.
    faults : tuple of (int, SlideError)
        Rows that were left out, and why: a `NotReadError` for one that could not be read for a reason of the moment.
    error : Exception or None
        Why the slide was given up; it then has no features.
    tiles : SlideTiles
        What was asked for.
    downsample : float
        Of the level that was read.
    size : tuple of int
        Width and height of level 0; (0, 0) where the slide is not there (its tiles came from shards).
    """

    slide: str
    coords: NDArray[np.int64]
    features: NDArray[Any]
    rows: NDArray[np.int64]
    faults: tuple[tuple[int, SlideError], ...]
    error: Exception | None
    tiles: SlideTiles
    downsample: float = 1.0
    size: tuple[int, int] = (0, 0)


@dataclass
class Clock:
    """Where time went.

    Attributes
    ----------
    waited, computed : float
        Seconds in which the model waited for tiles, and in which it worked.
    tiles : int
        Tiles that it has seen.
    tick : callable or None
        Called after each batch.
    """

    waited: float = 0.0
    computed: float = 0.0
    tiles: int = 0
    tick: Callable[[], None] | None = None
    last: float = field(default_factory=time.perf_counter)

    def lap(self) -> float:
        """Return the seconds since the last call."""
        now = time.perf_counter()
        since, self.last = now - self.last, now
        return since


def embed(
    table: TileTable,
    model: FeatureModel | str,
    settings: ModelSettings | None = None,
    *,
    tile_size: int | None = None,
    edge: str = "skip",
    decoder: str = "cpu",
    num_threads: int | None = None,
) -> tuple[NDArray[Any], NDArray[np.int64], list[tuple[int, SlideError]]]:
    """Return the features of a table's tiles, in the table's order.

    Parameters
    ----------
    table, model, settings, tile_size, edge, decoder, num_threads
        See `slide_features`.

    Returns
    -------
    features : float32 or float16 array (n, numbers)
    rows : int64 array (n,)
        The tiles that they are of: all rows of the table but the bad ones, ascending.
    faults : list of (int, SlideError)
        Rows that were left out, and why.

    Raises
    ------
    CellMixDaliError
        If an argument cannot be used, or a slide cannot be opened at all.
    """
    require_table(table)
    by_slide = rows_by_slide(table)
    features, found, faults = [], [], []
    with closing(
        slide_features(table, model, settings, tile_size=tile_size, edge=edge, decoder=decoder, num_threads=num_threads)
    ) as whole:
        for slide, own in zip(whole, by_slide, strict=True):
            if slide.error is not None:
                raise slide.error
            features.append(slide.features)
            found.append(own[slide.rows])
            faults += [(int(own[row]), why) for row, why in slide.faults]
    rows = np.concatenate(found)
    order = np.argsort(rows)
    return np.concatenate(features)[order], rows[order], sorted(faults, key=lambda each: each[0])


def slide_features(
    table: TileTable,
    model: FeatureModel | str,
    settings: ModelSettings | None = None,
    *,
    tile_size: int | None = None,
    edge: str = "skip",
    decoder: str = "cpu",
    num_threads: int | None = None,
) -> FeaturesOfSlides:
    """Go through the slides of a table, and give the features of each.

    Tiles are decoded ahead, by threads, across slides: while the model works at a slide's last tiles, those of the next
    one are being decoded, and a batch holds tiles of several slides where one ends in it. A slide's blocks are decoded
    once, where its tiles come row by row. Tiles that cannot be read are left out and listed, and so are tiles for which
    the model gives numbers that are not finite.

    Parameters
    ----------
    table : TileTable
        The tiles, of slides or in shards. Slides come in the order in which the table meets them.
    model : FeatureModel or str
        The model, or its name, see `open_model`.
    settings : ModelSettings, optional
        How a model that is given by its name is run.
    tile_size : int, optional
        Side of the images that the model is given; by default that of the windows.
    edge : {"skip", "pad"}, default "skip"
        See `cellmix_dali.pipelines.decoded_tiles`.
    decoder : {"cpu", "gpu"}, default "cpu"
        Where blocks are decoded.
    num_threads : int, optional
        That decode; by default one per core.

    Returns
    -------
    FeaturesOfSlides
        Iterates over a `SlideFeatures` for each slide; one that cannot be read has an `error`. Leave it by `close` (or
        `contextlib.closing`) where not all slides are gone through: threads read ahead.

    Raises
    ------
    ArgumentError
        If an argument cannot be used, or the model does not take such images.
    """
    require_table(table)
    if not len(table):
        raise ArgumentError("The tile table is empty: there is nothing to embed.")
    if tile_size is None:
        tile_size = _one_size(table)
    if isinstance(model, str):
        model = open_model(model, settings, size=tile_size)
    elif settings is not None:
        raise ArgumentError("settings with a FeatureModel: it has its own. Give them to open_model.")
    slides = (SlideTiles(table.slides[int(table.slide[own[0]])], table.select(own)) for own in rows_by_slide(table))
    return FeaturesOfSlides(
        slides, model, tile_size=tile_size, edge=edge, decoder=decoder, num_threads=num_threads, clock=Clock()
    )


class FeaturesOfSlides(Iterator[SlideFeatures]):
    """Goes through slides as they come, for instance while their tissue is being found; see `slide_features`.

    Its threads end with it: at the end of the slides, by `close`, which waits for them, or when nobody refers to it
    any more.

    Parameters
    ----------
    slides : iterable of SlideTiles
        Gone through by a thread, ahead of the model.
    model, tile_size, edge, decoder, num_threads
        See `slide_features`.
    clock : Clock
        Says where time went.
    """

    _ahead: tuple[Ahead[Any], ...] = ()

    def __init__(
        self,
        slides: Iterable[SlideTiles],
        model: FeatureModel,
        *,
        tile_size: int,
        edge: str = "skip",
        decoder: str = "cpu",
        num_threads: int | None = None,
        clock: Clock,
    ) -> None:
        under_way = _UnderWay(model.width(tile_size), model.settings.dtype)
        threads = usable_cores() if num_threads is None else num_threads
        looked_at = Ahead(slides, _SLIDES_AHEAD)
        decoding = pieces_of(looked_at, tile_size=tile_size, edge=edge, device=decoder, num_threads=threads)
        pieces = Ahead(decoding, _PIECES_AHEAD)
        filling = batches_of(pieces, model, across=not model.settings.deterministic, tile_size=tile_size)
        batches = Ahead(filling, _BATCHES_AHEAD)
        self._ahead = batches, pieces, looked_at
        computed = _computed(batches, model, clock)
        self._found = (found for batch, features in computed for found in under_way.take(batch, features))

    def __next__(self) -> SlideFeatures:
        try:
            return next(self._found)
        except BaseException:  # the end, too
            self.close()
            raise

    def close(self) -> None:
        """Stop, and wait for the threads."""
        for each in self._ahead:
            each.close()

    def __del__(self) -> None:
        for each in self._ahead:
            each.stop()


def _computed(batches: Iterable[Batch], model: FeatureModel, clock: Clock) -> Iterator[tuple[Batch, NDArray[Any]]]:
    """Run the model; on a GPU the next batch is begun before a batch's features are fetched."""
    begun: tuple[Batch, Tensor] | None = None
    waiting = 1 if model.device.type == "cuda" else 0
    clock.lap()
    for batch in batches:
        clock.waited += clock.lap()
        out = torch.empty((0, 1)) if batch.images is None else model(batch.images)[: batch.count]
        clock.tiles += batch.count
        pair: tuple[Batch, Tensor] | None = (batch, out)
        if waiting:
            begun, pair = pair, begun
        if pair is not None:
            found = pair[1].cpu().numpy()
            clock.computed += clock.lap()
            if clock.tick is not None:
                clock.tick()
            yield pair[0], found
    clock.waited += clock.lap()
    if begun is not None:
        yield begun[0], begun[1].cpu().numpy()
        clock.computed += clock.lap()


class _UnderWay:
    """Gathers the features of the slide under way."""

    def __init__(self, width: int, dtype: str) -> None:
        self._width, self._dtype = width, dtype
        self._rows: list[NDArray[np.int64]] = []
        self._features: list[NDArray[Any]] = []

    def take(self, batch: Batch, features: NDArray[Any]) -> Iterator[SlideFeatures]:
        """Take a batch's features, and give the slides that end in it."""
        first = 0
        for part in batch.parts:
            if isinstance(part, Ended):
                yield self._end(part)
                continue
            with np.errstate(over="ignore"):
                self._features.append(features[first : first + len(part)].astype(self._dtype))
            self._rows.append(part)
            first += len(part)

    def _end(self, ended: Ended) -> SlideFeatures:
        none = np.empty((0, self._width), self._dtype)
        rows = np.concatenate([*self._rows, np.empty(0, np.int64)])
        features = np.concatenate([none, *self._features])
        self._rows, self._features = [], []
        if ended.error is not None:
            rows, features = rows[:0], none
        finite = np.isfinite(features).all(axis=1)
        faults = list(ended.faults)
        if not finite.all():
            assert ended.tiles.table is not None
            faults += [
                (row, SlideError(f"The model gives numbers that are not finite ({ended.tiles.table.describe(row)})."))
                for row in rows[~finite].tolist()
            ]
            rows, features = rows[finite], features[finite]
        if not (rows[1:] > rows[:-1]).all():  # levels were read one after the other
            order = np.argsort(rows)
            rows, features = rows[order], features[order]
        return SlideFeatures(
            slide=ended.tiles.slide,
            coords=ended.coords[rows],
            features=features,
            rows=rows,
            faults=tuple(sorted(faults, key=lambda each: each[0])),
            error=ended.error,
            tiles=ended.tiles,
            downsample=ended.downsample,
            size=ended.size,
        )


def _one_size(table: TileTable) -> int:
    """The side of all windows, or of the finished tiles in shards."""
    sizes = image_sizes(table)
    if sizes.min() != sizes.max():
        raise ArgumentError(
            f"The tile table mixes sizes from {int(sizes.min())} to {int(sizes.max())} pixels: give tile_size."
        )
    return int(sizes[0])
