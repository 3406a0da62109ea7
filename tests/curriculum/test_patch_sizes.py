from __future__ import annotations

import math

import pytest
from hypothesis import given, settings, strategies as st

from cellmix_dali.curriculum import legal_patch_sizes
from cellmix_dali.curriculum.patch_sizes import nearest_patch_size
from cellmix_dali.errors import ArgumentError


@pytest.mark.parametrize(
    ("tile_size", "token_size", "jump", "expected"),
    [
        (384, 16, None, (16, 32, 48, 64, 96, 128, 192)),
        (384, 16, "odd", (16, 48, 96, 192)),
        (384, 16, "even", (16, 32, 64, 128)),
        (224, 16, None, (16, 32, 112)),
        (224, 14, None, (14, 28, 56, 112)),
        (256, 16, None, (16, 32, 64, 128)),
        (32, 16, None, (16,)),
        (32, 16, "even", (16,)),
        (12, 1, None, (1, 2, 3, 4, 6)),
        ((384, 256), 16, None, (16, 32, 64, 128)),
        ((256, 384), 16, None, (16, 32, 64, 128)),
        ([224, 448], 16, None, (16, 32, 112, 224)),  # 224 is no whole tile here: two patches
        ((16, 48), 16, None, (16,)),
    ],
)
def test_sizes_on_offer(tile_size, token_size, jump, expected):
    assert legal_patch_sizes(tile_size, token_size, jump) == expected


def test_token_size_is_16_unless_said():
    assert legal_patch_sizes(96) == (16, 32, 48)


@settings(deadline=None)
@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 40))
def test_sizes_are_all_that_fit_and_nothing_else(height, width, token):
    fitting = tuple(
        s
        for s in range(1, max(height, width) + 1)
        if height % s == 0 and width % s == 0 and s % token == 0 and (height // s) * (width // s) > 1
    )
    if fitting:
        assert legal_patch_sizes((height, width), token) == fitting
        odd, even = (legal_patch_sizes((height, width), token, jump) for jump in ("odd", "even"))
        assert set(odd) | set(even) == set(fitting)
        assert set(odd) & set(even) == {fitting[0]}
        assert list(odd) == sorted(odd)
        assert list(even) == sorted(even)
    else:
        with pytest.raises(ArgumentError):
            legal_patch_sizes((height, width), token)


@pytest.mark.parametrize(
    ("tile_size", "token_size", "words"),
    [
        (250, 16, ["250x250", "token_size=16", "multiples of 16, such as 64", "smaller token_size"]),
        (16, 16, ["16x16", "more than one patch"]),
        ((384, 250), 16, ["384x250"]),
        (1, 1, ["1x1"]),
    ],
)
def test_no_size_left_is_refused(tile_size, token_size, words):
    with pytest.raises(ArgumentError) as refused:
        legal_patch_sizes(tile_size, token_size)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tile_size": 0}, ["tile_size=0", "1 or more"]),
        ({"tile_size": 38.4}, ["tile_size=38.4", "whole number"]),
        ({"tile_size": "384"}, ["tile_size='384'", "(height, width)"]),
        ({"tile_size": (384, 384, 3)}, ["tile_size=(384, 384, 3)", "(height, width)"]),
        ({"tile_size": (-16, 384)}, ["tile_size (height)=-16", "1 or more"]),
        ({"tile_size": (384, None)}, ["tile_size (width)=None"]),
        ({"tile_size": True}, ["tile_size=True"]),
        ({"tile_size": 384, "token_size": 0}, ["token_size=0", "1 or more"]),
        ({"tile_size": 384, "jump": "od"}, ["jump 'od'", "Did you mean 'odd'?", "odd, even"]),
    ],
)
def test_bad_arguments_are_refused(arguments, words):
    with pytest.raises(ArgumentError) as refused:
        legal_patch_sizes(**arguments)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("sizes", "target", "expected"),
    [
        ((16, 32, 48), 32, 32),
        ((16, 48), 32, 16),
        ((48, 16), 32, 16),
        ((14, 28, 56), 32, 28),
        ((64, 128), 32, 64),
        ((16, 32, 64), 60, 64),
    ],
)
def test_nearest_size(sizes, target, expected):
    assert nearest_patch_size(sizes, target) == expected


def test_nearest_size_is_to_32_unless_said():
    assert nearest_patch_size((16, 40)) == 40


def test_nearest_of_nothing_is_refused():
    with pytest.raises(ArgumentError, match="sizes is empty"):
        nearest_patch_size(())


def test_sizes_of_a_large_tile_come_from_the_common_divisor():
    sizes = legal_patch_sizes((4096, 6144), 256)
    assert sizes == (256, 512, 1024, 2048)
    assert math.gcd(4096, 6144) == sizes[-1]
