"""Training shards: finished tiles in WebDataset tar files, with an index for DALI and a table of them all.

A collection's folder holds ``tiles.parquet`` and shards ``NAME.tar``, each with its DALI index ``NAME.idx``.
`ShardWriter` and `write_tiles` make them, `open_tiles` and `cellmix_dali.reading.ShardReader` read them. DALI's
`fn.readers.webdataset` and the package ``webdataset`` read the shards, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._front import front

if TYPE_CHECKING:
    from .digest import shard_digest as shard_digest
    from .encoding import Encoding as Encoding, can_copy as can_copy, copy_blocks as copy_blocks
    from .table import (
        TILES_FILE as TILES_FILE,
        image_sizes as image_sizes,
        is_sharded as is_sharded,
        open_tiles as open_tiles,
        tile_augmentation as tile_augmentation,
        tile_classes as tile_classes,
        tile_edge as tile_edge,
        tile_schema as tile_schema,
        tile_stains as tile_stains,
    )
    from .writer import ShardWriter as ShardWriter
    from .writing import (
        tile_rows as tile_rows,
        with_split_columns as with_split_columns,
        write_tiles as write_tiles,
    )

__getattr__, __dir__, __all__ = front(
    __name__,
    {
        "digest": "shard_digest",
        "encoding": "Encoding can_copy copy_blocks",
        "table": "TILES_FILE image_sizes is_sharded open_tiles tile_augmentation tile_classes tile_edge tile_schema "
        "tile_stains",
        "writer": "ShardWriter",
        "writing": "tile_rows with_split_columns write_tiles",
    },
)
