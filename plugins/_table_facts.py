"""What a source of tiles asks of its table: the images' size, groups for a balanced order, digests."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._arguments import integer
from cellmix_dali.errors import ArgumentError, unknown_name
from cellmix_dali.sampling import EpochOrder
from cellmix_dali.sampling.place_table import PlaceOrder
from cellmix_dali.shards import image_sizes
from cellmix_dali.tables.tile_table import TileTable

__all__ = ["digest", "digest_of_order", "digest_of_table", "groups", "image_size"]

_ROWS_OF_A_DIGEST = 1024


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


def digest_of_table(table: TileTable) -> str:
    """A digest of some rows of a table: their places and labels."""
    rows = np.unique(np.linspace(0, len(table) - 1, _ROWS_OF_A_DIGEST).astype(np.int64))
    columns: list[NDArray[Any] | None] = [table.slide, table.level, table.x, table.y, table.size, table.label]
    return digest(*(column[rows] for column in columns if column is not None))


def digest_of_order(order: EpochOrder | PlaceOrder, tiles: int) -> str:
    """A digest of the rows of some iterations, the same on every rank."""
    last = max(0, tiles // (order.batch_size * order.world_size) - 1)
    return digest(*(order.of_all_ranks(epoch, number) for epoch in range(2) for number in sorted({0, last})))


def digest(*arrays: NDArray[Any]) -> str:
    """A short digest of arrays, the same whatever size their numbers are stored in."""
    made = hashlib.sha256()
    for array in arrays:
        made.update(array.astype(np.float64 if array.dtype.kind == "f" else np.int64).tobytes())
    return made.hexdigest()[:16]
