"""Reinhard's method: mean and standard deviation of each channel of a colour space that tells them apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..colour import to_lab
from ..fits import LabFit
from ._pixels import flat
from ._registered import StainMethod, register_stain_method

__all__ = ["Reinhard"]


@register_stain_method("reinhard")
@dataclass(frozen=True, kw_only=True)
class Reinhard(StainMethod):
    """Colours are moved and stretched so that their mean and spread are the target's.

    E. Reinhard et al., "Color transfer between images", IEEE Computer Graphics and Applications 21 (2001). As in the
    package torchstain (1.4), the colour space is CIE LAB, not the paper's l-alpha-beta. Statistics are of all pixels
    that are given, so glass must not be among them.
    """

    def fit(self, pixels: npt.NDArray[np.uint8]) -> LabFit:
        """See `StainMethod.fit`."""
        lab = to_lab(flat(pixels))
        return LabFit(lab.mean(axis=0), lab.std(axis=0))
