"""Philips TIFF: a tiled TIFF or BigTIFF whose first description is the XML of a Philips scanner.

The Software tag begins with "Philips", and the root of the XML is a DataObject of the type DPUfsImport. Every tiled
directory is a level, the largest first; label and macro lie in strips, or as base64 in the XML. Levels are padded to
whole blocks, on the right and below, so their sizes do not say their scales: the pixel spacings in the XML
(DICOM_PIXEL_SPACING of each PixelDataRepresentation) do, and OpenSlide corrects the lower levels by them. Level 0 stays
padded. Blocks are JPEG. A slide of several regions leaves out the blocks between them (offset and byte count 0), which
OpenSlide draws transparent: white here.

Source: OpenSlide's page "Philips TIFF format", and what OpenSlide's reader makes of the tags.
"""

from __future__ import annotations

from collections.abc import Sequence

from cellmix_dali.slides.block_table import BlockTable
from cellmix_dali.slides.formats.registry import register_format
from cellmix_dali.slides.formats.slide_file import SlideFile
from cellmix_dali.slides.formats.tiled_tiff import TiledTiff
from cellmix_dali.slides.tiff import Chooser, TiffSlide, all_tiled

__all__ = ["Philips"]


@register_format
class Philips(TiledTiff):
    """Philips TIFF."""

    name, rank = "philips", 12
    files = "Philips TIFF"
    read = "JPEG blocks go to DALI as they are; padding of the levels is cut off by the scales in the XML"
    since, tested = "0.1.0", "files written in its layout, which OpenSlide takes for the vendor's"

    vendor, kind = "philips", "a Philips TIFF"
    known = frozenset()  # OpenSlide's levels are others than the directories
    choose: Chooser = staticmethod(all_tiled)

    def recognises(self, file: SlideFile) -> bool:  # noqa: D102
        return file.vendor == self.vendor

    def levels_of_openslide(  # noqa: D102
        self, found: TiffSlide, sizes: Sequence[tuple[int, int]]
    ) -> tuple[BlockTable | None, ...]:
        if len(sizes) != len(found.sizes):
            return ()
        if any(
            real > padded
            for one, other in zip(sizes, found.sizes, strict=True)
            for real, padded in zip(one, other, strict=True)
        ):
            return ()
        return tuple(of and of.cropped(*size) for of, size in zip(found.levels, sizes, strict=True))
