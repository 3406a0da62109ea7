"""Ventana BIF: a TIFF or BigTIFF of tiles as the camera took them, which may overlap.

The first directory is the label, with the XML of the scanner (root iScan) in its XMP tag (700). Levels are tiled and
described as "level=N mag=M quality=Q"; level 0 has a second XML (root EncodeInfo) that says which areas of the grid of
tiles were scanned (ImageInfo, AoiOrigin), and by how much neighbours overlap (TileJointInfo, with a confidence). From
the mean overlap OpenSlide works out how far apart tiles are, and draws the tiles of the scanned areas so.

Where nothing overlaps and there is one area, from the first tile on, tiles are as far apart as they are wide and high,
and blocks are read directly. All else, and the DP 200, which counts its areas in another way, goes through OpenSlide.

Source: OpenSlide's page "Ventana format", and what OpenSlide's reader makes of the XML.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from cellmix_dali.slides import samples
from cellmix_dali.slides.block_table import BlockTable
from cellmix_dali.slides.formats.registry import register_format
from cellmix_dali.slides.formats.slide_file import SlideFile
from cellmix_dali.slides.formats.tiled_tiff import TiledTiff
from cellmix_dali.slides.tiff import TiffSlide, read_tiff
from cellmix_dali.slides.tiff_pages import TiffFile, TiffPage
from cellmix_dali.slides.xml_text import name_of, read_xml, within

__all__ = ["Ventana"]

_XMP = 700
_LEVEL = re.compile(r"(?:^|\s)level=(\d+)(?:\s|$)")
_MAGNIFICATION = re.compile(r"(?:^|\s)mag=(\d+(?:\.\d+)?)(?:\s|$)")
_OTHER_SCANNER = "DP 200"


@register_format
class Ventana(TiledTiff):
    """Ventana BIF."""

    name, rank, suffixes = "ventana", 15, (".bif",)
    files = "Ventana BIF"
    read = "one area whose tiles do not overlap: JPEG blocks go to DALI as they are; else through OpenSlide"
    since, tested = "0.1.0", "files written in its layout, which OpenSlide takes for the vendor's"

    vendor, kind = "ventana", "a Ventana BIF without overlaps"
    known = frozenset()  # OpenSlide's levels are others than the directories

    def recognises(self, file: SlideFile) -> bool:  # noqa: D102
        return file.is_tiff and file.vendor == self.vendor

    def blocks(self, file: SlideFile) -> TiffSlide:  # noqa: D102
        try:
            levels = _levels(file.tiff())
            columns, rows = _only_area(file.tiff(), levels)
        except (ValueError, KeyError, StopIteration, TypeError) as error:
            samples.check_tiff(file.path)
            return TiffSlide((), (), str(error) or "its XML is not as expected", frozenset(), None, {})

        def pages(_: Sequence[TiffPage]) -> tuple[list[TiffPage], int]:
            return [page for page, _ in levels], 0

        found = read_tiff(file.path, file.tiff(), pages)
        scales = [levels[0][1] / magnification for _, magnification in levels]
        tables = tuple(of and _laid(of, columns, rows, scale) for of, scale in zip(found.levels, scales, strict=True))
        return replace(found, levels=tables, sizes=tuple((of.width, of.height) if of else (0, 0) for of in tables))

    def levels_of_openslide(  # noqa: D102
        self, found: TiffSlide, sizes: Sequence[tuple[int, int]]
    ) -> tuple[BlockTable | None, ...]:
        if len(sizes) != len(found.levels):
            return ()
        pairs = zip(found.levels, found.sizes, sizes, strict=True)
        return tuple(of if own == size else None for of, own, size in pairs)


def _levels(file: TiffFile) -> list[tuple[TiffPage, float]]:
    """The levels' directories and magnifications, level 0 first; a ValueError where they are not in order."""
    found: list[tuple[TiffPage, float]] = []
    for page in file.pages:
        level, magnification = _LEVEL.search(page.description), _MAGNIFICATION.search(page.description)
        if level is None or magnification is None:
            continue
        if int(level.group(1)) != len(found) or not page.is_tiled:
            raise ValueError("its levels are not tiled, or not in order")
        found.append((page, float(magnification.group(1))))
    if not found or min(magnification for _, magnification in found) <= 0:
        raise ValueError("it has no levels")
    return found


def _xml(page: TiffPage) -> str:
    value = page.value(_XMP, b"")
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _only_area(file: TiffFile, levels: Sequence[tuple[TiffPage, float]]) -> tuple[int, int]:
    """Columns and rows of the only scanned area; a ValueError where its tiles overlap, or it is not the only one."""
    if _OTHER_SCANNER in _xml(file.pages[0]):
        raise ValueError(f"the {_OTHER_SCANNER} counts its areas in another way")
    root = read_xml(_xml(levels[0][0]))
    if root is None or name_of(root) != "EncodeInfo":
        raise ValueError("level 0 has no XML of its areas")
    areas = []
    origins = list(next(within(root, "AoiOrigin")))
    for info, origin in zip(within(next(within(root, "SlideStitchInfo")), "ImageInfo"), origins, strict=True):
        if not int(info.attrib["AOIScanned"]):
            continue
        for joint in within(info, "TileJointInfo"):
            if int(joint.attrib["Confidence"]) and (int(joint.attrib["OverlapX"]) or int(joint.attrib["OverlapY"])):
                raise ValueError("its tiles overlap")
        areas.append([int(origin.attrib[f"Origin{axis}"]) for axis in "XY"])
        areas[-1] += [int(info.attrib[name]) for name in ("NumCols", "NumRows")]
    if len(areas) != 1 or areas[0][:2] != [0, 0] or min(areas[0][2:]) < 1:
        raise ValueError("it has several areas, or one that does not begin at the first tile")
    return areas[0][2], areas[0][3]


def _laid(table: BlockTable, columns: int, rows: int, scale: float) -> BlockTable | None:
    """The blocks of the area on a level; None where a tile of level 0 is no whole number of its pixels."""
    wide, high, factor = table.block_width, table.block_height, round(scale)
    if factor != scale or factor < 1 or wide % factor or high % factor:
        return None
    width, height = columns * wide // factor, rows * high // factor
    return table.cropped(width, height) if width <= table.width and height <= table.height else None
