"""Where a picture shows tissue, by its colour; and the share of tissue in tiles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..errors import ArgumentError, CellMixDaliError
from .methods import DEFAULT_METHOD, TissueMethod, find_method

__all__ = ["share_in", "summed", "tissue_mask", "tissue_share"]

BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]


def tissue_mask(rgb: ByteArray, method: str | TissueMethod = DEFAULT_METHOD) -> BoolArray:
    """Find the tissue on a picture of a slide, best a thumbnail of 500 to 2000 pixels.

    Small gaps and specks are closed and dropped: dust and the edges of cover slips, which are thin. Black surroundings
    and marks of pens (`cellmix_dali.tissue.ink.ink_mask`) do not count as tissue, nor does what lies beneath them.

    Parameters
    ----------
    rgb : uint8 array (height, width, 3)
    method : str or callable, default "density"
        A name of `cellmix_dali.tissue.methods.METHODS`, or your own: it is called with the picture and gives a bool
        array (height, width), True on tissue.

    Returns
    -------
    bool array (height, width)

    Raises
    ------
    ArgumentError
        For anything but such an array, an unknown method, or a callable that gives anything else.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise ArgumentError(f"A tissue mask needs uint8 pixels (height, width, 3), got {rgb.dtype} {rgb.shape}.")
    try:
        found = find_method(method)(rgb)
    except CellMixDaliError:
        raise
    except Exception as error:  # a user's own method may raise anything, and must not end a job
        raise ArgumentError(
            f"The tissue method {method!r} failed on a picture of {rgb.shape[:2]} pixels: {error!r}"
        ) from error
    if not isinstance(found, np.ndarray) or found.dtype != np.bool_ or found.shape != rgb.shape[:2]:
        got = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        raise ArgumentError(
            f"The tissue method {method!r} gave {got} for a picture of {rgb.shape[:2]} pixels: return a bool array of "
            "that shape, True on tissue."
        )
    return found


def tissue_share(
    mask: BoolArray,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    width: npt.ArrayLike,
    height: npt.ArrayLike,
    *,
    scale: float | tuple[float, float],
) -> npt.NDArray[np.float32]:
    """Measure the share of tissue in tiles, by a summed-area table.

    Parameters
    ----------
    mask : bool array (rows, columns)
        As from `tissue_mask`.
    x, y : array_like (n,) or scalars
        Upper left corners in pixels of the slide's first level.
    width, height : array_like (n,) or scalars
        Sizes in pixels of the slide's first level, above 0.
    scale : float or (float, float)
        Pixels of the first level per pixel of the mask; two numbers where they differ across and down.

    Returns
    -------
    float32 array (n,)
        0 to 1. Pixels of the mask that a tile covers in part count in part; what lies beyond the mask is no
        tissue.

    Raises
    ------
    ArgumentError
        For a mask that is not a two-dimensional bool array, or a scale or size that is not above 0.
    """
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise ArgumentError(
            f"Expected a bool mask (rows, columns) as tissue_mask makes it, got {mask.dtype} {mask.shape}."
        )
    return share_in(summed(mask), x, y, width, height, scale=scale)


def summed(mask: BoolArray) -> npt.NDArray[np.int64]:
    """Return the summed-area table of a mask (rows, columns), of one row and column more."""
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    sums[1:, 1:] = mask
    return sums.cumsum(0, out=sums).cumsum(1, out=sums)


def share_in(
    sums: npt.NDArray[np.int64],
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    width: npt.ArrayLike,
    height: npt.ArrayLike,
    *,
    scale: float | tuple[float, float],
) -> npt.NDArray[np.float32]:
    """Measure as `tissue_share`, by the mask's summed-area table (see `summed`), for masks that are asked often."""
    across, down = scale if isinstance(scale, tuple) else (scale, scale)
    if not (across > 0 and down > 0):
        raise ArgumentError(f"scale {scale} is not above 0: give the pixels of the first level per pixel of the mask.")
    left, top, w, h = (
        np.atleast_1d(v) / by
        for v, by in zip(
            np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (x, y, width, height))),
            (across, down, across, down),
            strict=True,
        )
    )
    if not ((w > 0) & (h > 0)).all():
        raise ArgumentError("A tile's width or height is not above 0: check the tile table.")
    tissue = (
        _sum_to(sums, top + h, left + w)
        - _sum_to(sums, top, left + w)
        - _sum_to(sums, top + h, left)
        + _sum_to(sums, top, left)
    )
    return np.clip(tissue / (w * h), 0, 1).astype(np.float32)


def _sum_to(
    sums: npt.NDArray[np.int64], y: npt.NDArray[np.float64], x: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Tissue above y and left of x. Interpolating the table linearly is exact: pixels are flat."""
    y, x = np.clip(y, 0, sums.shape[0] - 1), np.clip(x, 0, sums.shape[1] - 1)
    row, column = (
        np.minimum(y.astype(np.intp), sums.shape[0] - 2),
        np.minimum(x.astype(np.intp), sums.shape[1] - 2),
    )
    dy, dx = y - row, x - column
    upper = sums[row, column] * (1 - dx) + sums[row, column + 1] * dx
    lower = sums[row + 1, column] * (1 - dx) + sums[row + 1, column + 1] * dx
    total: npt.NDArray[np.float64] = upper * (1 - dy) + lower * dy
    return total
