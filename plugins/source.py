"""Samples as a DALI external source: in the order of their epochs, with labels, flips and the batch's mixing plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._random import generator
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import TargetValues, mixed_target, mixer_parameters
from cellmix_dali.mixing.mixing_matrix import MixingMatrix
from cellmix_dali.reading.faults import Fault
from cellmix_dali.sampling import EpochOrder
from cellmix_dali.sampling.place_table import PlaceOrder
from cellmix_dali.slides.stream_kinds import DecoderRoute

from .clock import BatchPosition, DrawClock, EpochClock
from .dali import DataNode, types
from .decoder_options import DecoderOptions
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
    order : EpochOrder or PlaceOrder
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
    targets : mapping of str to TargetValues, optional
        Further targets of the samples, by their outputs' names; mixed here where the labels are.

    Raises
    ------
    ArgumentError
        If the plans are for other batches or images, or the last batch may be short and is to be mixed.

    Attributes
    ----------
    counts : collections.Counter
        What was read since the pass began, see `cellmix_dali.pipelines.timing.Timing`.
    bad : dict of int to str
        Samples that were found bad so far, and why.
    routes : dict of str to DecoderRoute
        Where each kind of streams is decoded; set when a pipeline is defined.
    decoders : dict of (int, DecoderOptions) to str
        The device of `fn.decoders.image` for each GPU, by its number and the decoder's options: blocks are tried once,
        not for every pipeline.
    """

    key: ClassVar[str] = "tile"
    """Name of the output that says which samples a batch holds."""

    digests: ClassVar[Mapping[str, str]] = {}
    """Settings that are digests, and what to say where only they differ."""

    def __init__(
        self,
        order: EpochOrder | PlaceOrder,
        *,
        tile_size: int,
        labels: NDArray[np.generic] | None,
        plans: PlanSource | None = None,
        num_classes: int | None = None,
        flips: bool = False,
        targets: Mapping[str, TargetValues] | None = None,
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
        self.targets = dict(targets or {})
        self.bad: dict[int, str] = {}
        self.counts: Counter[str] = Counter()
        self.routes: dict[str, DecoderRoute] = {}
        self.decoders: dict[tuple[int, DecoderOptions], str] = {}
        self._labels = labels

    @abstractmethod
    def deliver(self, epoch: int, iteration: int) -> tuple[NDArray[np.int64], list[object]]:
        """Return which samples a batch holds, (batch,), and the arrays of `inputs`."""

    @property
    @abstractmethod
    def inputs(self) -> list[Input]:
        """What the graph is given to make images of."""

    @abstractmethod
    def images(self, nodes: Sequence[DataNode], device: str, decoder: DecoderOptions) -> DataNode:
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
    def batches_ready(self) -> float | None:
        """How many batches were read ahead and ready when one was asked for, on average since the pass began."""
        return None

    def count_anew(self) -> None:
        """Begin to count anew, with a pass."""
        self.counts.clear()

    @property
    def draws_by(self) -> DrawClock:
        """The clock whose (epoch, iteration) keys what the graph draws; by default the epoch clock itself."""
        return self.clock

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
        drawn = [] if self.plans is None else ["parameters"] + ["source_map"] * (self.plans.source_map is not False)
        return [
            *("images", "labels", self.key, *drawn, *self.targets),
            *["weights"] * self.weighs,
            *["masks"] * self.masked,
        ]

    @property
    def weighs(self) -> bool:
        """Whether a target stays with its sample, so that the mixing matrix comes along."""
        return self.plans is not None and not all(target.of.mixed for target in self.targets.values())

    @property
    def weights_apart(self) -> bool:
        """Whether the graph is given the mixing matrix beside the plan: labels are mixed here, so the plan has none."""
        known = self.plans is not None and self.plans.weights_known and self.num_classes is not None
        return self.weighs and known

    @property
    def masked(self) -> bool:
        """Whether samples have class masks; by default they have none."""
        return False

    @property
    def has_labels(self) -> bool:
        """Whether samples have class labels."""
        return self._labels is not None

    def mask(self, nodes: Sequence[DataNode]) -> DataNode | None:
        """Return the masks, uint8 HWC of the tile size with 1 channel, of the nodes of `inputs`; by default none."""
        del nodes
        return None

    @property
    def soft(self) -> bool:
        """Whether labels come as class shares."""
        return self.num_classes is not None or (self._labels is not None and self._labels.ndim == 2)

    @property
    def plan_fields(self) -> tuple[str, ...]:
        """Names of the plans' arrays that the graph is given: not the weights, where labels are mixed here."""
        return () if self.plans is None else self.plans.fields(weights=self.num_classes is None)

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
            # None where they are not asked for: states of former versions know nothing of them.
            "source_map": None if plans is None or plans.source_map is False else plans.source_map,
            "targets": {name: target.told() for name, target in self.targets.items()} or None,
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
        """Return a batch: the arrays of `inputs`, labels, which samples, drawn flips, a plan's arrays, targets."""
        epoch, iteration = self.clock.at(info)
        samples, batch = self.deliver(epoch, iteration)
        plan = None if self.plans is None else self.plans.draw(epoch, iteration)
        batch += [self._batch_labels(samples, plan), samples[:, None]]
        if self.flips:
            key = {"seed": self.seed, "epoch": epoch, "iteration": iteration, "rank": self.rank}
            batch.append(drawn_flips(len(samples), **key))
        if plan is not None:
            batch += plan.only(self.plan_fields)
        batch += [self._batch_target(target, samples, plan) for target in self.targets.values()]
        if plan is not None and self.weights_apart:
            batch.append(plan.weights)
        return tuple(batch)

    def _batch_target(
        self, target: TargetValues, samples: NDArray[np.int64], plan: PlanArrays | None
    ) -> NDArray[np.float32]:
        """A target of the batch, (batch, numbers)."""
        values: NDArray[np.float32] = target.values[samples]
        if plan is None or self.num_classes is None:
            return values
        return mixed_target(target.kind, values, plan.matrix)

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
    if labels.ndim == 2:
        dense = np.asarray(labels, np.float32)
        return dense if plan is None else plan.matrix.mixed(dense).astype(np.float32)
    matrix = MixingMatrix.unit(len(labels)) if plan is None else plan.matrix
    return matrix.mixed_classes(labels.astype(np.int64), num_classes).astype(np.float32)
