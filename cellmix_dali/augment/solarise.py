"""Inverted bright pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cellmix_dali.plugins.colour_stages import Stages, stage_numbers

from ._checks import between, drawn_between, probability
from ._registered import register_augmentation
from .base import ColourChange

__all__ = ["Solarise"]

_WHITE = 256.0


@register_augmentation("solarise")
@dataclass(frozen=True)
class Solarise(ColourChange):
    """Invert all values from a threshold on, channel by channel, as PIL's and torchvision's solarize.

    Parameters
    ----------
    threshold : float or (float, float), default 128
        The threshold's range, in levels from 0 to 256; at 256 nothing changes.
    p : float, default 0.2
        Probability that a sample is changed.

    Raises
    ------
    ArgumentError
        If the range is none, or p is not a probability.

    Notes
    -----
    A curriculum's strength draws the threshold towards 256.
    """

    kinds: ClassVar[tuple[str, ...]] = ("solarise",)
    threshold: float | Sequence[float] = 128.0
    p: float = 0.2

    def __post_init__(self) -> None:
        probability(self.p)
        object.__setattr__(self, "threshold", between("threshold", self.threshold, 0.0, _WHITE))

    def numbers(self, random: np.random.Generator, samples: int, strength: float) -> Stages:
        """Draw the threshold per sample; see `ColourChange.numbers`."""
        drawn = drawn_between(random, self.threshold, (samples, 1), strength=strength, middle=_WHITE)
        return stage_numbers(samples, offset=drawn)[:, None]
