"""Whole pipelines and their loaders: training with CellMix, evaluation without, tiles for shards."""

from .evaluate import evaluate_loader, evaluate_pipeline
from .loader import TileLoader
from .read import read_table, read_tiles
from .tile import DecodedTiles, decoded_tiles, tile_pipeline
from .train import train_loader, train_pipeline

__all__ = [
    "DecodedTiles",
    "TileLoader",
    "decoded_tiles",
    "evaluate_loader",
    "evaluate_pipeline",
    "read_table",
    "read_tiles",
    "tile_pipeline",
    "train_loader",
    "train_pipeline",
]
