"""Windows cut along blocks, against the plainest way to say it: pixel by pixel."""

from __future__ import annotations

import numpy as np
from hypothesis import given, strategies as st

from cellmix_dali.reading.windows import MARGIN, cut_windows, lie

LEVELS = st.tuples(*[st.integers(1, 200)] * 2, *[st.integers(1, 70)] * 2)


@given(st.lists(st.tuples(LEVELS, st.integers(-40, 240), st.integers(-40, 240), st.integers(1, 120)), min_size=1))
def test_how_windows_lie(given_windows: list[tuple[tuple[int, ...], int, int, int]]) -> None:
    of = np.array([level for level, *_ in given_windows], np.int64)
    windows = np.array([window for _, *window in given_windows], np.int64)
    for pad in (False, True):
        outside, whole, _ = lie(of, windows, pad)
        for number, ((width, height, wide, high), x, y, size) in enumerate(given_windows):
            inside = [x >= 0 and x + size <= width, y >= 0 and y + size <= height]
            touches = 0 <= x < width and 0 <= y < height
            assert outside[number] == (not touches if pad else not all(inside))
            block = size == wide == high and x % wide == 0 and y % high == 0
            assert whole[number] == (block and x + size <= width and y + size <= height) or outside[number]


@given(st.lists(st.tuples(LEVELS, *[st.floats(0, 0.999)] * 2, st.integers(1, 120)), min_size=1, max_size=5))
def test_each_pixel_comes_from_its_block(given_windows: list[tuple[tuple[int, ...], float, float, int]]) -> None:
    of = np.array([level for level, *_ in given_windows], np.int64)
    windows = np.array([(int(x * level[0]), int(y * level[1]), size) for level, x, y, size in given_windows], np.int64)
    cuts = cut_windows(of, windows)
    assert lie(of, windows, True)[2].tolist() == np.diff(cuts.firsts).tolist()
    assert len(cuts.columns) == len(cuts.rows) == len(cuts.geometry) == cuts.firsts[-1]
    for number, ((width, height, wide, high), _, _, size) in enumerate(given_windows):
        x, y, _ = windows[number].tolist()
        # Pixels as numbers of the level; what lies beyond it stays -1.
        level = np.arange(height * width).reshape(height, width)
        want = np.full((size, size), -1)
        want[: height - y, : width - x] = level[y : y + size, x : x + size]
        padded = np.full((-(-height // high) * high, -(-width // wide) * wide), -2)
        padded[:height, :width] = level
        got, order = np.full((size, size), -1), []
        for piece in range(cuts.firsts[number], cuts.firsts[number + 1]):
            column, row = int(cuts.columns[piece]), int(cuts.rows[piece])
            order.append((row, column))
            block = padded[row * high : (row + 1) * high, column * wide : (column + 1) * wide]
            start, place, shape, decoded, extent = cuts.geometry[piece]
            part = block[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1]]
            target = got[place[0] : place[0] + shape[0], place[1] : place[1] + shape[1]]
            assert (target == -1).all()  # no pixel comes twice
            target[:] = part
            assert (decoded == np.maximum(start - MARGIN, 0)).all()
            assert (decoded + extent == np.minimum(start + shape + MARGIN, (high, wide))).all()
        np.testing.assert_array_equal(got, want)
        assert order == sorted(order)
