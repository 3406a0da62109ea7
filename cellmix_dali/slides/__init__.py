"""What lies in a slide file: its levels, its encoded blocks, and its pixels.

`open_slide` looks at a file and chooses a route. On the *direct* route (tiled Aperio and other TIFF files,
and DICOM, in JPEG or JPEG 2000) `Slide.blocks` hands out the encoded blocks as complete streams that any decoder shows
in the right colours. On the *openslide* route there are only pixels, through `Slide.read_region`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._front import front

if TYPE_CHECKING:
    from .formats import (
        SlideFormat as SlideFormat,
        register_format as register_format,
        slide_suffixes as slide_suffixes,
    )
    from .levels import Box as Box, Level as Level
    from .slide import Slide as Slide, open_slide as open_slide

__getattr__, __dir__, __all__ = front(
    __name__,
    {
        "formats": "SlideFormat register_format slide_suffixes",
        "levels": "Box Level",
        "slide": "Slide open_slide",
    },
)
