"""Which colours may be ink, in compiled code; `cellmix_dali.tissue.ink` says why.

All is float32, in the order in which NumPy would go, so that the answers are NumPy's.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import numpy as np

from .._compiled import compiled

__all__ = ["BLACK", "BRIGHT", "COLD", "FRINGE", "PALE", "STRONG_BLACK", "STRONG_COLD", "STRONG_WARM", "WARM"]
__all__ += ["ink_colours", "tissue_colours"]

#: Bits of what a colour may be: strong ink of three kinds, likely ink of them, what could be tissue as well, pale red
#: ink, and what is as bright as glass beside a stroke.
STRONG_COLD, STRONG_WARM, STRONG_BLACK, COLD, WARM, BLACK, FRINGE, PALE, BRIGHT = (1 << bit for bit in range(9))

_f = np.float32
# Haematoxylin by itself, as beside DAB, is blue as well. What it absorbs of green is 0.75 and more of what it absorbs
# of red, and of blue 0.3 and more, however much there is of it; ink is purer.
_PURE, _NEARLY_PURE, _VIOLET = _f(0.7), _f(0.78), _f(0.25)
_BROWN = _f(1.3)  # density of blue by that of red, from which dark brown is not black ink


@compiled()
def _measures(r, g, b, density):
    """Chroma and saturation of a colour; whether blue is its greatest channel; whether it is violet ink, pale ink."""
    red, green, blue = np.float32(r), np.float32(g), np.float32(b)
    top = max(red, max(green, blue))
    chroma = top - min(red, min(green, blue))
    saturation = chroma / max(top, np.float32(1))
    violet = (blue == top) & (density[b] < _VIOLET * max(density[r], density[g]))
    pale = (red < np.float32(0.95) * green) & (saturation > np.float32(0.08)) & (density[g] < _NEARLY_PURE * density[r])
    return top, chroma, saturation, violet, pale


@compiled()
def _strong(r, g, b, density):
    """Bits of the kinds of ink of which a colour is strong."""
    top, chroma, saturation, violet, _ = _measures(r, g, b, density)
    red, green, blue = np.float32(r), np.float32(g), np.float32(b)
    pure = density[g] < _PURE * density[r]
    cold = ((red < np.float32(0.8) * green) & (saturation > np.float32(0.3)) & pure) | (
        violet & (red < np.float32(1.05) * green) & (saturation > np.float32(0.65))
    )
    hue = (blue - green) / max(chroma, np.float32(1))
    warm = (red == top) & (hue > np.float32(-0.25)) & (hue < np.float32(0.42))
    warm &= (saturation > np.float32(0.92)) & (red > np.float32(140))
    return cold * 1 | warm * 2 | (top < np.float32(35)) * 4


@compiled()
def tissue_colours(rgb, density):
    """Count tissue, and blue tissue, and say which kinds of strong ink there are.

    Parameters
    ----------
    rgb : uint8 array (height, width, 3)
    density : float32 array (256,)
        Optical density of a channel's values.

    Returns
    -------
    tissue, blue, strong : int
    """
    tissue = blue = strong = 0
    for y in range(rgb.shape[0]):
        for x in range(rgb.shape[1]):
            r, g, b = rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2]
            _, _, saturation, _, pale = _measures(r, g, b, density)
            some = (saturation > np.float32(0.1)) & (not pale)
            tissue += some
            blue += some & (density[r] > np.float32(0.95) * density[g])
            strong |= _strong(r, g, b, density)
    return tissue, blue, strong


@compiled()
def ink_colours(rgb, density, over_red, over_green, blue_tissue):
    """Say of each pixel what its colour may be.

    Parameters
    ----------
    rgb, density
        See `tissue_colours`.
    over_red, over_green : float32 arrays (256,)
        A value of red, and a bound of it by the value of green, below which a dark colour may be ink over tissue.
    blue_tissue : bool
        Whether the tissue is blue by itself.

    Returns
    -------
    uint16 array (height, width)
    """
    found = np.empty(rgb.shape[:2], np.uint16)
    for y in range(rgb.shape[0]):
        for x in range(rgb.shape[1]):
            r, g, b = rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2]
            red, green, blue = np.float32(r), np.float32(g), np.float32(b)
            top, chroma, saturation, violet, pale_ink = _measures(r, g, b, density)
            over_tissue = (top < np.float32(150)) & (over_red[r] < over_green[g])
            blue_ink = (blue == top) & (red < np.float32(1.12) * green) & (saturation > np.float32(0.4))
            if blue_tissue:
                blue_ink &= violet
                over_tissue &= pale_ink | blue_ink
            # Hues from crimson to scarlet; eosin is nearer to magenta, and blood at this size is not as pure. Pale ink
            # on glass is bright.
            hue = (blue - green) / max(chroma, np.float32(1))  # 0 is pure red, towards 1 is magenta
            reddest = (red == top) & (hue > np.float32(-0.25))
            crimson = reddest & (hue < np.float32(0.42))
            pale = (red > np.float32(200)) & (hue > np.float32(0)) & (hue < np.float32(0.32))
            pale &= saturation > np.float32(0.4)
            deep = reddest & (hue < np.float32(0.55)) & (saturation > np.float32(0.65))
            # Grey ink on tissue leaves the balance of red and blue as it is, which dense nuclei turn to blue.
            # Brown that is nearly black is DAB, and clumps of nuclei are no stroke.
            dark = (top < np.float32(95)) | ((top < np.float32(130)) & (blue <= red))
            found[y, x] = (
                _strong(r, g, b, density)
                | (pale_ink | blue_ink | over_tissue) * COLD
                | ((crimson & (saturation > np.float32(0.55))) | pale | deep) * WARM
                | (dark & (density[b] < _BROWN * density[r])) * BLACK
                | (over_tissue | (crimson & (saturation > np.float32(0.36))) | dark) * FRINGE
                | pale * PALE
                | (top > np.float32(215)) * BRIGHT
            )
    return found
