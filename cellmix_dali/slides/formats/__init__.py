"""The kinds of slide files, one module for each: how it is recognised, and how its levels and blocks are found."""

from __future__ import annotations

from cellmix_dali.slides.formats import (  # noqa: F401  (they enter themselves)
    aperio,
    dicom,
    hamamatsu,
    leica,
    ome_tiff,
    openslide,
    philips,
    qptiff,
    refused,
    tiled_tiff,
    ventana,
)
from cellmix_dali.slides.formats.registry import (
    FORMATS,
    SlideFormat,
    formats_in_order,
    register_format,
    slide_suffixes,
)
from cellmix_dali.slides.formats.slide_file import SlideFile

__all__ = ["FORMATS", "SlideFile", "SlideFormat", "formats_in_order", "register_format", "slide_suffixes"]
