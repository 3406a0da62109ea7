"""Noise of a camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cellmix_dali.plugins.colour_stages import NOISE_KEYS, Stages, stage_numbers

from ._checks import between, drawn_between, probability
from ._registered import register_augmentation
from .base import ColourChange

__all__ = ["Noise"]


@register_augmentation("noise")
@dataclass(frozen=True)
class Noise(ColourChange):
    """Add a number to each value of each pixel, independent of all others and nearly normally distributed.

    The numbers are sums of four even ones, which reach 3.4 deviations to both sides.

    Parameters
    ----------
    sigma : float or (float, float), default (0.0, 10.0)
        The range of the deviation, in levels, at most 255.
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

    kinds: ClassVar[tuple[str, ...]] = ("noise",)
    sigma: float | Sequence[float] = (0.0, 10.0)
    p: float = 0.5

    def __post_init__(self) -> None:
        probability(self.p)
        object.__setattr__(self, "sigma", between("sigma", self.sigma, 0.0, 255.0))

    def numbers(self, random: np.random.Generator, samples: int, strength: float) -> Stages:
        """Draw deviation and key per sample; see `ColourChange.numbers`."""
        sigma = drawn_between(random, self.sigma, samples, strength=strength).clip(0.0, 255.0)
        key = random.integers(0, NOISE_KEYS, samples)
        return stage_numbers(samples, offset=np.stack([sigma, key, key], axis=1))[:, None]
