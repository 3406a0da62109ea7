"""Training runs: one way for slides, shards and images, with a report and pictures.

What is here by name is imported when it is asked for: settings are checked before PyTorch and DALI are there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._front import front

if TYPE_CHECKING:
    from .collection import collection_data as collection_data
    from .configuration import ModelConfiguration as ModelConfiguration
    from .data import Samples as Samples, TrainingData as TrainingData
    from .demo import RENDERED_TILE as RENDERED_TILE, rendered_data as rendered_data, slide_data as slide_data
    from .division import Division as Division
    from .image_samples import ImageSamples as ImageSamples, ImageSet as ImageSet
    from .images import (
        folded_images as folded_images,
        folds_of as folds_of,
        image_folders as image_folders,
        read_folds as read_folds,
        readable_images as readable_images,
        without_images as without_images,
    )
    from .models import default_learning_rate as default_learning_rate
    from .results import run_training as run_training
    from .run import TestedSet as TestedSet, TrainingRun as TrainingRun, train_and_test as train_and_test
    from .settings import TrainingSettings as TrainingSettings, check_settings as check_settings
    from .shards import shard_data as shard_data
    from .tile_samples import TileSamples as TileSamples

__getattr__, __dir__, __all__ = front(
    __name__,
    {
        "collection": "collection_data",
        "configuration": "ModelConfiguration",
        "data": "Samples TrainingData",
        "demo": "RENDERED_TILE rendered_data slide_data",
        "division": "Division",
        "image_samples": "ImageSamples ImageSet",
        "images": "folded_images folds_of image_folders read_folds readable_images without_images",
        "models": "default_learning_rate",
        "results": "run_training",
        "run": "TestedSet TrainingRun train_and_test",
        "settings": "TrainingSettings check_settings",
        "shards": "shard_data",
        "tile_samples": "TileSamples",
    },
)
