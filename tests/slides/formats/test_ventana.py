"""Ventana BIF: tiles that do not overlap are read directly."""

from __future__ import annotations

from pathlib import Path

import pytest
from against_openslide import same_as_openslide
from vendor_files import write_ventana

from cellmix_dali import open_slide


def test_levels(tmp_path: Path) -> None:
    with open_slide(write_ventana(tmp_path / "slide.bif")) as slide:
        assert (slide.format, slide.vendor, slide.route) == ("ventana", "ventana", "direct")
        assert slide.mpp == pytest.approx((0.465, 0.465))
        assert [(of.width, of.height, of.columns, of.rows) for of in slide.levels] == [
            (384, 256, 6, 4),
            (192, 128, 3, 2),
        ]
        assert all(of.covered is None for of in slide.levels)


@pytest.mark.parametrize(("side", "step"), [(64, 64), (50, 47)])
def test_pixels_are_those_of_openslide(tmp_path: Path, side: int, step: int) -> None:
    assert min(same_as_openslide(write_ventana(tmp_path / "slide.bif"), side, step)) > 5


def test_an_area_that_is_not_the_whole_grid(tmp_path: Path) -> None:
    path = write_ventana(tmp_path / "slide.bif", [(0, 0, 4, 3)])
    with open_slide(path) as slide:
        assert [(of.width, of.height, of.columns, of.rows) for of in slide.levels] == [
            (256, 192, 4, 3),
            (128, 96, 2, 2),
        ]
    same_as_openslide(path, 50, 31)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"overlap": (8, 0)}, "its tiles overlap"),
        ({"areas": [(2, 0, 4, 4)]}, "does not begin at the first tile"),
        ({"areas": [(0, 0, 2, 1), (0, 1, 6, 3)]}, "it has several areas"),
        ({"model": "VENTANA DP 200"}, "the DP 200 counts"),
    ],
)
def test_what_goes_through_openslide(tmp_path: Path, options: dict, words: str) -> None:
    path = write_ventana(tmp_path / "slide.bif", **options)
    with open_slide(path) as slide:
        assert slide.route == "openslide"
        assert words in slide.reason
    same_as_openslide(path, 50, 120)
