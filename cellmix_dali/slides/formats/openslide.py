"""All that no other format takes and OpenSlide knows: MIRAX, Hamamatsu VMS and others.

OpenSlide recognises the file and reads its pixels; no encoded blocks are handed out. TIFFs among them are looked at
before, because OpenSlide shows pictures of 16 bits, of four inks or turned ones wrongly without a word.

Source: OpenSlide's page "Virtual slide formats understood by OpenSlide".
"""

from __future__ import annotations

from cellmix_dali.errors import SlideError
from cellmix_dali.slides import samples
from cellmix_dali.slides.formats.registry import SlideFormat, register_format
from cellmix_dali.slides.formats.slide_file import SlideFile
from cellmix_dali.slides.found import Found, through_openslide
from cellmix_dali.slides.openslide import OpenSlideFile
from cellmix_dali.slides.tiff import CONVERT

__all__ = ["OpenSlideFormat"]


@register_format
class OpenSlideFormat(SlideFormat):
    """What OpenSlide reads; the last to be asked, so it says of a file that no format takes why it is not a slide."""

    name, rank = "openslide", 100
    suffixes = (".mrxs", ".vms", ".vmu", ".svslide", ".zvi", ".czi")
    files = "MIRAX, Hamamatsu VMS, Sakura, Trestle, Zeiss"
    read = "through OpenSlide, into the same graph"
    tested = "its way with DICOM and TIFF slides, not with files of these scanners"

    def recognises(self, file: SlideFile) -> bool:  # noqa: ARG002, D102
        return True

    def look(self, file: SlideFile) -> Found:  # noqa: D102
        path, vendor = file.path, file.vendor
        if vendor is None:
            raise _no_slide(file)
        if file.is_tiff and file.chain_ends:
            samples.check_tiff(path)
        reason = f"Files of the format {vendor} are read through OpenSlide."
        return through_openslide(path, vendor, OpenSlideFile(path, vendor), reason)


def _no_slide(file: SlideFile) -> SlideError:
    """Why a file that nobody knows is not a slide."""
    path = file.path
    if file.is_untiled:
        convert = CONVERT.format(name=path.name)
        return SlideError(f"{path} is a TIFF but not tiled, so not a slide. Convert it, for example: {convert}.")
    return SlideError(
        f"{path} is not a slide: neither a tiled TIFF nor a format that OpenSlide knows. "
        "Check the file, and export it again from the scanner's software if it should be one."
    )
