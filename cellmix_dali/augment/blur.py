"""Blurred and sharpened images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.plugins import Draw
from cellmix_dali.plugins.blur import blurred
from cellmix_dali.plugins.dali import DataNode
from cellmix_dali.plugins.draw import DrawnBy

from ._checks import between, drawn_between, probability
from ._registered import register_augmentation
from ._sometimes import sometimes
from .base import PixelChange

__all__ = ["GaussianBlur", "Sharpen"]

_LEAST_SIGMA = 0.05  # blurs nothing
_MOST_SIGMA = 20.0


@register_augmentation("gaussian_blur")
@dataclass(frozen=True)
class GaussianBlur(PixelChange):
    """Blur by a Gaussian, beyond the border its mirror image.

    Parameters
    ----------
    sigma : float or (float, float), default (0.1, 2.0)
        The range of its deviation, in pixels, at most 20.
    p : float, default 0.5
        Probability that a sample is changed.

    Raises
    ------
    ArgumentError
        If the range is none, or p is not a probability.

    Notes
    -----
    A curriculum's strength draws the deviation towards 0.
    """

    sigma: float | Sequence[float] = (0.1, 2.0)
    p: float = 0.5

    def __post_init__(self) -> None:
        probability(self.p)
        object.__setattr__(self, "sigma", between("sigma", self.sigma, 0.0, _MOST_SIGMA))

    def pixels(self, images: DataNode, draw: Draw) -> DataNode:
        """Return blurred images."""
        return _blurred(self.p, images, draw, self.numbers)

    def numbers(self, random: np.random.Generator, samples: int, strength: float) -> NDArray[np.float64]:
        """Draw deviations, and weights of the image, which are 0: (samples, 2)."""
        sigma = drawn_between(random, self.sigma, samples, strength=strength).clip(_LEAST_SIGMA, _MOST_SIGMA)
        return np.stack([sigma, np.zeros(samples)], axis=1)


@register_augmentation("sharpen")
@dataclass(frozen=True)
class Sharpen(PixelChange):
    """Sharpen by an unsharp mask: ``image + amount * (image - blurred image)``.

    Parameters
    ----------
    amount : float or (float, float), default (0.0, 1.0)
        The range of the amount, from 0 to 10.
    sigma : float, default 1.0
        Deviation of the Gaussian that blurs, in pixels, above 0 and at most 20.
    p : float, default 0.5
        Probability that a sample is changed.

    Raises
    ------
    ArgumentError
        If a value cannot be used.

    Notes
    -----
    A curriculum's strength draws the amount towards 0.
    """

    amount: float | Sequence[float] = (0.0, 1.0)
    sigma: float = 1.0
    p: float = 0.5

    def __post_init__(self) -> None:
        probability(self.p)
        object.__setattr__(self, "amount", between("amount", self.amount, 0.0, 10.0))
        between("sigma", self.sigma, _LEAST_SIGMA, _MOST_SIGMA)

    def pixels(self, images: DataNode, draw: Draw) -> DataNode:
        """Return sharpened images."""
        return _blurred(self.p, images, draw, self.numbers)

    def numbers(self, random: np.random.Generator, samples: int, strength: float) -> NDArray[np.float64]:
        """Return the deviation, and draw weights of the image, which are above 1: (samples, 2)."""
        amount = drawn_between(random, self.amount, samples, strength=strength)
        return np.stack([np.full(samples, self.sigma), 1 + amount], axis=1)


def _blurred(p: float, images: DataNode, draw: Draw, numbers: DrawnBy) -> DataNode:
    """Blur some images by deviations and weights that are drawn."""

    def change(part: DataNode, own: DataNode) -> DataNode:
        return blurred(part, own[0], image_weight=own[1], engine=draw.engine, channels_checked=True)

    return sometimes(p, images, draw, change, draw.by(numbers, [2]))
