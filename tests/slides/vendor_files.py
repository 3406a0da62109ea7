"""Small slides of scanners' layouts, which OpenSlide takes for those of the vendor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from slide_files import Directory, Pixels, directory, jpeg, picture, write_tiff

__all__ = ["Region", "halved", "write_leica", "write_philips"]

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
    """Three levels of blocks of 64 px, padded to whole blocks: 384 x 256, 192 x 128, 128 x 64 (its picture: 96 x 64)."""
    pixels = picture(384, 256, seed=5) if pixels is None else pixels
    levels, tags = [pixels, halved(pixels), halved(halved(pixels))], []
    for number, level in enumerate(levels):
        down, across = (-(-side // 64) * 64 for side in level.shape[:2])
        padded = np.pad(level, ((0, down - level.shape[0]), (0, across - level.shape[1]), (0, 0)), constant_values=200)
        more: dict[str, Any] = {"subfiletype": 1} if number else {"description": philips_xml(len(levels)), "blank": blank}
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
    path: Path, regions: Sequence[Region], *, canvas: tuple[int, int] = (640, 520), z_planes: bool = False
) -> Path:
    """A macro, and regions of two levels (1:1 and 1:2) on a canvas of 250 nm a pixel, in blocks of 64 x 48 px."""
    nm = 250
    macro = directory(picture(80, 65, seed=9), 64, pixels_per_cm=4000)
    directories: list[Directory] = [macro]
    images = [_leica_image("macro", (0, 0, canvas[0] * nm, canvas[1] * nm), [(80, 65, 0, "")], "brightfield")]
    for number, region in enumerate(regions):
        height, width = region.pixels.shape[:2]
        dimensions = []
        for level in (region.pixels, halved(region.pixels)):
            for z in ("0", "1") if z_planes else ("",):
                directories.append(directory(level, 64, down=48, pixels_per_cm=40000))
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


def _leica_image(
    name: str, view: tuple[int, ...], dimensions: Sequence[tuple[int, int, int, str]], source: str
) -> str:
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
