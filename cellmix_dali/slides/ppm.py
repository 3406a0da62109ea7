"""Pixels as a binary PPM stream: the way raw pixels enter an image decoder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.errors import ArgumentError

__all__ = ["ppm"]


def ppm(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Write RGB pixels as a binary PPM stream (P6, Netpbm specification), without loss.

    Parameters
    ----------
    pixels : uint8 array, shape (height, width, 3)
        RGB pixels.

    Returns
    -------
    uint8 array, shape (bytes,)
        The header ``P6 width height 255`` and the pixels, row by row.

    Raises
    ------
    ArgumentError
        If the array is not uint8 of that shape, or is empty.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise ArgumentError(
            f"A PPM stream needs a non-empty uint8 array of shape (height, width, 3), not {pixels.dtype} "
            f"{pixels.shape}. Convert the picture to RGB bytes first."
        )
    header = np.frombuffer(b"P6\n%d %d\n255\n" % (pixels.shape[1], pixels.shape[0]), np.uint8)
    return np.concatenate([header, pixels.reshape(-1)])
