"""Tiled TIFF and BigTIFF without a vendor's marks, such as ``vips tiffsave --tile --pyramid`` writes.

The levels are the first directory, the tiled directories marked as reduced (NewSubfileType), and the SubIFDs of the
first. Blocks are the TIFF's tiles: JPEG (7), whose tables the level may keep apart (JPEGTables), or JPEG 2000 (33005,
34712) go to a decoder as they are. A level of another kind goes through OpenSlide. Big-endian files, which
OpenSlide does not know, are read by their blocks alone. Strips are refused: they are not tiles.

Sources: TIFF 6.0 (tags, tiles), Adobe TIFF Technical Notes (JPEG in TIFF), the BigTIFF design, and OpenSlide's page
"Generic tiled TIFF format" for which directories are levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from cellmix_dali.errors import NotReadError, SlideError
from cellmix_dali.slides.block_table import BlockTable
from cellmix_dali.slides.formats.registry import SlideFormat, register_format
from cellmix_dali.slides.formats.slide_file import SlideFile
from cellmix_dali.slides.found import Found, from_blocks, through_openslide
from cellmix_dali.slides.openslide import OpenSlideFile
from cellmix_dali.slides.tiff import CONVERT, JPEG, JPEG2000, Chooser, TiffSlide, read_tiff, tiff_levels

__all__ = ["TiledTiff"]


@register_format
class TiledTiff(SlideFormat):
    """A tiled TIFF; formats that are TIFFs inherit from it and say how they differ."""

    name, rank = "tiled-tiff", 30
    suffixes: ClassVar[tuple[str, ...]] = (".tif", ".tiff")
    files = "tiled TIFF and BigTIFF"
    read = "JPEG and JPEG 2000 blocks go to DALI as they are; levels in LZW, Deflate and others through OpenSlide"
    since, tested = "0.1.0", "a real slide, and files written in its layout"

    vendor = "generic-tiff"
    kind = "a tiled TIFF"
    choose: Chooser = staticmethod(tiff_levels)
    blanks_from_finer = False
    #: Compressions with which OpenSlide takes the same directories for levels as `choose` does: it need not be asked.
    known: ClassVar[frozenset[int]] = frozenset({JPEG})

    def recognises(self, file: SlideFile) -> bool:  # noqa: D102
        if file.vendor is None:
            return not file.is_untiled and file.is_big_endian and file.chain_ends
        return file.vendor == self.vendor

    def mpp(self, file: SlideFile) -> tuple[float, float] | None:  # noqa: ARG002
        """Return microns per pixel where the format says them better than the resolution tags."""
        return None

    def blocks(self, file: SlideFile) -> TiffSlide:
        """Find the levels and their blocks."""
        return read_tiff(file.path, file.tiff(), self.choose)

    def look(self, file: SlideFile) -> Found:  # noqa: D102
        found, mpp = self.blocks(file), self.mpp(file)
        file.close()  # OpenSlide opens it anew
        if file.vendor is None:
            return self._unknown_to_openslide(file, found, mpp)
        if found.whole and not found.subifds and found.codes <= self.known:
            return self._without_asking(file, found, found.whole, mpp)
        path, pixels = file.path, OpenSlideFile(file.path, self.vendor)
        try:
            handle = pixels.handle()
        except NotReadError:
            raise
        except SlideError as error:
            if found.whole is not None and JPEG2000 in found.codes:
                reason = "The file is a tiled TIFF in JPEG 2000 (34712), which OpenSlide refuses and decoders read."
                return self._by_blocks(file, found, found.whole, mpp, reason)
            if found.obstacle is None:
                raise
            raise SlideError(
                f"{path} cannot be read: {found.obstacle}, and OpenSlide refuses it too ({error.__cause__}). "
                f"Convert it, for example: {CONVERT.format(name=path.name)}."
            ) from error
        if found.subifds and found.whole is not None:
            reason = (
                f"The file is {self.kind} whose blocks any decoder can read; {found.subifds} of its levels are "
                "SubIFDs, which OpenSlide does not see."
            )
            return self._by_blocks(file, found, found.whole, mpp, reason, dict(handle.properties))
        levels = self.levels_of_openslide(found, handle.level_dimensions)
        if not any(levels):
            unseen = "" if not found.subifds else f" It does not see the file's {found.subifds} lower levels (SubIFDs)."
            problem = found.obstacle or "it finds other levels in the file"
            reason = f"Read through OpenSlide: {problem}.{unseen}"
            return through_openslide(path, self.vendor, pixels, reason, mpp=mpp)
        reason = f"The file is {self.kind} whose blocks any decoder can read."
        if found.obstacle is not None:
            reason = f"The file is {self.kind}. Read through OpenSlide in part: {found.obstacle}."
        return through_openslide(
            path,
            self.vendor,
            pixels,
            reason + _blanks(found),
            levels,
            mpp,
            blanks_from_finer=self.blanks_from_finer,
        )

    def _without_asking(
        self, file: SlideFile, found: TiffSlide, levels: tuple[BlockTable, ...], mpp: tuple[float, float] | None
    ) -> Found:
        """Describe a file that OpenSlide opens, too, without having it opened: that takes longer than all the rest."""
        pixels = OpenSlideFile(file.path, self.vendor, found.sizes)
        return from_blocks(
            file.path,
            levels,
            f"The file is {self.kind} whose blocks any decoder can read.{_blanks(found)}",
            vendor=self.vendor,
            mpp=mpp or found.mpp,
            properties=pixels.properties,
            pixels=pixels,
            blanks_from_finer=self.blanks_from_finer,
        )

    def levels_of_openslide(self, found: TiffSlide, sizes: Sequence[tuple[int, int]]) -> tuple[BlockTable | None, ...]:
        """Return the levels that OpenSlide sees, of these sizes in pixels, by their blocks; none if it sees others."""
        return found.levels if found.sizes == tuple(sizes) else ()

    def _unknown_to_openslide(self, file: SlideFile, found: TiffSlide, mpp: tuple[float, float] | None) -> Found:
        """Read a big-endian TIFF, which OpenSlide does not take for a slide; blocks have no byte order."""
        kind = "a big-endian TIFF"
        if found.whole is None:
            raise SlideError(
                f"{file.path} cannot be read: it is {kind} that OpenSlide does not know, and {found.obstacle}, so its "
                "blocks cannot be decoded without OpenSlide. Convert it, for example: "
                f"{CONVERT.format(name=file.path.name)}."
            )
        reason = f"The file is {kind} whose blocks any decoder can read; OpenSlide does not know it."
        return self._by_blocks(file, found, found.whole, mpp, reason)

    def _by_blocks(
        self,
        file: SlideFile,
        found: TiffSlide,
        levels: tuple[BlockTable, ...],
        mpp: tuple[float, float] | None,
        reason: str,
        properties: dict[str, str] | None = None,
    ) -> Found:
        return from_blocks(
            file.path,
            levels,
            reason + _blanks(found),
            vendor=self.vendor,
            mpp=mpp or found.mpp,
            properties=properties or found.properties,
        )


def _blanks(found: TiffSlide) -> str:
    """Blocks left out by the writer, or whose byte counts were lost: nobody can tell, so it is said."""
    if not found.without_bytes:
        return ""
    return f" Blocks with a place in the file but no bytes count as blank: {found.without_bytes}."
