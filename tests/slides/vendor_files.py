"""Small slides of scanners' layouts, which OpenSlide takes for those of the vendor."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from slide_files import Directory, Pixels, directory, jpeg, picture, write_tiff

__all__ = [
    "NdpiLevel",
    "Region",
    "halved",
    "ndpi_levels",
    "write_leica",
    "write_ndpi",
    "write_philips",
    "write_ventana",
]

SOFTWARE = 305


def halved(pixels: Pixels) -> Pixels:
    """A picture at half the size, up to rounding."""
    return np.ascontiguousarray(pixels[::2, ::2])


def _attribute(name: str, kind: str, value: str) -> str:
    return f'<Attribute Name="{name}" Group="0x0028" Element="0x0030" PMSVR="{kind}">{value}</Attribute>'


def _representation(number: int, mm: float) -> str:
    spacing = _attribute("DICOM_PIXEL_SPACING", "IDoubleArray", f'"{mm * 2**number}" "{mm * 2**number}"')
    return f'<DataObject ObjectType="PixelDataRepresentation">{spacing}</DataObject>'


def _array(name: str, content: str) -> str:
    return _attribute(name, "IDataObjectArray", f"<Array>{content}</Array>")


def philips_xml(levels: int, mm: float = 0.00025) -> str:
    """What Philips' scanners write into the first description."""
    sequence = "".join(_representation(number, mm) for number in range(levels))
    image = (
        _attribute("PIM_DP_IMAGE_TYPE", "IString", "WSI")
        + _attribute("DICOM_PIXEL_SPACING", "IDoubleArray", f'"{mm}" "{mm}"')
        + _array("PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE", sequence)
    )
    scanned = _array("PIM_DP_SCANNED_IMAGES", f'<DataObject ObjectType="DPScannedImage">{image}</DataObject>')
    return f'<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">{scanned}</DataObject>'


def write_philips(
    path: Path,
    *,
    pixels: Pixels | None = None,
    blank: Sequence[tuple[int, int]] = ((1, 1), (3, 2)),
    encode: Callable[[Pixels], bytes] = jpeg,
    big: bool = True,
) -> Path:
    """Three levels of blocks of 64 px, padded to whole ones: 384 x 256, 192 x 128, 128 x 64 (its picture: 96 x 64)."""
    pixels = picture(384, 256, seed=5) if pixels is None else pixels
    levels, tags = [pixels, halved(pixels), halved(halved(pixels))], []
    for number, level in enumerate(levels):
        down, across = (-(-side // 64) * 64 for side in level.shape[:2])
        padded = np.pad(level, ((0, down - level.shape[0]), (0, across - level.shape[1]), (0, 0)), constant_values=200)
        more: dict[str, Any] = (
            {"subfiletype": 1} if number else {"description": philips_xml(len(levels)), "blank": blank}
        )
        of = directory(padded, encode=encode, **more)
        of.more[SOFTWARE] = (2, b"Philips DP v1.0\0")
        tags.append(of)
    return write_tiff(path, tags, big=big)


class Region(NamedTuple):
    """A region of a Leica slide: its place on the canvas in pixels of level 0, and its picture there."""

    x: float
    y: float
    pixels: Pixels
    source: str = "brightfield"


def write_leica(
    path: Path,
    regions: Sequence[Region],
    *,
    canvas: tuple[int, int] = (640, 520),
    block: tuple[int, int] = (64, 48),
    z_planes: bool = False,
) -> Path:
    """A macro, and regions of two levels (1:1 and 1:2) on a canvas of 250 nm a pixel."""
    nm = 250
    macro = directory(picture(80, 65, seed=9), 64, pixels_per_cm=4000)
    directories: list[Directory] = [macro]
    images = [_leica_image("macro", (0, 0, canvas[0] * nm, canvas[1] * nm), [(80, 65, 0, "")], "brightfield")]
    for number, region in enumerate(regions):
        height, width = region.pixels.shape[:2]
        dimensions = []
        for level in (region.pixels, halved(region.pixels)):
            for z in ("0", "1") if z_planes else ("",):
                directories.append(directory(level, block[0], down=block[1], pixels_per_cm=40000))
                dimensions.append((*level.shape[1::-1], len(directories) - 1, z))
        view = round(region.x * nm), round(region.y * nm), width * nm, height * nm
        images.append(_leica_image(f"image_{number}", view, dimensions, region.source))
    macro.description = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'
        f'<collection name="c" sizeX="{canvas[0] * nm}" sizeY="{canvas[1] * nm}"><barcode>MTIz</barcode>'
        + "".join(images)
        + "</collection></scn>"
    )
    return write_tiff(path, directories, big=True)


def _leica_image(name: str, view: tuple[int, ...], dimensions: Sequence[tuple[int, int, int, str]], source: str) -> str:
    x, y, width, height = view
    levels = "".join(
        f'<dimension sizeX="{w}" sizeY="{h}" r="0" ifd="{ifd}"' + (f' z="{z}"' if z else "") + "/>"
        for w, h, ifd, z in dimensions
    )
    return (
        f'<image name="{name}"><creationDate>2012-01-01</creationDate><device model="SCN400" version="1"/>'
        f'<pixels sizeX="{dimensions[0][0]}" sizeY="{dimensions[0][1]}">{levels}</pixels>'
        f'<view sizeX="{width}" sizeY="{height}" offsetX="{x}" offsetY="{y}"/><scanSettings><objectiveSettings>'
        "<objective>20</objective></objectiveSettings><illuminationSettings><numericalAperture>0.4</numericalAperture>"
        f"<illuminationSource>{source}</illuminationSource></illuminationSettings></scanSettings></image>"
    )


@dataclass
class NdpiLevel:
    """One directory of an NDPI file: a JPEG and its size; lens -1 is the macro."""

    width: int
    height: int
    jpeg: bytes
    lens: float = 20.0
    plane: int = 0
    starts: list[int] | None = None


def restarted(pixels: Pixels, units: int, *, subsampling: int = 1) -> bytes:
    """A JPEG with a restart marker after so many units (0: without any); 4:2:2, units of 16 x 8, unless told."""
    out = io.BytesIO()
    more = {"restart_marker_blocks": units} if units else {}
    Image.fromarray(pixels).save(out, "jpeg", quality=88, subsampling=subsampling, **more)
    return out.getvalue()


def starts_of(stream: bytes) -> list[int]:
    """Where the restart intervals of a JPEG begin."""
    scan = stream.index(b"\xff\xda")
    first = scan + 2 + int.from_bytes(stream[scan + 2 : scan + 4], "big")
    return [first] + [found.end() for found in re.compile(rb"\xff[\xd0-\xd7]").finditer(stream, first)]


def ndpi_level(pixels: Pixels, units: int, **options: Any) -> NdpiLevel:
    """A level, with what McuStarts says of it."""
    stream = restarted(pixels, units, **options)
    return NdpiLevel(pixels.shape[1], pixels.shape[0], stream, starts=starts_of(stream) if units else None)


def ndpi_levels(pixels: Pixels | None = None, **options: Any) -> list[NdpiLevel]:
    """Two levels, 1:1 of four columns of intervals of 96 px and 1:4 of one, and a macro."""
    pixels = picture(384, 256, seed=7) if pixels is None else pixels
    small = halved(halved(pixels))
    macro = NdpiLevel(120, 40, restarted(picture(120, 40, seed=8), 0), lens=-1.0)
    return [ndpi_level(pixels, 6, **options), ndpi_level(small, 6, **options), macro]


def write_ndpi(path: Path, levels: Sequence[NdpiLevel] | None = None, *, hole: int = 0, high: bool = False) -> Path:
    """Write an NDPI file: pictures, each with its directory behind it; a hole of so many bytes before the first."""
    directories: list[tuple[int, int]] = []  # where each begins, and where the place of the next stands
    with path.open("wb") as out:
        out.write(b"II*\0" + bytes(8))
        out.seek(hole, 1)
        for level in ndpi_levels() if levels is None else levels:
            start = out.tell()
            out.write(level.jpeg)
            tags: dict[int, tuple[int, list[Any]]] = {
                256: (4, [level.width]), 257: (4, [level.height]), 258: (3, [8, 8, 8]), 259: (3, [7]), 262: (3, [6]),
                271: (2, list(b"Hamamatsu\0")), 273: (4, [start % 2**32]), 277: (3, [3]), 278: (4, [level.height]),
                279: (4, [len(level.jpeg)]), 282: (5, [40000, 1]), 283: (5, [40000, 1]), 284: (3, [1]), 296: (3, [3]),
                65420: (4, [1]), 65421: (11, [level.lens]), 65422: (9, [0]), 65423: (9, [0]), 65424: (9, [level.plane]),
            }  # fmt: skip
            if level.starts is not None:
                tags[65426] = (4, [of % 2**32 for of in level.starts])
                if high:
                    tags[65432] = (4, [of >> 32 for of in level.starts])
            entries, upper = [], b""
            for tag, (kind, values) in sorted(tags.items()):
                letter = {2: "B", 3: "H", 4: "I", 5: "I", 9: "i", 11: "f"}[kind]
                data = struct.pack(f"<{len(values)}{letter}", *values)
                place = data.ljust(8, b"\0")
                if tag == 273:
                    place = struct.pack("<Q", start)
                if len(data) > 4:
                    place = struct.pack("<Q", out.tell())
                    out.write(data)
                entries.append(struct.pack("<HHI", tag, kind, len(values) // (2 if kind == 5 else 1)) + place[:4])
                upper += place[4:]
            out.write(bytes(out.tell() % 2))
            directories.append((out.tell(), out.tell() + 2 + 12 * len(entries)))
            out.write(struct.pack("<H", len(entries)) + b"".join(entries) + bytes(8) + upper)
        link = 4
        for begin, following in directories:
            out.seek(link)
            out.write(struct.pack("<Q", begin))
            link = following
    return path


def _joints(across: int, down: int, overlap: tuple[int, int]) -> str:
    """Joints of an area's tiles: numbered from the lower left on, every second row from the right."""

    def number(column: int, row: int) -> int:
        from_below = down - 1 - row
        return from_below * across + (across - 1 - column if from_below % 2 else column) + 1

    found = []
    for row in range(down):
        for column in range(across):
            if column + 1 < across:
                found.append(("RIGHT", number(column, row), number(column + 1, row), overlap[0], 0))
            if row > 0:
                found.append(("UP", number(column, row), number(column, row - 1), 0, overlap[1]))
    return "".join(
        f'<TileJointInfo FlagJoined="1" Confidence="99" Direction="{way}" Tile1="{one}" Tile2="{two}" OverlapX="{x}" '
        f'OverlapY="{y}"/>'
        for way, one, two, x, y in found
    )


def write_ventana(
    path: Path,
    areas: Sequence[tuple[int, int, int, int]] = ((0, 0, 6, 4),),
    *,
    overlap: tuple[int, int] = (0, 0),
    model: str = "iScan Coreo",
    pixels: Pixels | None = None,
) -> Path:
    """A label, and levels of 20x and 10x in tiles of 64 px; areas as column, row, columns and rows of the first."""
    pixels = picture(384, 256, seed=11) if pixels is None else pixels
    stitch = "".join(
        f'<ImageInfo AOIScanned="1" AOIIndex="{number}" Width="64" Height="64" NumRows="{rows}" NumCols="{columns}" '
        f'Pos-X="0" Pos-Y="0">{_joints(columns, rows, overlap)}</ImageInfo>'
        for number, (_, _, columns, rows) in enumerate(areas)
    )
    origins = "".join(f'<AOI{n} OriginX="{64 * x}" OriginY="{64 * y}"/>' for n, (x, y, _, _) in enumerate(areas))
    info = (
        '<EncodeInfo Ver="2"><SlideInfo/><SlideStitchInfo ServerDir="" ImageCount="1">'
        f"{stitch}</SlideStitchInfo><AoiOrigin>{origins}</AoiOrigin></EncodeInfo>"
    )
    scan = f'<iScan Z-layers="1" Magnification="20" ScanRes="0.465" ScannerModel="{model}" UnitNumber="1"/>'
    label = directory(picture(40, 30), 40, down=30, tiled=False, description="Label Image")
    levels = [
        directory(pixels, description="level=0 mag=20 quality=90"),
        directory(halved(pixels), description="level=1 mag=10 quality=90", subfiletype=1),
    ]
    for of, xml in ((label, scan), (levels[0], info)):
        of.more[700] = (7, xml.encode() + b"\0")
    return write_tiff(path, [label, *levels], big=True)
