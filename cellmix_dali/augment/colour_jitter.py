"""Brightness, contrast, saturation and hue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.plugins.colour_stages import Stages, stage_numbers

from ._checks import around, drawn_between, probability
from ._registered import register_augmentation
from .base import ColourChange

__all__ = ["ColourJitter", "colour_matrix"]

_RGB_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
_YIQ_TO_RGB = np.linalg.inv(_RGB_TO_YIQ)
_MIDDLE = 128.0  # the level that contrast leaves as it is


@register_augmentation("colour_jitter")
@dataclass(frozen=True)
class ColourJitter(ColourChange):
    """Change brightness, contrast, saturation and hue, as DALI's `fn.color_twist` does: one matrix per sample.

    Parameters
    ----------
    brightness, contrast, saturation : float or (float, float), default 0.2
        The factor's range, at least 0; a single number reaches that far to both sides of 1.
    hue : float or (float, float), default 10.0
        The range of the angle in degrees; a single number reaches that far to both sides of 0.
    p : float, default 1.0
        Probability that a sample is changed.

    Raises
    ------
    ArgumentError
        If a range is none.

    Notes
    -----
    A curriculum's strength draws the ranges together around 1, and the hue's around 0.
    """

    kinds: ClassVar[tuple[str, ...]] = ("affine",)
    brightness: float | Sequence[float] = 0.2
    contrast: float | Sequence[float] = 0.2
    saturation: float | Sequence[float] = 0.2
    hue: float | Sequence[float] = 10.0
    p: float = 1.0

    def __post_init__(self) -> None:
        probability(self.p)
        for name in ("brightness", "contrast", "saturation"):
            object.__setattr__(self, name, around(name, getattr(self, name), 1.0, 0.0))
        object.__setattr__(self, "hue", around("hue", self.hue, 0.0, -180.0, 180.0))

    def numbers(self, random: np.random.Generator, samples: int, strength: float) -> Stages:
        """Draw the four per sample; see `ColourChange.numbers`."""
        brightness, contrast, saturation = (
            np.maximum(drawn_between(random, ends, samples, strength=strength, middle=1.0), 0.0)
            for ends in (self.brightness, self.contrast, self.saturation)
        )
        hue = drawn_between(random, self.hue, samples, strength=strength)
        matrix, offset = colour_matrix(brightness, contrast, saturation, hue)
        return stage_numbers(samples, matrix=matrix, offset=offset)[:, None]


def colour_matrix(
    brightness: NDArray[np.float64],
    contrast: NDArray[np.float64],
    saturation: NDArray[np.float64],
    hue: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what `fn.color_twist` does to levels as a matrix and an offset per sample.

    Parameters
    ----------
    brightness, contrast, saturation : ndarray (samples,)
        Factors.
    hue : ndarray (samples,)
        Degrees.

    Returns
    -------
    matrix : ndarray (samples, 3, 3)
    offset : ndarray (samples, 3)
    """
    cosine, sine = np.cos(np.deg2rad(hue)), np.sin(np.deg2rad(hue))
    yiq = np.zeros((hue.size, 3, 3))
    yiq[:, 0, 0] = 1
    yiq[:, 1, 1] = yiq[:, 2, 2] = saturation * cosine
    yiq[:, 1, 2], yiq[:, 2, 1] = saturation * sine, -saturation * sine
    factor = brightness * contrast
    offset = brightness * (_MIDDLE - _MIDDLE * contrast)
    return factor[:, None, None] * (_YIQ_TO_RGB @ yiq @ _RGB_TO_YIQ), np.repeat(offset[:, None], 3, axis=1)
