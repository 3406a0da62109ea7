"""What the pictures have in common."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

__all__ = ["COLOURS", "show_tile"]

COLOURS = ("#3b75af", "#d1495b", "#66a182", "#edae49", "#8d6a9f", "#7f7f7f")


def show_tile(axis: Axes, image: NDArray[np.uint8], title: str, colour: str) -> None:
    """One tile without ticks, framed in its colour."""
    axis.imshow(image)
    axis.set_title(title, fontsize=9, color=colour)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_edgecolor(colour)
        spine.set_linewidth(2)
