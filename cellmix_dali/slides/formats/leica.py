"""Leica SCN: a BigTIFF whose first description is XML of the namespace leica-microsystems.com/scn/2010/10/01.

The XML lays images on one canvas, the collection, in nanometres: each image has a view (size and offset) and, for each
of its levels, a directory (``dimension``, with ``ifd`` and the focal plane ``z``). An image that fills the collection
is the macro; the others are regions that were scanned apart, in brightfield or fluorescence. OpenSlide's levels are the
whole canvas: of each level it draws all brightfield regions where they lie, and nothing between them (white here).
Directories are tiled in JPEG.

A grid of blocks begins where its region does, which is no multiple of the block size. The blocks of the largest region
are read directly, for windows that lie in it; windows that reach beyond it, or lie in another region, go through
OpenSlide. So does a level on which the region begins between two pixels, where OpenSlide interpolates, and one on which
regions overlap.

Source: OpenSlide's page "Leica format", and what OpenSlide's reader makes of the XML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from xml.etree import ElementTree

from cellmix_dali.slides import samples
from cellmix_dali.slides.block_table import BlockTable
from cellmix_dali.slides.formats.registry import register_format
from cellmix_dali.slides.formats.slide_file import SlideFile
from cellmix_dali.slides.formats.tiled_tiff import TiledTiff
from cellmix_dali.slides.levels import Box
from cellmix_dali.slides.tiff import TiffSlide, read_tiff
from cellmix_dali.slides.tiff_pages import TiffFile, TiffPage
from cellmix_dali.slides.xml_text import read_xml, within

__all__ = ["Leica"]

_BETWEEN = 1 / 2048  # of a pixel, from which on OpenSlide may interpolate


class _Dimension(NamedTuple):
    """One level of an image."""

    ifd: int
    width: int
    height: int


@dataclass(frozen=True)
class _Image:
    """A brightfield region: its view in nanometres, its levels from the widest on."""

    x: int
    y: int
    width: int
    dimensions: tuple[_Dimension, ...]


@register_format
class Leica(TiledTiff):
    """Leica SCN."""

    name, rank, suffixes = "leica", 14, (".scn",)
    files = "Leica SCN"
    read = "JPEG blocks of the largest region go to DALI as they are; other regions, and its rim, through OpenSlide"
    since, tested = "0.1.0", "files written in its layout, which OpenSlide takes for the vendor's"

    vendor, kind = "leica", "a Leica SCN"
    known = frozenset()  # OpenSlide's levels are others than the directories

    def recognises(self, file: SlideFile) -> bool:  # noqa: D102
        return file.vendor == self.vendor

    def blocks(self, file: SlideFile) -> TiffSlide:  # noqa: D102
        try:
            images = _images(file.description)
        except (ValueError, KeyError, StopIteration):
            samples.check_tiff(file.path)
            return TiffSlide((), (), "its XML does not say where its regions lie", frozenset(), None, {})
        largest = max(images, key=_area)

        def levels(_: Sequence[TiffPage]) -> tuple[list[TiffPage], int]:
            return [_page(file.tiff(), of.ifd) for of in largest.dimensions], 0

        found = read_tiff(file.path, file.tiff(), levels)
        tables = tuple(
            of and _laid(of, _places(images, number), images.index(largest)) for number, of in enumerate(found.levels)
        )
        problem = None if any(tables) or found.obstacle else "no region begins at a whole pixel, apart from the others"
        return replace(found, levels=tables, obstacle=found.obstacle or problem)

    def levels_of_openslide(  # noqa: D102
        self, found: TiffSlide, sizes: Sequence[tuple[int, int]]
    ) -> tuple[BlockTable | None, ...]:
        if len(sizes) != len(found.levels):
            return ()
        return tuple(of and of.laid_on(*size) for of, size in zip(found.levels, sizes, strict=True))


def _images(description: str) -> list[_Image]:
    """The brightfield regions; an error where the XML does not say them."""
    root = read_xml(description)
    collection = next(within(root, "collection"), None) if root is not None else None
    if collection is None:
        raise ValueError("its XML has no collection")
    whole = tuple(int(collection.attrib[name]) for name in ("sizeX", "sizeY"))
    found = []
    for image in within(collection, "image"):
        view = next(within(image, "view"))
        x, y, width, height = (int(view.attrib[name]) for name in ("offsetX", "offsetY", "sizeX", "sizeY"))
        is_macro = (x, y, width, height) == (0, 0, *whole)
        if not is_macro and _illumination(image) == "brightfield":
            found.append(_Image(x, y, width, _dimensions(image)))
    numbers = {len(image.dimensions) for image in found}
    if len(numbers) != 1 or 0 in numbers or min(image.width for image in found) < 1:
        raise ValueError("its XML has no brightfield regions of the same levels")
    return found


def _dimensions(image: ElementTree.Element) -> tuple[_Dimension, ...]:
    """The levels of the first focal plane, the widest first."""
    own = [of.attrib for of in within(image, "dimension") if of.get("z", "0") == "0"]
    levels = [_Dimension(int(of["ifd"]), int(of["sizeX"]), int(of["sizeY"])) for of in own]
    if any(min(level) < 0 or level.width < 1 for level in levels):
        raise ValueError("its XML has a level of no width")
    return tuple(sorted(levels, key=lambda of: -of.width))


def _illumination(image: ElementTree.Element) -> str:
    return next((of.text or "" for of in within(image, "illuminationSource")), "")


def _area(image: _Image) -> int:
    return image.dimensions[0].width * image.dimensions[0].height


def _page(file: TiffFile, ifd: int) -> TiffPage:
    page = file.pages[ifd]
    if not page.is_tiled:
        raise ValueError(f"directory {ifd}, which its XML names, is not tiled")
    return page


class _Place(NamedTuple):
    """Where a region lies on a level, in pixels."""

    x: float
    y: float
    width: int
    height: int

    def touches(self, other: _Place) -> bool:
        across = self.x < other.x + other.width and other.x < self.x + self.width
        return across and self.y < other.y + other.height and other.y < self.y + self.height


def _places(images: Sequence[_Image], number: int) -> list[_Place]:
    """Where the regions lie on a level: one scale, that of the finest of them."""
    clicks = min(image.width / image.dimensions[number].width for image in images)
    return [_Place(image.x / clicks, image.y / clicks, *image.dimensions[number][1:]) for image in images]


def _laid(table: BlockTable, places: Sequence[_Place], own: int) -> BlockTable | None:
    """The region's blocks at its place; None where they cannot be laid so that the pixels are OpenSlide's."""
    place = places[own]
    if any(place.touches(other) for number, other in enumerate(places) if number != own):
        return None
    x, y = round(place.x), round(place.y)
    if max(abs(place.x - x), abs(place.y - y)) > _BETWEEN or min(x, y) < 0:
        return None
    return replace(table, covered=Box(x, y, table.width, table.height))
