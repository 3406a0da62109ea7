"""How the colours of a slide's tiles are distributed: what RandStainNA draws its virtual templates from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .colour import HED, to_lab

__all__ = ["COUNT", "SPACES", "TileColours", "added"]

#: Colour spaces, by the names of their channels: LAB and HSV in OpenCV's 8-bit units, HED in scikit-image's.
SPACES = ("LAB", "HSV", "HED")
_SHAPE = (len(SPACES), 2, 3)  # space; mean and deviation; channel
#: Numbers of a slide: tiles, sums, sums of squares.
COUNT = 1 + 2 * 18
_DARKEST = 1e-6  # what the logarithm of a black pixel is taken of, as scikit-image does
_EVERY = 2  # so many rows and columns of a tile, of which one is measured


class TileColours(NamedTuple):
    """Tiles' means and deviations in three colour spaces, added up.

    Attributes
    ----------
    tiles : int
        How many.
    sums, squares : float64 array (spaces, 2, channels)
        Sums over the tiles of their means and deviations, and of the squares of these.
    """

    tiles: int
    sums: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]

    @classmethod
    def none(cls) -> TileColours:
        """Return what there is of no tile."""
        return cls(0, np.zeros(_SHAPE), np.zeros(_SHAPE))

    def __add__(self, other: object) -> TileColours:
        """Take further tiles in."""
        if not isinstance(other, TileColours):
            return NotImplemented
        return TileColours(self.tiles + other.tiles, self.sums + other.sums, self.squares + other.squares)

    @classmethod
    def of_tile(cls, tile: npt.NDArray[np.uint8]) -> TileColours:
        """Measure a tile, uint8 (height, width, 3): all of it, with the glass, as RandStainNA does."""
        from matplotlib.colors import rgb_to_hsv  # takes a while

        pixels = tile[::_EVERY, ::_EVERY]
        levels = pixels / 255.0
        density = np.log(np.maximum(levels, _DARKEST)) / np.log(_DARKEST)
        spaces = [
            to_lab(pixels) * [2.55, 1, 1] + [0, 128, 128],
            rgb_to_hsv(levels) * [180, 255, 255],
            np.maximum(density @ np.linalg.inv(HED), 0),
        ]
        found = np.stack([[each.mean(axis=(0, 1)), each.std(axis=(0, 1))] for each in spaces])
        return cls(1, found, found**2)

    @classmethod
    def read(cls, numbers: Sequence[float] | None) -> TileColours:
        """Read what `numbers` gave; None is no tile."""
        if numbers is None:
            return cls.none()
        values = np.asarray(numbers, np.float64)
        sums, squares = values[1:].reshape(2, *_SHAPE)
        return cls(int(values[0]), sums, squares)

    @property
    def numbers(self) -> list[float] | None:
        """All numbers, `COUNT`; None of no tile."""
        return [float(self.tiles), *self.sums.ravel().tolist(), *self.squares.ravel().tolist()] if self.tiles else None

    def templates(self) -> list[Mapping[str, Any]]:
        """Return, for each space, what RandStainNA's own preparation writes into its YAML files."""
        means = self.sums / self.tiles
        spreads = np.sqrt(np.maximum(self.squares / self.tiles - means**2, 0))
        return [
            {"color_space": space}
            | {
                channel: {
                    of: {"mean": float(means[number, which, place]), "std": float(spreads[number, which, place])}
                    for which, of in enumerate(("avg", "std"))
                }
                for place, channel in enumerate(space)
            }
            for number, space in enumerate(SPACES)
        ]


def added(colours: Iterable[TileColours]) -> TileColours:
    """Return what there is of all tiles."""
    return sum(colours, start=TileColours.none())
