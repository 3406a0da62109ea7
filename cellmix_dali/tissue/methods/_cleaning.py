"""What all methods do with a mask in the end."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..morphology import dilated, eroded

__all__ = ["cleaned"]


def cleaned(mask: npt.NDArray[np.bool_], radius: int) -> npt.NDArray[np.bool_]:
    """Close gaps, then drop specks, both up to about 2 `radius` pixels wide."""
    # Padded by repetition, so that tissue at the rim neither shrinks nor grows.
    wide = 2 * radius
    mask = np.pad(mask, 2 * wide, mode="edge")
    mask = eroded(dilated(mask, radius), 2 * radius)
    return dilated(mask, radius)[2 * wide : -2 * wide, 2 * wide : -2 * wide]
