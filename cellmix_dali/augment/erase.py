"""An erased box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.plugins import Draw
from cellmix_dali.plugins.dali import DataNode, fn

from ._checks import between, drawn_between, probability
from ._registered import register_augmentation
from ._sometimes import where
from .base import PixelChange

__all__ = ["Erase"]


@register_augmentation("erase")
@dataclass(frozen=True)
class Erase(PixelChange):
    """Overwrite a box of random area, shape and place by one level, as torchvision's RandomErasing; labels stay.

    Parameters
    ----------
    scale : float or (float, float), default (0.02, 0.33)
        The range of the box's area, as a share of the tile's. Where it would reach beyond the tile, it is cut off.
    ratio : float or (float, float), default (0.3, 3.3)
        The range of its width over its height; its logarithm is drawn evenly.
    fill : float, default 0.0
        The level, from 0 to 255.
    p : float, default 0.5
        Probability that a sample is changed.

    Raises
    ------
    ArgumentError
        If a value cannot be used.

    Notes
    -----
    A curriculum's strength draws the area towards 0.
    """

    scale: float | Sequence[float] = (0.02, 0.33)
    ratio: float | Sequence[float] = (0.3, 3.3)
    fill: float = 0.0
    p: float = 0.5

    def __post_init__(self) -> None:
        probability(self.p)
        object.__setattr__(self, "scale", between("scale", self.scale, 0.0, 1.0))
        object.__setattr__(self, "ratio", between("ratio", self.ratio, 1e-2, 1e2))
        between("fill", self.fill, 0.0, 255.0)

    def pixels(self, images: DataNode, draw: Draw) -> DataNode:
        """Return images with a box less."""
        box = draw.by(lambda *drawn: self.boxes(*drawn), [5])
        return where(
            box[4], images,
            lambda part, own: fn.erase(
                part, anchor=own[0:2], shape=own[2:4], normalized=True, axis_names="HW", fill_value=self.fill
            ),
            box,
        )  # fmt: skip

    def boxes(self, random: np.random.Generator, samples: int, strength: float) -> NDArray[np.float64]:
        """Draw boxes, as shares of the tile: top, left, height, width, and 1 where the sample is changed."""
        area = drawn_between(random, self.scale, samples, strength=strength).clip(0.0, 1.0)
        low, high = (math.log(end) for end in self.ratio)  # type: ignore[union-attr]
        ratio = np.exp(low + random.random(samples) * (high - low))
        width, height = np.minimum(np.sqrt(area * ratio), 1.0), np.minimum(np.sqrt(area / ratio), 1.0)
        top, left = random.random(samples) * (1 - height), random.random(samples) * (1 - width)
        changed = random.random(samples) < self.p
        return np.stack([top, left, height, width, changed], axis=1)
