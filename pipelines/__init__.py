"""Whole pipelines and their loaders: training with CellMix, evaluation without, image files, tiles for shards."""

from cellmix_dali.plugins.decoder_options import DecoderOptions

from .evaluate import evaluate_loader
from .graph import GraphOptions, source_pipeline
from .images import ImageCache, ImageSource, evaluate_image_loader, train_image_loader, unreadable_images
from .loader import Loader
from .read import read_table, read_tiles
from .tile import DecodedTiles, decoded_tiles, tile_pipeline
from .train import train_loader

__all__ = [
    "DecodedTiles",
    "DecoderOptions",
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
