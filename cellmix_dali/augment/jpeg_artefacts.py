"""Artefacts of JPEG compression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cellmix_dali.plugins import Draw
from cellmix_dali.plugins.dali import DataNode, fn, types

from ._checks import between, drawn_between, probability
from ._registered import register_augmentation
from ._sometimes import sometimes
from .base import PixelChange

__all__ = ["JPEGArtefacts"]


@register_augmentation("jpeg_artefacts")
@dataclass(frozen=True)
class JPEGArtefacts(PixelChange):
    """Compress as JPEG (4:2:0), and decompress: `fn.jpeg_compression_distortion`.

    Parameters
    ----------
    quality : int or (int, int), default (30, 90)
        The quality's range, from 1 to 100.
    p : float, default 0.5
        Probability that a sample is changed.

    Raises
    ------
    ArgumentError
        If the range is none, or p is not a probability.

    Notes
    -----
    A curriculum's strength draws the quality towards 100.
    """

    quality: float | Sequence[float] = (30, 90)
    p: float = 0.5

    def __post_init__(self) -> None:
        probability(self.p)
        object.__setattr__(self, "quality", between("quality", self.quality, 1, 100))

    def pixels(self, images: DataNode, draw: Draw) -> DataNode:
        """Return compressed images."""
        quality = draw.by(
            lambda random, samples, strength: (
                drawn_between(random, self.quality, (samples, 1), strength=strength, middle=100.0).round().clip(1, 100)
            )
        )
        return sometimes(
            self.p, images, draw,
            lambda part, own: fn.jpeg_compression_distortion(part, quality=fn.cast(own, dtype=types.INT32)),
            quality,
        )  # fmt: skip
