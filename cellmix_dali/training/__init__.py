"""Training runs of the command line: the demo and `train`, with a report and pictures."""

from .collection import collection_data
from .data import TrainingData
from .demo import RENDERED_TILE, rendered_data, slide_data
from .run import TrainingSettings, check_settings, run_training
from .shards import shard_data

__all__ = [
    "RENDERED_TILE",
    "TrainingData",
    "TrainingSettings",
    "check_settings",
    "collection_data",
    "rendered_data",
    "run_training",
    "shard_data",
    "slide_data",
]
