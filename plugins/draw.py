"""Random numbers in a graph that are a pure function of (seed, epoch, iteration, rank, ordinal).

DALI's own `fn.random` numbers depend on what was drawn before them, so a resumed training would see others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._arguments import number
from cellmix_dali._random import generator
from cellmix_dali.errors import ArgumentError
from cellmix_dali.sampling import EpochOrder
from cellmix_dali.sampling.place_table import PlaceOrder
from cellmix_dali.tables.tile_table import TileTable

from .clock import BatchPosition, DrawClock
from .dali import DataNode, fn, types
from .source import Source

__all__ = ["Augment", "Draw", "DrawnBy"]

_STREAM = 1 << 16  # keeps the draws, one stream each, apart from all else under one seed

#: Draws the numbers of a batch, (samples, numbers): from a generator, how many samples, and the strength.
DrawnBy: TypeAlias = "Callable[[np.random.Generator, int, float], NDArray[np.generic]]"


@dataclass
class Draw:
    """Draws for the graph that is being defined: each call gives a node on the host, with other values per sample.

    The n-th call of a graph is the n-th stream of numbers, so a graph that is defined again, in this process or
    another, on the CPU or the GPU, draws the same. A call that is added at the end changes none before it.

    Parameters
    ----------
    clock : EpochClock
        Says which batch it is: that of the graph's `TileSource`, `PlanSource` or image source.
    batch_size : int
        Samples per batch, but for a last one that may be short.
    seed, rank : int, default 0
        Of the numbers.
    engine : {"native", "numba"}, optional
        What changes colours, see `cellmix_dali.plugins.coloured`.
    strengths : callable, optional
        Says how strong augmentations are in the epoch that is drawn, see `strength`; by default 1 always.
    order : EpochOrder, optional
        Says how many samples the last batch holds; by default all batches are full.

    Attributes
    ----------
    masks : DataNode, uint8 HWC with 1 channel, or None
        The tiles' class masks, where they have any. A function that moves pixels of the images (a flip, a turn, a
        crop) puts the masks here that were moved by the same numbers, without interpolation.
    table : TileTable or None
        Where the samples are tiles: their table.
    rows : DataNode, int64 (1,), or None
        The samples' rows of that table.
    """

    clock: DrawClock
    batch_size: int
    seed: int = 0
    rank: int = 0
    engine: str | None = None
    strengths: Callable[[], float] | None = None
    order: EpochOrder | PlaceOrder | None = None
    masks: DataNode | None = field(default=None, init=False, repr=False)
    table: TileTable | None = field(default=None, init=False, repr=False)
    rows: DataNode | None = field(default=None, init=False, repr=False)
    _drawn: list[tuple[int, DrawnBy]] = field(default_factory=list, init=False, repr=False)
    _node: DataNode | None = field(default=None, init=False, repr=False)

    @classmethod
    def of(cls, source: Source, *, engine: str | None = None) -> Draw:
        """Make the draws of a graph that a source feeds, under the source's seed and rank.

        Parameters
        ----------
        source : TileSource or ImageSource
            Its clock, its order, and its plans' curriculum count.
        engine : {"native", "numba"}, optional
            See `Draw`.
        """
        curriculum = None if source.plans is None else source.plans.curriculum
        strengths = None if curriculum is None else partial(_strength_of, curriculum)
        return cls(source.draws_by, source.batch_size, source.seed, source.rank, engine, strengths, source.order)

    @property
    def strength(self) -> DataNode:
        """How strong augmentations are in the epoch, float32: what a curriculum says, or 1."""
        return self.by(_strength)

    def uniform(self, low: float = 0.0, high: float = 1.0, shape: Sequence[int] = ()) -> DataNode:
        """Draw evenly from [low, high).

        Parameters
        ----------
        low, high : float
            The range; low is not above high.
        shape : sequence of int
            Of each sample's numbers; by default one number.

        Returns
        -------
        DataNode, float32 (*shape,)

        Raises
        ------
        ArgumentError
            If it is not a range, or the shape holds no number.
        """
        low, high = number("low", low, -math.inf), number("high", high, -math.inf)
        if low > high:
            raise ArgumentError(f"low={low}, high={high}: low is at most high.")
        return self._draw(shape, lambda random, *size: low + random.random(size) * (high - low))

    def normal(self, mean: float = 0.0, std: float = 1.0, shape: Sequence[int] = ()) -> DataNode:
        """Draw from a normal distribution.

        Parameters
        ----------
        mean, std : float
            Of the distribution; std is not negative.
        shape : sequence of int
            See `uniform`.

        Returns
        -------
        DataNode, float32 (*shape,)

        Raises
        ------
        ArgumentError
            If std is negative, or the shape holds no number.
        """
        mean, std = number("mean", mean, -math.inf), number("std", std, 0)
        return self._draw(shape, lambda random, *size: random.normal(mean, std, size))

    def coin(self, p: float = 0.5, shape: Sequence[int] = ()) -> DataNode:
        """Draw 1 with probability p, else 0.

        Parameters
        ----------
        p : float, default 0.5
            From 0 to 1.
        shape : sequence of int
            See `uniform`.

        Returns
        -------
        DataNode, int32 (*shape,)
            What `fn.flip(horizontal=...)` takes.

        Raises
        ------
        ArgumentError
            If p is not a probability, or the shape holds no number.
        """
        p = number("p", p, 0, 1)
        return fn.cast(self._draw(shape, lambda random, *size: random.random(size) < p), dtype=types.INT32)

    def choice(self, values: Sequence[float], shape: Sequence[int] = ()) -> DataNode:
        """Draw one of some values, each as often.

        Parameters
        ----------
        values : sequence of numbers
            At least one.
        shape : sequence of int
            See `uniform`.

        Returns
        -------
        DataNode (*shape,)
            int32 if all values are whole numbers by their type, else float32.

        Raises
        ------
        ArgumentError
            If there are no values, or the shape holds no number.
        """
        offered = np.asarray(values)
        if offered.ndim != 1 or not offered.size or offered.dtype.kind not in "iuf":
            raise ArgumentError(f"values={values!r}: give a sequence of numbers to choose from.")
        chosen = self._draw(shape, lambda random, *size: offered[random.integers(0, offered.size, size)])
        return chosen if offered.dtype.kind == "f" else fn.cast(chosen, dtype=types.INT32)

    def by(self, function: DrawnBy, shape: Sequence[int] = ()) -> DataNode:
        """Draw by a function of one's own, on the host.

        Parameters
        ----------
        function : callable
            ``function(random, samples, strength)`` returns (samples, numbers), for a `numpy.random.Generator` that is
            keyed to the batch and to this draw, the number of samples, and the strength (see `strength`).
        shape : sequence of int
            Of each sample's numbers, their product being the function's `numbers`; by default one number.

        Returns
        -------
        DataNode, float32 (*shape,)

        Raises
        ------
        ArgumentError
            If the shape holds no number. When a batch is drawn: if the function returns other numbers.
        """
        count = math.prod(shape)
        if count < 1 or any(side < 1 for side in shape):
            raise ArgumentError(f"shape={tuple(shape)}: every side is at least 1.")
        if self._node is None:
            self._node = fn.external_source(source=self._values, batch=True, batch_info=True, dtype=types.FLOAT, ndim=1)
        first = sum(size for size, _ in self._drawn)
        self._drawn.append((count, function))
        if not shape:
            return self._node[first]
        return fn.reshape(self._node[first : first + count], shape=list(shape))

    def _draw(
        self, shape: Sequence[int], numbers: Callable[[np.random.Generator, int, int], NDArray[np.generic]]
    ) -> DataNode:
        """The node of numbers that know no strength."""
        count = math.prod(shape)
        return self.by(lambda random, samples, _: numbers(random, samples, count), shape)

    def _values(self, info: BatchPosition) -> NDArray[np.float32]:
        """All numbers of a batch, (samples, numbers)."""
        epoch, iteration = self.clock.at(info)
        samples, strength = self.batch_size, 1.0 if self.strengths is None else self.strengths()
        if self.order is not None and not self.order.drop_last:
            samples = len(self.order.batch(epoch, iteration))
        return self._numbers(samples, strength, epoch=epoch, iteration=iteration, rank=self.rank)

    def _numbers(self, samples: int, strength: float, **key: int) -> NDArray[np.float32]:
        """All numbers of some samples under one key, (samples, numbers)."""
        columns = []
        for ordinal, (count, function) in enumerate(self._drawn):
            random = generator(self.seed, stream=_STREAM + ordinal, **key)
            drawn = np.asarray(function(random, samples, strength), np.float32)
            if drawn.shape != (samples, count):
                raise ArgumentError(
                    f"{function!r} drew numbers of shape {drawn.shape}, the graph takes {(samples, count)}: (samples, "
                    "numbers)."
                )
            columns.append(drawn)
        return np.concatenate(columns, axis=1)


def _strength(random: np.random.Generator, samples: int, strength: float) -> NDArray[np.float64]:
    """The strength for every sample."""
    del random
    return np.full((samples, 1), strength)


def _strength_of(curriculum: object) -> float:
    """How strong augmentations are now, as a curriculum says."""
    return float(getattr(curriculum, "augment_strength", 1.0))


#: A function of the graph that changes images (uint8 HWC) by draws, and keeps their size, type and device.
Augment: TypeAlias = Callable[[DataNode, Draw], DataNode]
