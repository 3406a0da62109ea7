"""QPTIFF: a tiled TIFF whose XML says the objective; and levels that differ in compression."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from against_openslide import same_as_openslide
from slide_files import Pixels, directory, picture, write_tiff
from vendor_files import halved

from cellmix_dali import open_slide
from cellmix_dali.errors import SlideError
from cellmix_dali.slides.resolution import objective_power

FINE = picture(300, 200, seed=4)


def xml(kind: str, objective: str = "<Objective>20x</Objective>") -> str:
    return (
        '<?xml version="1.0" encoding="utf-16"?>\n<PerkinElmer-QPI-ImageDescription><DescriptionVersion>2'
        f"</DescriptionVersion><ImageType>{kind}</ImageType>{objective}</PerkinElmer-QPI-ImageDescription>"
    ).replace(' encoding="utf-16"', "")


def write(path: Path, *, objective: str = "<Objective>20x</Objective>", photometric: int = 6) -> Path:
    strip = directory(picture(75, 50), 75, down=50, tiled=False, description=xml("Thumbnail"))
    return write_tiff(
        path,
        [
            directory(FINE, pixels_per_cm=20000, description=xml("FullResolution", objective), photometric=photometric),
            strip,
            directory(halved(FINE), subfiletype=1, description=xml("ReducedResolution"), photometric=photometric),
        ],
    )


def test_qptiff(tmp_path: Path) -> None:
    path = write(tmp_path / "slide.qptiff")
    with open_slide(path) as slide:
        assert (slide.format, slide.vendor, slide.route) == ("qptiff", "generic-tiff", "direct")
        assert slide.mpp == pytest.approx((0.5, 0.5))
        assert objective_power(slide) == 20
        assert "a QPTIFF whose blocks any decoder can read" in slide.reason
    assert same_as_openslide(path, 50, 47) == [35, 12]


@pytest.mark.parametrize("objective", ["", "<Objective>none</Objective>", "<Objective></Objective>"])
def test_an_objective_that_is_not_said(tmp_path: Path, objective: str) -> None:
    with open_slide(write(tmp_path / "slide.qptiff", objective=objective)) as slide:
        assert slide.format == "qptiff"
        assert objective_power(slide) is None


def test_fluorescence_is_refused(tmp_path: Path) -> None:
    def grey(pixels: Pixels) -> bytes:
        return zlib.compress(np.ascontiguousarray(pixels[..., 0]).tobytes())

    page = {"encode": grey, "compression": 8, "photometric": 1, "samples": 1}
    pages = [directory(FINE, description=xml("FullResolution"), **page) for _ in range(3)]
    with pytest.raises(SlideError, match="3 grey pictures"):
        open_slide(write_tiff(tmp_path / "slide.qptiff", pages))


@pytest.mark.parametrize("packed", [0, 1])
def test_levels_that_differ_in_compression_go_by_level(tmp_path: Path, packed: int) -> None:
    deflate = {"encode": lambda pixels: zlib.compress(pixels.tobytes()), "compression": 8, "photometric": 2}
    levels = [directory(FINE, **(deflate if packed == 0 else {}))]
    levels.append(directory(halved(FINE), subfiletype=1, **(deflate if packed == 1 else {})))
    path = write_tiff(tmp_path / "slide.tiff", levels)
    with open_slide(path) as slide:
        assert slide.route == "direct"
        assert [of.block_width for of in slide.levels] == [None if number == packed else 64 for number in range(2)]
        assert f"Read through OpenSlide in part: the blocks of level {packed} are compressed with" in slide.reason
        with pytest.raises(SlideError, match=f"Level {packed} of .* has no blocks to hand out"):
            slide.block(packed, 0, 0)
    assert same_as_openslide(path, 50, 47) == [35, 12]
