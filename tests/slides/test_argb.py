"""OpenSlide's pixels over white: those of openslide-python, for every alpha and colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import openslide
import pytest
from numpy.typing import NDArray
from openslide import _convert

from cellmix_dali.errors import SlideError
from cellmix_dali.slides._argb import over_white
from cellmix_dali.slides.openslide import OpenSlideFile


def blended(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Over white, rounded to nearest."""
    alpha = rgba[..., 3:].astype(np.int64)
    return ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


@pytest.mark.parametrize("opaque", [False, True])
def test_every_alpha_and_colour(opaque: bool) -> None:
    alpha, colour = np.meshgrid(np.arange(256, dtype=np.uint32), np.arange(256, dtype=np.uint32), indexing="ij")
    alpha, colour = alpha[colour <= alpha], colour[colour <= alpha]  # premultiplied
    if opaque:
        alpha, colour = np.full(256, 255, np.uint32), np.arange(256, dtype=np.uint32)
    pixels = alpha << 24 | colour << 16 | (alpha - colour) << 8 | colour // 2
    theirs = pixels.copy()
    _convert.argb2rgba(theirs)
    rgb = np.empty(3 * pixels.size, np.uint8)
    over_white(pixels, rgb)
    np.testing.assert_array_equal(rgb.reshape(-1, 3), blended(theirs.view(np.uint8).reshape(-1, 4)))


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "gcp-camelyon-multiframe-jpeg.dcm"])
def test_regions_of_any_size_in_and_over_the_slide(real: Callable[[str], Path], name: str) -> None:
    path = real(name)
    with openslide.OpenSlide(path) as slide:
        file = OpenSlideFile(path, slide.properties["openslide.vendor"])
        wide, high = slide.dimensions
        for place, size in (
            ((0, 0), (300, 200)),
            ((33, 77), (1, 1)),
            ((-20, -30), (64, 100)),
            ((wide - 10, high - 20), (50, 33)),
            ((wide + 5, 0), (8, 8)),
        ):
            want = blended(np.asarray(slide.read_region(place, 0, size)))
            np.testing.assert_array_equal(file.read_region(0, place, size), want)
    file.close()


def test_an_error_is_told_and_the_next_read_is_right(
    real: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from cellmix_dali.slides import openslide as own

    file = OpenSlideFile(real("CMU-1-Small-Region.svs"), "aperio")
    want = file.read_region(0, (5, 6), (20, 30))
    read, _ = own._library()
    monkeypatch.setattr(own, "_library", lambda: (read, lambda _handle: b"it is broken"))
    with pytest.raises(SlideError, match="it is broken"):
        file.read_region(0, (5, 6), (20, 30))
    monkeypatch.undo()
    np.testing.assert_array_equal(file.read_region(0, (5, 6), (20, 30)), want)
    file.close()
