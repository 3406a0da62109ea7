"""CutMix against its paper: the box's distribution, its clipping, its weight."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from bounds import assert_distribution, assert_mean

from cellmix_dali.mixing import BoxPlan, CutMix

SIDE, BATCH = 16, 4


def draws(rounds: int = 4000, alpha: float = 1.0, tile: int | tuple[int, int] = SIDE) -> list[BoxPlan]:
    mixer = CutMix(alpha=alpha, seed=11)
    return [mixer.draw(BATCH, tile, epoch=0, iteration=number) for number in range(rounds)]


@pytest.mark.parametrize(
    ("alpha", "below"),
    [(1.0, lambda share: share), (0.5, lambda share: 2 / np.pi * np.arcsin(np.sqrt(share)))],  # Beta's distribution
)
def test_areas_are_the_papers(alpha: float, below: Callable[[float], float]) -> None:
    """All boxes that can come, and their chances, can be counted."""
    chance: dict[int, float] = {}
    for side in range(SIDE):
        # The side is int(16 * sqrt(1 - lambda)), the centre uniform.
        of_side = below((side + 1) ** 2 / SIDE**2) - below(side**2 / SIDE**2)
        lengths = np.minimum(np.arange(SIDE) - side // 2 + side, SIDE) - np.maximum(np.arange(SIDE) - side // 2, 0)
        for area in np.multiply.outer(lengths, lengths).ravel().tolist():
            chance[area] = chance.get(area, 0.0) + of_side / SIDE**2
    np.testing.assert_allclose(sum(chance.values()), 1)
    areas = [int(plan.boxes[0, 2] * plan.boxes[0, 3]) for plan in draws(alpha=alpha)]
    assert_distribution(areas, lambda x: sum(share for area, share in chance.items() if area <= x))


def test_partners_are_permutations_and_uniform() -> None:
    plans = draws()
    assert all(sorted(plan.source.tolist()) == list(range(BATCH)) for plan in plans)
    for sample in range(BATCH):
        for partner in range(BATCH):
            assert_mean([plan.source[sample] == partner for plan in plans], 1 / BATCH)


def test_one_box_a_batch_within_the_tile_and_its_weight() -> None:
    for plan in draws(300, tile=(30, 50)):
        assert (plan.boxes == plan.boxes[0]).all()
        np.testing.assert_array_equal(plan.boxes, plan.source_boxes)
        y, x, height, width = plan.boxes[0].tolist()
        assert 0 <= y <= y + height <= 30
        assert 0 <= x <= x + width <= 50
        for sample, partner in enumerate(plan.source.tolist()):
            share = height * width / 1500
            want = np.eye(BATCH)[sample] * (1 - share) + np.eye(BATCH)[partner] * share
            np.testing.assert_allclose(plan.weights[sample], want, atol=1e-6)


def test_pixels_come_from_the_same_place() -> None:
    images = np.random.default_rng(0).integers(0, 256, (BATCH, 30, 50, 3), dtype=np.uint8)
    for plan in draws(50, tile=(30, 50)):
        y, x, height, width = plan.boxes[0].tolist()
        mixed = plan.apply(images)
        inside = np.zeros((30, 50), bool)
        inside[y : y + height, x : x + width] = True
        want = np.where(inside[None, :, :, None], images[plan.source], images)
        np.testing.assert_array_equal(mixed, want)
