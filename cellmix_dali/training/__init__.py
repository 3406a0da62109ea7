"""Training runs of the command line: the demo and `train`, with a report and pictures."""

from .collection import collection_data
from .data import TrainingData
from .demo import RENDERED_TILE, rendered_data, slide_data
from .image_results import run_image_training
from .image_run import ImageRun, TestedSet, train_and_test
from .images import ImageData, folded_images, folds_of, image_folders, read_folds, readable_images, without_images
from .models import default_learning_rate
from .run import run_training
from .settings import ImageSettings, TrainingSettings, check_image_settings, check_settings
from .shards import shard_data

__all__ = [
    "RENDERED_TILE",
    "ImageData",
    "ImageRun",
    "ImageSettings",
    "TestedSet",
    "TrainingData",
    "TrainingSettings",
    "check_image_settings",
    "check_settings",
    "collection_data",
    "default_learning_rate",
    "folded_images",
    "folds_of",
    "image_folders",
    "read_folds",
    "readable_images",
    "rendered_data",
    "run_image_training",
    "run_training",
    "shard_data",
    "slide_data",
    "train_and_test",
    "without_images",
]
