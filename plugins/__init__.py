"""DALI operators: CellMix for any pipeline, and slide tiles as its source."""

from .cellmix import CellMixParameters, cellmix
from .clock import EpochClock
from .plan_source import PlanNodes, PlanSource
from .tile_source import TileSource
from .tiles import TileNodes, tiles

__all__ = [
    "CellMixParameters",
    "EpochClock",
    "PlanNodes",
    "PlanSource",
    "TileNodes",
    "TileSource",
    "cellmix",
    "tiles",
]
