"""Marks of felt pens on a slide: people draw on the glass, and a scanner sees it."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from PIL import Image

from .morphology import dilated, eroded, reached

__all__ = ["ink_mask"]

BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]

_SIDE = 1024  # marks are broad: a larger picture is reduced to this longer side, pixels
_WAY = 1.0  # how far sure ink reaches along likely ink, as a share of the longer side
_FRINGE = 0.03  # the same along what could be tissue as well: the pale end of a stroke
_HALO = 0.01  # how far a stroke shines on the glass beside it, as a share of the longer side
_PAPER = 245.0  # brightness of glass, of 255
_BLUE_TISSUE = 0.3  # share of tissue that is blue: above, the tissue is blue by itself


def ink_mask(rgb: ByteArray, smooth: ByteArray | None = None) -> BoolArray:
    """Find marks of blue, green, red and black pens on a thumbnail of a slide stained with H&E or H-DAB.

    Haematoxylin and eosin both absorb green light most. Blue and green ink absorb red light most: no tissue looks
    like that. Red ink can be told from eosin and blood, and black ink from dense nuclei, only where it is strong,
    as where a pen was put down. So ink is found by two thresholds (J. Canny, "A computational approach to edge
    detection", 1986): strong ink is ink, and so is what is connected to it and has a colour that pale ink may have.
    A picture without strong ink has none, however dark its nuclei and red its blood.

    Parameters
    ----------
    rgb : uint8 array (height, width, 3)
        The whole slide; best 500 pixels or more.
    smooth : uint8 array (height, width, 3), optional
        The same picture blurred by Gauss's curve of 1.5 pixels, where it is at hand.

    Returns
    -------
    bool array (height, width)
        True on ink and on the tissue beneath it.

    Notes
    -----
    Haematoxylin and DAB are told from ink by how much of each colour they absorb. Stains that are as pure as ink
    (Alcian blue, light green), and silver that is black over some pixels, cannot be.
    All thresholds were set by looking at real thumbnails.
    """
    from . import _ink_pixels  # numba takes a while to import
    from ._blur import blurred

    picture = Image.fromarray(rgb)
    height, width = rgb.shape[:2]
    if max(height, width) > _SIDE:
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    side = max(picture.size)
    if smooth is None or picture.size != (width, height):
        smooth = blurred(np.asarray(picture))
    density, over_red, over_green = _of_values()
    tissue, blue, strong = _ink_pixels.tissue_colours(smooth, density)
    if not strong:
        return np.zeros((height, width), np.bool_)
    # Where much of the tissue is that blue, its colour does not tell what lies beneath ink.
    colours = _ink_pixels.ink_colours(smooth, density, over_red, over_green, blue > _BLUE_TISSUE * tissue)
    of = {bit: (colours & bit) != 0 for bit in (1 << number for number in range(9))}
    cold = _from_strong(of[_ink_pixels.STRONG_COLD], of[_ink_pixels.COLD], side)
    warm = _from_strong(of[_ink_pixels.STRONG_WARM], of[_ink_pixels.WARM], side)
    black = _from_strong(of[_ink_pixels.STRONG_BLACK], of[_ink_pixels.BLACK], side, 2)
    ink = cold | warm | black
    if ink.any():
        ink = reached(ink, of[_ink_pixels.FRINGE], round(_FRINGE * side))
        # Strokes cross: a pale red one may come out from under a green one.
        ink = dilated(reached(ink, of[_ink_pixels.PALE], round(_WAY * side)), 1)
        ink |= dilated(ink, round(_HALO * side)) & of[_ink_pixels.BRIGHT]
    if ink.shape != (height, width):
        ink = np.asarray(Image.fromarray(ink).resize((width, height), Image.Resampling.NEAREST))
    return ink


@functools.cache
def _of_values() -> tuple[FloatArray, FloatArray, FloatArray]:
    """What is worked out of a channel's 256 values: their density; red and green as ink over tissue is told by them.

    Tissue has at least as much red as green. Under blue or green ink it is dark, and red is absorbed nearly as much as
    green: densities are compared, as those of tissue and ink add up.
    """
    values = np.arange(256, dtype=np.float32)
    density: FloatArray = -np.log10(np.clip(values, 1, _PAPER) / _PAPER)
    red: FloatArray = (values / _PAPER).astype(np.float32)
    green: FloatArray = ((np.minimum(values, _PAPER) / _PAPER) ** 0.82).astype(np.float32)
    return density, red, green


def _from_strong(strong: BoolArray, likely: BoolArray, side: int, speck: int = 1) -> BoolArray:
    """Ink that is strong on more than a speck, and likely ink connected to it."""
    strong = dilated(eroded(strong, speck), speck)
    return reached(strong, likely, round(_WAY * side)) if strong.any() else strong
