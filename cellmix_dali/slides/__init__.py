"""What lies in a slide file: its levels, its encoded blocks, and its pixels.

`open_slide` looks at a file and chooses a route. On the *direct* route (tiled Aperio and other TIFF files,
and DICOM, in JPEG or JPEG 2000) `Slide.blocks` hands out the encoded blocks as complete streams that any decoder shows
in the right colours. On the *openslide* route there are only pixels, through `Slide.read_region`.
"""

from __future__ import annotations

from cellmix_dali.slides.formats import SlideFormat, register_format, slide_suffixes
from cellmix_dali.slides.levels import Box, Level
from cellmix_dali.slides.slide import Slide, open_slide

__all__ = ["Box", "Level", "Slide", "SlideFormat", "open_slide", "register_format", "slide_suffixes"]
