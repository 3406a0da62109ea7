"""Renders H&E-like slides with annotations for the demo and the tests: the project ships no real slide."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import shapely

from ..errors import ArgumentError
from .render import CLASSES, render_tissue
from .write import write_slide

__all__ = ["CLASSES", "RenderedSlide", "render_slides", "render_tissue", "write_slide"]

_SUFFIXES = (".svs", ".tiff")
_COLOURS = {"stroma": [150, 200, 150], "tumour": [200, 0, 0]}


@dataclass(frozen=True)
class RenderedSlide:
    """Where a rendered slide lies.

    Attributes
    ----------
    path : Path
        The slide file.
    annotations : Path
        Its annotations, GeoJSON as QuPath exports it.
    """

    path: Path
    annotations: Path


def _geojson(regions: list[tuple[str, shapely.Polygon]]) -> str:
    """Put regions down as QuPath exports annotations: a FeatureCollection in pixels of the first level."""
    features = []
    for name, polygon in regions:
        rings = [polygon.exterior, *polygon.interiors]
        coordinates = [[[round(x, 2), round(y, 2)] for x, y in ring.coords] for ring in rings]
        classification = {"name": name, "color": _COLOURS[name]}
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": coordinates},
                "properties": {"objectType": "annotation", "classification": classification},
            }
        )
    return json.dumps({"type": "FeatureCollection", "features": features})


def render_slides(
    folder: str | Path,
    *,
    count: int = 4,
    side: int = 3072,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[RenderedSlide]:
    """Render slides into a folder: slide-1.svs, slide-2.tiff, slide-3.svs, ... and slide-1.geojson, ...

    Both classes of `CLASSES` are about equally present on every slide, with some glass around them.

    Parameters
    ----------
    folder : str or Path
        Made when it is not there; files of the same names are replaced.
    count : int
        Number of slides.
    side : int
        Height and width of each in pixels, at least 256.
    seed : int
        Not negative. The same seed gives the same files; every slide of every seed is another.
    progress : callable, optional
        Called as ``progress(done, count)`` after each slide.

    Returns
    -------
    list of RenderedSlide

    Raises
    ------
    ArgumentError
        For a count under 1, a side under 256 or a negative seed.
    """
    if count < 1:
        raise ArgumentError(f"count {count}: ask for at least one slide.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    slides = []
    for number in range(1, count + 1):
        slide = folder / f"slide-{number}{_SUFFIXES[(number - 1) % 2]}"
        # A number below 0 is refused by render_tissue; the others never meet: number stays under 2^20.
        pixels, regions = render_tissue(side, side, seed=(seed << 20) + number if seed >= 0 else seed)
        write_slide(slide, pixels)
        annotations = slide.with_suffix(".geojson")
        annotations.write_text(_geojson(regions), encoding="utf-8")
        slides.append(RenderedSlide(slide, annotations))
        if progress is not None:
            progress(number, count)
    return slides
