"""Whole pipelines and their loaders: training with CellMix, evaluation without."""

from .evaluate import evaluate_loader, evaluate_pipeline
from .loader import TileLoader
from .train import train_loader, train_pipeline

__all__ = ["TileLoader", "evaluate_loader", "evaluate_pipeline", "train_loader", "train_pipeline"]
