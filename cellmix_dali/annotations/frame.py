"""What coordinates of annotations and masks are relative to.

QuPath shows a slide within its bounds (OpenSlide's properties ``openslide.bounds-x`` and so on; Leica SCN, MIRAX,
Ventana and some DICOM slides have them), and exports coordinates and pictures relative to their upper left corner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..errors import unknown_name
from ..slides.levels import Box

if TYPE_CHECKING:
    from ..slides import Slide

__all__ = ["ORIGINS", "Origin", "check_origin", "frame_of"]

Origin = Literal["bounds", "level0"]
ORIGINS: tuple[Origin, ...] = ("bounds", "level0")


def check_origin(origin: str) -> None:
    """Raise an ArgumentError if there is no such origin."""
    if origin not in ORIGINS:
        raise unknown_name("annotations_origin", origin, ORIGINS)


def frame_of(slide: Slide, origin: Origin) -> Box:
    """Return what coordinates are relative to, and what a mask shows.

    Parameters
    ----------
    slide : Slide
        An open slide.
    origin : {"bounds", "level0"}
        "bounds": the slide's bounds, as QuPath has it; a slide without bounds is its own. "level0": the whole of the
        first level.

    Returns
    -------
    Box
        In pixels of the first level.

    Raises
    ------
    ArgumentError
        For another origin.
    """
    check_origin(origin)
    first = slide.levels[0]
    return slide.bounds if origin == "bounds" else Box(0, 0, first.width, first.height)
