"""What a slide is made of: resolutions, and rectangles in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Box", "Level"]


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels: left edge, top edge, width, height."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Level:
    """One resolution of a slide.

    Attributes
    ----------
    width, height : int
        Size in pixels.
    downsample : float
        How many pixels of level 0 make one of this level, along a side.
    block_width, block_height : int or None
        Size of the encoded blocks in pixels; None where OpenSlide reads the level, as all that follow.
    columns, rows : int or None
        Blocks across and down. The last ones reach over the level's edge.
    compression : {"jpeg", "jpeg2000"} or None
        What a block is.
    colour : {"rgb", "ycbcr"} or None
        What the samples inside a block mean; a decoder gives RGB in both cases.
    covered : Box or None, default None
        The part of the level that the blocks show, where it is not all of it: the first block begins at its upper left
        corner. OpenSlide reads what lies elsewhere.
    row_step : int or None, default None
        Where blocks are joined of rows of so many pixels: blocks of any number of such rows can be had, from each row
        on (`height` of `Slide.block_reader`). None where there is one grid of blocks.
    """

    width: int
    height: int
    downsample: float
    block_width: int | None = None
    block_height: int | None = None
    columns: int | None = None
    rows: int | None = None
    compression: Literal["jpeg", "jpeg2000"] | None = None
    colour: Literal["rgb", "ycbcr"] | None = None
    covered: Box | None = None
    row_step: int | None = None

    @property
    def shown(self) -> Box:
        """The part of the level that the blocks show."""
        return self.covered or Box(0, 0, self.width, self.height)
