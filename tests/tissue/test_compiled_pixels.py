"""Compiled steps of tissue methods: what Pillow and NumPy give, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from cellmix_dali.tissue import _ink_pixels, _pixels
from cellmix_dali.tissue._blur import blurred


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 4), (70, 33), (41, 200)])
def test_the_blur_is_pillows(shape: tuple[int, int]) -> None:
    rgb = np.random.default_rng(shape[0]).integers(0, 256, (*shape, 3), np.uint8)
    rgb[: shape[0] // 2] //= 255  # all sums are small there
    want = np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(1.5)))
    np.testing.assert_array_equal(blurred(rgb), want)
    np.testing.assert_array_equal(blurred(rgb[:, ::-1]), want[:, ::-1])  # of any strides


@pytest.mark.parametrize("shape", [(3, 5), (8, 8), (37, 50)])
def test_blocks_are_numpys(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    values, most = random.random(shape).astype(np.float32), np.float32(0.4)
    rows, columns = (-(-side // 8) for side in shape)
    filling = ((0, 8 * rows - shape[0]), (0, 8 * columns - shape[1]))

    def means(array: np.ndarray) -> np.ndarray:
        return np.pad(array, filling, mode="edge").reshape(rows, 8, columns, 8).mean((1, 3))

    np.testing.assert_array_equal(_pixels.mean_of_blocks(values, most), means(np.minimum(values, most)))
    mask = values > 0.7
    np.testing.assert_array_equal(_pixels.share_of_blocks(mask, 8), means(mask.astype(np.float32)))


def test_pixels_are_numpys() -> None:
    rgb = np.random.default_rng(2).integers(0, 256, (30, 40, 3), np.uint8)
    np.testing.assert_array_equal(_pixels.brightest(rgb), rgb.max(2))
    low, high = np.array([10, 60, 200], np.uint8), np.array([200, 255, 220], np.uint8)
    inside = ((rgb >= low) & (rgb <= high)).all(2)
    assert 0 < inside.sum() < inside.size
    np.testing.assert_array_equal(_pixels.within(rgb, low, high), inside)
    counts = _pixels.histograms(rgb, inside)
    np.testing.assert_array_equal(counts, [np.bincount(rgb[..., c][inside], minlength=256) for c in range(3)])
    codes = (rgb // 4).astype(int) @ [1 << 12, 1 << 6, 1]
    np.testing.assert_array_equal(_pixels.code_counts(rgb), np.bincount(codes.ravel(), minlength=1 << 18))
    densities = np.random.default_rng(3).random((3, 256)).astype(np.float32)
    each = np.stack([densities[c][rgb[..., c]] for c in range(3)])
    np.testing.assert_array_equal(_pixels.chroma(rgb, densities), each.max(0) - each.min(0))


@pytest.mark.parametrize(
    ("colour", "kinds", "without"),
    [
        ((20, 60, 160), ("STRONG_COLD", "COLD"), ("STRONG_WARM", "WARM", "PALE", "FRINGE", "BRIGHT")),
        ((200, 5, 20), ("STRONG_WARM", "WARM", "FRINGE"), ("STRONG_COLD", "COLD", "STRONG_BLACK")),
        ((20, 20, 20), ("STRONG_BLACK", "BLACK", "FRINGE"), ("STRONG_WARM", "STRONG_COLD", "BRIGHT")),
        ((240, 240, 240), ("BRIGHT",), ("STRONG_COLD", "STRONG_WARM", "STRONG_BLACK", "COLD", "WARM", "FRINGE")),
        ((180, 90, 170), (), ("STRONG_COLD", "STRONG_WARM", "STRONG_BLACK", "COLD", "WARM", "BLACK")),
    ],
)
def test_what_colours_may_be(colour: tuple[int, int, int], kinds: tuple[str, ...], without: tuple[str, ...]) -> None:
    from cellmix_dali.tissue import ink

    density, over_red, over_green = ink._of_values()
    picture = np.full((2, 3, 3), colour, np.uint8)
    found = _ink_pixels.ink_colours(picture, density, over_red, over_green, False)
    assert (found == found[0, 0]).all()
    for name in kinds:
        assert found[0, 0] & getattr(_ink_pixels, name), name
    for name in without:
        assert not found[0, 0] & getattr(_ink_pixels, name), name
    _, _, strong = _ink_pixels.tissue_colours(picture, density)
    assert bool(strong) == any(name.startswith("STRONG") for name in kinds)
