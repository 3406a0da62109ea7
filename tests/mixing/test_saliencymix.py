"""SaliencyMix against its paper: boxes around the partners' peaks; and the peaks of images whose spot is known."""

from __future__ import annotations

import numpy as np
import pytest
from bounds import assert_distribution, assert_mean

from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import BoxPlan, SaliencyMix, saliency_peaks
from cellmix_dali.mixing.saliency import saliency_map

BATCH, TILE = 4, (48, 75)


def draws(peaks: np.ndarray, rounds: int = 4000) -> list[BoxPlan]:
    mixer = SaliencyMix(seed=29)
    return [mixer.draw(BATCH, TILE, epoch=0, iteration=number, peaks=peaks) for number in range(rounds)]


def test_areas_are_uniform_where_nothing_is_cut_off() -> None:
    plans = draws(np.tile((24, 37), (BATCH, 1)))
    shares = [1 - plan.weights[0, 0] for plan in plans if plan.source[0] != 0]
    # The sides are those of the area rounded down to whole pixels: at most a row and a column of the tile are lost.
    assert_distribution(shares, lambda x: x, slack=1 / 48 + 1 / 75)
    for axis, side in enumerate(TILE):
        sides = [int(plan.boxes[0, 2 + axis]) for plan in plans]
        assert_distribution(sides, lambda x, side=side: min((x + 1) ** 2 / side**2, 1.0))


def test_boxes_lie_around_the_partners_peaks_and_are_clipped() -> None:
    peaks = np.array([[0, 0], [47, 30], [30, 74], [20, 25]])
    mixer = SaliencyMix(seed=31)
    for number in range(300):
        plan = mixer.draw(BATCH, TILE, epoch=0, iteration=number, peaks=peaks)
        cut = mixer.draw_cut(BATCH, TILE, epoch=0, iteration=number)
        np.testing.assert_array_equal(plan.boxes, plan.source_boxes)
        for sample, partner in enumerate(plan.source.tolist()):
            for axis in (0, 1):
                start = int(peaks[partner, axis]) - cut.size[axis] // 2
                stop = min(start + cut.size[axis], TILE[axis])
                assert plan.boxes[sample, axis] == max(start, 0)
                assert plan.boxes[sample, 2 + axis] == stop - max(start, 0)
            share = plan.boxes[sample, 2] * plan.boxes[sample, 3] / (48 * 75)
            want = np.eye(BATCH)[sample] * (1 - share) + np.eye(BATCH)[partner] * share
            np.testing.assert_allclose(plan.weights[sample], want, atol=1e-6)


def test_partners_are_permutations_and_uniform() -> None:
    plans = draws(np.full((BATCH, 2), 30))
    assert all(sorted(plan.source.tolist()) == list(range(BATCH)) for plan in plans)
    for sample in range(BATCH):
        for partner in range(BATCH):
            assert_mean([plan.source[sample] == partner for plan in plans], 1 / BATCH)


def spotted(height: int, width: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pink tissue with noise, and one dark nucleus a tile."""
    random = np.random.default_rng(height)
    images = random.normal((200, 150, 180), 8, (count, height, width, 3))
    y, x = np.mgrid[:height, :width]
    radius = min(height, width) / 18
    spots = np.stack([random.integers(2 * radius, side - 2 * radius, count) for side in (height, width)], axis=-1)
    for image, spot in zip(images, spots, strict=True):
        image[np.hypot(y - spot[0], x - spot[1]) <= radius] = (70, 30, 110)
    return images.clip(0, 255).astype(np.uint8), spots


@pytest.mark.parametrize(("height", "width"), [(64, 64), (224, 224), (384, 256), (97, 131)])
def test_known_spots_are_found(height: int, width: int) -> None:
    images, spots = spotted(height, width, 40)
    peaks = saliency_peaks(images)
    assert peaks.dtype == np.int32
    assert np.hypot(*(peaks - spots).T).max() < 1.5 * min(height, width) / 18
    # In grey as well.
    grey = np.rint(images @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)[..., None]
    assert np.hypot(*(saliency_peaks(grey) - spots).T).max() < 1.5 * min(height, width) / 18


def blurred(line: np.ndarray) -> np.ndarray:
    kernel = np.exp(-0.5 * (np.arange(-12, 13) / 2.5) ** 2) / (2.5 * np.sqrt(2 * np.pi))
    return np.convolve(line, kernel)[12 : 12 + line.size]


def test_the_map_is_the_spectral_residual() -> None:
    """Against the formula written out, for odd and even sides."""
    for height, width in ((16, 16), (15, 21), (8, 13), (4, 2), (3, 1)):
        images = np.random.default_rng(width).integers(0, 256, (3, height, width, 1), dtype=np.uint8)
        grey = images[..., 0].astype(np.float64)
        spectrum = np.fft.fft2(grey)
        logarithm = np.log(np.abs(spectrum))
        mean = sum(np.roll(logarithm, (y, x), (1, 2)) for y in (-1, 0, 1) for x in (-1, 0, 1)) / 9
        residual = np.abs(np.fft.ifft2(np.exp(logarithm - mean + 1j * np.angle(spectrum)))) ** 2
        for axis in (1, 2):
            residual = np.apply_along_axis(blurred, axis, residual)
        np.testing.assert_allclose(saliency_map(images), residual, rtol=2e-3)


def test_a_uniform_image_has_a_peak_within() -> None:
    for value in (0, 255):
        peaks = saliency_peaks(np.full((2, 40, 70, 3), value, np.uint8))
        assert (peaks >= 0).all()
        assert (peaks < (40, 70)).all()


@pytest.mark.parametrize(
    "peaks",
    [[-1, 0], [0, -1], [48, 0], [0, 75], [0, 0, 0]],
    ids=str,
)
def test_peaks_outside_the_tile_are_refused(peaks: list[int]) -> None:
    right = np.tile((47, 74), (BATCH, 1))
    mixer = SaliencyMix(seed=29)
    mixer.draw(BATCH, TILE, epoch=0, iteration=0, peaks=right)
    mixer.draw(BATCH, TILE, epoch=0, iteration=0, peaks=np.zeros_like(right))
    wrong = np.tile(peaks, (BATCH, 1))
    for given in (wrong, right[:-1], right.astype(float)):
        with pytest.raises(ArgumentError, match=r"within tiles of 48 x 75 pixels"):
            mixer.draw(BATCH, TILE, epoch=0, iteration=0, peaks=given)
    # One that is not wanted is not looked at.
    assert not SaliencyMix(seed=29, p=0.0).draw(BATCH, TILE, epoch=0, iteration=0, peaks=wrong).triggered


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((1, 8, 8, 3), np.float32), "8-bit images, got float32"),
        (np.zeros((1, 8, 8, 4), np.uint8), r"got \(1, 8, 8, 4\)"),
        (np.zeros((8, 8, 3), np.uint8), r"got \(8, 8, 3\)"),
    ],
)
def test_what_has_no_saliency_is_refused(images: np.ndarray, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        saliency_peaks(images)
