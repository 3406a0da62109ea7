"""Training runs: one way for slides, shards and images, with a report and pictures.

What is here by name is imported when it is asked for: settings are checked before PyTorch and DALI are there.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .collection import collection_data
    from .data import Samples, TrainingData
    from .demo import RENDERED_TILE, rendered_data, slide_data
    from .division import Division
    from .image_samples import ImageSamples, ImageSet
    from .images import folded_images, folds_of, image_folders, read_folds, readable_images, without_images
    from .models import default_learning_rate
    from .results import run_training
    from .run import TestedSet, TrainingRun, train_and_test
    from .settings import TrainingSettings, check_settings
    from .shards import shard_data
    from .tile_samples import TileSamples

__all__ = [
    "RENDERED_TILE",
    "Division",
    "ImageSamples",
    "ImageSet",
    "Samples",
    "TestedSet",
    "TileSamples",
    "TrainingData",
    "TrainingRun",
    "TrainingSettings",
    "check_settings",
    "collection_data",
    "default_learning_rate",
    "folded_images",
    "folds_of",
    "image_folders",
    "read_folds",
    "readable_images",
    "rendered_data",
    "run_training",
    "shard_data",
    "slide_data",
    "train_and_test",
    "without_images",
]

_WHERE = {
    "collection": ("collection_data",),
    "data": ("Samples", "TrainingData"),
    "demo": ("RENDERED_TILE", "rendered_data", "slide_data"),
    "division": ("Division",),
    "image_samples": ("ImageSamples", "ImageSet"),
    "images": ("folded_images", "folds_of", "image_folders", "read_folds", "readable_images", "without_images"),
    "models": ("default_learning_rate",),
    "results": ("run_training",),
    "run": ("TestedSet", "TrainingRun", "train_and_test"),
    "settings": ("TrainingSettings", "check_settings"),
    "shards": ("shard_data",),
    "tile_samples": ("TileSamples",),
}
_MODULES = {name: module for module, names in _WHERE.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)
