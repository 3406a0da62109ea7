"""What a source of tiles asks of its table: the images' size, groups for a balanced order, digests."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._arguments import integer
from cellmix_dali.errors import ArgumentError, unknown_name
from cellmix_dali.shards import image_sizes
from cellmix_dali.tables.tile_table import TileTable

__all__ = ["digest", "groups", "image_size"]


def image_size(table: TileTable, tile_size: int | None) -> tuple[int, bool]:
    """The images' size, and whether any window has another."""
    sizes = image_sizes(table)
    least, most = (int(sizes.min()), int(sizes.max())) if len(sizes) else (1, 1)
    if tile_size is None and least != most:
        raise ArgumentError(
            f"The tile table mixes window sizes from {least} to {most} pixels: give tile_size, to which they are "
            "resized."
        )
    size = most if tile_size is None else integer("tile_size", tile_size, low=1)
    return size, least != size or most != size


def groups(table: TileTable, balance: str | None) -> NDArray[np.int32] | None:
    """The group of each tile, among which a balanced order draws."""
    if balance is None:
        return None
    if balance == "slide":
        return table.slide
    if balance != "class":
        raise unknown_name("balance", balance, ("class", "slide"))
    if table.label is None:
        raise ArgumentError("balance='class' needs labels, and the tile table has no column 'label'.")
    classes = table.label if table.label.ndim == 1 else table.label.argmax(axis=1)
    return classes.astype(np.int32, copy=False)


def digest(*arrays: NDArray[Any]) -> str:
    """A short digest of arrays, the same whatever size their numbers are stored in."""
    made = hashlib.sha256()
    for array in arrays:
        made.update(array.astype(np.float64 if array.dtype.kind == "f" else np.int64).tobytes())
    return made.hexdigest()[:16]
