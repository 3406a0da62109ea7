"""Which tiles: tables of them, and what fills these: recipes, grids, labels, coordinates, lists of slides, splits."""

from .grids import grid_tiles
from .positions import from_level0, to_level0
from .recipe import LaidTiles, TileRecipe, lay_tiles
from .slide_list import SlideList, read_slide_list, tiles_of_slides
from .tile_table import TileTable

__all__ = [
    "LaidTiles",
    "SlideList",
    "TileRecipe",
    "TileTable",
    "from_level0",
    "grid_tiles",
    "lay_tiles",
    "read_slide_list",
    "tiles_of_slides",
    "to_level0",
]
