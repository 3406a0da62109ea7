"""How rows of a table become encoded streams: from slides, from shards; what is done about those that cannot."""

from .shards import ShardReader, tile_reader
from .slides import VERIFY, EncodedTile, TileReader

__all__ = ["VERIFY", "EncodedTile", "ShardReader", "TileReader", "tile_reader"]
