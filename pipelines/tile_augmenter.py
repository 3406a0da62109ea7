"""Finished tiles changed by an augmentation, each by numbers of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.augment import AugmentLike, SlideColourChange, augmentation
from cellmix_dali.errors import ArgumentError
from cellmix_dali.plugins.dali import fn, types
from cellmix_dali.plugins.tile_draw import TileDraw, TileKey

from ._augment_trial import moving_parts, parts_of, try_augmentation
from .augmenting import changed, told
from .device import pipeline_on

__all__ = ["TileAugmenter"]

_BATCH = 64


class TileAugmenter:
    """Changes tiles on the CPU: a tile's pixels are a pure function of what it was, of its key and of the seed.

    Parameters
    ----------
    augment : str, recipe, Augmentation or callable
        See `cellmix_dali.augment.augmentation`.
    tile_size : int
        Side of the tiles in pixels.
    seed : int
        Of the draws.

    Raises
    ------
    ArgumentError
        If the augmentation cannot be used: among others, if a part of it moves pixels, so that tiles would show another
        place than their table says, or mixes stains of several slides.
    """

    def __init__(self, augment: AugmentLike, tile_size: int, *, seed: int = 0) -> None:
        found = augmentation(augment)
        by_slide = [told(part) for part in parts_of(found) if isinstance(part, SlideColourChange)]
        if by_slide:
            raise ArgumentError(
                f"augment: {', '.join(by_slide)} needs the slides of a whole batch, and tiles are made one by one: "
                "leave it out. Stains are normalised by `tile --stains`."
            )
        try_augmentation(found, tile_size, "cpu")
        moving = moving_parts(found, tile_size, "cpu")
        if moving:
            kept = [told(part) for part in parts_of(found) if told(part) not in moving]
            raise ArgumentError(
                f"augment: {', '.join(moving)} moves pixels: a tile would show another place than the table of tiles "
                "says, and masks, annotations and features would lie beside it. Use it where tiles are read (train, "
                "evaluate), and here a recipe of "
                f"{'what changes pixels in their places: ' + ', '.join(kept) if kept else 'others'}."
            )
        self._size = tile_size
        self._pipeline = pipeline_on("cpu", batch_size=_BATCH, num_threads=1)
        with self._pipeline:
            images = fn.external_source(name="tiles", dtype=types.UINT8, ndim=3, layout="HWC")
            self._draw = TileDraw(seed)
            self._pipeline.set_outputs(changed(found, images, self._draw).images)
        self._pipeline.build()

    def __call__(self, images: NDArray[np.uint8], keys: Sequence[TileKey]) -> NDArray[np.uint8]:
        """Change tiles, uint8 (tiles, size, size, 3)."""
        made = [np.empty((0, self._size, self._size, 3), np.uint8)]
        for first in range(0, len(images), _BATCH):
            part = slice(first, first + _BATCH)
            (output,) = self._pipeline.run(tiles=images[part], **self._draw.numbers(keys[part]))
            made.append(np.array(output.as_array()))
        return np.concatenate(made)
