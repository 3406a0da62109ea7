"""OME-TIFF: microns per pixel with their unit, channels, and pyramids in SubIFDs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from slide_files import directory, picture, write_tiff

from cellmix_dali import open_slide, read_tiles
from cellmix_dali.errors import SlideError
from cellmix_dali.slides.inspection import inspect_slide
from cellmix_dali.slides.ome import read_ome

PICTURE = picture(320, 256)


def xml(attributes: str, inside: str = '<Channel ID="Channel:0" SamplesPerPixel="3"/>', size: str = "") -> str:
    size = size or 'SizeX="320" SizeY="256" SizeC="3"'
    return (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        f'<Image ID="Image:0"><Pixels ID="Pixels:0" {size} SizeZ="1" SizeT="1" Type="uint8" {attributes}>'
        f"{inside}</Pixels></Image></OME>"
    )


def sizes(x: str, y: str, unit: str | None) -> str:
    units = "" if unit is None else f' PhysicalSizeXUnit="{unit}" PhysicalSizeYUnit="{unit}"'
    return f'PhysicalSizeX="{x}" PhysicalSizeY="{y}"{units}'


@pytest.mark.parametrize(
    ("x", "y", "unit"),
    [
        ("0.25", "0.26", None),
        ("0.25", "0.26", "\u00b5m"),
        ("0.25", "0.26", "\u03bcm"),
        ("0.25", "0.26", "um"),
        ("250", "260", "nm"),
        ("2500", "2600", "\u00c5"),
        ("2.5e5", "2.6e5", "pm"),
        ("0.00025", "0.00026", "mm"),
        ("0.000025", "0.000026", "cm"),
        ("2.5e-7", "2.6e-7", "m"),
        (repr(0.25 / 25400), repr(0.26 / 25400), "in"),
    ],
)
def test_physical_sizes_are_microns_whatever_their_unit(tmp_path: Path, x: str, y: str, unit: str | None) -> None:
    found = write_tiff(
        tmp_path / "slide.ome.tif", [directory(PICTURE, description=xml(sizes(x, y, unit)), pixels_per_cm=10000)]
    )
    with open_slide(found) as slide:
        assert slide.route == "direct"
        assert slide.mpp == pytest.approx((0.25, 0.26))  # not the tags' 1


def test_each_side_has_its_own_unit() -> None:
    text = xml('PhysicalSizeX="250" PhysicalSizeXUnit="nm" PhysicalSizeY="0.25"')
    ome = read_ome(text, 320, 256)
    assert ome is not None
    assert ome.mpp == pytest.approx((0.25, 0.25))


@pytest.mark.parametrize(
    "attributes",
    [
        "",
        sizes("1", "1", "pixel"),
        sizes("1", "1", "reference frame"),
        sizes("0", "0", "nm"),
        sizes("-1", "-1", None),
        sizes("nan", "nan", None),
        sizes("inf", "inf", None),
        sizes("half", "half", None),
        'PhysicalSizeX="0.25"',
    ],
)
def test_without_a_length_the_resolution_tags_count(tmp_path: Path, attributes: str) -> None:
    path = write_tiff(
        tmp_path / "slide.ome.tif", [directory(PICTURE, description=xml(attributes), pixels_per_cm=20000)]
    )
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx((0.5, 0.5))


def test_openslides_way_has_the_same_mpp(tmp_path: Path) -> None:
    path = tmp_path / "slide.ome.tif"
    text = xml(sizes("250", "250", "nm")).encode()
    tifffile.imwrite(path, PICTURE, tile=(64, 64), compression="zlib", photometric="rgb", description=text)
    with open_slide(path) as slide:
        assert slide.route == "openslide"
    assert inspect_slide(path)["mpp"] == pytest.approx(0.25)


def test_what_is_no_ome_xml_says_nothing() -> None:
    good = xml(sizes("0.25", "0.25", None))
    assert read_ome(good, 320, 256) is not None
    assert read_ome(good, 100, 100) is None  # of another picture
    for text in (
        "",
        "Aperio Image Library",
        good[:-9],
        "<other/>",
        good.replace("<OME", "<!DOCTYPE OME><OME"),
        "<svg>" + good[38:] + "</svg>",
    ):
        assert read_ome(text, 320, 256) is None, text


@pytest.mark.parametrize(("size", "count"), [('SizeC="4"', 4), ('SizeC="many"', 2), ("", 2)])
def test_channels_are_counted_where_their_number_is_not_said(size: str, count: int) -> None:
    channels = '<Channel ID="Channel:0" Name="DAPI"/><Channel ID="Channel:1"/>'
    ome = read_ome(xml("", channels, f'SizeX="320" SizeY="256" {size}'), 320, 256)
    assert ome is not None
    assert (ome.channels, ome.names) == (count, ("DAPI",))
    assert ome.mpp is None


def test_the_picture_is_found_among_several() -> None:
    first = xml(sizes("9", "9", None), size='SizeX="50" SizeY="60" SizeC="3"')
    second = xml(sizes("0.25", "0.25", None))
    start, end = second.index("<Image"), second.index("</OME>")
    ome = read_ome(first.replace("</OME>", second[start:end] + "</OME>"), 320, 256)
    assert ome is not None
    assert ome.mpp == (0.25, 0.25)


def test_one_channel_of_several_is_refused_with_the_channels_names(tmp_path: Path) -> None:
    channels = "".join(f'<Channel ID="Channel:0:{i}" Name="{name}"/>' for i, name in enumerate(("DAPI", "CD8")))
    text = xml("", channels, 'SizeX="320" SizeY="256" SizeC="2"')
    path = tmp_path / "slide.ome.tif"
    options = {"tile": (64, 64), "compression": "zlib", "photometric": "minisblack", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(PICTURE[..., 0], description=text, **options)
        file.write(PICTURE[..., 1], **options)
    with pytest.raises(SlideError, match=r"2 channels \(DAPI, CD8\), of which the first picture has 1"):
        open_slide(path)


def write_subifds(path: Path, *, compression: str | int, byteorder: str = "<") -> Path:
    """An OME-TIFF whose levels 1 and 2 are SubIFDs of the first directory."""
    with tifffile.TiffWriter(path, byteorder=byteorder) as file:
        for step in (1, 2, 4):
            level = np.ascontiguousarray(PICTURE[::step, ::step])
            data = level if compression == "zlib" else iter(directory(level).blocks)
            file.write(
                data,
                shape=level.shape,
                dtype=level.dtype,
                tile=(64, 64),
                compression=compression,
                photometric="rgb" if compression == "zlib" else "ycbcr",
                subifds=2 if step == 1 else None,
                subfiletype=0 if step == 1 else 1,
                description=xml(sizes("0.5", "0.5", None)) if step == 1 else None,
                metadata=None,
            )
    return path


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_subifds_are_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, byteorder: str) -> None:
    # tifffile writes blocks that are JPEG already as they are, but looks for an encoder that is not installed.
    monkeypatch.setitem(tifffile.TIFF.COMPRESSORS._codecs, 7, None)
    path = write_subifds(tmp_path / "slide.ome.tif", compression=7, byteorder=byteorder)
    with open_slide(path) as slide:
        assert slide.route == "direct"
        assert [(level.width, level.height, level.downsample) for level in slide.levels] == [
            (320, 256, 1), (160, 128, 2), (80, 64, 4)
        ]  # fmt: skip
        assert slide.mpp == (0.5, 0.5)
        np.testing.assert_array_equal(slide.thumbnail(80), slide.read_region(2, 0, 0, 80, 64))
    for number, step in enumerate((1, 2, 4)):
        tiles = read_tiles(path, [(0, 0), (128, 64)], 64, level=number)
        same = read_tiles(
            write_tiff(tmp_path / "flat.tiff", [directory(np.ascontiguousarray(PICTURE[::step, ::step]))]),
            [(0, 0), (128 // step, 64 // step)],
            64,
        )
        np.testing.assert_array_equal(tiles, same)


def test_subifds_that_only_openslide_could_read_are_said_to_be_left_out(tmp_path: Path) -> None:
    path = write_subifds(tmp_path / "slide.ome.tif", compression="zlib")
    with open_slide(path) as slide, openslide.OpenSlide(path) as other:
        assert slide.route == "openslide"
        assert len(slide.levels) == other.level_count == 1
        assert "It does not see the file's 2 lower levels (SubIFDs)" in slide.reason
    (tile,) = read_tiles(path, [(0, 0)], 256)
    np.testing.assert_array_equal(tile, PICTURE[:, :256])
