"""What a view of an image is, as nodes of a graph; and, in float64, what an engine must make of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .colour_stages import Colour, Stages, changed_plainly
from .dali import DataNode

__all__ = ["GEOMETRY", "ViewNodes", "plainly_resized", "plainly_viewed"]

#: Numbers of a view's geometry: the box (top, left, height, width, in pixels), 1 where it is flipped left-right, 1
#: where up-down, and the deviation of the blur in pixels of the view, 0 for none.
GEOMETRY = 7

_Pixels = NDArray[np.float64]


class ViewNodes(NamedTuple):
    """A box of an image, resized to a square, flipped, coloured and blurred.

    Attributes
    ----------
    size : int
        Side of the view in pixels.
    geometry : DataNode, float32 (GEOMETRY,)
        Of each sample, on the CPU: whole numbers but for the last.
    before, after : Colour or None
        What is done to its colours before it is blurred, and after that.
    cubic : bool
        Whether cubic filters resize it, instead of linear ones.
    """

    size: int
    geometry: DataNode
    before: Colour | None = None
    after: Colour | None = None
    cubic: bool = False


def plainly_resized(pixels: _Pixels, size: int, *, cubic: bool = False) -> _Pixels:
    """Resize a picture (height, width, 3) to a square, in float64, without rounding.

    As Pillow, and torchvision with ``antialias=True``: pixels of the box are weighed by a triangle (linear) or by Keys'
    filter with a slope of -0.5 (cubic), as wide as the pixels are apart where the picture becomes smaller; what lies
    beyond the border has no weight.
    """
    for axis in (0, 1):
        length = pixels.shape[axis]
        weights = np.zeros((size, length))
        scale = length / size
        wide = max(scale, 1.0)
        support = wide * (2 if cubic else 1)
        for place in range(size):
            centre = (place + 0.5) * scale
            taken = np.arange(max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), length))
            away = np.abs((taken - centre + 0.5) / wide)
            own = _keys(away) if cubic else np.maximum(1 - away, 0)
            weights[place, taken] = own / own.sum()
        pixels = np.moveaxis(np.tensordot(weights, pixels, (1, axis)), 0, axis)
    return pixels


def plainly_viewed(
    image: NDArray[np.uint8],
    size: int,
    geometry: Sequence[float],
    *,
    before: tuple[Sequence[str], Stages] | None = None,
    after: tuple[Sequence[str], Stages] | None = None,
    cubic: bool = False,
) -> NDArray[np.uint8]:
    """Make a view of one image, uint8 (height, width, 3), in float64; levels are rounded once resized, and at the end.

    Stages of colour come as kinds and numbers (stages, NUMBERS).
    """
    top, left, high, wide, across, down = (int(number) for number in geometry[:6])
    box = image[top : top + high, left : left + wide].astype(np.float64)
    view = np.floor(np.clip(plainly_resized(box, size, cubic=cubic), 0, 255) + 0.5)
    view = view[:: -1 if down else 1, :: -1 if across else 1]
    view = view if before is None else changed_plainly(view, *before)
    sigma = float(geometry[6])
    if sigma > 0:
        radius = math.ceil(3 * sigma)
        gaussian = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        for axis in (0, 1):
            padded = np.pad(view, [(radius, radius) if axis == own else (0, 0) for own in range(3)], mode="reflect")
            view = np.apply_along_axis(np.convolve, axis, padded, gaussian / gaussian.sum(), mode="valid")
    view = view if after is None else changed_plainly(view, *after)
    return np.floor(view + 0.5).astype(np.uint8)


def _keys(away: _Pixels) -> _Pixels:
    near = (1.5 * away - 2.5) * away**2 + 1
    return np.where(away < 1, near, np.where(away < 2, ((-0.5 * away + 2.5) * away - 4) * away + 2, 0))
