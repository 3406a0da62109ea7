"""Rows drawn so that groups of them, classes or slides, come equally often."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError
from .permutation import Purpose, scattered

__all__ = ["Balanced"]

_AT_ONCE = 2**22


class Balanced:
    """Groups take turns in rounds, each round in a new order; within a group the rows come permuted, lap after lap.

    In memory lies one entry (8 bytes, 16 from 2**31 rows) for each run of rows of one group, not for each row: next
    to nothing for slides, at most 8 bytes per row where every row is of another group than its neighbour.
    """

    def __init__(self, groups: ArrayLike, size: int, seed: int) -> None:
        given = np.asarray(groups)
        if given.shape != (size,) or given.dtype.kind not in "iub":
            raise ArgumentError(
                f"balance has shape {given.shape} and type {given.dtype}: give one whole number, class or slide, for "
                f"each of the {size} rows; for class shares, shares.argmax(axis=1)."
            )
        self._seed = seed
        kind: type[np.signedinteger] = np.int32 if size < 2**31 else np.int64
        starts = _starts(given, kind)
        lengths = np.diff(starts, append=kind(size))
        names = given[starts]
        order = np.argsort(_compact(names), kind="stable")
        names, starts, lengths = names[order], starts[order], lengths[order]
        # Rows are numbered group by group; a run begins at number `first`, and `to_row` leads from number to row.
        self._firsts = np.cumsum(lengths, dtype=kind) - lengths
        self._to_row = starts - self._firsts
        changes = np.concatenate([[0], np.flatnonzero(names[1:] != names[:-1]) + 1])
        self._group_firsts = self._firsts[changes].astype(np.int64)
        self._group_sizes = np.diff(self._group_firsts, append=size)

    def __call__(self, positions: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        """Return the row at each position."""
        count = len(self._group_sizes)
        turn, place = np.divmod(positions, count)
        group = scattered(place, count, seed=self._seed, epoch=epoch, purpose=Purpose.GROUPS, which=turn)
        sizes = self._group_sizes[group]
        # A round holds every group once, so a group's row in round t is its t-th draw of the epoch.
        lap, draw = np.divmod(turn, sizes)
        member = scattered(
            draw, sizes, seed=self._seed, epoch=epoch, purpose=Purpose.MEMBERS, which=lap * count + group
        )
        number = self._group_firsts[group] + member
        run = np.searchsorted(self._firsts, number.astype(self._firsts.dtype), side="right") - 1
        rows: NDArray[np.int64] = number + self._to_row[run]
        return rows


def _starts(groups: NDArray[np.integer], kind: type[np.signedinteger]) -> NDArray[np.signedinteger]:
    """Where runs of one group begin; found piece by piece, for what numpy makes on the way is longer than the table."""
    found = [np.zeros(1, kind)]
    for first in range(0, len(groups) - 1, _AT_ONCE):
        piece = groups[first : first + _AT_ONCE + 1]
        found.append((np.flatnonzero(piece[1:] != piece[:-1]) + first + 1).astype(kind))
    return np.concatenate(found)


def _compact(names: NDArray[np.integer]) -> NDArray[np.integer]:
    """Group numbers as 16 bits where they fit: numpy sorts those in linear time."""
    lowest, highest = int(names.min()), int(names.max())
    if highest - lowest >= 2**16 or names.dtype.kind == "b":
        return names
    return names.astype(np.uint16)  # different numbers stay different, in whatever order
