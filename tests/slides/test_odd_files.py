"""The folder of odd slides: every file is read as OpenSlide reads it, or refused with its true reason."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image
from slide_files import Pixels

from cellmix_dali import open_slide, read_tiles
from cellmix_dali.errors import SlideError

Odd = Callable[[str], Path]


def over_white(image: Image.Image) -> Pixels:
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image).convert("RGB"))


def decoded(path: Path, page: tifffile.TiffPage, number: int) -> Pixels:
    """A block that is a whole JPEG."""
    offset, count = page.dataoffsets[number], page.databytecounts[number]
    return np.asarray(Image.open(io.BytesIO(path.read_bytes()[offset : offset + count])).convert("RGB"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("c-gray16-fluo12bit.tiff", "level 0 has 16 bits per sample"),
        ("c-rgb16-12bitdata.tiff", "level 0 has 16 bits per sample"),
        ("g-ome-5ch-fluo16.ome.tif", "level 0 has 16 bits per sample"),
        ("g-ome-3page-rgb.ome.tif", "OME-XML speaks of 3 channels"),
        ("a-jpeg-cmyk.tiff", "four inks"),
        ("c-orient3-lzw.tiff", "turned by 180 degrees"),
        ("tile-width-2e9.tiff", "2092904408 x 64 pixels, and a block may have 67108864"),
        ("one-block-32768.tiff", "32768 x 32768 pixels, and a block may have 67108864"),
    ],
)
def test_what_would_be_shown_wrongly_is_refused_with_its_reason(odd: Odd, run, name: str, reason: str) -> None:
    path = odd(name)
    with pytest.raises(SlideError, match=reason):
        open_slide(path)
    code, _, err = run("inspect", path)
    assert code != 0
    assert reason in " ".join(err.split())
    with pytest.raises(SlideError, match=reason):
        read_tiles(path, [(0, 0)], 64)


@pytest.mark.parametrize(
    ("name", "route"),
    [
        ("a-jpeg-trail-junk.tiff", "direct"),
        ("d-count0-offset.tiff", "direct"),
        ("e-aperio-l1-zerolen.svs", "direct"),
        ("g-ome-mpp-in-xml.ome.tif", "direct"),
        ("hamamatsu.ndpi", "direct"),
        ("philips.tiff", "direct"),
        ("leica.scn", "direct"),
    ],
)
def test_all_levels_have_the_pixels_of_openslide(odd: Odd, name: str, route: str) -> None:
    path = odd(name)
    with open_slide(path) as slide, openslide.OpenSlide(path) as other:
        assert slide.route == route
        assert [(level.width, level.height) for level in slide.levels] == list(other.level_dimensions)
        for number, level in enumerate(slide.levels):
            left, top = (1200, 1100) if name == "leica.scn" and number == 0 else (0, 0)
            wide, high = min(level.width - left, 1024), min(level.height - top, 1024)
            places = [(left + x, top + y) for y in range(0, high, 200) for x in range(0, wide, 200)]
            places = [(round(x * level.downsample), round(y * level.downsample)) for x, y in places]
            tiles = read_tiles(path, places, 200, level=number)
            for place, tile in zip(places, tiles, strict=True):
                np.testing.assert_array_equal(tile, over_white(other.read_region(place, number, (200, 200))))


def test_blocks_that_lost_their_byte_count_are_said_to_be_blank(odd: Odd) -> None:
    with open_slide(odd("d-count0-offset.tiff")) as slide:
        assert "Blocks with a place in the file but no bytes count as blank: 10." in slide.reason


def test_a_big_endian_tiff_is_read_although_openslide_does_not_know_it(odd: Odd) -> None:
    path = odd("a-bigendian-tifffile-jpeg.tif")
    with open_slide(path) as slide, tifffile.TiffFile(path) as file:
        assert slide.route == "direct"
        assert "big-endian" in slide.reason
        tiles = read_tiles(path, [(256 * x, 256 * y) for y in range(4) for x in range(4)], 256)
        for number, tile in enumerate(tiles):
            np.testing.assert_array_equal(tile, decoded(path, file.pages.first, number))


def test_the_subifds_of_an_ome_tiff_are_levels(odd: Odd, run) -> None:
    path = odd("g-ome-subifd.ome.tif")
    code, out, _ = run("inspect", "--json", path)
    info = json.loads(out)
    assert code == 0
    assert info["route"] == "direct"
    assert [(level["width"], level["height"]) for level in info["levels"]] == [
        (2220, 2967), (1110, 1484), (555, 742), (278, 371)
    ]  # fmt: skip
    assert "3 of its levels are SubIFDs" in info["reason"]
    with openslide.OpenSlide(path) as other:
        (tile,) = read_tiles(path, [(300, 500)], 600)
        np.testing.assert_array_equal(tile, over_white(other.read_region((300, 500), 0, (600, 600))))
    with tifffile.TiffFile(path) as file:
        for number, page in enumerate(file.pages.first.pages, start=1):
            (tile,) = read_tiles(path, [(0, 0)], 256, level=number)
            np.testing.assert_array_equal(tile, decoded(path, page, 0))


def test_mpp_is_taken_from_ome_xml(odd: Odd) -> None:
    with open_slide(odd("g-ome-mpp-in-xml.ome.tif")) as slide:
        assert slide.mpp == pytest.approx((0.25, 0.25))
