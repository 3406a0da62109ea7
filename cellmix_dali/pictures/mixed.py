"""A batch before and after mixing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ._style import COLOURS, show_tile

__all__ = ["mixed_picture"]


def mixed_picture(
    path: Path,
    *,
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    labels: NDArray[np.int32],
    soft_labels: NDArray[np.float32],
    classes: Sequence[str],
    title: str,
) -> None:
    """Draw a batch before mixing (upper row) and after it (lower row), with labels and soft labels.

    Parameters
    ----------
    path : Path
        The picture's file; its suffix says the format.
    before, after : uint8 array (batch, height, width, 3)
        Tiles.
    labels : int array (batch,)
        Class indices before.
    soft_labels : float array (batch, classes)
        Labels after.
    classes : sequence of str
        Names of the classes.
    title : str
        Written on top.
    """
    count = len(before)
    figure = Figure(figsize=(1.75 * count, 4.9), layout="constrained")
    axes = figure.subplots(3, count, squeeze=False, height_ratios=(4, 4, 1.1))
    figure.suptitle(title, fontsize=11)
    for column in range(count):
        colour = COLOURS[labels[column] % len(COLOURS)]
        show_tile(axes[0, column], before[column], classes[labels[column]], colour)
        show_tile(axes[1, column], after[column], "", "black")
        bars = axes[2, column]
        left = 0.0
        for index, share in enumerate(soft_labels[column]):
            bars.barh(0, share, left=left, color=COLOURS[index % len(COLOURS)])
            if share > 0.18:
                bars.text(left + share / 2, 0, f"{share:.2f}", ha="center", va="center", color="white", fontsize=8)
            left += float(share)
        bars.set_xlim(0, 1)
        bars.axis("off")
    for row, text in enumerate(("before", "after", "soft label")):
        axes[row, 0].annotate(
            text, (-0.06, 0.5), xycoords="axes fraction", rotation=90, ha="right", va="center", fontsize=10
        )
    handles = [
        axes[2, 0].barh(0, 0, color=COLOURS[index % len(COLOURS)], label=name) for index, name in enumerate(classes)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(classes), frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)
