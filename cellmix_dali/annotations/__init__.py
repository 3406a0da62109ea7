"""Polygons that people drew on slides, and where they begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._front import front

if TYPE_CHECKING:
    from .frame import Origin as Origin
    from .geojson import Annotations as Annotations, read_geojson as read_geojson
    from .origin import annotations_of as annotations_of

__getattr__, __dir__, __all__ = front(
    __name__,
    {
        "geojson": "Annotations read_geojson",
        "frame": "Origin",
        "origin": "annotations_of",
    },
)
