"""The method of the first versions, step by step at its limits; and what all methods do with a mask in the end."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cellmix_dali.tissue.methods._cleaning import cleaned
from cellmix_dali.tissue.methods.saturation import _saturation, _without_tint


def of(*colour: int) -> NDArray[np.uint8]:
    return np.full((1, 1, 3), colour, np.uint8)


@pytest.mark.parametrize(
    ("colour", "saturation"),
    [
        ((200, 100, 150), 127),
        ((100, 200, 150), 127),
        ((255, 0, 0), 255),
        ((40, 39, 40), 6),
        ((39, 0, 0), 0),
        ((40, 0, 0), 255),
        ((90, 90, 90), 0),
        ((0, 0, 0), 0),
    ],
)
def test_saturation_is_that_of_hsv_and_none_where_it_is_dark(colour: tuple[int, ...], saturation: int) -> None:
    assert _saturation(of(*colour))[0, 0] == saturation


def glass(
    colour: tuple[int, int, int], *, wide: int = 40, other: tuple[int, int, int] | None = None
) -> NDArray[np.uint8]:
    """Noise of 100 x 100 pixels; on so many columns glass, and, if told, on 9 rows beside it another colour."""
    picture = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    picture[:, :wide] = colour
    if other is not None:
        picture[:9, wide:] = other
    return picture


@pytest.mark.parametrize(
    ("colour", "balanced"),
    [
        ((240, 236, 205), True),
        ((240, 236, 229), False),  # too little of a tint
        ((240, 236, 228), True),
        ((228, 236, 240), True),
        ((205, 236, 240), True),
        ((171, 160, 151), True),
        ((171, 160, 150), False),  # too dark
        ((240, 205, 204), True),  # as much green as blue, or more
        ((240, 204, 205), False),  # pink
        ((205, 204, 240), False),
    ],
)
def test_tinted_glass_is_balanced_and_what_may_be_tissue_is_not(colour: tuple[int, int, int], balanced: bool) -> None:
    picture = glass(colour)
    found = _without_tint(picture)
    assert (found is not picture) == balanced
    if balanced:
        np.testing.assert_allclose(found[50, 10], [max(colour)] * 3, atol=1)
        want = np.minimum(picture[60, 70] * (max(colour) / np.float32(colour)), 255)
        np.testing.assert_allclose(found[60, 70], want, atol=1.01)


def test_glass_is_a_tenth_of_the_picture_of_even_colour() -> None:
    """Less four pixels at its rim; of the commonest colour, in steps of 8, up to 8 to both sides."""
    yellow = (240, 236, 205)
    for wide, balanced in ((13, False), (14, True)):
        picture = glass(yellow, wide=wide)
        assert (_without_tint(picture) is not picture) == balanced
    # 240, 236 and 205 are of the steps around 244, 236 and 204.
    for near, balanced in (((252, 236, 204), True), ((236, 228, 196), True), ((253, 236, 204), False)):
        picture = glass(yellow, wide=13, other=near)
        assert (_without_tint(picture) is not picture) == balanced, near
    for far in ((244, 245, 204), (244, 236, 213), (244, 227, 204), (244, 236, 195)):
        picture = glass(yellow, wide=13, other=far)
        assert _without_tint(picture) is picture, far


def test_a_large_picture_is_sampled() -> None:
    picture = np.zeros((1025, 30, 3), np.uint8)
    picture[::2] = (240, 236, 205)  # every second row is looked at
    assert _without_tint(picture) is not picture
    small = np.ascontiguousarray(picture[:1024])
    assert _without_tint(small) is small


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_gaps_are_closed_and_specks_dropped_up_to_the_rim(radius: int) -> None:
    """As if the picture went on beyond its rim as it is there: so a larger picture has the same mask in its middle."""
    random = np.random.default_rng(radius)
    for share in (0.02, 0.1, 0.5, 0.9):
        mask = np.kron(random.random((9, 12)) < share, np.ones((3 * radius, 3 * radius), bool))
        mask ^= random.random(mask.shape) < 0.02
        padded = np.pad(mask, 40, mode="edge")
        np.testing.assert_array_equal(cleaned(mask, radius), cleaned(padded, radius)[40:-40, 40:-40])
    whole = np.zeros((40, 50), bool)
    for wide, stays in ((2 * radius, False), (2 * radius + 1, True)):
        speck, gap = whole.copy(), ~whole
        speck[15 : 15 + wide, 20 : 20 + wide] = True
        gap[15 : 15 + wide, 20 : 20 + wide] = False
        assert cleaned(speck, radius).any() == stays
        assert (~cleaned(gap, radius)).any() == stays
