"""How rows of a table become encoded streams, from slides and from shards, and what happens where they cannot."""

from .shards import ShardReader, tile_reader
from .slides import VERIFY, EncodedTile, TileReader

__all__ = ["VERIFY", "EncodedTile", "ShardReader", "TileReader", "tile_reader"]
