"""Blocks of a tile table with which a decoder is tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.reading import EncodedTile, TileReader
from cellmix_dali.tables.tile_table import TileTable

__all__ = ["blocks_by_kind"]

_SAMPLES = 64


def blocks_by_kind(reader: TileReader, table: TileTable) -> Mapping[str, Sequence[NDArray[np.uint8]]]:
    """Return some blocks of each kind, of the table's first slides, at most 64."""
    rows = np.unique(np.linspace(0, len(table) - 1, 4 * _SAMPLES).astype(np.int64))
    rows = rows[np.isin(table.slide[rows], reader.looked_at)]
    found: dict[str, dict[int, NDArray[np.uint8]]] = {}
    for kind, tile in zip(reader.kinds_of(rows), reader.read(rows), strict=True):
        if isinstance(tile, EncodedTile) and tile.way == "direct":
            found.setdefault(kind, {}).update({id(stream): stream for stream in tile.streams})
    return {kind: list(blocks.values())[:_SAMPLES] for kind, blocks in found.items()}
