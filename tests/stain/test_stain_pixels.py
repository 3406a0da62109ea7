"""Pixels that a stain is fitted to: of tissue alone, at the resolution asked for, few enough, the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from slide_files import directory, write_tiff
from stained_images import stained

from cellmix_dali import open_slide
from cellmix_dali.errors import ArgumentError, NotReadError, SlideError
from cellmix_dali.slides import Slide
from cellmix_dali.stain import StainSettings
from cellmix_dali.stain.pixels import tissue_pixels
from cellmix_dali.tables.recipe import SlideFiles

WIDE, HIGH = 448, 320


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of 448 x 320 px whose left part is one colour and whose right part, from column 192 on, another."""
    pixels = np.full((HIGH, WIDE, 3), (250, 250, 250), np.uint8)
    pixels[:, :192] = (160, 60, 150)
    return write_tiff(
        tmp_path_factory.mktemp("flat") / "flat.tiff",
        [
            directory(pixels, side=64, pixels_per_cm=20000),
            directory(pixels[::2, ::2], side=64, pixels_per_cm=10000, subfiletype=1),
        ],
    )


def masked(folder: Path, inside: NDArray[np.bool_]) -> SlideFiles:
    Image.fromarray(inside.astype(np.uint8) * 255).save(folder / "flat.png")
    return SlideFiles(mask=folder / "flat.png")


def is_purple(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray(np.abs(pixels.astype(int) - (160, 60, 150)).max(axis=1) < 12)


def test_pixels_are_of_tissue_alone(flat: Path, tmp_path: Path) -> None:
    """Tiles of 128 px lie over the border at column 192: their pixels on glass are left out."""
    inside = np.zeros((HIGH // 4, WIDE // 4), bool)
    inside[:, : 192 // 4] = True
    with open_slide(flat) as slide:
        found = tissue_pixels(slide, StainSettings(tile_size=128), files=masked(tmp_path, inside))
        assert len(found.pixels) == 192 * HIGH
        assert is_purple(found.pixels).mean() > 0.99
        assert found.mpp == pytest.approx(0.5)
        part = inside.copy()
        part[:40] = False
        found = tissue_pixels(slide, StainSettings(tile_size=128), files=masked(tmp_path, part))
        assert len(found.pixels) == 192 * (HIGH - 160)


def test_a_mask_that_begins_elsewhere_and_axes_are_told_apart(flat: Path, tmp_path: Path) -> None:
    inside = np.zeros((HIGH // 4, WIDE // 4), bool)
    inside[10:20, 30:70] = True  # rows 40 to 80, columns 120 to 280
    with open_slide(flat) as slide:
        found = tissue_pixels(slide, StainSettings(tile_size=64, tissue=0.01), files=masked(tmp_path, inside))
    assert len(found.pixels) == 40 * 160
    assert is_purple(found.pixels).sum() == pytest.approx(40 * (192 - 120), abs=90)  # JPEG blurs the border


def test_the_resolution_is_the_one_asked_for(flat: Path, tmp_path: Path) -> None:
    files = masked(tmp_path, np.ones((HIGH, WIDE), bool))
    with open_slide(flat) as slide:
        for asked, mpp, count in (
            ({"level": 1}, 1.0, WIDE * HIGH // 4),
            ({"mpp": 1.0}, 1.0, WIDE * HIGH // 4),
            ({"mpp": 2.0}, 2.0, WIDE * HIGH // 16),  # level 1, made smaller
            ({}, 0.5, WIDE * HIGH),
        ):
            found = tissue_pixels(slide, StainSettings(tile_size=32, tiles=1000, **asked), files=files)  # type: ignore[arg-type]
            assert found.mpp == pytest.approx(mpp)
            assert len(found.pixels) == count
        own = tissue_pixels(slide, StainSettings(tile_size=32, mpp=1.0), mpp=0.25, files=files)
        assert own.mpp == pytest.approx(1.0)
        assert len(own.pixels) == WIDE * HIGH // 16  # its first level has 0.25


def test_few_enough_and_the_same_every_time(rendered_slide: Path) -> None:
    with open_slide(rendered_slide) as slide:
        usual = StainSettings(tile_size=128, tiles=5, pixels=3003)
        found = tissue_pixels(slide, usual).pixels
        assert 2000 < len(found) <= 3000  # 600 of each tile
        np.testing.assert_array_equal(tissue_pixels(slide, usual).pixels, found)
        for other in ({"seed": 1}, {"tiles": 6}, {"tile_size": 64}):
            settings = StainSettings(**{"tile_size": 128, "tiles": 5, "pixels": 3003, **other})  # type: ignore[arg-type]
            assert not np.array_equal(tissue_pixels(slide, settings).pixels, found)
        copy = rendered_slide.with_name("copy.tiff")
        copy.write_bytes(rendered_slide.read_bytes())
        with open_slide(copy) as same:
            np.testing.assert_array_equal(tissue_pixels(same, usual).pixels, found)


@pytest.fixture(scope="module")
def rendered_slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = np.tile(stained(), (9, 5, 1))[:512, :384]
    path = tmp_path_factory.mktemp("stained") / "stained.tiff"
    return write_tiff(path, [directory(image, side=128, pixels_per_cm=20000)])


def test_tiles_that_cannot_be_read_are_passed_over(rendered_slide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = StainSettings(tile_size=128, tiles=4)
    read, broken = Slide.read_region, set[tuple[int, int]]()

    def damaged(self: Slide, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        if width == 128 and (len(broken) < 3 or (x, y) in broken):
            broken.add((x, y))
            raise error
        return read(self, level, x, y, width, height)

    with open_slide(rendered_slide) as slide:
        whole = tissue_pixels(slide, settings).pixels
        monkeypatch.setattr(Slide, "read_region", damaged)
        error: SlideError = SlideError("a block is damaged")
        found = tissue_pixels(slide, settings).pixels
        assert len(broken) == 3
        assert len(found) > 3 * 128 * 128  # of other tiles
        assert len(whole) == 4 * 128 * 128
        broken.clear()
        error = NotReadError("not just now")
        with pytest.raises(NotReadError, match="not just now"):
            tissue_pixels(slide, settings)
        monkeypatch.setattr(Slide, "read_region", lambda *_: (_ for _ in ()).throw(SlideError("all is damaged")))
        with pytest.raises(SlideError, match="all is damaged"):
            tissue_pixels(slide, settings, files=SlideFiles())


def test_a_slide_without_tissue(flat: Path, tmp_path: Path) -> None:
    nothing = masked(tmp_path, np.zeros((HIGH, WIDE), bool))
    with open_slide(flat) as slide:
        with pytest.raises(ArgumentError, match=r"has no stain to fit: none of its 4 tiles has 0\.1 of"):
            tissue_pixels(slide, StainSettings(), files=nothing)
        with pytest.raises(ArgumentError, match="none of its tiles has a pixel on tissue"):
            tissue_pixels(slide, StainSettings(tissue=0), files=nothing)


def test_settings_that_are_refused(tmp_path: Path) -> None:
    for given, words in (
        ({"tiles": 0}, "tiles"),
        ({"pixels": 255}, "pixels"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"method": "makenko"}, "Did you mean 'macenko'"),
        ({"classes": ("a",)}, "stains have no classes"),
        ({"tissue_method": lambda picture: picture[..., 0] < 200}, "workers import it"),
        ({"tissue": 1.1}, "tissue"),
        ({"mask": tmp_path / "nowhere"}, "no such folder"),
    ):
        with pytest.raises(ArgumentError, match=words):
            StainSettings(**given)  # type: ignore[arg-type]
    taken = StainSettings(tiles=1, pixels=256, seed=2**64 - 1, mask=tmp_path)
    assert taken.to_json()["mask"] == str(tmp_path)
    assert taken.to_json()["method"] == "macenko"
