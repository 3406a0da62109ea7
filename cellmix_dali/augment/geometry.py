"""Crops that are resized, and affine maps: pixels in other places, interpolated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.plugins.dali import DataNode, fn, types

from ._checks import around, between, drawn_between, probability
from ._registered import register_augmentation
from ._sometimes import where
from .base import Augmentation, Batch

__all__ = ["RandomAffine", "RandomResizedCrop"]

_TRIES = 10


@register_augmentation("random_resized_crop")
@dataclass(frozen=True)
class RandomResizedCrop(Augmentation):
    """Cut out a box of random area and shape, and resize it to the size of the tile, as torchvision's.

    Images are interpolated linearly, with a filter where they become smaller; class masks take the nearest pixel.

    Parameters
    ----------
    scale : float or (float, float), default (0.32, 1.0)
        The range of the box's area, as a share of the tile's.
    ratio : float or (float, float), default (3/4, 4/3)
        The range of its width over its height; its logarithm is drawn evenly.
    p : float, default 1.0
        Probability that a sample is changed.

    Raises
    ------
    ArgumentError
        If a range is none, or p is not a probability.

    Notes
    -----
    A curriculum's strength draws the area towards 1, and the shape towards a square.
    """

    scale: float | Sequence[float] = (0.32, 1.0)
    ratio: float | Sequence[float] = (3 / 4, 4 / 3)
    p: float = 1.0

    def __post_init__(self) -> None:
        probability(self.p)
        object.__setattr__(self, "scale", between("scale", self.scale, 1e-3, 1.0))
        object.__setattr__(self, "ratio", between("ratio", self.ratio, 1e-2, 1e2))

    def change(self, batch: Batch) -> None:
        """Cut the same boxes out of images and masks."""
        box = batch.draw.by(lambda *drawn: self.boxes(*drawn), [5])

        def resized(node: DataNode, own: DataNode, filtered: bool) -> DataNode:
            kind = types.INTERP_LINEAR if filtered else types.INTERP_NN
            size = node.shape(dtype=types.INT32)[:2]
            return fn.resize(node, size=fn.cast(size, dtype=types.FLOAT), roi_start=own[0:2], roi_end=own[2:4],
                             roi_relative=True, interp_type=kind, antialias=filtered)  # fmt: skip

        batch.interpolate(
            lambda node, filtered: where(box[4], node, lambda part, own: resized(part, own, filtered), box)
        )

    def boxes(self, random: np.random.Generator, samples: int, strength: float) -> NDArray[np.float64]:
        """Draw boxes, as shares of the tile: top, left, bottom, right, and 1 where the sample is changed."""
        scale = drawn_between(random, self.scale, (samples, _TRIES), strength=strength, middle=1.0).clip(1e-3, 1.0)
        low, high = (math.log(end) for end in self.ratio)  # type: ignore[union-attr]
        ratio = np.exp(drawn_between(random, (low, high), (samples, _TRIES), strength=strength))
        width, height = np.sqrt(scale * ratio), np.sqrt(scale / ratio)
        fitting = (width <= 1) & (height <= 1)
        # The first that fits; where none does, the whole tile.
        first = fitting.argmax(axis=1)[:, None]
        fits = fitting.any(axis=1)
        width = np.where(fits, np.take_along_axis(width, first, 1)[:, 0], 1.0)
        height = np.where(fits, np.take_along_axis(height, first, 1)[:, 0], 1.0)
        top, left = random.random(samples) * (1 - height), random.random(samples) * (1 - width)
        changed = random.random(samples) < self.p
        return np.stack([top, left, top + height, left + width, changed], axis=1)


@register_augmentation("random_affine")
@dataclass(frozen=True)
class RandomAffine(Augmentation):
    """Turn, zoom, shear and shift about the tile's centre.

    Images are interpolated linearly; class masks take the nearest pixel.

    Parameters
    ----------
    degrees : float or (float, float), default 180.0
        The range of the angle; a single number reaches that far to both sides of 0.
    scale : float or (float, float), default (0.9, 1.1)
        The range of the zoom, above 0.
    shear : float or (float, float), default 0.0
        The range of the angle by which vertical lines lean, in degrees, less than 90; a single number reaches that far
        to both sides of 0.
    translate : float, default 0.0
        The greatest shift in each direction, as a share of the tile, at most 1.
    fill : float, optional
        The level beyond the tile's border, from 0 to 255; class masks have class 0 there. By default the border's
        pixels are repeated.
    p : float, default 0.5
        Probability that a sample is changed.

    Raises
    ------
    ArgumentError
        If a value cannot be used.

    Notes
    -----
    A curriculum's strength draws all of them towards what changes nothing.
    """

    degrees: float | Sequence[float] = 180.0
    scale: float | Sequence[float] = (0.9, 1.1)
    shear: float | Sequence[float] = 0.0
    translate: float = 0.0
    fill: float | None = None
    p: float = 0.5

    def __post_init__(self) -> None:
        probability(self.p)
        object.__setattr__(self, "degrees", around("degrees", self.degrees, 0.0, -360.0, 360.0))
        object.__setattr__(self, "scale", between("scale", self.scale, 0.01, 100.0))
        object.__setattr__(self, "shear", around("shear", self.shear, 0.0, -89.0, 89.0))
        between("translate", self.translate, 0.0, 1.0)
        if self.fill is not None:
            between("fill", self.fill, 0.0, 255.0)

    def change(self, batch: Batch) -> None:
        """Map images and masks alike."""
        drawn = batch.draw.by(lambda *given: self.maps(*given), [7])

        def warped(node: DataNode, own: DataNode, filtered: bool) -> DataNode:
            kind = types.INTERP_LINEAR if filtered else types.INTERP_NN
            size = fn.cast(node.shape(dtype=types.INT32)[:2], dtype=types.FLOAT)
            height, width = size[0], size[1]
            a, b, c, d = (own[place] for place in range(4))
            x, y = width / 2.0, height / 2.0
            # From places of the result to places of the tile, about the centre.
            across = x - a * x - b * y + own[4] * width
            down = y - c * x - d * y + own[5] * height
            matrix = fn.reshape(fn.stack(a, b, across, c, d, down), shape=[2, 3])
            beyond: dict[str, Any] = {} if self.fill is None else {"fill_value": self.fill if filtered else 0.0}
            return fn.warp_affine(node, matrix=matrix, interp_type=kind, inverse_map=True, **beyond)

        batch.interpolate(
            lambda node, filtered: where(drawn[6], node, lambda part, own: warped(part, own, filtered), drawn)
        )

    def maps(self, random: np.random.Generator, samples: int, strength: float) -> NDArray[np.float64]:
        """Draw maps from places of the result to places of the tile: a matrix (4), a shift (2), and 1 where changed."""
        angle = np.deg2rad(drawn_between(random, self.degrees, samples, strength=strength))
        zoom = 1 / drawn_between(random, self.scale, samples, strength=strength, middle=1.0).clip(0.01)
        lean = np.tan(np.deg2rad(drawn_between(random, self.shear, samples, strength=strength).clip(-89.0, 89.0)))
        shift = drawn_between(random, (-self.translate, self.translate), (samples, 2), strength=strength)
        cosine, sine = zoom * np.cos(angle), zoom * np.sin(angle)
        matrix = [cosine, cosine * lean - sine, sine, sine * lean + cosine]
        changed = random.random(samples) < self.p
        return np.stack([*matrix, shift[:, 0], shift[:, 1], changed], axis=1)
