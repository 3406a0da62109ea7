"""Macenko's method: the outermost directions of optical densities in their plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._arguments import number
from ..fits import DensityFit
from ._pixels import absorbing, densities_of, density_fit
from ._registered import StainMethod, register_stain_method

__all__ = ["Macenko"]


@register_stain_method("macenko")
@dataclass(frozen=True, kw_only=True)
class Macenko(StainMethod):
    """Two stains span a plane of optical densities, and the pixels that have most of one alone lie at its rims.

    M. Macenko et al., "A method for normalizing histology slides for quantitative analysis", ISBI 2009. The numbers are
    those of the package torchstain (1.4): natural logarithms of (level + 1) / background, the plane of the two largest
    eigenvectors of the covariance of densities, percentiles of the angle in it.

    Attributes
    ----------
    background : float, default 240
        Level of light that nothing absorbs, 1 to 255.
    alpha : float, default 1
        Percentile of the angle that counts as the rim, and 100 less it; 0 to 49.
    beta : float, default 0.15
        Pixels that absorb less than this optical density of a colour do not count.

    Raises
    ------
    ArgumentError
        If a value is out of range.
    """

    background: float = 240.0
    alpha: float = 1.0
    beta: float = 0.15

    def __post_init__(self) -> None:
        number("background", self.background, 1, 255)
        number("alpha", self.alpha, 0, 49)
        number("beta", self.beta, 0)

    def fit(self, pixels: npt.NDArray[np.uint8]) -> DensityFit:
        """See `StainMethod.fit`."""
        densities = densities_of(pixels, self.background)
        dense = absorbing(densities, self.beta)
        _, vectors = np.linalg.eigh(np.cov(dense.T))
        plane = vectors[:, 1:]
        # The sign of an eigenvector is chance. With the larger one towards the densities, no angle is cut at 180.
        plane = plane * np.where(plane.sum(axis=0) < 0, -1.0, 1.0)
        across, along = (dense @ plane).T
        rims = np.percentile(np.arctan2(along, across), [self.alpha, 100 - self.alpha])
        stains = np.stack([np.cos(rims), np.sin(rims)], axis=1) @ plane.T
        return density_fit(stains, densities, self.background)
