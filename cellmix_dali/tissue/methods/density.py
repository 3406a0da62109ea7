"""Colour that is absorbed more than by the picture's own glass, by two thresholds above the glass's noise."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..glass import glass_of
from ..ink import ink_mask
from ..morphology import dilated, eroded, reached
from ._cleaning import cleaned
from ._registered import register_tissue_method
from .saturation import by_saturation

__all__ = ["by_density"]

BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

# How much more of one colour is absorbed than of another, in optical density above glass, that may be tissue: so many
# standard deviations of glass, within this range. Sure tissue has so many times as much.
_DEVIATIONS, _LEAST, _MOST, _SURE = 5.0, 0.0095, 0.03, 1.5
_BLOCK = 8  # sure tissue, and what hangs together with it, is looked for in blocks of so many pixels a side
_FULL, _PART = 0.6, 0.25  # share of a block that may be tissue, where it is sure and where it hangs on
_STRONG = 0.05  # what is thin is tissue from this density on
_SHINES, _FRINGE, _REACH = 0.1, 0.03, 3  # so strong tissue makes glass so coloured, so many pixels around
_WITHIN = 0.7  # part of the threshold that a block surrounded by tissue has to have on the mean
_WAY = 64  # blocks from sure tissue on
_BLACK = 40  # a pixel whose brightest channel is below this is not tissue but background, pen or shadow: of 255
_BLANK = 6  # white without a grain so many pixels to all sides is what a scanner left out


@register_tissue_method("density")
def by_density(rgb: ByteArray) -> BoolArray:
    """Find what absorbs some colour more than others, beside the picture's own glass.

    The colour of glass is that of the brightest even part (`cellmix_dali.tissue.glass`). Against it, optical densities
    are taken: dust, shadows and uneven light absorb all colours alike, stains do not, so the greatest density less the
    least is looked at. What is above the noise of glass may be tissue; it is tissue where it fills a block of 8 pixels
    with half as much again, or hangs together with such a block (hysteresis: J. Canny, 1986). So strong tissue does
    not decide over pale tissue beside it. A picture without glass is left to the method "saturation".

    Parameters
    ----------
    rgb : uint8 array (height, width, 3)

    Returns
    -------
    bool array (height, width)
    """
    from .. import _pixels  # numba takes a while to import
    from .._blur import blurred

    smooth = blurred(rgb)
    glass = glass_of(smooth)
    if glass is None:
        return by_saturation(rgb)
    colour, where, sample = glass
    top = _pixels.brightest(smooth)
    ink = ink_mask(rgb, smooth)
    chroma = _chroma(smooth, colour)
    plain = _chroma(sample, colour)[where]
    middle = float(np.median(plain))
    deviation = 1.4826 * float(np.median(np.abs(plain - middle)))
    low = min(max(middle + _DEVIATIONS * deviation, _LEAST), _MOST)
    # A level of noise is more density where there is less light.
    chroma *= top * np.float32(1 / colour.max())
    white = np.full(3, 255, np.uint8)
    blank = eroded(_pixels.within(rgb, white, white), _BLANK)
    blank = dilated(blank, _BLANK + 4) if blank.any() else blank
    barred = ink | blank | (top < _BLACK)
    chroma[barred] = 0
    likely = chroma > low
    # Smoothed, strong tissue shines a little on the glass beside it.
    likely &= (chroma > _FRINGE) | ~dilated(chroma > _SHINES, _REACH)
    part = _pixels.share_of_blocks(np.ascontiguousarray(likely), _BLOCK)
    strength = _pixels.mean_of_blocks(chroma, np.float32(4 * low))
    sure = (part >= _FULL) & (strength >= _SURE * low)
    # Two blocks each way: lines of cover slips and hairs are thin. Thin tissue has to be strong.
    sure = _squares(sure) | (_pixels.share_of_blocks(cleaned(chroma > _STRONG, 2), _BLOCK) > 0)
    blocks = reached(sure, part >= _PART, _WAY)
    # Within tissue, what is paler than the threshold between its nuclei and fibres is tissue as well.
    filled = eroded(blocks, 1) & (strength >= _WITHIN * low)
    mask = (likely & _enlarged(dilated(blocks, 1), likely.shape)) | _enlarged(filled, likely.shape)
    found: BoolArray = cleaned(mask & ~barred, 2) & ~barred
    return found


def _enlarged(blocks: BoolArray, shape: tuple[int, ...]) -> BoolArray:
    """Blocks as pixels."""
    tall = np.repeat(blocks, _BLOCK, axis=0)[: shape[0]]
    pixels: BoolArray = np.repeat(tall, _BLOCK, axis=1)[:, : shape[1]]
    return pixels


def _chroma(rgb: ByteArray, glass: FloatArray) -> FloatArray:
    """Greatest optical density above glass less the least, of three channels."""
    from .. import _pixels

    values = np.maximum(np.arange(256, dtype=np.float32), 1)
    densities = np.stack([np.log10(glass[c] / values).astype(np.float32) for c in range(3)])
    spread: FloatArray = _pixels.chroma(rgb, densities)
    return spread


def _squares(mask: BoolArray) -> BoolArray:
    """What lies in a square of 2 x 2 that is True; beyond the rim, all is as at the rim."""
    padded = np.pad(mask, 1, mode="edge")
    full = padded[1:, 1:] & padded[1:, :-1] & padded[:-1, 1:] & padded[:-1, :-1]
    found: BoolArray = full[1:, 1:] | full[1:, :-1] | full[:-1, 1:] | full[:-1, :-1]
    return found
