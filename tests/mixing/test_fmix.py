"""FMix against its paper: masks of low-frequency images, of uniform mean."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from bounds import assert_distribution, assert_mean

from cellmix_dali.mixing import BlendPlan, FMix
from cellmix_dali.mixing.fmix import low_frequency_image

BATCH, TILE = 4, (24, 31)


def draws(rounds: int = 4000, alpha: float = 1.0, **parameters: float) -> list[BlendPlan]:
    mixer = FMix(alpha=alpha, seed=17, **parameters)
    return [mixer.draw(BATCH, TILE, epoch=0, iteration=number) for number in range(rounds)]


def edges(mask: np.ndarray) -> int:
    """Pairs of neighbours of which one is the sample's own and the other is not."""
    return int((mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum())


@pytest.mark.parametrize(
    ("alpha", "below"), [(1.0, lambda share: share), (0.5, lambda share: 2 / np.pi * np.arcsin(np.sqrt(share)))]
)
def test_means_are_beta_distributed(alpha: float, below: Callable[[float], float]) -> None:
    plans = draws(alpha=alpha)
    means = [plan.mask.mean() for plan in plans if plan.mask is not None]
    assert len(means) == len(plans)
    # The mean is that of whole pixels, lambda's next up or down: beneath 1/N and above 1 - 1/N, Beta is steep.
    assert_distribution(means, lambda x: below(min(max(x, 0.0), 1.0)), slack=below(1 / (TILE[0] * TILE[1])))


def test_the_label_weight_is_the_true_mean() -> None:
    for plan in draws(300):
        assert plan.mask is not None
        assert plan.mask.shape == TILE
        assert set(np.unique(plan.mask)) <= {0, 1}
        own = plan.mask.mean()
        want = own * np.eye(BATCH) + (1 - own) * np.eye(BATCH)[plan.partner]
        np.testing.assert_allclose(plan.weights, want, atol=1e-6)
        np.testing.assert_allclose(plan.share, own, atol=1e-6)


def test_every_pixel_is_own_as_often() -> None:
    total = np.stack([plan.mask for plan in draws()]).mean(axis=0)  # type: ignore[arg-type]
    # 744 pixels, each a mean of 4000 draws of which half are expected: 7 standard deviations.
    assert np.abs(total - 0.5).max() < 7 * 0.5 / np.sqrt(4000)


def test_partners_are_permutations_and_uniform() -> None:
    plans = draws()
    assert all(sorted(plan.partner.tolist()) == list(range(BATCH)) for plan in plans)
    for sample in range(BATCH):
        for partner in range(BATCH):
            assert_mean([plan.partner[sample] == partner for plan in plans], 1 / BATCH)


@pytest.mark.parametrize("decay", [1.0, 3.0])
def test_frequencies_fall_off_with_the_power(decay: float) -> None:
    size, random = 64, np.random.default_rng(3)
    power = np.mean(
        [np.abs(np.fft.rfft2(low_frequency_image(random, (size, size), decay))) ** 2 for _ in range(300)], 0
    )
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    # Not the columns that are their own mirror image, whose power is halved.
    ring = (frequency > 2 / size) & (frequency < 0.4)
    ring[:, [0, -1]] = False
    slope = np.polyfit(np.log(frequency[ring]), np.log(power[ring]), 1)[0]
    assert slope == pytest.approx(-2 * decay, abs=0.05)


def test_masks_are_of_few_pieces() -> None:
    """The higher the power, the smoother the edge; noise of the same mean has many times as many edges."""
    noise = np.random.default_rng(0)
    plans = draws(200)
    smooth = sum(edges(plan.mask) for plan in plans if plan.mask is not None)
    rough = sum(edges(noise.permutation(plan.mask.ravel()).reshape(TILE)) for plan in plans if plan.mask is not None)
    less = sum(edges(plan.mask) for plan in draws(200, decay=1.0) if plan.mask is not None)
    assert smooth < less < rough
    assert smooth < rough / 4


def test_the_highest_pixels_are_the_samples_own() -> None:
    """Drawn again from the same key, the image is above a threshold just where the mask is 1."""
    mixer = FMix(seed=23)
    for number in range(20):
        plan = mixer.draw(BATCH, TILE, epoch=2, iteration=number)
        random = mixer._random(2, number)
        random.random()
        share = random.beta(1.0, 1.0)
        random.permutation(BATCH)
        random.random()
        image = low_frequency_image(random, TILE, 3.0)
        assert plan.mask is not None
        assert abs(int(plan.mask.sum()) - share * plan.mask.size) < 1
        own, other = image[plan.mask == 1], image[plan.mask == 0]
        assert not own.size or not other.size or own.min() >= other.max()


def test_pixels_are_one_or_the_other() -> None:
    images = np.random.default_rng(0).integers(0, 256, (BATCH, *TILE, 3), dtype=np.uint8)
    for plan in draws(20):
        mixed = plan.apply(images)
        assert plan.mask is not None
        np.testing.assert_array_equal(mixed[:, plan.mask == 1], images[:, plan.mask == 1])
        np.testing.assert_array_equal(mixed[:, plan.mask == 0], images[plan.partner][:, plan.mask == 0])
