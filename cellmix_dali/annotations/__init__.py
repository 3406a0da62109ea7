"""Polygons that people drew on slides, and where they begin."""

from .geojson import Annotations, read_geojson
from .origin import Origin, annotations_of

__all__ = ["Annotations", "Origin", "annotations_of", "read_geojson"]
