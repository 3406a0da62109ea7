"""Places of tiles in the two frames in use: pixels of a tile's own level, and pixels of level 0.

A tile table counts ``x``, ``y`` and ``size`` in pixels of each row's ``level``: every such tile can be read as it is,
without rounding. OpenSlide, `cellmix_dali.read_tiles`, the files of CLAM and TRIDENT, annotations and masks count in
pixels of level 0. `to_level0` and `from_level0` convert: one pixel of a level is its ``downsample`` pixels of level 0,
along both axes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arguments import path_of
from ..errors import ArgumentError
from ..slides import Slide
from .tile_table import TileTable

__all__ = ["from_level0", "level0_windows", "to_level0"]


def to_level0(slide: Slide, positions: ArrayLike, level: ArrayLike) -> NDArray[np.int64]:
    """Convert positions from pixels of their level to pixels of level 0.

    Parameters
    ----------
    slide : Slide
        An open slide.
    positions : integer array (n, 2)
        x and y in pixels of the level, such as `TileTable.positions`.
    level : int or integer array (n,)
        The level of each, such as `TileTable.level`.

    Returns
    -------
    int64 array (n, 2)
        x and y in pixels of level 0: exact where the level's downsample is a whole number, else rounded to the nearest
        pixel. `from_level0` gives back the positions in both cases.

    Raises
    ------
    ArgumentError
        If positions or levels are not whole numbers, there is no such level, or a position is not on its level.
    """
    places = _positions(positions)
    levels, sizes, downsample = _levels(slide, level, len(places))
    _check_on(slide, places, sizes, levels)
    return np.rint(places * downsample[:, None]).astype(np.int64)


def from_level0(
    slide: Slide, positions: ArrayLike, level: ArrayLike, *, size: ArrayLike = 1, exact: bool = False
) -> NDArray[np.int64]:
    """Convert positions from pixels of level 0 to pixels of a level.

    Parameters
    ----------
    slide : Slide
        An open slide.
    positions : integer array (n, 2)
        x and y in pixels of level 0, as those of OpenSlide, CLAM and TRIDENT.
    level : int or integer array (n,)
        The level of each.
    size : int or integer array (n,), default 1
        Side of a window that begins there, in pixels of the level. A window that lies on the slide stays on the level:
        rounding pushes it over the right or lower edge nowhere.
    exact : bool, default False
        Whether to refuse a position that does not lie on a pixel of the level. Without it the nearest pixel is taken.

    Returns
    -------
    int64 array (n, 2)
        x and y in pixels of the level.

    Raises
    ------
    ArgumentError
        If positions, levels or sizes are not whole numbers, there is no such level, a position is not on the slide, or,
        with `exact`, lies between two pixels of the level.
    """
    places = _positions(positions)
    levels, sizes, downsample = _levels(slide, level, len(places))
    first = np.array([(slide.levels[0].width, slide.levels[0].height)])
    _check_on(slide, places, np.broadcast_to(first, places.shape), np.zeros_like(levels))
    sides = _whole("size", size, len(places))[:, None]
    scale = downsample[:, None]
    found = np.minimum(np.rint(places / scale).astype(np.int64), sizes - 1)
    between = np.rint(found * scale) != places
    if exact and between.any():
        rows = np.flatnonzero(between.any(1))
        raise ArgumentError(
            f"{len(rows)} of {len(places)} positions do not lie on a pixel of their level, the first of them, number "
            f"{rows[0]}, at {tuple(places[rows[0]].tolist())} of level 0: the nearest pixel of level {levels[rows[0]]} "
            f"of {slide.path} is {tuple(found[rows[0]].tolist())}. Use exact=False to take it."
        )
    # Half a pixel: the level's own size and downsample are rounded, too.
    inside = between & (places + sides * scale <= first + scale / 2)
    return np.where(inside, np.minimum(found, np.maximum(sizes - sides, 0)), found)


def level0_windows(
    slide: Slide, table: TileTable
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return where a slide's tiles lie in pixels of level 0, with fractions, to measure areas.

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
        If the table has tiles of another slide, or of a level that does not exist.
    """
    for number in np.unique(table.slide):
        if path_of("A slide", table.slides[number]).absolute() != slide.path:
            raise ArgumentError(
                f"The tile table has tiles of {table.slides[number]}, and the slide is {slide.path}: select the rows "
                "of one slide."
            )
    _, _, downsample = _levels(slide, table.level, len(table))
    return table.x * downsample, table.y * downsample, table.size * downsample


def _positions(positions: ArrayLike) -> NDArray[np.int64]:
    """Positions as an array, checked for their shape and type."""
    places = np.asarray(positions)
    if places.ndim != 2 or places.shape[1] != 2 or places.dtype.kind not in "iu":
        raise ArgumentError(f"positions must be integers of shape (n, 2), got {places.dtype} {places.shape}.")
    return places.astype(np.int64)


def _whole(name: str, values: ArrayLike, rows: int) -> NDArray[np.int64]:
    """One whole number per position."""
    given = np.asarray(values)
    if given.dtype.kind not in "iu" or given.shape not in ((), (rows,)):
        raise ArgumentError(
            f"{name} must be an integer, or one for each of {rows} positions, got {given.dtype} {given.shape}."
        )
    return np.broadcast_to(given, (rows,)).astype(np.int64)


def _levels(
    slide: Slide, level: ArrayLike, rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Number, size (n, 2) and downsample of each row's level."""
    levels = _whole("level", level, rows)
    wrong = (levels < 0) | (levels >= len(slide.levels))
    if wrong.any():
        row = int(wrong.argmax())
        raise ArgumentError(
            f"{slide.path} has levels 0 to {len(slide.levels) - 1}, not {levels[row]} (position or row {row})."
        )
    sizes = np.array([(of.width, of.height) for of in slide.levels], np.int64)
    return levels, sizes[levels], np.array([of.downsample for of in slide.levels])[levels]


def _check_on(slide: Slide, places: NDArray[np.int64], sizes: NDArray[np.int64], levels: NDArray[np.int64]) -> None:
    """Refuse positions that are not on their level."""
    outside = ((places < 0) | (places >= sizes)).any(1)
    if outside.any():
        row = int(outside.argmax())
        raise ArgumentError(
            f"{int(outside.sum())} of {len(places)} positions are not on {slide.path}, the first of them, number "
            f"{row}: {tuple(places[row].tolist())}. Level {levels[row]} has {sizes[row, 0]} x {sizes[row, 1]} pixels, "
            "and x and y count from 0."
        )
