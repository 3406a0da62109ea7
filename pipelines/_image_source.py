"""Image files as a DALI external source: their names, or pixels from a cache; labels, flips and the batch's plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellmix_dali._arguments import integer
from cellmix_dali.errors import ArgumentError
from cellmix_dali.plugins import EpochClock, PlanNodes, PlanSource
from cellmix_dali.plugins.clock import BatchPosition
from cellmix_dali.plugins.dali import DataNode, fn, types
from cellmix_dali.plugins.host_batch import drawn_flips, mixed_labels
from cellmix_dali.plugins.plan_arrays import PlanArrays
from cellmix_dali.sampling import EpochOrder

from ._image_cache import ImageCache
from ._image_nodes import checked_files, checked_image_size, decoded, encoded

__all__ = ["ImageNodes", "ImageSource"]


class ImageNodes(NamedTuple):
    """Images as nodes of a DALI graph.

    Attributes
    ----------
    images : DataNode, uint8 HWC
        RGB, all of the source's size.
    labels : DataNode
        int32 (1,) class index; float32 (classes,) class shares, mixed, where the source is given `num_classes`.
    item : DataNode, int64 (1,)
        Which file, by its place in the list.
    plan : PlanNodes or None
        The batch's mixing plan, if the source draws one.
    """

    images: DataNode
    labels: DataNode
    item: DataNode
    plan: PlanNodes | None


class ImageSource:
    """Says which files make each batch; a source for `fn.external_source`, and its epoch clock.

    What a batch holds is a pure function of (seed, epoch, iteration, rank).

    Parameters
    ----------
    files : sequence of path
        Image files that DALI can decode.
    labels : int array (files,)
        Class indices.
    batch_size : int
        Images per batch: the pipeline's batch size.
    image_size : int
        Side in pixels to which the images are resized.
    plans : PlanSource, optional
        Draws each batch's mixing plan.
    num_classes : int, optional
        If given, labels come as class shares, float32 (num_classes,), mixed as the plan says.
    flips : bool, default False
        Whether to flip at random.
    shuffle, drop_last, seed, rank, world_size
        See `cellmix_dali.sampling.EpochOrder`.
    cache : ImageCache, optional
        Filled with the files here, and asked for their pixels; without one DALI reads and decodes them for every batch.

    Raises
    ------
    ArgumentError
        If a file is not there, labels do not fit, there are too few images for a batch, or the cache holds images of
        another size.
    CellMixDaliError
        If the cache cannot be filled.
    """

    def __init__(
        self,
        files: Sequence[str | Path],
        labels: ArrayLike,
        *,
        batch_size: int,
        image_size: int,
        plans: PlanSource | None = None,
        num_classes: int | None = None,
        flips: bool = False,
        shuffle: bool = True,
        drop_last: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        cache: ImageCache | None = None,
    ) -> None:
        self.files = checked_files(files)
        self.labels = _checked_labels(labels, len(self.files), num_classes)
        checked_image_size(image_size)
        if cache is not None and cache.image_size != image_size:
            raise ArgumentError(
                f"The cache holds images of {cache.image_size} px, image_size={image_size}: give both the same."
            )
        if plans is not None and (plans.batch_size, plans.tile_size) != (batch_size, (image_size, image_size)):
            raise ArgumentError(
                f"Plans are drawn for {plans.batch_size} images of {plans.tile_size}, a batch has {batch_size} of "
                f"{(image_size, image_size)}: give both the same."
            )
        if plans is not None and not drop_last:
            raise ArgumentError("Batches that are mixed must be full: use drop_last=True.")
        self.batch_size, self.image_size = integer("batch_size", batch_size, low=1), image_size
        self.plans, self.num_classes, self.flips = plans, num_classes, flips
        self.order = EpochOrder(
            len(self.files),
            batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
        self.seed, self.rank = self.order.seed, self.order.rank
        self.clock = EpochClock(len(self.order))
        self.cache = cache
        self._pixels: list[NDArray[np.uint8]] | None = None
        if cache is not None:
            cache.fill(self.files)
            self._pixels = [cache[file] for file in self.files]

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.order)

    def __call__(self, info: BatchPosition) -> tuple[object, ...]:
        """Return one batch: names or pixels, labels, places in the list; flips and the plan's arrays where drawn."""
        epoch, iteration = self.clock.at(info)
        items = self.order.batch(epoch, iteration)
        plan = None if self.plans is None else self.plans.draw(epoch, iteration)
        batch: list[object] = [self._first(items), self._labels(items, plan), items[:, None]]
        if self.flips:
            batch.append(drawn_flips(len(items), seed=self.seed, epoch=epoch, iteration=iteration, rank=self.rank))
        if plan is not None:
            batch += plan.only(self._plan_fields)
        return tuple(batch)

    def nodes(self, *, device: str = "cpu") -> ImageNodes:
        """Put the source into the DALI graph that is being defined: read, decode and resize its images, and flip them.

        Parameters
        ----------
        device : {"cpu", "mixed"}, default "cpu"
            Of `fn.decoders.image`; images come out on the GPU with "mixed".
        """
        dtypes = [types.UINT8, types.INT32 if self.num_classes is None else types.FLOAT, types.INT64]
        dtypes += [types.INT32] * self.flips + PlanArrays.dtypes(self._plan_fields)
        ndims = [1 if self.cache is None else 3, 1, 1] + [1] * self.flips + PlanArrays.ndims(self._plan_fields)
        first, labels, item, *others = fn.external_source(
            source=self,
            num_outputs=len(dtypes),
            batch=True,
            batch_info=True,
            dtype=dtypes,
            ndim=ndims,
            layout=None if self.cache is None else ["HWC"],  # of the first alone
        )
        if self.cache is None:
            images = decoded(first, image_size=self.image_size, device=device)
        else:
            images = first.gpu() if device == "mixed" else first
        if self.flips:
            flips = others.pop(0)
            images = fn.flip(images, horizontal=flips[0], vertical=flips[1])
        plan = None if self.plans is None else PlanNodes.of(self.plans.action, self._plan_fields, others)
        return ImageNodes(images, labels, item, plan)

    @property
    def _plan_fields(self) -> tuple[str, ...]:
        """Names of the plans' arrays that the graph is given: not the weights, where labels are mixed here."""
        return () if self.plans is None else self.plans.action.fields(weights=self.num_classes is None)

    def _first(self, items: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """The batch's images: names of files, or pixels from the cache."""
        if self._pixels is not None:
            # A list, and not one array for the batch: DALI copies what it is given, that would be one copy more.
            return [self._pixels[item] for item in items.tolist()]
        return [encoded(self.files[item]) for item in items.tolist()]

    def _labels(self, items: NDArray[np.int64], plan: PlanArrays | None) -> NDArray[np.generic]:
        """The batch's labels, (batch, 1) or (batch, classes)."""
        labels = self.labels[items]
        if self.num_classes is None:
            return labels[:, None]
        return mixed_labels(labels, self.num_classes, plan)


def _checked_labels(labels: ArrayLike, count: int, num_classes: int | None) -> NDArray[np.int32]:
    """The labels as int32, one a file."""
    given = np.asarray(labels)
    if given.shape != (count,) or (count and given.dtype.kind not in "iu"):
        raise ArgumentError(
            f"labels have shape {given.shape} and type {given.dtype}: give one class index for each of {count} files."
        )
    if count and (given.min() < 0 or (num_classes is not None and given.max() >= num_classes)):
        raise ArgumentError(
            f"Labels go from {given.min()} to {given.max()}: they must lie from 0 to num_classes - 1"
            + ("." if num_classes is None else f" = {num_classes - 1}.")
        )
    return given.astype(np.int32)
