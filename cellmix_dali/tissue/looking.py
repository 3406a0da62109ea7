"""A look at a slide for its tissue: how large the picture must be, and what is taken for tissue on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..slides import Slide
from .methods import TissueMethod
from .slide_mask import TissueMask, find_tissue
from .thumbnails import thumbnail_of

__all__ = ["look_for_tissue", "picture_size"]

_SIDES = (1024, 4096)  # least and greatest longer side of the picture that tissue is found on, pixels
_MASK_PIXELS = 4  # mask pixels across a tile, or more, so that its share is told well


def picture_size(slide: Slide, window: float) -> int:
    """Return how large a picture must be to measure the share of tissue in a slide's tiles.

    Parameters
    ----------
    slide : Slide
        An open slide.
    window : float
        Side of the smallest tile in pixels of level 0.

    Returns
    -------
    int
        Pixels of its longer side: as many as put 4 pixels across the tile, but 1024 to 4096.
    """
    least, most = _SIDES
    first = slide.levels[0]
    return min(max(least, int(_MASK_PIXELS * max(first.width, first.height) / window)), most)


def look_for_tissue(slide: Slide, max_size: int, method: str | TissueMethod) -> tuple[NDArray[np.uint8], TissueMask]:
    """Make a picture of a slide and find its tissue; what cannot be read because of damage may be tissue.

    Parameters
    ----------
    slide : Slide
        An open slide.
    max_size : int
        Pixels of the picture's longer side.
    method : str or callable
        See `cellmix_dali.tissue.tissue_mask`.

    Returns
    -------
    picture : uint8 array (height, width, 3)
        Grey where the slide cannot be read.
    mask : TissueMask
        Of the picture's size.

    Raises
    ------
    SlideError
        If none of the slide can be read.
    NotReadError
        If a part of it cannot be read for a reason of the moment.
    """
    picture, unread = thumbnail_of(slide, max_size)
    mask = find_tissue(slide, thumbnail=picture, method=method)
    # What cannot be seen may be tissue: its tiles are tried, and reported where they cannot be read either.
    return picture, replace(mask, pixels=mask.pixels | unread)
