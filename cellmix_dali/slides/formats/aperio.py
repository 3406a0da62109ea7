"""Aperio SVS: a tiled TIFF whose first description begins with "Aperio".

Every tiled directory is a level, in file order; thumbnail, label and macro lie in strips. Blocks are JPEG, usually RGB
without a colour transform, or JPEG 2000: 33005 (RGB) is read directly, 33003 (YCbCr) through OpenSlide, which alone
converts its colours. Some scanners leave blocks out (byte count 0) and write damaged ones above them in the pyramid:
OpenSlide draws both from the finer level, so both count as blank. Microns per pixel are in the description.

Sources: Aperio's "Digital Slides and Third-party Data Interchange" (33003 and 33005), and OpenSlide's page "Aperio
format".
"""

from __future__ import annotations

import itertools

from cellmix_dali.slides.formats.registry import register_format
from cellmix_dali.slides.formats.slide_file import SlideFile
from cellmix_dali.slides.formats.tiled_tiff import TiledTiff
from cellmix_dali.slides.tiff import Chooser, TiffSlide, all_tiled, spread_blanks

__all__ = ["Aperio"]


@register_format
class Aperio(TiledTiff):
    """Aperio SVS."""

    name, rank, suffixes = "aperio", 10, (".svs",)
    files = "Aperio SVS"
    read = "JPEG and RGB JPEG 2000 (33005) blocks go to DALI as they are; YCbCr JPEG 2000 (33003) through OpenSlide"

    vendor = "aperio"
    choose: Chooser = staticmethod(all_tiled)
    blanks_from_finer = True

    def recognises(self, file: SlideFile) -> bool:  # noqa: D102
        return file.vendor == self.vendor

    def blocks(self, file: SlideFile) -> TiffSlide:  # noqa: D102
        found = super().blocks(file)
        for finer, coarser in itertools.pairwise(found.levels):
            if finer is not None and coarser is not None:
                spread_blanks(finer, coarser)
        return found
