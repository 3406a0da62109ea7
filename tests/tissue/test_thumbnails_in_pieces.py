"""A thumbnail put together from what can be read: squares along the blocks, across and down unequal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cellmix_dali.errors import NotReadError, SlideError
from cellmix_dali.slides import Level
from cellmix_dali.tissue.thumbnails import _squares, thumbnail_of


class Damaged:
    """A slide of 2400 x 1400 pixels, and half of that; of its second level some pixels cannot be read."""

    def __init__(
        self, *bad: tuple[int, int], blocks: tuple[int | None, int | None] = (100, 50), moment: bool = False
    ) -> None:
        self.bad, self.moment = bad, moment
        wide, high = blocks
        self.levels = (
            Level(2400, 1400, 1.0, wide, high),
            Level(1200, 700, 2.0, wide, high),
            Level(150, 88, 16.0, 8, 8),
        )
        self.asked: set[int] = set()

    def thumbnail(self, size: int) -> NDArray[np.uint8]:
        raise SlideError(f"no {size}")

    def read_region(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        self.asked.add(level)
        if any(x <= column < x + width and y <= row < y + height for column, row in self.bad):
            raise (NotReadError if self.moment else SlideError)("torn")
        columns, rows = np.meshgrid(range(x, x + width), range(y, y + height))
        return np.stack([columns // 5, rows // 3, np.full_like(rows, 90)], axis=-1).astype(np.uint8)


def unread(slide: Any, size: int) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]]:
    picture, mask = thumbnail_of(slide, size)
    rows, columns = np.nonzero(mask)
    box = int(columns.min()), int(columns.max()) + 1, int(rows.min()), int(rows.max()) + 1
    assert mask[box[2] : box[3], box[0] : box[1]].all()
    assert (picture[mask] == 127).all()
    return picture, box


def test_a_torn_block_costs_its_square_and_no_more() -> None:
    """300 pixels wide: the second level is read, four of its pixels each way for one."""
    slide = Damaged((250, 160))
    picture, box = unread(slide, 300)
    assert picture.shape == (175, 300, 3)
    assert slide.asked == {1}
    assert box == (50, 75, 25, 50)
    whole = slide.read_region(1, 0, 200, 1200, 500).reshape(125, 4, 300, 4, 3).mean((1, 3))
    assert np.abs(picture[50:] - whole).max() <= 1
    assert unread(Damaged((250, 160), (399, 160), (350, 199)), 300)[1] == (50, 100, 25, 50)


@pytest.mark.parametrize(
    ("blocks", "box"), [((50, 100), (50, 75, 25, 50)), ((None, None), (32, 64, 32, 64)), ((256, 256), (0, 64, 0, 64))]
)
def test_squares_are_as_large_as_the_blocks_longer_side(blocks: Any, box: tuple[int, int, int, int]) -> None:
    assert unread(Damaged((250, 160), blocks=blocks), 300)[1] == box


def test_the_level_is_the_coarsest_that_is_fine_enough() -> None:
    for size, level in ((1201, 0), (1200, 1), (151, 1), (150, 2)):
        slide = Damaged((3, 3))
        thumbnail_of(slide, size)  # type: ignore[arg-type]
        assert slide.asked == {level}


def test_a_small_slide_is_not_enlarged_and_where_nothing_can_be_read_the_reason_is_told() -> None:
    picture, mask = thumbnail_of(Damaged((3, 3)), 9999)  # type: ignore[arg-type]
    assert picture.shape[:2] == mask.shape == (1400, 2400)
    whole = Damaged(*((column, row) for column in range(0, 1200, 50) for row in range(0, 700, 50)))
    with pytest.raises(SlideError, match="no 300"):
        thumbnail_of(whole, 300)  # type: ignore[arg-type]
    with pytest.raises(NotReadError, match="torn"):
        thumbnail_of(Damaged((3, 3), moment=True), 300)  # type: ignore[arg-type]


def test_squares_cover_a_rectangle_once_along_the_blocks() -> None:
    level = Level(1000, 700, 1.0, 60, 40)
    for x, y, width, height, least in ((0, 0, 1000, 700, 128), (120, 60, 333, 222, 60), (0, 0, 7, 9, 1024)):
        seen = np.zeros((700, 1000), int)
        for left, top, wide, high in _squares(level, x, y, width, height, least):
            seen[top : top + high, left : left + wide] += 1
            side = -(-least // 60) * 60
            assert (left - x) % side == (top - y) % side == 0
            assert wide == min(side, x + width - left)
            assert high == min(side, y + height - top)
        assert (seen[y : y + height, x : x + width] == 1).all()
        assert seen.sum() == width * height
