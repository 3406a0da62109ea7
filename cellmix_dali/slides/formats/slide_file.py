"""A file that may be a slide, as formats see it: what several of them ask is found out once."""

from __future__ import annotations

from pathlib import Path

from cellmix_dali._cached import cached_property
from cellmix_dali.errors import SlideError
from cellmix_dali.slides.ome import Ome
from cellmix_dali.slides.openslide import detect_format
from cellmix_dali.slides.samples import ome_of
from cellmix_dali.slides.tiff_directories import broken, check_chain
from cellmix_dali.slides.tiff_pages import TiffFile

__all__ = ["SlideFile"]

_HEAD_BYTES = 1024


class SlideFile:
    """A file that may be a slide.

    Attributes
    ----------
    path : Path
        The file, absolute; it is there, and not empty.
    head : bytes
        Its first 1024 bytes, or all of a shorter file.
    vendor : str or None
        What OpenSlide takes it for; None where it knows no format for it. Found out when it is first asked for.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tiff: TiffFile | None = None
        with path.open("rb") as file:
            self.head = file.read(_HEAD_BYTES)

    @cached_property
    def vendor(self) -> str | None:  # noqa: D102
        found = detect_format(self.path)
        if found in (None, "generic-tiff"):
            # What no vendor's format is recognised in, perhaps since it could not be read: asked once more.
            found = detect_format(self.path)
        return found

    @property
    def is_tiff(self) -> bool:
        """Whether it begins as a TIFF or BigTIFF does (byte order, then 42 or 43)."""
        return self.head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

    @property
    def is_big_endian(self) -> bool:
        """Whether it begins as a big-endian TIFF or BigTIFF does."""
        return self.head[:4] in (b"MM\0*", b"MM\0+")

    @cached_property
    def chain_ends(self) -> bool:
        """Whether the chain of its TIFF directories ends within the file; a circle is a SlideError."""
        try:
            return check_chain(self.path)
        except ValueError as error:
            raise broken(self.path, error) from error

    @property
    def is_untiled(self) -> bool:
        """Whether it is a TIFF whose first picture is there and not tiled; a SlideError where that cannot be read."""
        if not self.is_tiff:
            return False
        file = self.tiff()
        try:
            return not file.pages[0].is_tiled
        except ValueError as error:
            raise broken(self.path, error) from error

    @cached_property
    def description(self) -> str:
        """The ImageDescription of its first TIFF directory, "" without one. A SlideError where it cannot be read."""
        file = self.tiff()
        try:
            return file.pages[0].description
        except ValueError as error:
            raise broken(self.path, error) from error

    @cached_property
    def ome(self) -> Ome | None:
        """What the OME-XML of its first TIFF directory says; None without one. A SlideError where it cannot be read."""
        file = self.tiff()
        try:
            return ome_of(file.pages[0])
        except (ValueError, OSError) as error:
            raise broken(self.path, error) from error

    def tiff(self) -> TiffFile:
        """Return the open TIFF, whose chain of directories is not a circle.

        Raises
        ------
        SlideError
            If its directories cannot be read.
        """
        if self._tiff is None:
            try:
                _ = self.chain_ends
                self._tiff = TiffFile(self.path)
            except SlideError:
                raise
            except (ValueError, OSError) as error:
                raise broken(self.path, error) from error
        return self._tiff

    def close(self) -> None:
        """Close the TIFF; it opens again when it is asked for."""
        if self._tiff is not None:
            self._tiff.close()
            self._tiff = None
