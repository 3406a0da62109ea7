"""Which tiles: tables of them, and what fills these: recipes, grids, labels, coordinates, lists of slides, splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._front import front

if TYPE_CHECKING:
    from .grids import grid_tiles as grid_tiles
    from .laying import LaidTiles as LaidTiles, lay_tiles as lay_tiles
    from .positions import from_level0 as from_level0, to_level0 as to_level0
    from .recipe import TileRecipe as TileRecipe
    from .slide_list import (
        SlideList as SlideList,
        read_slide_list as read_slide_list,
        tiles_of_slides as tiles_of_slides,
    )
    from .tile_table import TileTable as TileTable

__getattr__, __dir__, __all__ = front(
    __name__,
    {
        "grids": "grid_tiles",
        "positions": "from_level0 to_level0",
        "laying": "LaidTiles lay_tiles",
        "recipe": "TileRecipe",
        "slide_list": "SlideList read_slide_list tiles_of_slides",
        "tile_table": "TileTable",
    },
)
