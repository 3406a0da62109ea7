"""Samples as a DALI external source: in the order of their epochs, with labels, flips and the batch's mixing plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._random import generator
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import mixer_parameters
from cellmix_dali.reading.faults import Fault
from cellmix_dali.sampling import EpochOrder
from cellmix_dali.slides.stream_kinds import DecoderRoute

from .clock import BatchPosition, EpochClock
from .dali import DataNode, types
from .plan_source import PlanArrays, PlanSource

__all__ = ["Input", "Source", "drawn_flips", "mixed_labels"]

Input = tuple[types.DALIDataType, int]  # type and number of dimensions of one sample
_FLIPS = 2  # keeps the flips' random numbers apart from the others under one seed


class Source(ABC):
    """What all sources share: a batch is a pure function of (seed, epoch, iteration, rank); it is the epoch clock, too.

    A kind of source adds where its samples come from (`deliver`), and how the graph makes images of them (`inputs`,
    `images`). Everything after that, from `cellmix_dali.plugins.tiles` to the loader, is the same for all.

    Parameters
    ----------
    order : EpochOrder
        Which samples make each batch.
    tile_size : int
        Side of the images in pixels.
    labels : int array (samples,), float array (samples, classes), or None
        Class indices, or shares of classes; None for no labels.
    plans : PlanSource, optional
        Draws each batch's mixing plan.
    num_classes : int, optional
        If given, labels come as class shares, float32 (num_classes,), mixed as the plan says.
    flips : bool, default False
        Whether to draw random flips.

    Raises
    ------
    ArgumentError
        If the plans are for other batches or images, or the last batch may be short and is to be mixed.

    Attributes
    ----------
    bad : dict of int to str
        Samples that were found bad so far, and why.
    routes : dict of str to DecoderRoute
        Where each kind of streams is decoded; set when a pipeline is defined.
    decoders : dict of int to str
        The device of `fn.decoders.image` for each GPU, by its number: blocks are tried once, not for every pipeline.
    """

    key: ClassVar[str] = "tile"
    """Name of the output that says which samples a batch holds."""

    digests: ClassVar[Mapping[str, str]] = {}
    """Settings that are digests, and what to say where only they differ."""

    def __init__(
        self,
        order: EpochOrder,
        *,
        tile_size: int,
        labels: NDArray[np.generic] | None,
        plans: PlanSource | None = None,
        num_classes: int | None = None,
        flips: bool = False,
    ) -> None:
        if plans is not None and (plans.batch_size, plans.tile_size) != (order.batch_size, (tile_size, tile_size)):
            raise ArgumentError(
                f"Plans are drawn for {plans.batch_size} images of {plans.tile_size}, a batch has {order.batch_size} "
                f"of {(tile_size, tile_size)}: give both the same."
            )
        if plans is not None and not order.drop_last:
            raise ArgumentError("Batches that are mixed must be full: use drop_last=True.")
        self.order = order
        self.batch_size, self.seed, self.rank = order.batch_size, order.seed, order.rank
        self.clock = EpochClock(len(order))
        self.tile_size, self.plans, self.num_classes, self.flips = tile_size, plans, num_classes, flips
        self.bad: dict[int, str] = {}
        self.routes: dict[str, DecoderRoute] = {}
        self.decoders: dict[int, str] = {}
        self._labels = labels

    @abstractmethod
    def deliver(self, epoch: int, iteration: int) -> tuple[NDArray[np.int64], list[object]]:
        """Return which samples a batch holds, (batch,), and the arrays of `inputs`."""

    @property
    @abstractmethod
    def inputs(self) -> list[Input]:
        """What the graph is given to make images of."""

    @abstractmethod
    def images(self, nodes: Sequence[DataNode], device: str) -> DataNode:
        """Make images, uint8 HWC of the tile size, of the nodes of `inputs`; `device` is that of the decoder."""

    @property
    @abstractmethod
    def kinds(self) -> Iterable[str]:
        """Kinds of streams that the decoder may be given, of `cellmix_dali.slides.stream_kinds.KINDS`."""

    @abstractmethod
    def mend(self, error: RuntimeError, epoch: int, iterations: Iterable[int]) -> None:
        """Make sure that batches which DALI could not make can be made, or raise the error in a person's words.

        Parameters
        ----------
        error : RuntimeError
            DALI's.
        epoch : int
            Of the batches.
        iterations : iterable of int
            Numbers of the batches that may be to blame.

        Raises
        ------
        CellMixDaliError
            Names the samples to blame, as far as it can be known.
        """

    @abstractmethod
    def own_settings(self) -> dict[str, Any]:
        """Return what the batches depend on that only this kind of source has."""

    @property
    def layout(self) -> str | None:
        """DALI's layout of the first input; by default none."""
        return None

    @property
    def faults(self) -> list[Fault]:
        """Bad samples met so far, each once."""
        return []

    @property
    def outputs(self) -> list[str]:
        """Names of what a pipeline over this source gives to PyTorch."""
        return ["images", "labels", self.key] + ["parameters"] * (self.plans is not None)

    @property
    def soft(self) -> bool:
        """Whether labels come as class shares."""
        return self.num_classes is not None or (self._labels is not None and self._labels.ndim == 2)

    @property
    def plan_fields(self) -> tuple[str, ...]:
        """Names of the plans' arrays that the graph is given: not the weights, where labels are mixed here."""
        return () if self.plans is None else self.plans.action.fields(weights=self.num_classes is None)

    def samples(self) -> Mapping[str, Sequence[NDArray[np.uint8]]]:
        """Return some encoded blocks of each kind, with which a decoder can be tried; by default none."""
        return {}

    def split(self, kinds: Iterable[str]) -> bool:
        """Have streams of these kinds decoded on the GPU, and all others on the CPU; False where it cannot be done."""
        del kinds
        return False

    @abstractmethod
    def only(self, kinds: Iterable[str]) -> None:
        """From now on give the decoder only these kinds of streams, as far as possible."""

    def settings(self) -> dict[str, Any]:
        """Return all that the batches depend on, as far as the source knows it, but for the rank.

        A rank is not a setting: all ranks stand at the same batch, and a trainer keeps the state of the first one
        alone.
        """
        order, plans = self.order, self.plans
        return {
            **self.own_settings(),
            "batch_size": self.batch_size,
            "shuffle": order.shuffle,
            "drop_last": order.drop_last,
            "world_size": order.world_size,
            "seed": self.seed,
            "flips": self.flips,
            "method": None if plans is None else plans.mixer.method,
            "method_parameters": None if plans is None else mixer_parameters(plans.mixer),
            "p": None if plans is None else plans.mixer.p,
        }

    @abstractmethod
    def forget(self) -> None:
        """Drop what was read ahead."""

    def close(self) -> None:
        """Let go what the source holds."""
        self.forget()

    def state_dict(self) -> dict[str, Any]:
        """Return which samples are bad, and why."""
        return {"bad": dict(self.bad)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take which samples are bad."""
        self.bad.clear()
        self.bad.update({int(sample): reason for sample, reason in state.get("bad", {}).items()})

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.order)

    def __call__(self, info: BatchPosition) -> tuple[object, ...]:
        """Return a batch: the arrays of `inputs`, labels, which samples, and what is drawn: flips, a plan's arrays."""
        epoch, iteration = self.clock.at(info)
        samples, batch = self.deliver(epoch, iteration)
        plan = None if self.plans is None else self.plans.draw(epoch, iteration)
        batch += [self._batch_labels(samples, plan), samples[:, None]]
        if self.flips:
            key = {"seed": self.seed, "epoch": epoch, "iteration": iteration, "rank": self.rank}
            batch.append(drawn_flips(len(samples), **key))
        if plan is not None:
            batch += plan.only(self.plan_fields)
        return tuple(batch)

    def _batch_labels(self, samples: NDArray[np.int64], plan: PlanArrays | None) -> NDArray[np.generic]:
        """The batch's labels, (batch, 1) or (batch, classes)."""
        if self._labels is None:
            return np.full((len(samples), 1), -1, np.int32)
        labels = self._labels[samples]
        if self.num_classes is None:
            return labels.reshape(len(samples), -1)
        return mixed_labels(labels, self.num_classes, plan)


def drawn_flips(count: int, *, seed: int, epoch: int, iteration: int, rank: int) -> NDArray[np.int32]:
    """Draw two bits per sample, (count, 2): whether it is flipped left-right, and up-down."""
    random = generator(seed, epoch=epoch, iteration=iteration, rank=rank, stream=_FLIPS)
    return random.integers(0, 2, (count, 2), dtype=np.int32)


def mixed_labels(labels: NDArray[np.generic], num_classes: int, plan: PlanArrays | None) -> NDArray[np.float32]:
    """Return labels, class indices (batch,) or shares (batch, classes), as shares, mixed as the plan says."""
    soft = labels.ndim == 2
    dense = np.asarray(labels, np.float32) if soft else np.eye(num_classes, dtype=np.float32)[labels.astype(np.int64)]
    return dense if plan is None else (plan.weights.astype(np.float64) @ dense).astype(np.float32)
