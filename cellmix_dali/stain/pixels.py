"""The pixels of a slide's tissue that its stain is fitted to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from .._random import generator
from ..collection import CollectionIndex
from ..errors import ArgumentError, NotReadError, SlideError
from ..slides import Slide
from ..tables import lay_tiles
from ..tables.recipe import SlideFiles
from ..tissue.slide_mask import TissueMask
from .settings import StainSettings
from .tile_colours import TileColours

__all__ = ["TissuePixels", "tissue_pixels"]

_STREAM = 0x5741  # keeps the draws of a stain apart from others under one seed


class TissuePixels(NamedTuple):
    """What was taken of a slide's tissue.

    Attributes
    ----------
    pixels : uint8 array (n, 3)
    mpp : float or None
        Their microns per pixel; None where it is not known.
    colours : TileColours
        Of the tiles that they were taken from, glass included.
    """

    pixels: npt.NDArray[np.uint8]
    mpp: float | None
    colours: TileColours


def tissue_pixels(
    slide: Slide,
    settings: StainSettings,
    *,
    mpp: float | None = None,
    files: SlideFiles | None = None,
    index: CollectionIndex | None = None,
) -> TissuePixels:
    """Take pixels of a slide's tissue: as many from each of some tiles, drawn by the seed.

    A tile that cannot be read for damage, or has no pixel on tissue, is passed over, and another is drawn. Memory holds
    one tile and the pixels.

    Parameters
    ----------
    slide : Slide
        An open slide.
    settings : StainSettings
        Which tiles, how many, and the seed.
    mpp : float, optional
        Microns per pixel of its first level, instead of the settings' `mpp_override`.
    files : SlideFiles, optional
        Its mask and annotations; by default those that have its name in the settings' folders.
    index : CollectionIndex, optional
        What is known of the slides: tissue that it knows is not looked for.

    Returns
    -------
    TissuePixels
        A pure function of the settings and the slide.

    Raises
    ------
    ArgumentError
        If the slide has no tissue, or does not fit the settings.
    SlideError
        If it cannot be read; a `NotReadError` if the moment is to blame.
    """
    laid = lay_tiles(slide, settings, mpp=mpp, files=files, look=True, index=index)
    table, mask = laid.table, laid.mask
    assert mask is not None
    if not len(table):
        raise ArgumentError(f"{slide.path} has no stain to fit: {laid.empty}.")
    share = settings.pixels // min(settings.tiles, len(table))
    taken: list[npt.NDArray[np.uint8]] = []
    colours = TileColours.none()
    unread: SlideError | None = None
    for row in generator(settings.seed, stream=_STREAM).permutation(len(table)).tolist():
        if len(taken) == settings.tiles:
            break
        level, x, y, size = (int(column[row]) for column in (table.level, table.x, table.y, table.size))
        try:
            window = slide.read_region(level, x, y, size, size)
        except NotReadError:
            raise
        except SlideError as error:
            unread = unread or error
            continue
        side = settings.tile_size
        if size != side:
            window = np.asarray(Image.fromarray(window).resize((side, side), Image.Resampling.BILINEAR))
        inside = np.flatnonzero(_on_tissue(mask, slide.levels[level].downsample, x, y, size, side))
        if len(inside) > share:
            drawn = generator(settings.seed, stream=_STREAM, iteration=row, epoch=1)
            inside = np.sort(drawn.choice(inside, share, replace=False))
        if len(inside):
            taken.append(window.reshape(-1, 3)[inside])
            colours += TileColours.of_tile(window)
    if not taken:
        raise unread or ArgumentError(f"{slide.path} has no stain to fit: none of its tiles has a pixel on tissue.")
    choice = settings.choose_level(slide, mpp)
    scale = choice.size / settings.tile_size
    mpp_of_pixels = None if choice.level_mpp is None else choice.level_mpp * scale
    return TissuePixels(np.concatenate(taken), mpp_of_pixels, colours)


def _on_tissue(mask: TissueMask, downsample: float, x: int, y: int, size: int, side: int) -> npt.NDArray[np.bool_]:
    """Which of the `side` x `side` pixels of a window lie on tissue, by the middle of each."""
    middles = (np.arange(side) + 0.5) * (size / side)
    places = []
    for start, origin, scale, count in zip((y, x), mask.origin[::-1], mask.scale[::-1], mask.pixels.shape, strict=True):
        at = np.floor(((start + middles) * downsample - origin) / scale).astype(np.int64)
        places.append((at, (at >= 0) & (at < count)))
    (rows, has_row), (columns, has_column) = places
    found = mask.pixels[np.ix_(rows.clip(0, mask.pixels.shape[0] - 1), columns.clip(0, mask.pixels.shape[1] - 1))]
    inside: npt.NDArray[np.bool_] = found & np.outer(has_row, has_column)
    return inside
