"""Where the eye falls first: the most salient pixel, by the spectral residual (Hou and Zhang, CVPR 2007)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from .resampling import nearest_index

__all__ = ["SALIENCY_SIDE", "saliency_map", "saliency_peaks", "scaled_peaks"]

#: Side of the copies that are taken of images, pixel by pixel (`nearest_index`), so that every engine takes the same.
#: Each 2 x 2 pixels of them make one of the 64 x 64 on which saliency is computed, as in the paper.
SALIENCY_SIDE = 128

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_SIGMA = 2.5  # the blur of the map, in its pixels: the paper's


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
    _check(images)
    rows, columns = (nearest_index(side, SALIENCY_SIDE) for side in images.shape[1:3])
    return scaled_peaks(images[:, rows[:, None], columns], images.shape[1:3])


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
    _check(small)
    if small.shape[1:3] != (SALIENCY_SIDE, SALIENCY_SIDE):
        raise ArgumentError(f"The copies must be of {SALIENCY_SIDE} x {SALIENCY_SIDE} pixels, got {small.shape}.")
    upper, lower = small[:, ::2].astype(np.uint16), small[:, 1::2]
    pooled = (upper + lower)[:, :, ::2] + (upper + lower)[:, :, 1::2]
    maps = saliency_map(pooled)
    best = maps.reshape(len(small), -1).argmax(axis=1)
    place = np.stack(np.divmod(best, maps.shape[2]), axis=-1)
    scaled = (2 * place + 1) * np.array(tile_size) // (2 * np.array(maps.shape[1:]))
    return np.asarray(scaled, np.int32)


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
    return np.asarray(np.exp(-0.5 * (distance / _SIGMA) ** 2) / (_SIGMA * np.sqrt(2 * np.pi)), np.float32)


def _check(images: NDArray[np.uint8]) -> None:
    """Refuse what has no 8-bit saliency."""
    if images.dtype != np.uint8:
        raise ArgumentError(
            f"Saliency is defined on 8-bit images, got {images.dtype}: mix before normalising, or convert to uint8."
        )
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ArgumentError(f"Saliency needs images of shape (n, height, width, 1 or 3 channels), got {images.shape}.")
