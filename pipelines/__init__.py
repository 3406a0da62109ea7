"""Whole pipelines and their loaders: training with CellMix, evaluation without."""

from .evaluate import evaluate_loader, evaluate_pipeline
from .loader import TileLoader
from .read import read_table, read_tiles
from .train import train_loader, train_pipeline

__all__ = [
    "TileLoader",
    "evaluate_loader",
    "evaluate_pipeline",
    "read_table",
    "read_tiles",
    "train_loader",
    "train_pipeline",
]
