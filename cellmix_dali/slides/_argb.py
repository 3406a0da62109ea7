"""OpenSlide's pixels as RGB over white, by compiled code."""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import numpy as np

from cellmix_dali._compiled import compiled

__all__ = ["over_white"]


@compiled()
def over_white(pixels, rgb):
    """Turn premultiplied ARGB, as Cairo and OpenSlide have it, into RGB over white.

    As openslide-python and Pillow would: colours are divided by alpha (rounded down), then blended (rounded to
    nearest); exact where alpha is 0 or 255.

    Parameters
    ----------
    pixels : uint32 array (n,)
    rgb : uint8 array (3 n,)
        Out.
    """
    clear = np.uint32(0)  # bits of alpha that are 0 somewhere
    for place in range(pixels.size):
        value = pixels[place]
        clear |= ~value
        rgb[3 * place] = np.uint8(value >> np.uint32(16))
        rgb[3 * place + 1] = np.uint8(value >> np.uint32(8))
        rgb[3 * place + 2] = np.uint8(value)
    if clear >> np.uint32(24) == 0:
        return
    for place in range(pixels.size):
        alpha = np.int64(pixels[place] >> np.uint32(24))
        if alpha == 255:
            continue
        for channel in range(3):
            colour = np.int64(0)
            if alpha:
                colour = 255 * np.int64(rgb[3 * place + channel]) // alpha & 255
            rgb[3 * place + channel] = (colour * alpha + 255 * (255 - alpha) + 127) // 255
