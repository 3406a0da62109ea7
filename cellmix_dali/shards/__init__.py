"""Training shards: finished tiles in WebDataset tar files, with an index for DALI and a table of them all.

A collection's folder holds ``tiles.parquet`` and shards ``NAME.tar``, each with its DALI index ``NAME.idx``.
`ShardWriter` and `write_tiles` make them, `open_tiles` and `cellmix_dali.reading.ShardReader` read them. DALI's
`fn.readers.webdataset` and the package ``webdataset`` read the shards, too.
"""

from __future__ import annotations

from .digest import shard_digest
from .encoding import Encoding, can_copy, copy_blocks
from .table import (
    TILES_FILE,
    image_sizes,
    is_sharded,
    open_tiles,
    tile_classes,
    tile_edge,
    tile_rows,
    tile_schema,
    tile_stains,
    with_split_columns,
    write_tiles,
)
from .writer import ShardWriter

__all__ = [
    "Encoding",
    "ShardWriter",
    "TILES_FILE",
    "can_copy",
    "copy_blocks",
    "image_sizes",
    "is_sharded",
    "open_tiles",
    "shard_digest",
    "tile_classes",
    "tile_edge",
    "tile_stains",
    "tile_rows",
    "tile_schema",
    "with_split_columns",
    "write_tiles",
]
