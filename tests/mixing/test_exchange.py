"""Compiled exchanges against NumPy's, ties included."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cellmix_dali.mixing import _exchange, cellmix_plan
from cellmix_dali.mixing.cellmix import _sorted, _stable_order


@pytest.mark.parametrize("members", range(1, _exchange.SMALL_GROUP + 1))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("values", [2, 2**20], ids=["many ties", "hardly any tie"])
def test_groups_exchange_as_numpy_sorts_them(members: int, dtype: type, values: int) -> None:
    random = np.random.default_rng(members)
    noise = (random.integers(0, values, (members * 5, 11)) / values).astype(dtype)
    free = random.permutation(16)[:11]

    found = _exchange.exchanged(noise, free, 16, members)

    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, _sorted(noise, free, 16, members))
    if members > 1:
        assert (found != np.arange(members * 5)[:, None]).any()


@pytest.mark.parametrize("dtype", ["float16", ">f8", "longdouble"])
def test_noise_of_any_type_gives_the_same_plan(dtype: str) -> None:
    noise = np.random.default_rng(0).integers(0, 64, (8, 8)) / 64
    plans = [
        cellmix_plan(np.arange(16), noise.astype(kind), grid=(4, 4), fix_ratio=0.5, group_size=2)
        for kind in (dtype, "float64")
    ]
    np.testing.assert_array_equal(plans[0].source_sample, plans[1].source_sample)


def test_noise_that_is_no_number_comes_last_and_loses_no_patch() -> None:
    noise = np.where(np.arange(32).reshape(4, 8) % 3, 0.5, np.nan)
    plan = cellmix_plan(np.arange(8), noise, grid=(2, 4), fix_ratio=0.0, group_size=2)
    np.testing.assert_array_equal(np.sort(plan.source_sample, axis=0), np.repeat(np.arange(4)[:, None], 8, axis=1))


def test_shares_count_the_patches() -> None:
    source = np.array([[0, 0, 0, 1], [1, 0, 0, 0], [2, 2, 2, 2]], np.int32)
    firsts, samples, shares = _exchange.shares(source)
    assert (firsts.dtype, samples.dtype, shares.dtype) == (np.int64, np.int32, np.float32)
    assert (firsts.tolist(), samples.tolist()) == ([0, 2, 4, 5], [0, 1, 1, 0, 2])
    assert shares.tolist() == [0.75, 0.25, 0.25, 0.75, 1.0]


@pytest.mark.parametrize("many_ties", [True, False])
def test_large_groups_exchange_as_a_stable_sort_says(many_ties: bool) -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 3, (40, 11)) / 3 if many_ties else random.random((40, 11))
    order = np.argsort(noise, axis=0, kind="stable")
    np.testing.assert_array_equal(_sorted(noise, np.arange(11), 11, 40), order)
    noise[::7] = np.nan
    order = np.argsort(noise, axis=0, kind="stable")
    np.testing.assert_array_equal(_sorted(noise, np.arange(11), 11, 40), order)


_NEXT = 1 + 2.0**-52  # the smallest number above 1


@pytest.mark.parametrize("length", [1, 2, 49, 64, 65])
@pytest.mark.parametrize(
    "change",
    [
        lambda noise: noise,
        lambda noise: np.round(noise, 1),
        lambda noise: np.where(noise < 0.5, _NEXT, 1.0),  # they differ in the bits that take the place
        lambda noise: 1 + noise * 2.0**-47,
        lambda noise: noise - 0.5,
        lambda noise: np.where(noise < 0.5, -0.0, 0.0),
        lambda noise: np.where(noise < 0.3, np.inf, noise),
        lambda noise: np.where(noise < 0.3, np.nan, noise),
        lambda noise: noise * 5e-324 * 1000,  # subnormal
        lambda noise: noise.astype(np.float32),
        lambda noise: noise.astype(">f8"),
    ],
    ids=[
        "drawn",
        "ties",
        "neighbours",
        "close",
        "negative",
        "zeros",
        "inf",
        "nan",
        "subnormal",
        "float32",
        "big-endian",
    ],
)
def test_rows_are_ordered_as_a_stable_sort_says(length: int, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for rows in (np.random.default_rng(1).random((50, length)), np.random.default_rng(2).random((length, 7)).T):
        noise = change(rows)
        np.testing.assert_array_equal(_stable_order(noise), np.argsort(noise, axis=-1, kind="stable"))
