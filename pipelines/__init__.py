"""Whole pipelines and their loaders: training with CellMix, evaluation without, image files, tiles for shards.

What is here by name is imported when it is asked for: DALI and PyTorch take seconds, and tiling JPEG needs neither.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .evaluate import evaluate_loader
    from .graph import GraphOptions, source_pipeline
    from .images import ImageCache, ImageSource, evaluate_image_loader, train_image_loader, unreadable_images
    from .loader import Loader
    from .read import read_table, read_tiles
    from .tile import DecodedTiles, decoded_tiles, tile_pipeline
    from .train import train_loader

__all__ = [
    "DecodedTiles",
    "GraphOptions",
    "ImageCache",
    "ImageSource",
    "Loader",
    "decoded_tiles",
    "evaluate_image_loader",
    "evaluate_loader",
    "read_table",
    "read_tiles",
    "source_pipeline",
    "tile_pipeline",
    "train_image_loader",
    "train_loader",
    "unreadable_images",
]

_WHERE = {
    "evaluate": ("evaluate_loader",),
    "graph": ("GraphOptions", "source_pipeline"),
    "images": (*("ImageCache", "ImageSource", "evaluate_image_loader", "train_image_loader", "unreadable_images"),),
    "loader": ("Loader",),
    "read": ("read_table", "read_tiles"),
    "tile": ("DecodedTiles", "decoded_tiles", "tile_pipeline"),
    "train": ("train_loader",),
}
_MODULE = {name: module for module, names in _WHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULE:
        return getattr(import_module(f".{_MODULE[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
