"""One global threshold of saturation: the method of the first versions, for pictures that it suited."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..ink import ink_mask
from ..morphology import eroded
from ._cleaning import cleaned
from ._registered import register_tissue_method

__all__ = ["by_saturation"]

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
_BLACK = 40  # a pixel whose brightest channel is below this is not tissue but background, pen or shadow: of 255


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


@register_tissue_method("saturation")
def by_saturation(rgb: ByteArray) -> BoolArray:
    """Find what is more saturated than Otsu's threshold of the whole picture.

    Stained tissue is coloured, glass is not (N. Otsu, "A threshold selection method from gray-level histograms",
    1979). The threshold is kept in a range, so that a picture of glass alone comes out nearly empty and one of tissue
    alone nearly full. Where glass itself is tinted, the picture is balanced as if it were white. Pale tissue beside
    strong tissue is missed.

    Parameters
    ----------
    rgb : uint8 array (height, width, 3)

    Returns
    -------
    bool array (height, width)
    """
    from .._blur import blurred  # numba takes a while to import

    smooth = blurred(rgb)
    saturation = _saturation(_without_tint(smooth))
    ink = ink_mask(rgb, smooth)
    threshold = min(max(_otsu(saturation[~ink]), _LEAST), _MOST)
    return cleaned((saturation > threshold) & ~ink, 2)
