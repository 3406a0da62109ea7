"""JPEG decoded on the host by libjpeg-turbo: the pixels that DALI's decoder on the CPU and OpenSlide give.

All three are libjpeg-turbo with its exact transform and smooth upsampling of colours, which give the same bytes. What
the library only warns of (data that end early, bytes too many) is left to the caller.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode_into"]


def decode_into(stream: NDArray[np.uint8] | bytes, pixels: NDArray[np.uint8]) -> bool:
    """Decode a JPEG stream, without the interpreter lock.

    Parameters
    ----------
    stream : uint8 array (bytes,) or bytes
        Complete, of three components or of one.
    pixels : uint8 array (height, width, 3)
        Takes the pixels, RGB; contiguous.

    Returns
    -------
    bool
        False where the stream is of another size, or the library has an error or a warning: then the pixels may be
        anything.
    """
    import simplejpeg  # here: what is tiled without a JPEG block does not need it

    try:
        found = simplejpeg.decode_jpeg(stream, "RGB", fastdct=False, fastupsample=False, buffer=pixels)
    except ValueError:
        return False
    return bool(found.shape == pixels.shape)
