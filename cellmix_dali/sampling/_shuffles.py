"""Which row stands at which position of an epoch: in the table's order, shuffled, or shuffled by runs of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .permutation import Purpose, draws, permuted, scattered

__all__ = ["InOrder", "Rows", "ShuffledBlocks", "ShuffledRows"]


class Rows(Protocol):
    """Gives the rows at positions of an epoch."""

    def __call__(self, positions: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        """Return the row at each position."""
        ...


@dataclass(frozen=True)
class InOrder:
    """The table's own order, in every epoch."""

    def __call__(self, positions: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:  # noqa: ARG002
        """Return the row at each position."""
        return positions


@dataclass(frozen=True)
class ShuffledRows:
    """All rows permuted."""

    size: int
    seed: int

    def __call__(self, positions: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        """Return the row at each position."""
        return permuted(positions, self.size, seed=self.seed, epoch=epoch)


@dataclass(frozen=True)
class ShuffledBlocks:
    """Runs of neighbouring rows permuted, and the rows of a window of runs shuffled among each other.

    The rows are a ring, cut into runs of `block_rows` rows from a starting row that is new in every epoch, so that it
    is not always the same rows that stay together. Where `block_rows` does not divide the size, the rows that are left
    over, other ones in every epoch, come last.
    """

    size: int
    seed: int
    block_rows: int
    window_rows: int

    def __call__(self, positions: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        """Return the row at each position."""
        runs = self.size // self.block_rows
        row = self._out_of_window(positions, epoch)
        in_full = row < runs * self.block_rows
        run, within = np.divmod(row[in_full], self.block_rows)
        run = permuted(run, runs, seed=self.seed, epoch=epoch, purpose=Purpose.RUNS)
        row[in_full] = run * self.block_rows + within
        turn = int(draws(self.seed, epoch, Purpose.TURN)[0]) % self.size
        return (row + turn) % self.size

    def _out_of_window(self, positions: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        """Shuffle positions within their windows."""
        window = positions // self.window_rows
        first = window * self.window_rows
        rows = np.minimum(self.window_rows, self.size - first)
        return first + scattered(
            positions - first, rows, seed=self.seed, epoch=epoch, purpose=Purpose.WINDOWS, which=window
        )
