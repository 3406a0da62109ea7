"""Whole pipelines and their loaders: training with CellMix, evaluation without, image files, tiles for shards."""

from .evaluate import evaluate_loader, evaluate_pipeline
from .images import (
    ImageCache,
    ImageLoader,
    evaluate_image_loader,
    image_pipeline,
    train_image_loader,
    unreadable_images,
)
from .loader import TileLoader
from .read import read_table, read_tiles
from .tile import DecodedTiles, decoded_tiles, tile_pipeline
from .train import train_loader, train_pipeline

__all__ = [
    "DecodedTiles",
    "ImageCache",
    "ImageLoader",
    "TileLoader",
    "decoded_tiles",
    "evaluate_image_loader",
    "evaluate_loader",
    "evaluate_pipeline",
    "image_pipeline",
    "read_table",
    "read_tiles",
    "tile_pipeline",
    "train_image_loader",
    "train_loader",
    "train_pipeline",
    "unreadable_images",
]
