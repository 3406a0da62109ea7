"""What lies in a slide file: its levels, its encoded blocks, and its pixels.

`open_slide` looks at a file and chooses a route. On the *direct* route (tiled Aperio and generic TIFF files
in JPEG or JPEG 2000) `Slide.blocks` hands out the encoded blocks as complete streams that any decoder shows
in the right colours. On the *openslide* route there are only pixels, through `Slide.read_region`.
"""

from __future__ import annotations

from cellmix_dali.slides.levels import Box, Level
from cellmix_dali.slides.slide import Slide, open_slide

__all__ = ["SLIDE_SUFFIXES", "Box", "Level", "Slide", "open_slide"]

#: Of files that are taken from a folder for slides, in small letters; a file that is named itself may have any.
SLIDE_SUFFIXES = frozenset(
    {".svs", ".tif", ".tiff", ".ndpi", ".scn", ".mrxs", ".bif", ".dcm", ".vms", ".vmu", ".svslide", ".zvi", ".czi"}
)
