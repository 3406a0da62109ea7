"""Marks of felt pens on a slide: people draw on the glass, and a scanner sees it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from .morphology import dilated, eroded, reached

__all__ = ["ink_mask"]

BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]

_SIDE = 1024  # marks are broad: a larger picture is reduced to this longer side, pixels
_WAY = 1.0  # how far sure ink reaches along likely ink, as a share of the longer side
_FRINGE = 0.03  # the same along what could be tissue as well: the pale end of a stroke
_HALO = 0.01  # how far a stroke shines on the glass beside it, as a share of the longer side
_PAPER = 245.0  # brightness of glass, of 255
# Optical density of green by that of red in ink, strong and likely; that of blue by the greater one in violet ink.
_PURE, _NEARLY_PURE, _VIOLET = 0.7, 0.78, 0.25
_BROWN = 1.3  # density of blue by that of red, from which dark brown is not black ink
_BLUE_TISSUE = 0.3  # share of tissue that is blue: above, the tissue is blue by itself


def ink_mask(rgb: ByteArray) -> BoolArray:
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
    picture = Image.fromarray(rgb)
    height, width = rgb.shape[:2]
    if max(height, width) > _SIDE:
        picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    side = max(picture.size)
    smooth = np.asarray(picture.filter(ImageFilter.GaussianBlur(1.5)), dtype=np.float32)
    red, green, blue = smooth[..., 0], smooth[..., 1], smooth[..., 2]
    top, low = smooth.max(2), smooth.min(2)
    chroma = top - low
    saturation = chroma / np.maximum(top, 1)

    # Tissue has at least as much red as green. Under blue or green ink it is dark, and red is absorbed nearly as
    # much as green: densities are compared, as those of tissue and ink add up.
    over_tissue = (top < 150) & (red / _PAPER < (np.minimum(green, _PAPER) / _PAPER) ** 0.82)
    # Haematoxylin by itself, as beside DAB, is blue as well. What it absorbs of green is 0.75 and more of what it
    # absorbs of red, and of blue 0.3 and more, however much there is of it; ink is purer.
    d_red, d_green, d_blue = (-np.log10(np.clip(channel, 1, _PAPER) / _PAPER) for channel in (red, green, blue))
    pure = d_green < _PURE * d_red
    violet = (blue == top) & (d_blue < _VIOLET * np.maximum(d_red, d_green))
    cold_strong = ((red < 0.8 * green) & (saturation > 0.3) & pure) | (
        violet & (red < 1.05 * green) & (saturation > 0.65)
    )
    pale_ink = (red < 0.95 * green) & (saturation > 0.08) & (d_green < _NEARLY_PURE * d_red)
    blue_ink = (blue == top) & (red < 1.12 * green) & (saturation > 0.4)
    # Where much of the tissue is that blue, its colour does not tell what lies beneath ink.
    tissue = (saturation > 0.1) & ~pale_ink
    if np.count_nonzero(tissue & (d_red > 0.95 * d_green)) > _BLUE_TISSUE * np.count_nonzero(tissue):
        blue_ink &= violet
        over_tissue &= pale_ink | blue_ink
    cold_likely = pale_ink | blue_ink
    cold = _from_strong(cold_strong, cold_likely | over_tissue, side)
    # Hues from crimson to scarlet; eosin is nearer to magenta, and blood at this size is not as pure. Pale ink on
    # glass is bright.
    hue = (blue - green) / np.maximum(chroma, 1)  # 0 is pure red, towards 1 is magenta
    crimson = (red == top) & (hue > -0.25) & (hue < 0.42)
    pale = (red > 200) & (hue > 0) & (hue < 0.32) & (saturation > 0.4)
    deep = (red == top) & (hue > -0.25) & (hue < 0.55) & (saturation > 0.65)
    warm = _from_strong(
        crimson & (saturation > 0.92) & (red > 140), (crimson & (saturation > 0.55)) | pale | deep, side
    )
    # Grey ink on tissue leaves the balance of red and blue as it is, which dense nuclei turn to blue.
    # Brown that is nearly black is DAB, and clumps of nuclei are no stroke.
    dark = (top < 95) | ((top < 130) & (blue <= red))
    black = _from_strong(top < 35, dark & (d_blue < _BROWN * d_red), side, 2)

    fringe = over_tissue | (crimson & (saturation > 0.36)) | dark
    ink = reached(cold | warm | black, fringe, round(_FRINGE * side))
    # Strokes cross: a pale red one may come out from under a green one.
    ink = reached(ink, pale, round(_WAY * side))
    ink = dilated(ink, 1) if ink.any() else ink
    ink |= dilated(ink, round(_HALO * side)) & (top > 215)
    if ink.shape != (height, width):
        ink = np.asarray(Image.fromarray(ink).resize((width, height), Image.Resampling.NEAREST))
    return ink


def _from_strong(strong: BoolArray, likely: BoolArray, side: int, speck: int = 1) -> BoolArray:
    """Ink that is strong on more than a speck, and likely ink connected to it."""
    strong = dilated(eroded(strong, speck), speck)
    return reached(strong, likely, round(_WAY * side)) if strong.any() else strong
