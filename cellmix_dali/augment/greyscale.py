"""Grey images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cellmix_dali.plugins.colour_stages import Stages, stage_numbers

from ._checks import probability
from ._registered import register_augmentation
from .base import ColourChange

__all__ = ["Greyscale"]

_LUMA = (0.299, 0.587, 0.114)


@register_augmentation("greyscale")
@dataclass(frozen=True)
class Greyscale(ColourChange):
    """Take the colour away: each channel becomes the luma of ITU-R BT.601, as PIL's and torchvision's greyscale.

    Parameters
    ----------
    p : float, default 0.2
        Probability that a sample is changed.

    Raises
    ------
    ArgumentError
        If p is not a probability.
    """

    kinds: ClassVar[tuple[str, ...]] = ("affine",)
    p: float = 0.2

    def __post_init__(self) -> None:
        probability(self.p)

    def numbers(self, random: np.random.Generator, samples: int, strength: float) -> Stages:
        """Return the same matrix for all; see `ColourChange.numbers`."""
        del random, strength
        return stage_numbers(samples, matrix=[_LUMA] * 3)[:, None]
