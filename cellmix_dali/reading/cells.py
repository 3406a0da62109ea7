"""Blocks of a batch dealt to cells, so that each is decoded once, whichever of the batch's tiles lie on it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..slides.ppm import ppm
from .slides import EncodedTile

__all__ = ["Cells", "deal", "grouped"]

_EMPTY = ppm(np.full((1, 1, 3), 255, np.uint8))  # is decoded where a cell has no block
_GROUPS = 4


class Cells(NamedTuple):
    """A batch's blocks in cells (slot, sample), and the cells that make up each tile.

    Attributes
    ----------
    streams : list (slots,) of lists (batch,) of uint8 arrays (bytes,)
        The cells' blocks.
    parts : int32 array (slots, 2, batch, 2)
        Of each block the part that is decoded, y before x, in pixels: where it begins, and its height and width. It
        holds all that the batch's tiles use of it.
    pixels : list (batch,) of uint8 arrays (height, width, 3)
        Pixels of tiles that are not made of blocks; of others a column of as many pixels as the tile is high, which is
        not used. They are the slot after the last.
    regions : int32 array (batch, R, 11)
        What a tile is made of, by slots: slot and sample of the cell; where the region begins in the decoded part,
        (y, x); where it goes in the tile, (y, x); height and width. Then the same place as compiled code finds it: the
        group of slots (see `grouped`), the first byte in the decoded parts of the group, laid end to end, and how many
        bytes two rows are apart. The regions of a tile do not overlap. All zero where a tile has fewer than R.
    firsts : int32 array (batch, slots + 2)
        Number of a tile's first region of each slot, and of all.
    """

    streams: list[list[NDArray[np.uint8]]]
    parts: NDArray[np.int32]
    pixels: list[NDArray[np.uint8]]
    regions: NDArray[np.int32]
    firsts: NDArray[np.int32]


def grouped(slots: int) -> list[range]:
    """Return the slots as at most four groups: an operator of compiled code takes six inputs."""
    size = -(-slots // _GROUPS)
    return [range(first, min(first + size, slots)) for first in range(0, slots, size)]


def deal(
    tiles: Sequence[EncodedTile], slots: int, sides: Sequence[int], *, second: Sequence[bool] | None = None
) -> Cells:
    """Deal the blocks of a batch's tiles to cells, each block to one.

    Parameters
    ----------
    tiles : sequence of EncodedTile
        The batch. No tile has more than `slots` streams, so that there are cells for all.
    slots : int
        Cells per sample.
    sides : sequence of int
        Sides of the tiles in pixels.
    second : sequence of bool, optional
        Which tiles have their blocks dealt to a second set of as many slots, which has a decoder of its own. By default
        there is no second set.

    Returns
    -------
    Cells
    """
    from ._deal import dealt  # numba takes a second to import

    batch = len(tiles)
    blocks = [stream for tile in tiles for stream in tile.streams]
    sets: tuple[dict[int, int], dict[int, int]] = ({}, {})
    of = [
        sets[mine].setdefault(id(stream), len(sets[mine]) + mine * slots * batch)
        for tile, mine in zip(tiles, second or [False] * batch, strict=True)
        for stream in tile.streams
    ]
    slots *= 1 if second is None else 2
    unique = dict(zip(of, blocks, strict=True))
    streams = [[unique.get(slot * batch + sample, _EMPTY) for sample in range(batch)] for slot in range(slots)]
    pixels = [_column(side) if tile.pixels is None else tile.pixels for tile, side in zip(tiles, sides, strict=True)]
    drawn = np.array([0 if tile.pixels is None else len(tile.pixels) for tile in tiles], np.int64)
    counts = np.array([len(tile.streams) for tile in tiles], np.int64)
    geometry = np.concatenate([tile.geometry for tile in tiles])
    parts, regions, firsts = dealt(geometry, np.array(of, np.int64), counts, drawn, slots, len(grouped(slots)[0]))
    return Cells(streams, parts, pixels, regions, firsts)


@functools.lru_cache(maxsize=64)
def _column(side: int) -> NDArray[np.uint8]:
    """A column of white pixels; not to be written to."""
    column = np.full((side, 1, 3), 255, np.uint8)
    column.flags.writeable = False
    return column
