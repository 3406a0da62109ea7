"""Cutout against its paper: a square around a uniform centre, clipped; labels unchanged."""

from __future__ import annotations

import numpy as np
import pytest
from bounds import assert_distribution

from cellmix_dali.mixing import Cutout

TILE = (20, 32)


def boxes(side: int | float, rounds: int = 500, batch: int = 8) -> np.ndarray:
    mixer = Cutout(side=side, seed=5)
    plans = [mixer.draw(batch, TILE, epoch=0, iteration=number) for number in range(rounds)]
    assert all((plan.source == -1).all() for plan in plans)
    return np.concatenate([plan.boxes for plan in plans])


@pytest.mark.parametrize(("side", "pixels"), [(8, 8), (7, 7), (0.5, 10), (1.0, 20), (50, 50)])
def test_centres_are_uniform_and_squares_are_clipped(side: float, pixels: int) -> None:
    drawn = boxes(side)
    for axis in (0, 1):
        # All that a centre can make, each of the same chance.
        starts = np.maximum(np.arange(TILE[axis]) - pixels // 2, 0)
        stops = np.minimum(np.arange(TILE[axis]) - pixels // 2 + pixels, TILE[axis])
        lengths = stops - starts
        assert_distribution(drawn[:, axis + 2], lambda x, lengths=lengths: (lengths <= x).mean())
        assert_distribution(drawn[:, axis], lambda x, starts=starts: (starts <= x).mean())
        assert set(zip(drawn[:, axis], drawn[:, axis + 2], strict=True)) <= set(zip(starts, lengths, strict=True))


def test_rows_and_columns_are_independent() -> None:
    drawn = boxes(8, rounds=1500)
    areas = drawn[:, 2] * drawn[:, 3]
    lengths = [np.minimum(np.arange(size) + 4, size) - np.maximum(np.arange(size) - 4, 0) for size in TILE]
    products = np.multiply.outer(*lengths).ravel()
    assert_distribution(areas, lambda x: (products <= x).mean())


def test_the_square_alone_is_blanked() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, *TILE, 3), dtype=np.uint8)
    plan = Cutout(side=9, fill=(1, 2, 3), seed=2).draw(4, TILE, epoch=0, iteration=0)
    mixed = plan.apply(images)
    for sample, (y, x, height, width) in enumerate(plan.boxes):
        inside = np.zeros(TILE, bool)
        inside[y : y + height, x : x + width] = True
        assert (mixed[sample][inside] == (1, 2, 3)).all()
        np.testing.assert_array_equal(mixed[sample][~inside], images[sample][~inside])
