"""How rows of a table become encoded streams, from slides and from shards, and what happens where they cannot."""

from .image_masks import ImageMaskReader, ImageMasks
from .masks import AnnotationMasks, MaskReader, MaskSlides, TileMasks
from .shards import ShardReader, tile_reader
from .slides import VERIFY, EncodedTile, TileReader

__all__ = [
    "VERIFY",
    "AnnotationMasks",
    "EncodedTile",
    "ImageMaskReader",
    "ImageMasks",
    "MaskReader",
    "MaskSlides",
    "ShardReader",
    "TileMasks",
    "TileReader",
    "tile_reader",
]
