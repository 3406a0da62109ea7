"""ResizeMix against its paper: the whole partner, its side scaled by U(0.1, 0.8), anywhere within."""

from __future__ import annotations

import numpy as np
import pytest
from bounds import assert_distribution, assert_mean

from cellmix_dali.mixing import BoxPlan, ResizeMix
from cellmix_dali.mixing.resampling import resample, triangle_weights

BATCH, TILE = 4, (50, 80)


def draws(rounds: int = 4000, **parameters: float) -> list[BoxPlan]:
    mixer = ResizeMix(seed=19, **parameters)  # type: ignore[arg-type]
    return [mixer.draw(BATCH, TILE, epoch=0, iteration=number) for number in range(rounds)]


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.8), (0.3, 0.4)])
def test_the_side_is_scaled_by_a_uniform_factor(low: float, high: float) -> None:
    """The side, not the area: the authors' code takes sqrt(1 - U)."""
    plans = draws(low=low, high=high)
    for axis, size in enumerate(TILE):
        scales = [plan.boxes[0, 2 + axis] / size for plan in plans]
        rounding = 0.5 / size / (high - low)
        assert_distribution(scales, lambda x: min(max((x - low) / (high - low), 0.0), 1.0), slack=rounding)


def test_weights_are_areas() -> None:
    """With the paper's defaults the mean of tau squared is (0.8**3 - 0.1**3) / (3 * 0.7), a label weight of 0.243."""
    plans = draws()
    shares = []
    for plan in plans:
        _, _, height, width = plan.boxes[0].tolist()
        shares.append(height * width / (TILE[0] * TILE[1]))
        want = np.eye(BATCH) * (1 - shares[-1]) + np.eye(BATCH)[plan.source] * shares[-1]
        np.testing.assert_allclose(plan.weights, want, atol=1e-6)
    assert_mean(shares, (0.8**3 - 0.1**3) / 2.1)


def test_places_are_uniform_within_the_tile() -> None:
    plans = draws()
    boxes = np.stack([plan.boxes[0] for plan in plans])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= TILE).all()
    assert all((plan.boxes == plan.boxes[0]).all() for plan in plans)  # one draw a batch
    for axis, size in enumerate(TILE):
        # The middle of its cell among the places that there are; at the least 11 of them.
        places = (boxes[:, axis] + 0.5) / (size - boxes[:, 2 + axis] + 1)
        assert_distribution(places, lambda x: x, slack=0.5 / 11)
        assert_mean(places, 0.5)


def test_partners_are_permutations_and_uniform() -> None:
    plans = draws()
    assert all(sorted(plan.source.tolist()) == list(range(BATCH)) for plan in plans)
    for sample in range(BATCH):
        for partner in range(BATCH):
            assert_mean([plan.source[sample] == partner for plan in plans], 1 / BATCH)


@pytest.mark.parametrize("interpolation", ["nearest", "linear"])
def test_the_partner_is_there_as_a_whole(interpolation: str) -> None:
    """A smooth picture, another colour a sample: shrunk, its corners are still near the corners."""
    y, x = np.mgrid[: TILE[0], : TILE[1]]
    ramp = np.stack([y * 255 / (TILE[0] - 1), x * 255 / (TILE[1] - 1), y * 0], axis=-1)
    images = np.stack([ramp + np.array([0, 0, 60 * sample]) for sample in range(BATCH)]).astype(np.uint8)
    mixer = ResizeMix(seed=3, interpolation=interpolation, low=0.4)
    for number in range(30):
        plan = mixer.draw(BATCH, TILE, epoch=0, iteration=number)
        mixed = plan.apply(images)
        top, left, height, width = plan.boxes[0].tolist()
        for sample, partner in enumerate(plan.source.tolist()):
            box = mixed[sample, top : top + height, left : left + width].astype(int)
            assert (box[..., 2] == 60 * partner).all()
            np.testing.assert_array_equal(box, resample(images[partner], (height, width), interpolation))
            want = ((np.arange(height) + 0.5) / height * TILE[0] - 0.5) * 255 / (TILE[0] - 1)
            assert np.abs(box[1:-1, 1:-1, 0] - want[1:-1, None]).max() < 10
            outside = np.ones(TILE, bool)
            outside[top : top + height, left : left + width] = False
            np.testing.assert_array_equal(mixed[sample][outside], images[sample][outside])


@pytest.mark.parametrize(("source", "target"), [(7, 7), (224, 64), (10, 3), (5, 9), (1, 4), (4, 1)])
def test_linear_weights(source: int, target: int) -> None:
    weights = triangle_weights(source, target)
    assert weights.shape == (target, source)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    # Symmetric, and what is linear stays so away from the borders.
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-12)
    centres = (np.arange(target) + 0.5) * source / target
    reach = max(source / target, 1.0)
    inner = (centres - reach >= 0) & (centres + reach <= source)
    np.testing.assert_allclose((weights @ (np.arange(source) + 0.5))[inner], centres[inner], atol=1e-2 * reach)
    # A pixel counts as far as the triangle reaches: one pixel when enlarging, as many as become one when shrinking.
    away = np.abs(np.arange(source) + 0.5 - centres[:, None])
    np.testing.assert_array_equal(weights[inner] > 0, away[inner] < reach)
    if source <= target:
        between = [np.interp(centres - 0.5, np.arange(source), row) for row in np.eye(source)]
        np.testing.assert_allclose(weights, np.transpose(between), atol=1e-12)


def test_a_size_that_fits_is_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    for interpolation in ("nearest", "linear"):
        np.testing.assert_array_equal(resample(image, (9, 13), interpolation), image)
