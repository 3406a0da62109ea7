"""Tiles of several slides before and after their stains are normalised."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ._style import show_tile

__all__ = ["stains_picture"]

_LONGEST = 24  # letters of a name


def stains_picture(
    path: Path,
    *,
    names: Sequence[str],
    before: Sequence[NDArray[np.uint8]],
    after: Sequence[NDArray[np.uint8]],
    title: str,
) -> None:
    """Draw a tile of each of some slides as it is (upper row) and normalised (lower row).

    Parameters
    ----------
    path : Path
        The picture's file; its suffix says the format.
    names : sequence of str
        Of the slides.
    before, after : sequences of uint8 arrays (height, width, 3)
        Tiles, one of each slide.
    title : str
        Written on top.
    """
    figure = Figure(figsize=(2.1 * len(names) + 0.3, 5.0), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False)
    figure.suptitle(title, fontsize=11)
    for column, name in enumerate(names):
        show_tile(axes[0, column], before[column], name[:_LONGEST], "black")
        show_tile(axes[1, column], after[column], "", "black")
    for row, text in enumerate(("as scanned", "normalised")):
        axes[row, 0].set_ylabel(text, fontsize=10)
    figure.savefig(path, dpi=110)
