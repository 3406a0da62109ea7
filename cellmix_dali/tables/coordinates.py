"""Tile coordinates that other tools have written: the ``.h5`` files of CLAM and TRIDENT.

Both keep a dataset ``coords`` of upper left corners in pixels of level 0, with attributes that say the tiles' size;
a tile table counts in pixels of the tiles' level (see `cellmix_dali.tables.positions`).
CLAM (``create_patches_fp.py``): ``patch_level`` and ``patch_size``, the side in pixels of that level. TRIDENT:
``patch_size``, the side of a finished tile, and ``patch_size_level0``, the side of its window in pixels of level 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from .._arguments import path_of
from .._urls import place_name
from ..errors import ArgumentError
from ..slides import Slide
from ..slides.resolution import TOLERANCE
from ..storage.foreign_files import reading
from .positions import from_level0
from .tile_table import TileTable

__all__ = ["read_h5"]

_AFRESH = "Write the coordinates of this slide again with CLAM or TRIDENT, or lay a grid: cellmix_dali.grid_tiles."

_MOST_BYTES = 1 << 28  # of coordinates: sixteen million tiles
_ATTRIBUTES = ("patch_size", "patch_size_level0", "patch_level", "level_dim", "level0_width", "level0_height")


class _Patches(NamedTuple):
    """Corners and side in pixels of level 0, side of a finished tile, and the level if the file names one."""

    corners: NDArray[np.int64]
    side: float
    tile_size: int
    level: int | None


def read_h5(path: str | Path, slide: Slide, *, tile_size: int | None = None) -> TileTable:
    """Read tile coordinates of one slide as CLAM or TRIDENT wrote them.

    The attributes say which of the two it was. Corners are converted to pixels of the level read, the nearest
    ones, by `cellmix_dali.tables.from_level0`.

    Parameters
    ----------
    path : str or Path
        CLAM: a file of the folder ``patches``, not one of ``h5_files`` with features. TRIDENT: ``*_patches.h5``, or a
        file with features, which keeps the coordinates as well.
    slide : Slide
        The slide that the coordinates belong to, open.
    tile_size : int, optional
        Side of a finished tile in pixels. By default tiles are as the file says: CLAM's are read at its level, without
        a resize; TRIDENT's at the coarsest level that is at least as fine as its target magnification. With a value,
        the level is chosen for it in both cases: the coarsest one whose windows need not be enlarged.

    Returns
    -------
    TileTable
        Tiles in the file's order, without labels. Windows that reach over the right or lower edge are kept, as by
        ``edge="pad"``.

    Raises
    ------
    ArgumentError
        If the file is not such a file, does not fit the slide, or the tiles would have to be enlarged.
    """
    place = path_of("A file of coordinates", path)
    if tile_size is not None and tile_size < 1:
        raise ArgumentError(f"tile_size={tile_size}: a tile has at least 1 pixel on each side.")
    patches = _read(place, slide)
    corners = patches.corners
    first = slide.levels[0]
    outside = (corners < 0).any(1) | (corners >= (first.width, first.height)).any(1)
    if outside.any():
        row = int(outside.argmax())
        raise ArgumentError(
            f"{place} does not fit {slide.path}: {int(outside.sum())} of its {len(corners)} tiles begin outside the "
            f"slide's {first.width} x {first.height} pixels, the first of them, number {row}, at "
            f"{tuple(corners[row].tolist())}. Give the slide that the file was made from."
        )
    wanted = patches.tile_size if tile_size is None else tile_size
    level = patches.level if tile_size is None else None
    if level is None:
        level = _level_for(place, slide, patches.side, wanted)
    of = slide.levels[level]
    size = round(patches.side / of.downsample)
    if abs(size - wanted) <= TOLERANCE * wanted:
        size = wanted
    x, y = from_level0(slide, corners, level, size=size).T
    return TileTable.from_columns(place_name(slide.path), x=x, y=y, size=size, level=level)


def _level_for(path: Path, slide: Slide, side: float, tile_size: int) -> int:
    """The coarsest level that shows a window of `side` level 0 pixels in at least `tile_size` pixels."""
    most = side / tile_size * (1 + TOLERANCE)
    fine = [number for number, level in enumerate(slide.levels) if level.downsample <= most]
    if not fine:
        raise ArgumentError(
            f"The tiles in {path} have {side:g} pixels on each side at the finest level of {slide.path}, less than the "
            f"tile size of {tile_size}: they would have to be enlarged. Use tile_size={math.floor(side)} or less."
        )
    return max(fine, key=lambda number: slide.levels[number].downsample)


def _read(path: Path, slide: Slide) -> _Patches:
    """Read a file of either format."""
    with reading(path, "The file of coordinates", _AFRESH), h5py.File(path, "r") as file:
        link = file.get("coords", getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise ArgumentError(f"{path} points to the coordinates of another file, {link.filename!r}: give that one.")
        found = file.get("coords")
        if not isinstance(found, h5py.Dataset):
            raise ArgumentError(
                f"{path} has no dataset 'coords' (it has: {', '.join(file) or 'nothing'}), so it is not of CLAM or "
                f"TRIDENT. {_AFRESH}"
            )
        if found.external or found.is_virtual:
            raise ArgumentError(f"The coordinates of {path} lie in other files, which are not followed. {_AFRESH}")
        if found.size * found.dtype.itemsize > _MOST_BYTES:
            raise ArgumentError(
                f"The dataset 'coords' of {path} says that it has the shape {found.shape}, which is more than any "
                f"slide has. {_AFRESH}"
            )
        attributes = {name: found.attrs[name] for name in _ATTRIBUTES if name in found.attrs}
        named = sorted(found.attrs)
        corners = np.asarray(found[()])
    if not corners.size:
        raise ArgumentError(f"{path} holds no tiles: its dataset 'coords' is empty. {_AFRESH}")
    whole = corners.astype(np.int64) if corners.dtype.kind in "iuf" else corners
    if corners.ndim != 2 or corners.shape[1] != 2 or whole is corners or (whole != corners).any():
        raise ArgumentError(
            f"The dataset 'coords' of {path} has the shape {corners.shape} of {corners.dtype}: expected whole "
            f"numbers, two per tile (x, y). {_AFRESH}"
        )
    if "patch_size" in attributes and "patch_size_level0" in attributes:
        return _trident(path, slide, attributes, whole)
    if "patch_size" in attributes and "patch_level" in attributes:
        return _clam(path, slide, attributes, whole)
    wanted = "'patch_level' (CLAM) or 'patch_size_level0' (TRIDENT)"
    missing = wanted if "patch_size" in attributes else f"'patch_size' and {wanted}"
    raise ArgumentError(
        f"The dataset 'coords' of {path} lacks the attribute {missing}, so the tiles' size is not known (it has: "
        f"{', '.join(named) or 'none'}). If it is a file of features, give the one with coordinates."
    )


def _trident(path: Path, slide: Slide, attributes: Mapping[str, Any], corners: NDArray[np.int64]) -> _Patches:
    """What a file of TRIDENT says."""
    side = _number(path, attributes, "patch_size_level0", 1)
    said = [attributes[name] for name in ("level0_width", "level0_height") if name in attributes]  # newer versions only
    first = slide.levels[0]
    if len(said) == 2 and [float(value) for value in said] != [first.width, first.height]:
        raise _other_slide(path, slide, 0, said)
    return _Patches(corners, side, int(_number(path, attributes, "patch_size", 1)), None)


def _clam(path: Path, slide: Slide, attributes: Mapping[str, Any], corners: NDArray[np.int64]) -> _Patches:
    """What a file of CLAM says."""
    level, size = (
        int(_number(path, attributes, name, least)) for name, least in (("patch_level", 0), ("patch_size", 1))
    )
    if level not in slide.file_levels:
        raise ArgumentError(
            f"{path} has tiles of level {level}, and {slide.path} has the levels "
            f"{', '.join(map(str, slide.file_levels))}. Give the slide that the file was made from."
            + "".join(f" Note: {note}." for note in slide.notes)
        )
    number = slide.file_levels.index(level)
    of, file_size = slide.levels[number], slide.file_size(number)
    said = np.ravel(attributes.get("level_dim", file_size)).tolist()
    if said != list(file_size):
        raise _other_slide(path, slide, number, said)
    return _Patches(corners, size * of.downsample, size, number)


def _other_slide(path: Path, slide: Slide, level: int, said: list[Any]) -> ArgumentError:
    of = slide.levels[level]
    return ArgumentError(
        f"{path} was made from another slide than {slide.path}: it says that level {level} has "
        f"{' x '.join(str(value) for value in said)} pixels, and it has {of.width} x {of.height}."
    )


def _number(path: Path, attributes: Mapping[str, Any], name: str, least: int) -> float:
    """An attribute as a number, checked."""
    try:
        value = float(attributes[name])
    except (TypeError, ValueError):
        value = math.nan
    if not (math.isfinite(value) and value >= least):
        raise ArgumentError(
            f"Attribute {name!r} of the dataset 'coords' of {path} is {attributes[name]!r}: expected a number of at "
            f"least {least}. {_AFRESH}"
        )
    return value
