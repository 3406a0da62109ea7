"""OME-TIFF: a tiled TIFF whose first description is OME-XML, such as QuPath and Bio-Formats write.

The lower levels are SubIFDs of the first directory, which OpenSlide does not see: such files are read by their blocks
alone. Microns per pixel are PhysicalSizeX and PhysicalSizeY of the OME-XML; the resolution tags are often left at 1.
Blocks are as in any tiled TIFF. Channels in pages of their own, and more than 8 bits, are refused.

Sources: the OME-TIFF specification ("Sub-resolutions") and the OME data model, 2016-06.
"""

from __future__ import annotations

from cellmix_dali.slides.formats.registry import register_format
from cellmix_dali.slides.formats.slide_file import SlideFile
from cellmix_dali.slides.formats.tiled_tiff import TiledTiff

__all__ = ["OmeTiff"]


@register_format
class OmeTiff(TiledTiff):
    """OME-TIFF with 8-bit colour."""

    name, rank = "ome-tiff", 20
    files = "OME-TIFF, its SubIFDs, too"
    read = "as other tiled TIFF; microns per pixel from its OME-XML"
    since, tested = "0.1.0", "files written in its layout"

    def recognises(self, file: SlideFile) -> bool:  # noqa: D102
        return super().recognises(file) and file.ome is not None

    def mpp(self, file: SlideFile) -> tuple[float, float] | None:  # noqa: D102
        return None if file.ome is None else file.ome.mpp
