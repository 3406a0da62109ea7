"""Aperio SVS: a tiled TIFF whose first description begins with "Aperio".

Every tiled directory is a level, in file order; thumbnail, label and macro lie in strips. Blocks are JPEG, usually RGB
without a colour transform, or JPEG 2000: 33005 (RGB) is read directly, 33003 (YCbCr) through OpenSlide, which alone
converts its colours: a bare code stream does not say that they are YCbCr, and where boxes around it do (sYCC), DALI's
decoder on the CPU converts with other coefficients, up to 31 levels from OpenSlide's. Some scanners leave blocks out
(byte count 0) and write damaged ones above them in the pyramid: OpenSlide draws both from the finer level, so both
count as blank. Microns per pixel are in the description.

Sources: Aperio's "Digital Slides and Third-party Data Interchange" (33003 and 33005), and OpenSlide's page "Aperio
format".
"""

from __future__ import annotations

import itertools
import re

from cellmix_dali.slides.formats.registry import register_format
from cellmix_dali.slides.formats.slide_file import SlideFile
from cellmix_dali.slides.formats.tiled_tiff import TiledTiff
from cellmix_dali.slides.tiff import APERIO_RGB, JPEG, Chooser, TiffSlide, all_tiled, spread_blanks

__all__ = ["Aperio"]

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@register_format
class Aperio(TiledTiff):
    """Aperio SVS."""

    name, rank, suffixes = "aperio", 10, (".svs",)
    files = "Aperio SVS"
    read = "JPEG and RGB JPEG 2000 (33005) blocks go to DALI as they are; YCbCr JPEG 2000 (33003) through OpenSlide"
    since, tested = "0.1.0", "a real slide, and files written in its layout"

    vendor = "aperio"
    choose: Chooser = staticmethod(all_tiled)
    blanks_from_finer = True
    known = frozenset({JPEG, APERIO_RGB})

    def recognises(self, file: SlideFile) -> bool:  # noqa: D102
        return file.vendor == self.vendor

    def mpp(self, file: SlideFile) -> tuple[float, float] | None:  # noqa: D102
        # As OpenSlide reads it: fields after the first, of which the last one of a name counts.
        fields = [field.split("=", 1) for field in file.description.split("|")[1:]]
        said = {field[0].strip(): field[1].strip() for field in fields if len(field) == 2}
        found = _DECIMAL.fullmatch(said.get("MPP", "").replace(",", "."))
        return None if found is None else (float(found.group()), float(found.group()))

    def blocks(self, file: SlideFile) -> TiffSlide:  # noqa: D102
        found = super().blocks(file)
        for finer, coarser in itertools.pairwise(found.levels):
            if finer is not None and coarser is not None:
                spread_blanks(finer, coarser)
        return found
