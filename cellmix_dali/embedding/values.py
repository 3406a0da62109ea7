"""Numbers of tiles that came from elsewhere, brought into the order of a slide's tiles."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..storage.foreign_files import reading

__all__ = ["tile_at", "values_of"]


def tile_at(coords: NDArray[np.int64], side: float, x: float, y: float) -> int:
    """Return the row of the tile that a place of level 0 lies on, the one whose middle is the nearest.

    Raises
    ------
    ArgumentError
        If no tile lies there.
    """
    on = ((coords <= (x, y)) & (coords + side > (x, y))).all(axis=1)
    if not on.any():
        raise ArgumentError(f"No tile lies at x {x:g}, y {y:g} of level 0: the tissue may end before it.")
    far = ((coords + side / 2 - (x, y)) ** 2).sum(axis=1)
    return int(np.where(on, far, np.inf).argmin())


def values_of(path: Path, coords: NDArray[np.int64]) -> NDArray[np.float64]:
    """Read a number for each tile; NaN for tiles that a CSV does not name.

    Parameters
    ----------
    path : Path
        CSV with the columns ``x``, ``y`` (upper left corners in pixels of level 0) and ``value``, or ``.npy`` with as
        many numbers as tiles, in their order.
    coords : int64 array (n, 2)
        The tiles.

    Raises
    ------
    ArgumentError
        If the file cannot be read, names a tile that is not there, or has another number of values.
    """
    with reading(path, "The file of values", "Give a CSV with x, y and value, or a .npy file."):
        if path.suffix == ".npy":
            numbers: NDArray[np.float64] = np.load(path, allow_pickle=False).astype(np.float64).reshape(-1)
            if len(numbers) != len(coords):
                raise ArgumentError(f"{path} has {len(numbers)} numbers, and there are {len(coords)} tiles.")
            return numbers
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            missing = [name for name in ("x", "y", "value") if name not in (table.fieldnames or ())]
            if missing:
                raise ArgumentError(f"{path} has no column {missing[0]!r}: expected x, y and value.")
            rows = {place: row for row, place in enumerate(map(tuple, coords.tolist()))}
            found = np.full(len(coords), np.nan)
            for line in table:
                place = int(float(line["x"])), int(float(line["y"]))
                if place not in rows:
                    raise ArgumentError(f"{path} names a tile at x {place[0]}, y {place[1]}, and there is none.")
                found[rows[place]] = float(line["value"])
    return found
