"""Where a picture shows tissue, by its colour; and the share of tissue in tiles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from ._morphology import dilated, eroded
from .errors import ArgumentError
from .ink import ink_mask

__all__ = ["tissue_mask", "tissue_share"]

BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]

# The saturation, of 255, that parts glass from tissue lies in this range whatever the picture: Otsu's
# threshold splits a picture of glass alone in its noise, and one of tissue alone between pale and strong
# stain.
_LEAST, _MOST = 16, 30
# Even colour for so many pixels to all sides, on such a share of the picture, may be glass; its tint is taken away
# from so many of 255 on.
_EVEN, _GLASS, _TINT = 4, 0.1, 12
_SAMPLE = 1024  # glass is looked for on a picture sampled to this longer side, pixels
_BLACK = 40  # a pixel whose brightest channel is below this is no tissue but background, pen or shadow: of 255


def _saturation(rgb: ByteArray) -> ByteArray:
    """HSV saturation, 0 to 255."""
    top = rgb.max(2).astype(np.float32)
    low = rgb.min(2)
    saturation = (top - low) * 255 / np.maximum(top, 1)
    saturation[top < _BLACK] = 0
    whole: ByteArray = saturation.astype(np.uint8)
    return whole


def _otsu(values: ByteArray) -> int:
    """Threshold that parts two groups with the greatest variance between them; the upper is above it."""
    counts = np.bincount(values.ravel(), minlength=256).astype(np.float64)
    below = counts.cumsum()
    moment = (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (moment / below - (moment[-1] - moment) / above) ** 2
    return int(np.nan_to_num(between).argmax())


def _cleaned(mask: BoolArray, radius: int) -> BoolArray:
    """Close gaps, then drop specks, both up to about 2 `radius` pixels wide."""
    # Padded by repetition, so that tissue at the rim neither shrinks nor grows.
    wide = 2 * radius
    mask = np.pad(mask, 2 * wide, mode="edge")
    mask = eroded(dilated(mask, radius), 2 * radius)
    return dilated(mask, radius)[2 * wide : -2 * wide, 2 * wide : -2 * wide]


def _without_tint(rgb: ByteArray) -> ByteArray:
    """Picture as if its glass were white, where the glass is tinted: yellowed, or seen by bluish light."""
    step = -(-max(rgb.shape) // _SAMPLE)
    sample = rgb[::step, ::step]
    bins = (sample >> 3).astype(np.int32)
    codes = (bins[..., 0] << 10) | (bins[..., 1] << 5) | bins[..., 2]
    most = int(np.bincount(codes.ravel(), minlength=1 << 15).argmax())
    colour = np.array([(most >> shift & 31) * 8 + 4 for shift in (10, 5, 0)])
    glass = eroded((np.abs(sample - colour) <= 8).all(2), _EVEN)
    if glass.mean() < _GLASS:
        return rgb
    red, green, blue = (int(v) for v in np.median(sample[glass], axis=0))
    # Glass is even over some pixels, bright, and not pink or purple as tissue is.
    bright = min(red, green, blue) > 150 and green >= min(red, blue)
    if not bright or max(red, green, blue) - min(red, green, blue) < _TINT:
        return rgb
    white = np.array([red, green, blue], np.float32)
    balanced: ByteArray = np.minimum(rgb * (white.max() / white), 255).astype(np.uint8)
    return balanced


def tissue_mask(rgb: ByteArray) -> BoolArray:
    """Find the tissue on a picture of a slide, best a thumbnail of 500 to 2000 pixels.

    Stained tissue is coloured, glass is not: what is more saturated than Otsu's threshold (N. Otsu, "A
    threshold selection method from gray-level histograms", 1979) is tissue. The threshold is kept in a range,
    so that a picture of glass alone comes out nearly empty and one of tissue alone nearly full. The picture
    is smoothed first, and small gaps and specks are closed and dropped afterwards: dust and the edges of cover
    slips, which are thin. Where glass itself is tinted, the picture is balanced as if it were white. Black
    surroundings and marks of pens (`cellmix_dali.ink.ink_mask`) are no tissue, with what lies beneath them.

    Parameters
    ----------
    rgb : uint8 array (height, width, 3)

    Returns
    -------
    bool array (height, width)

    Raises
    ------
    ArgumentError
        For anything but such an array.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise ArgumentError(f"A tissue mask needs uint8 pixels (height, width, 3), got {rgb.dtype} {rgb.shape}.")
    smooth = np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(1.5)))
    saturation = _saturation(_without_tint(smooth))
    ink = ink_mask(rgb)
    threshold = min(max(_otsu(saturation[~ink]), _LEAST), _MOST)
    return _cleaned((saturation > threshold) & ~ink, 2)


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
        For a mask that is no two-dimensional bool array, or a scale or size that is not above 0.
    """
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise ArgumentError(
            f"Expected a bool mask (rows, columns) as tissue_mask makes it, got {mask.dtype} {mask.shape}."
        )
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
    sums = np.zeros((mask.shape[0] + 1, mask.shape[1] + 1), np.int64)
    sums[1:, 1:] = mask
    sums.cumsum(0, out=sums).cumsum(1, out=sums)
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
