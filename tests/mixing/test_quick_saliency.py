"""Compiled saliency: where it says that it is certain, the peak is the definition's; and it mostly is certain."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cellmix_dali.mixing._fourier import transform
from cellmix_dali.mixing._gauss import blurred
from cellmix_dali.mixing.quick_saliency import peak_within, pooled
from cellmix_dali.mixing.resampling import nearest_index
from cellmix_dali.mixing.saliency import saliency_map, slow_places

SLIDES = Path(__file__).resolve().parents[3] / "shared" / "slides"


def of_a_picture(side: int, count: int, seed: int) -> np.ndarray:
    picture = np.asarray(Image.open(SLIDES / "tcga-lung-rgb.png").convert("RGB"))
    random = np.random.default_rng(seed)
    places = [[int(random.integers(0, whole - side + 1)) for whole in picture.shape[:2]] for _ in range(count)]
    return np.stack([picture[y : y + side, x : x + side] for y, x in places])


def drawn(height: int, width: int, channels: int, count: int, seed: int) -> np.ndarray:
    """Smooth fields with noise of several strengths: from almost none, where rounding decides, to much."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    images = []
    for number in range(count):
        waves = sum(
            20 * np.sin(y * random.normal(0, 0.1) + x * random.normal(0, 0.1) + random.random()) for _ in range(4)
        )
        noise = random.normal(0, (0.1, 1, 5, 30)[number % 4], (height, width, channels))
        images.append((150 + waves[..., None] + noise).clip(0, 255))
    return np.array(images).astype(np.uint8)


@pytest.mark.parametrize(
    "images",
    [
        of_a_picture(64, 80, 1),
        of_a_picture(150, 80, 2),
        drawn(97, 131, 3, 80, 3),
        drawn(300, 40, 1, 80, 4),
        drawn(1, 3, 3, 4, 5),
        np.repeat(np.arange(0, 256, 5, dtype=np.uint8), 24 * 24 * 3).reshape(-1, 24, 24, 3),
    ],
    ids=["picture 64", "picture 150", "drawn", "drawn grey", "tiny", "uniform"],
)
def test_what_is_certain_is_right(images: np.ndarray) -> None:
    for image, place in zip(images, slow_places(images).tolist(), strict=True):
        y, x, certain = peak_within(image.reshape(-1), image.shape)
        assert not certain or [y, x] == place


def test_most_tiles_are_certain_and_those_that_say_nothing_are_not() -> None:
    images = of_a_picture(150, 120, 7)
    certain = [peak_within(image.reshape(-1), image.shape)[2] for image in images]
    assert np.mean(certain) > 0.6
    for value in (0, 77, 255):
        blank = np.full(224 * 224 * 3, value, np.uint8)
        assert not peak_within(blank, (224, 224, 3))[2]


def test_two_equal_peaks_are_not_certain() -> None:
    image = drawn(128, 128, 1, 4, 8)[3]
    y, x, certain = peak_within(image.reshape(-1), image.shape)
    assert certain
    assert [[y, x]] == slow_places([image]).tolist()
    image[64:] = image[63::-1, ::-1]  # turned by 180 degrees, the image is the same
    assert not peak_within(image.reshape(-1), image.shape)[2]


@pytest.mark.parametrize("shape", [(128, 128, 3), (57, 300, 1), (1, 1, 3)])
def test_pixels_are_summed_as_the_copy_says(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    rows, columns = (nearest_index(side, 128) for side in shape[:2])
    copy = image[rows[:, None], columns].astype(int)
    want = copy.reshape(64, 2, 64, 2, shape[2]).sum(axis=(1, 3)).transpose(2, 0, 1)
    np.testing.assert_array_equal(pooled(image.reshape(-1), shape), want)


@pytest.mark.parametrize("lanes", [8, 40])
def test_the_transform_is_fouriers(lanes: int) -> None:
    random = np.random.default_rng(lanes)
    numbers = random.standard_normal((2, 64, lanes)).astype(np.float32)
    want = np.fft.fft(numbers[0] + 1j * numbers[1].astype(np.float64), axis=0)
    found = transform(numbers.copy(), np.empty_like(numbers))
    np.testing.assert_allclose(found[0] + 1j * found[1], want, atol=2e-5)
    # Real and imaginary parts in each other's place: the inverse, but for the factor.
    turned = np.ascontiguousarray(found[::-1])
    back = transform(turned, np.empty_like(turned))[::-1] / 64
    np.testing.assert_allclose(back, numbers, atol=2e-6)


def test_the_map_is_the_definitions() -> None:
    """Not its peak alone: all of it, as long as no frequency is lost in rounding."""
    from cellmix_dali.mixing import quick_saliency as quick

    image = of_a_picture(150, 1, 3)[0]
    sums = pooled(image.reshape(-1), image.shape)
    wide, wide_too = (np.empty((2, 64, 40), np.float32) for _ in range(2))
    narrow, narrow_too = (np.empty((2, 64, 32), np.float32) for _ in range(2))
    norm = quick._grey(sums, narrow)
    quick._apart(transform(narrow, narrow_too), wide)
    spectrum = transform(wide, wide_too)
    quick._whiten(spectrum, norm)
    quick._together(transform(spectrum, wide if spectrum is wide_too else wide_too), narrow)
    found = blurred(quick._squares(transform(narrow, narrow_too))) / 64**4
    want = saliency_map(sums.transpose(1, 2, 0)[None])[0]
    np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-4 * want.max())
