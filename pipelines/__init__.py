"""Whole pipelines and their loaders: training with CellMix, evaluation without, image files, tiles for shards.

What is here by name is imported when it is asked for: DALI and PyTorch take seconds, and tiling JPEG needs neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cellmix_dali._front import front

if TYPE_CHECKING:
    from cellmix_dali.plugins.decoder_options import DecoderOptions as DecoderOptions

    from .evaluate import evaluate_loader as evaluate_loader
    from .graph import GraphOptions as GraphOptions, source_pipeline as source_pipeline
    from .images import (
        ImageCache as ImageCache,
        ImageSource as ImageSource,
        evaluate_image_loader as evaluate_image_loader,
        train_image_loader as train_image_loader,
        unreadable_images as unreadable_images,
    )
    from .loader import Loader as Loader
    from .read import read_table as read_table, read_tiles as read_tiles
    from .tile import DecodedTiles as DecodedTiles, decoded_tiles as decoded_tiles, tile_pipeline as tile_pipeline
    from .train import train_loader as train_loader
    from .views import ViewLoader as ViewLoader, view_loader as view_loader

__getattr__, __dir__, __all__ = front(
    __name__,
    {
        "evaluate": "evaluate_loader",
        "graph": "DecoderOptions GraphOptions source_pipeline",
        "images": "ImageCache ImageSource evaluate_image_loader train_image_loader unreadable_images",
        "loader": "Loader",
        "read": "read_table read_tiles",
        "tile": "DecodedTiles decoded_tiles tile_pipeline",
        "train": "train_loader",
        "views": "ViewLoader view_loader",
    },
)
