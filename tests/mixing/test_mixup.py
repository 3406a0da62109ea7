"""Mixup against its paper: Beta-distributed shares, convex combinations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from bounds import assert_distribution, assert_mean

from cellmix_dali.mixing import BlendPlan, Mixup

BATCH = 4


def draws(alpha: float, rounds: int = 4000) -> list[BlendPlan]:
    mixer = Mixup(alpha=alpha, seed=13)
    return [mixer.draw(BATCH, 8, epoch=1, iteration=number) for number in range(rounds)]


@pytest.mark.parametrize(
    ("alpha", "below"),
    [
        (1.0, lambda share: share),
        (0.5, lambda share: 2 / np.pi * np.arcsin(np.sqrt(share))),
        (2.0, lambda share: 3 * share**2 - 2 * share**3),
    ],
)
def test_shares_are_beta_distributed(alpha: float, below: Callable[[float], float]) -> None:
    plans = draws(alpha)
    assert_distribution([plan.share[0] for plan in plans], below)
    assert all((plan.share == plan.share[0]).all() for plan in plans)  # one per batch


def test_partners_are_permutations_and_uniform() -> None:
    plans = draws(1.0)
    assert all(sorted(plan.partner.tolist()) == list(range(BATCH)) for plan in plans)
    for sample in range(BATCH):
        for partner in range(BATCH):
            assert_mean([plan.partner[sample] == partner for plan in plans], 1 / BATCH)


def test_pixels_and_labels_are_convex_combinations() -> None:
    images = np.random.default_rng(0).integers(0, 256, (BATCH, 8, 8, 3), dtype=np.uint8)
    for plan in draws(1.0, rounds=200):
        share = float(plan.share[0])
        exact = share * images + (1 - share) * images[plan.partner].astype(np.float64)
        assert np.abs(plan.apply(images) - exact).max() <= 0.5 + 1e-4  # rounded to the nearest
        np.testing.assert_allclose(plan.apply(images.astype(np.float32)), exact, rtol=1e-5, atol=1e-4)
        want = share * np.eye(BATCH) + (1 - share) * np.eye(BATCH)[plan.partner]
        np.testing.assert_allclose(plan.weights, want, atol=1e-6)


def test_halves_round_up() -> None:
    plan = BlendPlan.shared([1, 0], 0.5)
    images = np.array([3, 4], np.uint8).reshape(2, 1, 1, 1)
    assert plan.apply(images).ravel().tolist() == [4, 4]
