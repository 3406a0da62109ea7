"""Random numbers of tiles one by one: of whatever batch they are in, and in whatever order they are made."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .clock import EpochClock
from .dali import fn, types
from .draw import Draw

__all__ = ["TileDraw", "TileKey"]


class TileKey(NamedTuple):
    """What a tile's numbers depend on, beside the seed.

    Attributes
    ----------
    slide : str
        Name of the slide's file, without its folder.
    level, x, y : int
        Where the tile lies.
    """

    slide: str
    level: int
    x: int
    y: int

    @classmethod
    def of(cls, slide: Path, level: int, x: int, y: int) -> TileKey:
        """Make the key of a tile."""
        return cls(slide.name, level, x, y)


class TileDraw(Draw):
    """Draws for the graph that is being defined, whose numbers it is given batch by batch.

    Parameters
    ----------
    seed : int
        Of the numbers.
    """

    name = "drawn"

    def __init__(self, seed: int) -> None:
        super().__init__(EpochClock(None), 1, seed)
        self._node = fn.external_source(name=self.name, dtype=types.FLOAT, ndim=1)

    def numbers(self, keys: Sequence[TileKey]) -> dict[str, NDArray[np.float32]]:
        """Return what the pipeline's ``run`` is given for some tiles: (tiles, numbers); nothing if none are drawn."""
        if not self._drawn:
            return {}
        rows = [
            self._numbers(1, 1.0, epoch=key.y, iteration=key.x, rank=zlib.crc32(key.slide.encode()) << 8 | key.level)
            for key in keys
        ]
        return {self.name: np.concatenate(rows)}
