"""A tile of each of some slides, as it is and with its stain normalised."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .._arguments import integer
from ..errors import ArgumentError
from ..slides import open_slide
from ..stain import SlideStain, StainSettings, StainTable
from ..stain.table import MEDIAN, Target
from ..tables import lay_tiles

__all__ = ["NormalisedTiles", "normalised_tiles"]

_FULL = 0.95  # of the greatest share of tissue in a tile: such tiles are as good as that one


@dataclass(frozen=True, eq=False)
class NormalisedTiles:
    """Tiles of several slides.

    Attributes
    ----------
    names : tuple of str
        Of the slides' files.
    before, after : tuples of uint8 arrays (height, width, 3)
        One tile of each, as it is and normalised.
    """

    names: tuple[str, ...]
    before: tuple[NDArray[np.uint8], ...]
    after: tuple[NDArray[np.uint8], ...]


def normalised_tiles(
    stains: StainTable, settings: StainSettings, *, target: Target = MEDIAN, count: int = 6
) -> NormalisedTiles:
    """Take a tile full of tissue from some of a table's slides, and normalise it.

    Parameters
    ----------
    stains : StainTable
        The fitted stains.
    settings : StainSettings
        That they were fitted with: tiles are of its resolution and size.
    target : str, Path, StainFit or uint8 array, default "median"
        See `cellmix_dali.stain.StainTable.target`.
    count : int, default 6
        Slides, spread over the table.

    Returns
    -------
    NormalisedTiles

    Raises
    ------
    ArgumentError
        If no slide has a fitted stain, or the target cannot be had.
    SlideError
        If a slide cannot be read.
    """
    integer("count", count, 1)
    fitted = [row for row in stains.rows if row.fit is not None]
    if not fitted:
        raise ArgumentError(f"None of the {len(stains)} slides has a fitted stain: there is nothing to draw.")
    places = np.unique(np.linspace(0, len(fitted) - 1, min(count, len(fitted))).round().astype(int))
    rows = [fitted[place] for place in places]
    changes = stains.changes([row.slide for row in rows], target)
    before = tuple(_full_tile(row, settings) for row in rows)
    after = tuple(changes[number].apply(tile) for number, tile in enumerate(before))
    return NormalisedTiles(tuple(Path(row.slide).name for row in rows), before, after)


def _full_tile(row: SlideStain, settings: StainSettings) -> NDArray[np.uint8]:
    """The middle one of a slide's tiles with most tissue."""
    with open_slide(row.slide) as slide:
        laid = lay_tiles(slide, settings, mpp=row.listed_mpp, look=True)
        assert laid.tissue is not None
        full = np.flatnonzero(laid.tissue >= _FULL * laid.tissue.max())
        place = full[len(full) // 2]
        level, x, y, size = (int(of[place]) for of in (laid.table.level, laid.table.x, laid.table.y, laid.table.size))
        tile = slide.read_region(level, x, y, size, size)
    if size != settings.tile_size:
        resized = Image.fromarray(tile).resize((settings.tile_size,) * 2, Image.Resampling.BILINEAR)
        tile = np.asarray(resized)
    return tile
