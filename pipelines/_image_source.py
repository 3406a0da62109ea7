"""Image files as a DALI external source: their names, or pixels from a cache; labels, flips and the batch's plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellmix_dali._cached import cached_property
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing.targets import Targets, values_by_name
from cellmix_dali.plugins import PlanSource
from cellmix_dali.plugins.dali import DataNode, fn, types
from cellmix_dali.plugins.decoder_options import USUAL, DecoderOptions
from cellmix_dali.plugins.source import Input, Source
from cellmix_dali.reading.image_masks import ImageMaskReader, ImageMasks
from cellmix_dali.sampling import EpochOrder
from cellmix_dali.slides.stream_kinds import KINDS

from ._image_cache import ImageCache
from ._image_nodes import checked_files, checked_image_size, decoded, encoded, failure

__all__ = ["ImageSource"]


class ImageSource(Source):
    """Says which files make each batch; a source for `fn.external_source`, and its epoch clock.

    What a batch holds is a pure function of (seed, epoch, iteration, rank).

    All but the files and labels are keyword arguments: the loader hands them on by name.

    Parameters
    ----------
    files : sequence of path
        Image files that DALI can decode.
    labels : int array (files,) or None
        Class indices, if there are any.
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
    targets : mapping of str to TargetValues, optional
        Further targets of the files, by the names that batches have for them.
    shuffle, drop_last, seed, rank, world_size
        See `cellmix_dali.sampling.EpochOrder`.
    masks : ImageMasks, optional
        Where the images' class masks come from; with a cache they are kept as well.
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

    key = "item"

    def __init__(
        self,
        files: Sequence[str | Path],
        labels: ArrayLike | None,
        *,
        batch_size: int,
        image_size: int,
        plans: PlanSource | None = None,
        num_classes: int | None = None,
        flips: bool = False,
        targets: Targets | None = None,
        shuffle: bool = True,
        drop_last: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        masks: ImageMasks | None = None,
        cache: ImageCache | None = None,
    ) -> None:
        self.files = checked_files(files)
        checked_image_size(image_size)
        if cache is not None and cache.image_size != image_size:
            raise ArgumentError(
                f"The cache holds images of {cache.image_size} px, image_size={image_size}: give both the same."
            )
        order = EpochOrder(
            len(self.files),
            batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            seed=seed,
            rank=rank,
            world_size=world_size,
        )
        super().__init__(
            order,
            tile_size=image_size,
            labels=None if labels is None else _checked_labels(labels, len(self.files), num_classes),
            plans=plans,
            num_classes=num_classes,
            flips=flips,
            targets=values_by_name(targets, len(self.files)),
        )
        kept = cache is not None
        self._masks = None if masks is None else ImageMaskReader(self.files, masks, image_size, kept=kept)
        self.cache = cache
        self._pixels: list[NDArray[np.uint8]] | None = None
        if cache is not None:
            cache.fill(self.files)
            self._pixels = [cache[file] for file in self.files]

    @property
    def inputs(self) -> list[Input]:
        """A file's name, or pixels from the cache; masks, if there are any."""
        masks: list[Input] = [(types.UINT8, 3)] * self.masked
        return [(types.UINT8, 1 if self.cache is None else 3), *masks]

    @property
    def masked(self) -> bool:
        """Whether images have class masks."""
        return self._masks is not None

    def mask(self, nodes: Sequence[DataNode]) -> DataNode | None:
        """Return the masks, uint8 HWC of the images' size with 1 channel."""
        return fn.reinterpret(nodes[-1], layout="HWC") if self.masked else None

    @property
    def layout(self) -> str | None:
        """That of pixels from the cache."""
        return None if self.cache is None else "HWC"

    @property
    def kinds(self) -> Iterable[str]:
        """All: files are not looked into."""
        return KINDS

    def only(self, kinds: Iterable[str]) -> None:
        """Do nothing: there is no other way to read a file."""

    def forget(self) -> None:
        """Do nothing: nothing is read ahead here."""

    def deliver(self, epoch: int, iteration: int) -> tuple[NDArray[np.int64], list[object]]:
        """Return a batch's places in the list, and names of files or pixels; masks, if there are any."""
        items = self.order.batch(epoch, iteration)
        masks: list[object] = [] if self._masks is None else [self._masks.read(items)]
        if self._pixels is not None:
            # A list, and not one array for the batch: DALI copies what it is given, that would be one copy more.
            return items, [[self._pixels[item] for item in items.tolist()], *masks]
        return items, [[encoded(self.files[item]) for item in items.tolist()], *masks]

    def images(self, nodes: Sequence[DataNode], device: str, decoder: DecoderOptions = USUAL) -> DataNode:
        """Read, decode and resize the files; pixels from the cache are moved to the device."""
        if self.cache is None:
            return decoded(nodes[0], image_size=self.tile_size, device=device, decoder=decoder)
        return nodes[0].gpu() if device == "mixed" else nodes[0]

    def mend(self, error: RuntimeError, epoch: int, iterations: Iterable[int]) -> None:
        """Raise the error, with those files of the batches that cannot be decoded."""
        tried: list[str] = []
        if self.cache is None:
            tried = [self.files[item] for number in iterations for item in self.order.batch(epoch, number).tolist()]
        raise failure(tried, error) from error

    def own_settings(self) -> dict[str, Any]:
        """Return what says which files, and their size."""
        return {
            "images": len(self.files),
            "image_size": self.tile_size,
            "files_and_labels": self._digest,
            # None where there are none: states of former versions know nothing of them.
            "masks": None if self._masks is None else self._masks.told(),
        }

    @cached_property
    def _digest(self) -> str:
        """A short digest of the files' names and labels."""
        digest = hashlib.sha256("\0".join(self.files).encode("utf-8", "surrogateescape"))
        if self._labels is not None:
            digest.update(self._labels.astype("<i4").tobytes())
        return digest.hexdigest()[:16]


def _checked_labels(labels: ArrayLike, count: int, num_classes: int | None) -> NDArray[np.int32]:
    """The labels as int32, one per file."""
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
