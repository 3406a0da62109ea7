"""Grids of tiles over a slide, and how much tissue their tiles show."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, unknown_name
from ..slides import Slide
from ..slides.resolution import LevelChoice, choose_level
from ..tissue.methods import DEFAULT_METHOD, TissueMethod
from ..tissue.slide_mask import TissueMask, find_tissue, mask_of_pixels
from .tile_table import TileTable

__all__ = ["check_grid", "grid_tiles", "level0_windows", "thumbnail_size", "tissue_shares"]

Edge = Literal["skip", "pad"]
_THUMBNAIL = (1024, 4096)  # least and greatest longer side of the picture that tissue is found on, pixels
_MASK_PIXELS = 4  # mask pixels across a tile, or more, so that its share is told well


def check_grid(tile_size: int, *, overlap: int = 0, stride: int | None = None, edge: str = "skip") -> int:
    """Refuse arguments of `grid_tiles` that fit no slide, and work out the stride.

    Parameters
    ----------
    tile_size, overlap, stride, edge
        See `grid_tiles`.

    Returns
    -------
    int
        Distance of neighbours in pixels of the tile.

    Raises
    ------
    ArgumentError
        If a value is out of range, or both `overlap` and `stride` are given.
    """
    if edge not in ("skip", "pad"):
        raise unknown_name("edge", edge, ("skip", "pad"))
    if stride is not None and overlap:
        raise ArgumentError(f"overlap={overlap} and stride={stride} say the same twice: give only one.")
    if tile_size < 1 or (stride is not None and stride < 1):
        raise ArgumentError(f"tile_size={tile_size}, stride={stride}: both are at least 1 pixel.")
    if not 0 <= overlap < tile_size:
        raise ArgumentError(f"overlap={overlap}: with tile_size={tile_size} give 0 to {tile_size - 1} pixels.")
    return tile_size - overlap if stride is None else stride


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
        "skip": windows that lie within the level wholly. "pad": all that begin within it; they reach over its right
        and lower edge, where reading gives white.

    Returns
    -------
    TileTable
        Row by row, without labels.

    Raises
    ------
    ArgumentError
        If an argument is out of range, the slide has no such level or resolution, or is too small for one tile.
    SlideError
        If the resolution cannot be told from the slide.
    """
    step = check_grid(tile_size, overlap=overlap, stride=stride, edge=edge)
    choice = choose_level(
        slide, tile_size, mpp=mpp, level=level, magnification=magnification, mpp_override=mpp_override
    )
    step = round(step * choice.size / tile_size)
    xs, ys = _places(slide, choice, step, edge)
    x, y = np.tile(xs, len(ys)), np.repeat(ys, len(xs))
    return TileTable.from_columns(str(slide.path), x=x, y=y, size=choice.size, level=choice.level)


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


def level0_windows(
    slide: Slide, table: TileTable
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return a slide's tiles in pixels of its first level.

    Parameters
    ----------
    slide : Slide
        An open slide.
    table : TileTable
        Tiles of that slide alone.

    Returns
    -------
    x, y, size : float64 arrays (n,)
        Upper left corners and sides, in pixels of level 0.

    Raises
    ------
    ArgumentError
        If the table has tiles of another slide, or of a level that there is not.
    """
    for number in np.unique(table.slide):
        if Path(table.slides[number]).absolute() != slide.path:
            raise ArgumentError(
                f"The tile table has tiles of {table.slides[number]}, and the slide is {slide.path}: select the rows "
                "of one slide."
            )
    if len(table) and table.level.max() >= len(slide.levels):
        row = int(table.level.argmax())
        raise ArgumentError(f"There is no such level: {table.describe(row)}; levels: {len(slide.levels)}.")
    downsample = np.array([of.downsample for of in slide.levels])[table.level]
    return table.x * downsample, table.y * downsample, table.size * downsample


def thumbnail_size(slide: Slide, table: TileTable) -> int:
    """Say how large a thumbnail must be to tell the share of tissue in a slide's tiles.

    Parameters
    ----------
    slide : Slide
        An open slide.
    table : TileTable
        Tiles of that slide alone, of any level.

    Returns
    -------
    int
        Pixels of its longer side: 1024 to 4096, so that 4 of its pixels lie across the smallest tile if they can.

    Raises
    ------
    ArgumentError
        If the table has tiles of another slide.
    """
    least, most = _THUMBNAIL
    _, _, size = level0_windows(slide, table)
    if not len(size):
        return least
    first = slide.levels[0]
    return min(max(least, int(_MASK_PIXELS * max(first.width, first.height) / size.min())), most)


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
        If the table has tiles of another slide, or the mask other proportions than the slide.
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
