"""Annotations of a slide in pixels of its first level, and whether they fit it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .._arguments import path_of
from ..errors import ArgumentError
from ..slides import Slide
from ..slides.levels import Box
from .frame import Origin, frame_of
from .geojson import Annotations, read_geojson

__all__ = ["annotations_of", "beyond_the_tissue", "refused_shape"]

_MOSTLY = 0.5  # less of the annotated area within the slide, or of the labelled tiles on tissue, is told


def annotations_of(
    path: str | Path, slide: Slide, *, origin: Origin = "bounds", unclassified: str | None = None
) -> tuple[Annotations, str]:
    """Read a slide's annotations, and say where they lie.

    Parameters
    ----------
    path : str or Path
        See `cellmix_dali.annotations.read_geojson`.
    slide : Slide
        An open slide.
    origin : {"bounds", "level0"}, default "bounds"
        Where the file's coordinates begin, see `frame_of`.
    unclassified : str, optional
        See `cellmix_dali.annotations.read_geojson`.

    Returns
    -------
    annotations : Annotations
        In pixels of the slide's first level.
    note : str
        For a person: where the coordinates begin, if that is not the first pixel of the first level, and a warning if
        most of the annotated area lies outside the slide. Empty if there is nothing to say.

    Raises
    ------
    ArgumentError
        If the file cannot be read.
    """
    import shapely  # a tenth of a second, which a job without annotations does not need

    path, frame, first = path_of("Annotations", path), frame_of(slide, origin), slide.levels[0]
    found = read_geojson(path, unclassified=unclassified).moved(frame.x, frame.y)
    notes = []
    if frame.x or frame.y:
        notes.append(f"annotations begin at the bounds ({frame.x}, {frame.y})")
    region = shapely.union_all(found.polygons)
    inside = region.intersection(shapely.box(0, 0, first.width, first.height)).area
    if region.area and inside < _MOSTLY * region.area:
        notes.append(
            f"warning: {1 - inside / region.area:.0%} of the area annotated in {path.name} lies outside the slide; "
            "check that the file belongs to it" + _other(slide, origin)
        )
    return found, "; ".join(notes)


def beyond_the_tissue(slide: Slide, origin: Origin, on_tissue: NDArray[np.bool_]) -> str:
    """Say so if most of the tiles that annotations label are not on tissue.

    Parameters
    ----------
    slide : Slide
        An open slide.
    origin : {"bounds", "level0"}
        As taken.
    on_tissue : bool array (n,)
        Of each labelled tile.

    Returns
    -------
    str
        A warning for a person, or empty.
    """
    if not len(on_tissue) or on_tissue.mean() >= _MOSTLY:
        return ""
    share = 1 - float(on_tissue.mean())
    return (
        f"warning: {share:.0%} of the {len(on_tissue)} tiles that the annotations label are not on tissue; check that "
        "the annotations belong to the slide" + _other(slide, origin)
    )


def _other(slide: Slide, origin: Origin) -> str:
    """The other origin, where it makes a difference."""
    if not (slide.bounds.x or slide.bounds.y):
        return ""
    return f", and try annotations_origin={'level0' if origin == 'bounds' else 'bounds'}"


def refused_shape(path: Path, slide: Slide, frame: Box, size: tuple[int, int]) -> ArgumentError:
    """Return the error for a mask of other proportions than what it should show."""
    first = slide.levels[0]
    whole = (frame.width, frame.height) == (first.width, first.height)
    what = "the whole slide" if whole else f"the slide's bounds ({frame.width} x {frame.height} pixels)"
    other = "" if whole else " One that shows the whole slide needs annotations_origin='level0'."
    return ArgumentError(
        f"The mask {path} has {size[0]} x {size[1]} pixels and {slide.path} {first.width} x {first.height}: a mask "
        f"shows {what}, in its proportions. Export it from the whole slide, at any downsample.{other}"
    )
