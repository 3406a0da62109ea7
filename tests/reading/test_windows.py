"""Windows cut along blocks, against the plainest way to say it: pixel by pixel."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings, strategies as st

from cellmix_dali.reading.windows import MARGIN, cut_windows, lie


@st.composite
def levels(draw: st.DrawFn) -> tuple[int, ...]:
    """Width and height of a level and of its blocks, and the part that they show: often all of it."""
    width, height, wide, high = (draw(st.integers(1, most)) for most in (200, 200, 70, 70))
    left, top = (draw(st.sampled_from([0, 0, 1, side // 3])) for side in (width, height))
    right, bottom = (max(end - draw(st.sampled_from([0, 0, 5])), 0) for end in (width, height))
    step = high // draw(st.sampled_from([part for part in (1, 1, 2, 5) if high % part == 0]))
    return width, height, wide, high, left, top, right, bottom, step


LEVELS = levels()


@settings(deadline=None)  # compiled code is loaded at the first call
@given(st.lists(st.tuples(LEVELS, st.integers(-40, 240), st.integers(-40, 240), st.integers(1, 120)), min_size=1))
def test_how_windows_lie(given_windows: list[tuple[tuple[int, ...], int, int, int]]) -> None:
    of = np.array([level for level, *_ in given_windows], np.int64)
    windows = np.array([window for _, *window in given_windows], np.int64)
    for pad in (False, True):
        outside, whole, blocks = lie(of, windows, pad)
        for number, ((width, height, wide, high, left, top, right, bottom, step), x, y, size) in enumerate(
            given_windows
        ):
            inside = [x >= 0 and x + size <= width, y >= 0 and y + size <= height]
            touches = 0 <= x < width and 0 <= y < height
            assert outside[number] == (not touches if pad else not all(inside))
            shown = x >= left and y >= top and min(x + size, width) <= right and min(y + size, height) <= bottom
            assert (blocks[number] > 0) == shown or outside[number]
            block = shown and size == wide == high and (x - left) % wide == 0 and (y - top) % step == 0
            assert whole[number] == (block and x + size <= width and y + size <= height) or outside[number]


@settings(deadline=None)  # compiled code is loaded at the first call
@given(st.lists(st.tuples(LEVELS, *[st.floats(0, 0.999)] * 2, st.integers(1, 120)), min_size=1, max_size=5))
def test_each_pixel_comes_from_its_block(given_windows: list[tuple[tuple[int, ...], float, float, int]]) -> None:
    of = np.array([level for level, *_ in given_windows], np.int64)
    windows = np.array([(int(x * level[0]), int(y * level[1]), size) for level, x, y, size in given_windows], np.int64)
    cuts = cut_windows(of, windows)
    assert lie(of, windows, True)[2].tolist() == np.diff(cuts.firsts).tolist()
    assert len(cuts.columns) == len(cuts.rows) == len(cuts.geometry) == cuts.firsts[-1]
    for number, ((width, height, wide, high, left, top, *_, step), _, _, size) in enumerate(given_windows):
        x, y, _ = windows[number].tolist()
        if cuts.firsts[number] == cuts.firsts[number + 1]:  # it reaches beyond what the blocks show
            continue
        # Pixels as numbers of the level; what lies beyond it stays -1.
        level = np.arange(height * width).reshape(height, width)
        want = np.full((size, size), -1)
        want[: height - y, : width - x] = level[y : y + size, x : x + size]
        padded = np.full((-(-(height - top) // high) * high + high, -(-(width - left) // wide) * wide), -2)
        padded[: height - top, : width - left] = level[top:, left:]
        got, order = np.full((size, size), -1), []
        for piece in range(cuts.firsts[number], cuts.firsts[number + 1]):
            column, row = int(cuts.columns[piece]), int(cuts.rows[piece])
            order.append((row, column))
            block = padded[row * step : row * step + high, column * wide : (column + 1) * wide]
            start, place, shape, decoded, extent = cuts.geometry[piece]
            part = block[start[0] : start[0] + shape[0], start[1] : start[1] + shape[1]]
            target = got[place[0] : place[0] + shape[0], place[1] : place[1] + shape[1]]
            assert (target == -1).all()  # no pixel comes twice
            target[:] = part
            assert (decoded == np.maximum(start - MARGIN, 0)).all()
            assert (decoded + extent == np.minimum(start + shape + MARGIN, (high, wide))).all()
        np.testing.assert_array_equal(got, want)
        assert order == sorted(order)
