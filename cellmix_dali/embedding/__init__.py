"""Slides into features: a model over all tiles of many slides, and what becomes of its numbers.

`embed` and `slide_features` take a table of tiles. Tiles are decoded ahead of the model, across slides (`stream`),
so that it has full batches and does not wait where a slide ends. `model` makes one of all kinds of models: a module
that takes pixels as its own configuration says and returns one vector for each tile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._front import front

if TYPE_CHECKING:
    from .bags import BagLoader as BagLoader, FeatureBags as FeatureBags, TileBags as TileBags, bag_loader as bag_loader
    from .features import SlideFeatures as SlideFeatures, embed as embed, slide_features as slide_features
    from .files import read_features as read_features
    from .formats import (
        FeatureFile as FeatureFile,
        FeatureFormat as FeatureFormat,
        register_feature_format as register_feature_format,
    )
    from .job import embed_slides as embed_slides
    from .maps import (
        feature_colours as feature_colours,
        similarity as similarity,
        write_heatmap as write_heatmap,
        write_tiles_geojson as write_tiles_geojson,
    )
    from .model import FeatureModel as FeatureModel, open_model as open_model
    from .outcome import EmbedResult as EmbedResult, EmbedState as EmbedState
    from .settings import ModelSettings as ModelSettings

__getattr__, __dir__, __all__ = front(
    __name__,
    {
        "bags": "BagLoader FeatureBags TileBags bag_loader",
        "features": "SlideFeatures embed slide_features",
        "files": "read_features",
        "formats": "FeatureFile FeatureFormat register_feature_format",
        "job": "embed_slides",
        "maps": "feature_colours similarity write_heatmap write_tiles_geojson",
        "model": "FeatureModel open_model",
        "outcome": "EmbedResult EmbedState",
        "settings": "ModelSettings",
    },
)
