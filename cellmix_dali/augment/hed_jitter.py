"""Jitter of the stains haematoxylin, eosin and DAB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cellmix_dali.plugins.colour_stages import DARKEST, Stages, stage_numbers

from ._checks import around, drawn_between, probability
from ._registered import register_augmentation
from .base import ColourChange

__all__ = ["HED_UNIT", "HEDJitter", "RGB_FROM_HED", "hed_numbers"]

#: Densities of haematoxylin, eosin and DAB in R, G and B, a row each (Ruifrok and Johnston 2001).
RGB_FROM_HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
_HED_FROM_RGB = np.linalg.inv(RGB_FROM_HED)
#: How much natural density one unit of skimage's HED is: it takes logarithms to the base of its darkest pixel.
HED_UNIT = float(-np.log(DARKEST))


@register_augmentation("hed_jitter")
@dataclass(frozen=True)
class HEDJitter(ColourChange):
    """Scale and shift the amounts of haematoxylin, eosin and DAB, each by its own draw.

    Colours are split into stains as `skimage.color.rgb2hed` does, with amounts below 0 cut off, and put together as
    `hed2rgb`; each amount s becomes ``alpha * s + beta``.

    Parameters
    ----------
    alpha : float or (float, float), default 0.05
        The factor's range; a single number reaches that far to both sides of 1.
    beta : float or (float, float), default 0.005
        The shift's range in skimage's unit of HED, in which a dark nucleus has about 0.1 of haematoxylin; a single
        number reaches that far to both sides of 0.
    p : float, default 1.0
        Probability that a sample is changed.

    Raises
    ------
    ArgumentError
        If a range is none, or p is not a probability.

    Notes
    -----
    Sources: Tellez et al., "Whole-slide mitosis detection in H&E breast histology using PHH3 as a reference to train
    distilled stain-invariant convolutional networks" (IEEE TMI 2018, arXiv 1808.05896), and arXiv 1902.06543, where
    HED-light has an alpha of 0.05, HED-strong of 0.2. skimage's unit of HED is a density of 13.8, so that a beta of
    0.01 changes densities by 0.14. A curriculum's strength draws the ranges together.
    """

    kinds: ClassVar[tuple[str, ...]] = ("density",)
    alpha: float | Sequence[float] = 0.05
    beta: float | Sequence[float] = 0.005
    p: float = 1.0

    def __post_init__(self) -> None:
        probability(self.p)
        object.__setattr__(self, "alpha", around("alpha", self.alpha, 1.0, 0.0))
        object.__setattr__(self, "beta", around("beta", self.beta, 0.0, -1.0, 1.0))

    def numbers(self, random: np.random.Generator, samples: int, strength: float) -> Stages:
        """Draw factor and shift of each stain; see `ColourChange.numbers`."""
        alpha = drawn_between(random, self.alpha, (samples, 3), strength=strength, middle=1.0)
        beta = drawn_between(random, self.beta, (samples, 3), strength=strength)
        return hed_numbers(samples, scale=np.maximum(alpha, 0.0), shift=beta * HED_UNIT)[:, None]


def hed_numbers(samples: int, **given: Any) -> Stages:
    """Return the numbers of a stage that works on amounts of haematoxylin, eosin and DAB, in natural densities.

    Parameters
    ----------
    samples : int
        Number of samples.
    **given
        ``active``, ``scale``, ``shift``, ``measured``: see `cellmix_dali.plugins.colour_stages.stage_numbers`.

    Returns
    -------
    ndarray of float32 (samples, NUMBERS)
        Of kind "density".
    """
    return stage_numbers(samples, matrix=_HED_FROM_RGB.T, back=RGB_FROM_HED.T, offset=0.0, **given)
