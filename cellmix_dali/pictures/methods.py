"""The same batch mixed by several methods, with soft labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ._style import COLOURS

__all__ = ["MethodRow", "methods_picture"]

# In tiles: the side of a tile is 1.
_GAP, _BAR, _ROW = 0.07, 0.14, 0.09
_NAMES, _TITLE = 1.55, 0.3  # room beside the rows, and above them
_INCHES = 0.93  # a tile's side


class MethodRow(NamedTuple):
    """One row of the picture.

    Attributes
    ----------
    name, note : str
        Written beside it, large and small.
    images : uint8 array (batch, height, width, 3)
        Mixed tiles.
    soft_labels : float array (batch, classes)
        Shares, which sum to 1.
    """

    name: str
    note: str
    images: NDArray[np.uint8]
    soft_labels: NDArray[np.float32]


def methods_picture(
    path: Path,
    rows: Sequence[MethodRow],
    *,
    title: str,
    names: Sequence[str] | None = None,
    dpi: int = 110,
) -> None:
    """Draw a batch row by row, each tile with its soft label under it.

    Parameters
    ----------
    path : Path
        The picture's file; its suffix says the format.
    rows : sequence of MethodRow
        From top to bottom; all of one batch size and number of classes.
    title : str
        Written on top.
    names : sequence of str, optional
        Of the classes, for a legend. Without it, every tile of the batch is a class of its own, and has its colour.
    dpi : int, default 110
        Pixels per inch.
    """
    batch, classes = rows[0].soft_labels.shape
    colours = _colours(classes)
    pitch = 1 + _BAR + _ROW
    width = _NAMES + batch * (1 + _GAP)
    height = _TITLE + len(rows) * pitch + (0.25 if names else 0.0)
    figure = Figure(figsize=(width * _INCHES, height * _INCHES))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(-_NAMES, width - _NAMES)
    axes.set_ylim(height - _TITLE, -_TITLE)
    axes.text(width / 2 - _NAMES, -_TITLE / 2, title, ha="center", va="center", fontsize=10)
    for number, row in enumerate(rows):
        top = number * pitch
        axes.text(-0.1, top + 0.45, row.name, ha="right", va="center", fontsize=9)
        axes.text(-0.1, top + 0.68, row.note, ha="right", va="center", fontsize=6.5, color="0.4")
        for place in range(batch):
            left = place * (1 + _GAP)
            axes.imshow(row.images[place], extent=(left, left + 1, top + 1, top), aspect="auto", zorder=1)
            _draw_bar(axes, row.soft_labels[place], colours, left, top + 1, names is None)
    if names:
        _draw_legend(axes, names, colours, len(rows) * pitch + 0.02, width - _NAMES)
    figure.savefig(path, dpi=dpi)


def _draw_bar(
    axes: Axes, shares: NDArray[np.float32], colours: Sequence[str], left: float, top: float, numbered: bool
) -> None:
    """A soft label: one part a class, as wide as its share."""
    for number in np.flatnonzero(shares > 0).tolist():
        share = float(shares[number])
        axes.add_patch(Rectangle((left, top), share, _BAR, facecolor=colours[number], lw=0, zorder=2))
        if share >= 0.14:
            short, long = (f"{number + 1}", f"{number + 1}: {share:.2f}") if numbered else ("", f"{share:.2f}")
            text = long if share >= 0.36 else short
            where = (left + share / 2, top + _BAR / 2 + 0.005)
            ink = "white" if sum(to_rgb(colours[number])) < 2.1 else "black"
            axes.text(*where, text, ha="center", va="center", fontsize=6, color=ink, zorder=3)
        left += share


def _draw_legend(axes: Axes, names: Sequence[str], colours: Sequence[str], top: float, width: float) -> None:
    """Names of the classes beside their colours."""
    left = 0.0
    for number, name in enumerate(names):
        axes.add_patch(Rectangle((left, top + 0.05), 0.15, _BAR, facecolor=colours[number], lw=0))
        axes.text(left + 0.2, top + 0.05 + _BAR / 2, name, va="center", fontsize=8)
        left += 0.5 + 0.085 * len(name)
        if left > width - 1 and number + 1 < len(names):
            axes.text(left, top + 0.05 + _BAR / 2, f"and {len(names) - number - 1} more", va="center", fontsize=8)
            break


def _colours(count: int) -> list[str]:
    """Colours that are told apart: as many as there are classes."""
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    # The ten strong ones of the table first, then the ten pale ones.
    return [to_hex(colormaps["tab20"]((2 * n) % 20 + (n // 10) % 2)) for n in range(count)]
