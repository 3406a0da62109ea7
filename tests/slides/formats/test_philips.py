"""Philips TIFF: padded levels, blank blocks, and OpenSlide's pixels."""

from __future__ import annotations

from pathlib import Path

import pytest
from against_openslide import same_as_openslide
from slide_files import jpeg, without
from vendor_files import write_philips

from cellmix_dali import open_slide
from cellmix_dali.errors import SlideError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_philips(tmp_path / "slide.tiff")


def test_levels(path: Path) -> None:
    with open_slide(path) as slide:
        assert (slide.format, slide.vendor, slide.route) == ("philips", "philips", "direct")
        assert slide.mpp == pytest.approx((0.25, 0.25))
        sizes = [(of.width, of.height, of.columns, of.rows, of.downsample) for of in slide.levels]
        assert sizes == [(384, 256, 6, 4, 1.0), (192, 128, 3, 2, 2.0), (96, 64, 2, 1, 4.0)]
        assert slide.properties["philips.PIM_DP_IMAGE_TYPE"] == "WSI"
        assert slide.block(0, 1, 1) is None
        assert slide.block(2, 1, 0) is not None


@pytest.mark.parametrize(("side", "step"), [(64, 64), (50, 41)])
@pytest.mark.parametrize("big", [False, True])
def test_pixels_are_those_of_openslide(tmp_path: Path, side: int, step: int, big: bool) -> None:
    """On the grid and off it, over blank blocks, over the padding that is cut off, and over the edges."""
    path = write_philips(tmp_path / "slide.tiff", big=big)
    assert min(same_as_openslide(path, side, step)) > 1


def test_a_file_of_the_scanner(odd) -> None:
    assert len(same_as_openslide(odd("philips.tiff"), 512, 512)) == 4
    same_as_openslide(odd("philips.tiff"), 150, 610, levels=[0, 2])


def test_a_block_without_its_tables_is_refused(tmp_path: Path) -> None:
    path = write_philips(tmp_path / "slide.tiff", encode=lambda pixels: without(jpeg(pixels), 0xDB))
    with pytest.raises(SlideError, match="quantisation tables are neither in the block nor"):
        open_slide(path)
