"""Places of blocks in eight bytes each."""

from __future__ import annotations

import numpy as np
import pytest

from cellmix_dali.slides._quick import look_up
from cellmix_dali.slides.block_places import ELSEWHERE, BlockPlaces

TIB, MIB16 = 1 << 40, 1 << 24


def test_offsets_and_bytes_come_back() -> None:
    rng = np.random.default_rng(1)
    offsets = rng.integers(0, TIB, 1000)
    counts = rng.integers(1, MIB16 - 1, 1000)
    offsets[:2], counts[:2] = (0, TIB - 1), (1, MIB16 - 2)
    places = BlockPlaces.of(offsets, counts)
    assert places.packed.nbytes == 8 * len(places) == 8000
    assert not places.elsewhere
    for numbers in (slice(None), np.arange(1000)[::-7], np.arange(12).reshape(4, 3)):
        found = places.take(numbers)
        np.testing.assert_array_equal(found[0], offsets[numbers])
        np.testing.assert_array_equal(found[1], counts[numbers])


@pytest.mark.parametrize(
    ("offset", "count"),
    [(TIB, 5), (7, MIB16 - 1), (TIB - 1, MIB16 - 1), (1 << 60, 1 << 40), (-5, 9), (8, -1)],
)
def test_what_does_not_fit_is_kept_beside_and_left_to_the_careful_way(offset: int, count: int) -> None:
    places = BlockPlaces.of(np.array([3, offset, 9]), np.array([4, count, 2]))
    assert places.packed[1] == ELSEWHERE
    assert [of.tolist() for of in places.take(np.array([1, 2, 1]))] == [[offset, 9, offset], [count, 2, count]]
    table = np.array([[places.packed.ctypes.data, 3, 1]])
    found = look_up(np.zeros(4, np.int64), table, np.array([0, 1, 2, 3]), np.zeros(4, np.int64))
    assert [of.tolist() for of in found] == [[3, 0, 9, 0], [4, -1, 2, -1]]


def test_a_blank_block_has_no_offset() -> None:
    places = BlockPlaces.of(np.array([TIB * 9, 5]), np.array([0, 0]))
    assert [of.tolist() for of in places.take(slice(None))] == [[0, 0], [0, 0]]
    assert not places.elsewhere
