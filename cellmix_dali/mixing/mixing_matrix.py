"""How much of each sample is in each output of a batch, without the many that are not in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError

__all__ = ["MixingMatrix"]


@dataclass(frozen=True, eq=False)
class MixingMatrix:
    """The mixing matrix of a batch, row by row, without its zeros: a batch of 4096 has 16 million of them.

    Attributes
    ----------
    firsts : int64 array (batch + 1,)
        Where in the other two each output's entries begin, and their number.
    samples : int32 array (entries,)
        Which sample.
    shares : float32 array (entries,)
        How much of it; those of an output add up to 1.
    """

    firsts: NDArray[np.int64]
    samples: NDArray[np.int32]
    shares: NDArray[np.float32]

    @property
    def batch_size(self) -> int:
        """Number of samples."""
        return len(self.firsts) - 1

    @classmethod
    def unit(cls, batch_size: int) -> MixingMatrix:
        """Make the matrix of a batch that stays as it is."""
        return cls(
            np.arange(batch_size + 1, dtype=np.int64),
            np.arange(batch_size, dtype=np.int32),
            np.ones(batch_size, np.float32),
        )

    @classmethod
    def of_pairs(cls, source: NDArray[np.int32], own: NDArray[np.float64]) -> MixingMatrix:
        """Make the matrix of samples that keep a share and take the rest from one other sample, or from themselves."""
        batch = source.size
        alone = source == np.arange(batch)
        samples = np.stack([np.arange(batch, dtype=np.int32), source], axis=1)
        shares = np.stack([np.where(alone, own + (1.0 - own), own), 1.0 - own], axis=1).astype(np.float32)
        there = np.stack([np.ones(batch, bool), ~alone], axis=1)
        return cls(np.concatenate([[0], np.cumsum(there.sum(axis=1))]), samples[there], shares[there])

    @classmethod
    def of_patches(cls, source_sample: NDArray[np.int32]) -> MixingMatrix:
        """Make the matrix of outputs whose patches, as many in all, come from those samples, (batch, patches)."""
        from ._exchange import shares  # numba takes a second to import

        return cls(*shares(source_sample))

    def dense(self) -> NDArray[np.float32]:
        """Return the whole matrix, (batch, batch)."""
        whole = np.zeros((self.batch_size, self.batch_size), np.float32)
        whole[np.repeat(np.arange(self.batch_size), np.diff(self.firsts)), self.samples] = self.shares
        return whole

    def mixed(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the matrix times the samples' values, float (batch, numbers), worked out in float64."""
        from ._exchange import mixed_values

        rows = np.ascontiguousarray(values, np.float64)
        found: NDArray[np.float64] = mixed_values(self.firsts, self.samples, self.shares, rows)
        return found

    def mixed_classes(self, classes: NDArray[np.integer], num_classes: int) -> NDArray[np.float64]:
        """Return the share of each class in each output, (batch, classes), from class indices, (batch,).

        Raises
        ------
        ArgumentError
            If an index is out of range.
        """
        from ._exchange import mixed_classes

        of = np.ascontiguousarray(classes, np.int64)
        if of.size and not 0 <= of.min() <= of.max() < num_classes:
            raise ArgumentError(
                f"Labels from {of.min()} to {of.max()} do not fit num_classes={num_classes}: they go from 0 to "
                f"{num_classes - 1}."
            )
        found: NDArray[np.float64] = mixed_classes(self.firsts, self.samples, self.shares, of, num_classes)
        return found

    def extended(self, more: int) -> MixingMatrix:
        """Return the matrix of a batch with further samples at its end, which stay as they are."""
        rest, count = MixingMatrix.unit(more), self.batch_size
        return MixingMatrix(
            np.concatenate([self.firsts, self.firsts[-1] + rest.firsts[1:]]),
            np.concatenate([self.samples, rest.samples + np.int32(count)]),
            np.concatenate([self.shares, rest.shares]),
        )
