"""Which tiles: tables of them, and what fills these: recipes, grids, labels, coordinates, lists of slides, splits."""

from .grids import grid_tiles
from .recipe import LaidTiles, TileRecipe, lay_tiles
from .slide_list import SlideList, read_slide_list, tiles_of_slides
from .tile_table import TileTable

__all__ = [
    "LaidTiles",
    "SlideList",
    "TileRecipe",
    "TileTable",
    "grid_tiles",
    "lay_tiles",
    "read_slide_list",
    "tiles_of_slides",
]
