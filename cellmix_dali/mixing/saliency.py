"""Where the eye falls first: the most salient pixel, by the spectral residual (Hou and Zhang, CVPR 2007)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ._saliency_sizes import MAP_SIDE, SALIENCY_SIDE, SIGMA

__all__ = [
    "SALIENCY_SIDE",
    "check_images",
    "saliency_map",
    "saliency_peaks",
    "scaled_peaks",
    "settled_peaks",
    "slow_places",
]

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_AT_ONCE = 8  # what NumPy makes on its way then stays in the caches


def saliency_peaks(images: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Return each image's most salient pixel.

    Parameters
    ----------
    images : uint8 array (n, height, width, channels)
        One channel (grey) or 3 (RGB).

    Returns
    -------
    int32 array (n, 2)
        y, x in pixels of the images.

    Raises
    ------
    ArgumentError
        If the images are not uint8, or their shape is another.
    """
    images = np.asarray(images)
    check_images(images)
    return _peaks(images, (images.shape[1], images.shape[2]))


def scaled_peaks(small: NDArray[np.uint8], tile_size: tuple[int, int]) -> NDArray[np.int32]:
    """Return the most salient pixels of tiles, from copies of them.

    Parameters
    ----------
    small : uint8 array (n, 128, 128, channels)
        The copies: of each axis the pixels ``nearest_index(side, SALIENCY_SIDE)``.
    tile_size : tuple of int
        Height and width of the tiles in pixels.

    Returns
    -------
    int32 array (n, 2)
        y, x in pixels of the tiles.

    Raises
    ------
    ArgumentError
        If the copies are not uint8, or their shape is another.
    """
    check_images(small)
    if small.shape[1:3] != (SALIENCY_SIDE, SALIENCY_SIDE):
        raise ArgumentError(f"The copies must be of {SALIENCY_SIDE} x {SALIENCY_SIDE} pixels, got {small.shape}.")
    return _peaks(small, tile_size)


def _peaks(images: NDArray[np.uint8], tile_size: tuple[int, int]) -> NDArray[np.int32]:
    """The peaks of images, or of their copies, in pixels of the tiles."""
    from .quick_saliency import peak_within  # numba takes a second to import

    found = [peak_within(np.ascontiguousarray(image).reshape(-1), image.shape) for image in images]
    return settled_peaks(np.array(found, np.int32).reshape(-1, 3), images, tile_size)


def settled_peaks(
    found: NDArray[np.int32], images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], tile_size: tuple[int, int]
) -> NDArray[np.int32]:
    """Return peaks in pixels of tiles, (n, 2), those that compiled code was not certain of by NumPy.

    Parameters
    ----------
    found : int32 array (n, 3)
        What `quick_saliency.peak_within` has found.
    images : sequence of uint8 arrays (height, width, channels)
        In which it was found.
    tile_size : tuple of int
        Height and width of the tiles in pixels.
    """
    places = found[:, :2].astype(np.int64)
    open_ones = np.flatnonzero(found[:, 2] == 0)
    places[open_ones] = slow_places([images[number] for number in open_ones.tolist()])
    return np.asarray((2 * places + 1) * np.array(tile_size) // (2 * MAP_SIDE), np.int32)


def slow_places(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.int64]:
    """Return where images' maps are highest, (n, 2), y and x in the map: the definition, by NumPy.

    Parameters
    ----------
    images : sequence of uint8 arrays (height, width, channels)
        One channel or 3, in all the same; or their copies of 128 x 128 pixels.
    """
    from .quick_saliency import pooled

    sums = [pooled(np.ascontiguousarray(image).reshape(-1), image.shape).transpose(1, 2, 0) for image in images]
    places: NDArray[np.int64] = np.zeros((len(sums), 2), np.int64)
    for first in range(0, len(sums), _AT_ONCE):
        maps = saliency_map(np.stack(sums[first : first + _AT_ONCE]))
        highest = maps.reshape(len(maps), -1).argmax(axis=1)
        places[first : first + _AT_ONCE] = np.stack(np.divmod(highest, MAP_SIDE), axis=-1)
    return places


def saliency_map(images: NDArray[np.unsignedinteger]) -> NDArray[np.float32]:
    """Return the saliency (n, height, width) of images (n, height, width, channels): the spectral residual, blurred."""
    pixels = images.astype(np.float32)
    grey = pixels @ _LUMA if images.shape[3] == 3 else pixels[..., 0]
    spectrum = np.fft.rfft2(grey)
    amplitude = np.maximum(np.abs(spectrum), 1e-8)
    logarithm = np.log(amplitude)
    residual = np.exp(logarithm - _neighbours_mean(logarithm, grey.shape[2]))
    # The phase as a factor: the spectrum over its amplitude.
    maps = np.fft.irfft2(spectrum * (residual / amplitude), grey.shape[1:]) ** 2
    vertical, horizontal = _blur(maps.shape[1]), _blur(maps.shape[2])
    return np.asarray(vertical @ maps.astype(np.float32) @ horizontal.T)


def _neighbours_mean(half: NDArray[np.floating], width: int) -> NDArray[np.floating]:
    """Mean over 3 x 3 frequencies of an even spectrum, of which one half is given."""
    height = half.shape[1]
    opposite = -np.arange(height) % height
    # The columns beside the half are columns of it, of the opposite frequency.
    left, right = half[:, opposite, 1 % width, None], half[:, opposite, width - half.shape[2], None]
    whole = np.concatenate([left, half, right], axis=2)
    columns = whole[:, :, :-2] + whole[:, :, 1:-1] + whole[:, :, 2:]
    return np.asarray((np.roll(columns, 1, axis=1) + columns + np.roll(columns, -1, axis=1)) / 9.0)


def _blur(side: int) -> NDArray[np.float32]:
    """The matrix (side, side) of a Gaussian blur; beyond the border nothing is salient, as in the paper's code."""
    distance = np.arange(side)[:, None] - np.arange(side)[None, :]
    return np.asarray(np.exp(-0.5 * (distance / SIGMA) ** 2) / (SIGMA * np.sqrt(2 * np.pi)), np.float32)


def check_images(images: NDArray[np.uint8]) -> None:
    """Refuse what has no 8-bit saliency."""
    if images.dtype != np.uint8:
        raise ArgumentError(
            f"Saliency is defined on 8-bit images, got {images.dtype}: mix before normalising, or convert to uint8."
        )
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ArgumentError(f"Saliency needs images of shape (n, height, width, 1 or 3 channels), got {images.shape}.")
