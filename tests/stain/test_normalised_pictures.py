"""Tiles before and after, for a person: from which slides, at which resolution, and where in the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from slide_files import directory, write_tiff
from stained_images import stained

from cellmix_dali import open_slide
from cellmix_dali.errors import ArgumentError
from cellmix_dali.pictures import stains_picture
from cellmix_dali.previews import normalised_tiles
from cellmix_dali.stain import DensityFit, LabFit, SlideStain, StainSettings, StainTable
from cellmix_dali.stain.methods import Macenko


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of 320 x 240 px whose right half alone has tissue."""
    image = np.tile(stained(), (4, 4, 1))
    image[:, :160] = 245
    path = tmp_path_factory.mktemp("slide") / "slide.tiff"
    return write_tiff(path, [directory(image, pixels_per_cm=20000)])


def test_a_tile_of_tissue_is_shown_as_it_is_and_changed(slide: Path, image: NDArray[np.uint8]) -> None:
    settings = StainSettings(tile_size=64)
    fit, other = Macenko().fit(image), Macenko().fit(stained(seed=3))
    rows = [SlideStain(str(slide), fit), SlideStain("gone.tiff", fault="x", fault_kind="damaged")]
    table = StainTable(rows, settings.to_json())
    tiles = normalised_tiles(table, settings, target=other)
    assert tiles.names == ("slide.tiff",)
    assert tiles.before[0].shape == (64, 64, 3)
    assert tiles.before[0].mean() < 200  # not glass
    np.testing.assert_array_equal(tiles.after[0], fit.change_to(other).apply(tiles.before[0]))
    with open_slide(slide) as opened:
        whole = opened.read_region(0, 0, 0, 320, 240)
    places = [(y, x) for y in range(0, 240, 64) for x in range(0, 320, 64)]
    assert any(np.array_equal(whole[y : y + 64, x : x + 64], tiles.before[0]) for y, x in places)
    coarse = StainSettings(tile_size=64, mpp=1.0)
    assert normalised_tiles(table, coarse, target=other).before[0].shape == (64, 64, 3)
    listed = SlideStain(str(slide), fit, inputs='{"files": [], "mpp": 1.0}')
    finest = normalised_tiles(StainTable([listed], coarse.to_json()), coarse, target=other)
    assert any(np.array_equal(whole[y : y + 64, x : x + 64], finest.before[0]) for y, x in places)


def test_slides_are_spread_over_the_table(slide: Path, tmp_path: Path, image: NDArray[np.uint8]) -> None:
    fit = Macenko().fit(image)
    for number in range(5):
        (tmp_path / f"{number}.tiff").symlink_to(slide)
    rows = [SlideStain(str(tmp_path / f"{number}.tiff"), fit) for number in range(5)]
    table, settings = StainTable(rows, StainSettings().to_json()), StainSettings(tile_size=64)
    assert normalised_tiles(table, settings, count=3).names == ("0.tiff", "2.tiff", "4.tiff")
    assert len(normalised_tiles(table, settings).names) == 5
    with pytest.raises(ArgumentError, match="count=0"):
        normalised_tiles(table, settings, count=0)
    none = SlideStain("a", fault="x", fault_kind="damaged")
    with pytest.raises(ArgumentError, match="there is nothing to draw"):
        normalised_tiles(StainTable([none], StainSettings().to_json()), settings)


def test_the_picture_has_both_rows(tmp_path: Path) -> None:
    colours = np.array([[[10, 200, 90], [250, 240, 10]], [[90, 10, 250], [200, 30, 30]]], np.uint8)
    before, after = (np.broadcast_to(row[:, None, None], (2, 32, 32, 3)) for row in colours)
    stains_picture(tmp_path / "p.png", names=["a.svs", "b.svs"], before=before, after=after, title="title")
    with Image.open(tmp_path / "p.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    centres = [
        [np.argwhere(np.abs(pixels - colour).max(axis=-1) <= 2).mean(axis=0) for colour in row] for row in colours
    ]
    height, width = pixels.shape[:2]
    for row, of_row in enumerate(centres):
        for column, (y, x) in enumerate(of_row):
            assert (y > height / 2, x > width / 2) == (bool(row), bool(column))


def test_fits_of_another_kind_are_refused(slide: Path, image: NDArray[np.uint8]) -> None:
    table = StainTable([SlideStain(str(slide), LabFit([1, 2, 3], [1, 1, 1]))], StainSettings().to_json())
    with pytest.raises(ArgumentError, match="fit both by one method"):
        normalised_tiles(table, StainSettings(), target=Macenko().fit(image))
    assert isinstance(Macenko().fit(image), DensityFit)
