"""QPTIFF of Akoya (PerkinElmer) scanners, brightfield: a tiled TIFF whose descriptions are XML of their own.

The root of each directory's XML is PerkinElmer-QPI-ImageDescription; its ImageType says FullResolution, then Thumbnail
(in strips), ReducedResolution for each lower level, Overview and Label. Full and reduced ones are tiled, and read as
in any tiled TIFF, by OpenSlide, too. Microns per pixel are in the resolution tags; the objective, which OpenSlide does
not look for, is in the XML. Fluorescence, of a grey directory for each channel, is refused.

Sources: PerkinElmer's "TIFF file format for Phenoptics data", and tifffile, which knows the XML.
"""

from __future__ import annotations

import re
from dataclasses import replace

from cellmix_dali.slides.formats.registry import register_format
from cellmix_dali.slides.formats.slide_file import SlideFile
from cellmix_dali.slides.formats.tiled_tiff import TiledTiff
from cellmix_dali.slides.found import Found
from cellmix_dali.slides.xml_text import name_of, read_xml, within

__all__ = ["Qptiff"]

_ROOT = "PerkinElmer-QPI-ImageDescription"
_POWER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*x?\s*", re.IGNORECASE)


@register_format
class Qptiff(TiledTiff):
    """QPTIFF in brightfield."""

    name, rank, suffixes = "qptiff", 22, (".qptiff",)
    files = "Akoya (PerkinElmer) QPTIFF, brightfield"
    read = "as other tiled TIFF; the objective from its XML"
    since, tested = "0.1.0", "files written in its layout"

    kind = "a QPTIFF"

    def recognises(self, file: SlideFile) -> bool:  # noqa: D102
        return super().recognises(file) and _ROOT in file.description

    def look(self, file: SlideFile) -> Found:  # noqa: D102
        power = _power(file.description)
        found = super().look(file)
        if power is None or "openslide.objective-power" in found.properties:
            return found
        return replace(found, properties={**found.properties, "openslide.objective-power": power})


def _power(description: str) -> str | None:
    """The magnification of the objective; None where it is not said, or no number."""
    root = read_xml(description)
    if root is None or name_of(root) != _ROOT:
        return None
    said = _POWER.fullmatch(next((of.text or "" for of in within(root, "Objective")), ""))
    return None if said is None else said.group(1)
