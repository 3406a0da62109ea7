"""Grids of tiles over a slide, and how much tissue their tiles show."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .._urls import place_name
from ..errors import ArgumentError
from ..slides import Slide
from ..slides.resolution import LevelChoice, choose_level
from ..tissue.looking import picture_size
from ..tissue.methods import DEFAULT_METHOD, TissueMethod
from ..tissue.slide_mask import TissueMask, find_tissue, mask_of_pixels
from .positions import level0_windows
from .recipe import Edge, check_grid
from .tile_table import TileTable

__all__ = ["grid_tiles", "thumbnail_size", "tissue_shares"]


def grid_tiles(
    slide: Slide,
    tile_size: int,
    *,
    mpp: float | None = None,
    level: int | None = None,
    magnification: float | None = None,
    mpp_override: float | None = None,
    overlap: int = 0,
    stride: int | None = None,
    edge: Edge = "skip",
) -> TileTable:
    """Lay a regular grid of tiles over a slide, at one resolution.

    The grid begins at the upper left pixel of the level, so that tiles of the file's block size are one encoded block
    each. Windows wholly outside the slide's `bounds` (the empty surroundings that some formats state) are left out.

    Parameters
    ----------
    slide : Slide
        An open slide.
    tile_size : int
        Side of a finished tile in pixels.
    mpp, level, magnification, mpp_override
        The resolution: microns per pixel, a level (by default 0, the finest) or a magnification; see
        `cellmix_dali.slides.resolution.choose_level`. The table's windows are larger than `tile_size` where the level
        read is finer than wanted.
    overlap : int, default 0
        Pixels of the finished tile that neighbours share.
    stride : int, optional
        Distance of neighbours in pixels of the finished tile, instead of `overlap`; by default `tile_size`. In pixels
        of the level it is rounded to a whole number, so that all neighbours are equally far apart; without overlap
        they join exactly.
    edge : {"skip", "pad"}, default "skip"
        "skip": only windows that lie wholly within the level. "pad": all that begin within it; what they show beyond
        its right and lower edge is white.

    Returns
    -------
    TileTable
        Row by row, without labels; x, y and size in pixels of the level read.

    Raises
    ------
    ArgumentError
        If an argument is out of range, the slide has no such level or resolution, or is too small for one tile.
    SlideError
        If the slide does not say its resolution.
    """
    step = check_grid(tile_size, overlap=overlap, stride=stride, edge=edge)
    choice = choose_level(
        slide, tile_size, mpp=mpp, level=level, magnification=magnification, mpp_override=mpp_override
    )
    step = round(step * choice.size / tile_size)
    xs, ys = _places(slide, choice, step, edge)
    x, y = np.tile(xs, len(ys)), np.repeat(ys, len(xs))
    return TileTable.from_columns(place_name(slide.path), x=x, y=y, size=choice.size, level=choice.level)


def _places(slide: Slide, choice: LevelChoice, step: int, edge: Edge) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Left and upper edges of the windows, in pixels of the level."""
    of, size, bounds = slide.levels[choice.level], choice.size, slide.bounds
    if edge == "skip" and (of.width < size or of.height < size):
        raise ArgumentError(
            f"{slide.path} is too small for one tile: level {choice.level} has {of.width} x {of.height} pixels, a "
            f"tile's window {size} x {size}. Use a smaller tile size or a finer resolution, or edge='pad'."
        )
    found = []
    for whole, start, length in (
        (of.width, bounds.x, bounds.width),
        (of.height, bounds.y, bounds.height),
    ):
        places = np.arange(0, whole if edge == "pad" else whole - size + 1, step, dtype=np.int64)
        first, last = start / of.downsample, (start + length) / of.downsample
        found.append(places[(places + size > first) & (places < last)])
    if not (len(found[0]) and len(found[1])):
        raise ArgumentError(
            f"No tile of {size} x {size} pixels of level {choice.level} meets the bounds that {slide.path} states "
            f"({bounds}). Use a smaller tile size or a finer resolution, or edge='pad'."
        )
    return found[0], found[1]


def thumbnail_size(slide: Slide, table: TileTable) -> int:
    """Return how large a thumbnail must be to measure the share of tissue in a slide's tiles.

    Parameters
    ----------
    slide : Slide
        An open slide.
    table : TileTable
        Tiles of that slide alone, of any level.

    Returns
    -------
    int
        Pixels of its longer side: as many as put 4 pixels across the smallest tile, but 1024 to 4096.

    Raises
    ------
    ArgumentError
        If the table has tiles of another slide.
    """
    _, _, size = level0_windows(slide, table)
    return picture_size(slide, float(size.min()) if len(size) else math.inf)


def tissue_shares(
    slide: Slide,
    table: TileTable,
    *,
    mask: TissueMask | NDArray[np.bool_] | None = None,
    tissue_method: str | TissueMethod = DEFAULT_METHOD,
) -> NDArray[np.float32]:
    """Measure the share of tissue in a slide's tiles.

    Parameters
    ----------
    slide : Slide
        An open slide.
    table : TileTable
        Tiles of that slide alone, of any level.
    mask : TissueMask or bool array (rows, columns), optional
        Where the whole slide has tissue; an array in the slide's proportions. By default `find_tissue` on a thumbnail
        of `thumbnail_size`.
    tissue_method : str or callable, default "density"
        How tissue is found without a mask, see `cellmix_dali.tissue.tissue_mask`.

    Returns
    -------
    float32 array (n,)
        0 to 1, of the whole window: what reaches over the slide's edge is not tissue.

    Raises
    ------
    ArgumentError
        If the table has tiles of another slide, or the mask does not have the slide's proportions.
    SlideError
        If the slide cannot be read.
    """
    x, y, size = level0_windows(slide, table)
    if not len(table):
        return np.empty(0, np.float32)
    if mask is None:
        mask = find_tissue(slide, thumbnail_size(slide, table), method=tissue_method)
    elif not isinstance(mask, TissueMask):
        mask = mask_of_pixels(mask, slide)
    return mask.shares(x, y, size, size)
