"""Which tiles: tables of them, and what fills these: grids, labels, coordinates, lists of slides, splits."""

from .grids import grid_tiles
from .slide_list import SlideList, read_slide_list, tiles_of_slides
from .tile_table import TileTable

__all__ = ["SlideList", "TileTable", "grid_tiles", "read_slide_list", "tiles_of_slides"]
