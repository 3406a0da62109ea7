"""Resizing of a part of an image, defined so that every engine can do the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import unknown_name

__all__ = ["INTERPOLATIONS", "nearest_index", "resample", "rounded", "triangle_weights"]

INTERPOLATIONS = ("nearest", "linear")


def resample(image: NDArray[np.generic], size: tuple[int, int], interpolation: str = "nearest") -> NDArray[np.generic]:
    """Resize one image.

    "nearest" takes pixel floor((i + 0.5) * source / target), in exact arithmetic: every engine agrees to the bit.
    "linear" is separable triangle filtering that is widened when shrinking (DALI's ``antialias=True``); integers are
    rounded to the nearest, and engines agree within 1 level.

    Parameters
    ----------
    image : array (height, width, channels), any real dtype
        What is resized.
    size : tuple of int
        Height and width of the result, each at least 1.
    interpolation : {"nearest", "linear"}
        How.

    Returns
    -------
    array (height, width, channels) of the same dtype, height and width those of `size`
    """
    if interpolation not in INTERPOLATIONS:
        raise unknown_name("interpolation", interpolation, INTERPOLATIONS)
    if image.shape[:2] == tuple(size):
        return image
    if interpolation == "nearest":
        return image[nearest_index(image.shape[0], size[0])][:, nearest_index(image.shape[1], size[1])]
    vertical, horizontal = triangle_weights(image.shape[0], size[0]), triangle_weights(image.shape[1], size[1])
    # Two plain matrix products, each along the first axis.
    rows, columns, channels = image.shape
    narrow = (vertical @ image.reshape(rows, -1).astype(np.float64)).reshape(-1, columns, channels).swapaxes(0, 1)
    result = (horizontal @ narrow.reshape(columns, -1)).reshape(-1, len(vertical), channels).swapaxes(0, 1)
    return rounded(result, image.dtype)


def rounded(values: NDArray[np.floating], dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    """Return floats as another type; integers are the nearest, halves away from zero as in DALI and C."""
    if np.issubdtype(dtype, np.integer):
        values = np.trunc(values + np.copysign(0.5, values))
    return np.asarray(values.astype(dtype))


def nearest_index(source: int, target: int) -> NDArray[np.int64]:
    """Return for each of `target` pixels the one of `source` pixels whose area its centre lies in."""
    return (2 * np.arange(target) + 1) * source // (2 * target)


def triangle_weights(source: int, target: int) -> NDArray[np.float64]:
    """Return the (target, source) matrix of linear interpolation with antialiasing; rows sum to 1.

    Beyond the border lies the border's pixel, as in DALI (Pillow and torch leave out what lies beyond).
    """
    scale = source / target
    reach = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    beyond = int(np.ceil(reach))
    pixels = np.arange(-beyond, source + beyond)
    weights = np.clip(1.0 - np.abs(pixels + 0.5 - centres[:, None]) / reach, 0.0, None)
    inside = weights[:, beyond:-beyond].copy()
    inside[:, 0] += weights[:, :beyond].sum(axis=1)
    inside[:, -1] += weights[:, -beyond:].sum(axis=1)
    return np.asarray(inside / inside.sum(axis=1, keepdims=True))
