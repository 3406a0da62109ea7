"""The colour of bare glass on a picture of a slide: what a scanner saw where nothing lies."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .morphology import eroded

__all__ = ["glass_of"]

BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]

_SAMPLE = 1024  # glass is looked for on a picture sampled to this longer side, pixels
_BINS = 4  # as in `_pixels.code_counts`: of a channel's 256 values go to one bin
_NEAR, _EVEN = 6, 3  # glass differs by so little from its colour, so many pixels to all sides
_LEAST = 0.02  # share of the picture that glass covers, if its colour is to be known
_DARKEST = 90  # brightest channel of glass in a dim scan, of 255
_TINTS = 0.22  # of the brightest channel: how much less another may be in tinted glass
_PINK = 0.03  # the same of green below red and blue: more is pale tissue
_TRIES = 12  # commonest colours that are tried


def glass_of(rgb: ByteArray) -> tuple[npt.NDArray[np.float32], BoolArray, ByteArray] | None:
    """Find the colour of glass: of the even, common colours the brightest that is not pink or purple.

    Parameters
    ----------
    rgb : uint8 array (height, width, 3)
        Smoothed a little.

    Returns
    -------
    colour : float32 array (3,)
    where : bool array
        Where it was seen, on `sample`.
    sample : uint8 array (rows, columns, 3)
        Every so many pixels of the picture.
    None
        Where the picture has no glass, or none that can be told from pale tissue.
    """
    from . import _pixels  # numba takes a while to import

    step = -(-max(rgb.shape) // _SAMPLE)
    sample = rgb[::step, ::step]
    counts = _pixels.code_counts(sample)
    met = np.flatnonzero(counts)
    common = met[np.argsort(counts[met], kind="stable")[-_TRIES:]]
    best: tuple[float, npt.NDArray[np.float32], BoolArray] | None = None
    for code in common[::-1]:
        colour = np.array([(int(code) >> shift & 63) * _BINS + _BINS / 2 for shift in (12, 6, 0)])
        if not _like_glass(colour) or (colour >= 252).all():
            continue
        if best is not None and colour.sum() <= best[0] + _NEAR:
            continue  # it could only be darker
        low, high = np.clip(colour - _NEAR, 0, 255).astype(np.uint8), np.clip(colour + _NEAR, 0, 255).astype(np.uint8)
        where = eroded(_pixels.within(sample, low, high), _EVEN)
        if where.mean() >= _LEAST:
            best = float(colour.sum()), _median(sample, where), where
    if best is None:
        # Blank white: overexposed glass, or what a scanner left out, which is the best there is then.
        white = np.full(3, 250, np.uint8), np.full(3, 255, np.uint8)
        where = eroded(_pixels.within(sample, *white), _EVEN)
        if where.mean() < _LEAST:
            return None
        return _median(sample, where), where, sample
    return best[1], best[2], sample


def _median(rgb: ByteArray, where: BoolArray) -> npt.NDArray[np.float32]:
    """The median of each channel, where that is asked."""
    from . import _pixels

    sums = _pixels.histograms(rgb, where).cumsum(axis=1)
    count = int(sums[0, -1])
    # Of an even number the mean of the two in the middle.
    middle = [[int(np.searchsorted(each, place, "right")) for place in ((count - 1) // 2, count // 2)] for each in sums]
    median: npt.NDArray[np.float32] = np.array(middle, np.float64).mean(axis=1).astype(np.float32)
    return median


def _like_glass(colour: npt.NDArray[np.float64]) -> bool:
    """Whether glass may have a colour."""
    red, green, blue = (float(value) for value in colour)
    top = max(red, green, blue)
    tinted = top - min(red, green, blue) > _TINTS * top
    return top >= _DARKEST and not tinted and green >= min(red, blue) - _PINK * top
