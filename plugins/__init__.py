"""DALI operators: CellMix and other mixing methods for any pipeline, and slide tiles as their source."""

from .cellmix import CellMixParameters, cellmix
from .clock import EpochClock
from .colour import coloured
from .colour_stages import Colour
from .draw import Augment, Draw
from .mix import MixParameters, mix
from .plan_source import PlanNodes, PlanSource
from .source import Source
from .tile_source import TileSource
from .tiles import TileNodes, tiles

__all__ = [
    "Augment",
    "CellMixParameters",
    "Colour",
    "Draw",
    "EpochClock",
    "MixParameters",
    "PlanNodes",
    "PlanSource",
    "Source",
    "TileNodes",
    "TileSource",
    "cellmix",
    "coloured",
    "mix",
    "tiles",
]
