"""Mixing plans: what goes where in one batch, and what that makes of the labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._arguments import IGNORED, SHARE_TOLERANCE
from .._cached import cached_property
from ..errors import ArgumentError
from .mixing_matrix import MixingMatrix

__all__ = ["IGNORED", "MixPlan", "PatchPlan"]


@dataclass(frozen=True, eq=False, kw_only=True)
class MixPlan(ABC):
    """What is done to one batch. Drawn on the host, applied by an operator; a value that never changes.

    Its kinds: `PatchPlan` (patches change places), `BoxPlan` (one box per sample is overwritten), `BlendPlan` (two
    samples are blended by a share or a mask).

    Attributes
    ----------
    matrix : MixingMatrix
        How much of each sample is in each output.
    triggered : bool
        False if the batch stays as it is (the identity plan).
    """

    matrix: MixingMatrix
    triggered: bool = True

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """The mixing matrix as a whole, (batch, batch).

        ``weights[i, j]`` is how much of sample j is in output i; rows sum to 1. It is made when it is asked for: in
        large batches it has many more numbers than anything else in a plan.
        """
        return self.matrix.dense()

    @property
    def batch_size(self) -> int:
        """Number of samples."""
        return self.matrix.batch_size

    @abstractmethod
    def apply(self, images: NDArray[np.generic]) -> NDArray[np.generic]:
        """Move the pixels with plain NumPy: the reference that every engine is tested against.

        Parameters
        ----------
        images : array (batch, height, width, channels), any real dtype
            Samples of one size, the one that the plan was drawn for.

        Returns
        -------
        array of the same shape and dtype
            A new array; the input is left alone.

        Raises
        ------
        ArgumentError
            If the shape does not fit the plan.
        """

    def for_masks(self) -> MixPlan:
        """Return the plan that moves class masks, uint8 (batch, height, width, 1), as this one moves the pixels.

        Regions are the same, and every pixel of a mask keeps its class: what is resized is resized by "nearest", and
        what is overwritten by a constant becomes `IGNORED`, 255.

        Raises
        ------
        ArgumentError
            If the plan blends pixels: a mixed pixel would be of two classes.
        """
        return self

    def soft_labels(self, labels: ArrayLike, num_classes: int) -> NDArray[np.float32]:
        """Mix the labels as the pixels are mixed.

        Parameters
        ----------
        labels : integer array (batch,) or (batch, 1), or float array (batch, num_classes)
            Class indices, or labels that are soft already: shares, 0 to 1, that add up to 1.
        num_classes : int
            Number of classes.

        Returns
        -------
        float32 array (batch, num_classes)
            Mixing matrix x labels; for class indices the rows sum to 1.

        Raises
        ------
        ArgumentError
            If a label is out of range, shares do not add up to 1, or the shape does not fit the batch.
        """
        given = np.asarray(labels)
        if np.issubdtype(given.dtype, np.integer):
            dense = _one_hot(given.reshape(len(given), -1), num_classes)
        else:
            dense = given.astype(np.float64)
            _require_shares(dense)
        if dense.shape != (self.batch_size, num_classes):
            raise ArgumentError(
                f"Labels of shape {given.shape} do not fit a batch of {self.batch_size} with {num_classes} classes: "
                f"give class indices ({self.batch_size},) or soft labels ({self.batch_size}, {num_classes})."
            )
        return self.matrix.mixed(dense).astype(np.float32)


@dataclass(frozen=True, eq=False, kw_only=True)
class PatchPlan(MixPlan):
    """Patches of a regular grid change places between and within samples (CellMix).

    Attributes
    ----------
    grid : tuple of int
        Rows and columns of patches in a tile; patches = rows * columns, numbered row by row.
    source_sample : int32 array (batch, patches)
        The sample from which each patch of each output tile comes.
    source_patch : int32 array (batch, patches)
        Its place there.
    """

    grid: tuple[int, int]
    source_sample: NDArray[np.int32]
    source_patch: NDArray[np.int32]

    @classmethod
    def identity(cls, batch_size: int, grid: tuple[int, int] = (1, 1)) -> PatchPlan:
        """Make the plan that changes nothing."""
        samples = np.arange(batch_size, dtype=np.int32)
        patches = np.arange(grid[0] * grid[1], dtype=np.int32)
        return cls(
            grid=grid,
            source_sample=np.repeat(samples[:, None], patches.size, axis=1),
            source_patch=np.repeat(patches[None, :], batch_size, axis=0),
            matrix=MixingMatrix.unit(batch_size),
            triggered=False,
        )

    def apply(self, images: NDArray[np.generic]) -> NDArray[np.generic]:
        """Move the patches with plain NumPy; see `MixPlan.apply`. The grid must divide height and width."""
        rows, columns = self.grid
        batch, height, width, channels = images.shape
        if batch != self.batch_size or height % rows or width % columns:
            raise ArgumentError(
                f"Images of shape {images.shape} do not fit a plan for {self.batch_size} samples and a grid of "
                f"{rows} x {columns} patches."
            )
        split = images.reshape(batch, rows, height // rows, columns, width // columns, channels)
        patches = split.swapaxes(2, 3).reshape(batch, rows * columns, height // rows, width // columns, channels)
        mixed = patches[self.source_sample, self.source_patch]
        joined = mixed.reshape(batch, rows, columns, height // rows, width // columns, channels).swapaxes(2, 3)
        return joined.reshape(images.shape)


def _require_shares(labels: NDArray[np.float64]) -> None:
    """Refuse soft labels that are not shares: they would train silently on nonsense."""
    rows = labels.reshape(len(labels), -1)
    fits = (rows >= 0).all(axis=1) & (np.abs(rows.sum(axis=1) - 1) <= SHARE_TOLERANCE)  # false for NaN
    wrong = np.flatnonzero(~fits)
    if wrong.size:
        raise ArgumentError(
            f"The soft label of sample {int(wrong[0])} is {rows[wrong[0]].tolist()}: give the classes' shares, from "
            "0 to 1, that add up to 1. Class indices must be integers."
        )


def _one_hot(labels: NDArray[np.integer], num_classes: int) -> NDArray[np.float64]:
    """Class indices (batch, 1) as rows of the unit matrix."""
    if labels.shape[1] != 1:
        raise ArgumentError(
            f"Integer labels must be one class index per sample, got {labels.shape[1]} numbers per sample; "
            "soft labels must be floats."
        )
    wrong = np.flatnonzero((labels[:, 0] < 0) | (labels[:, 0] >= num_classes))
    if wrong.size:
        raise ArgumentError(
            f"Label {int(labels[wrong[0], 0])} of sample {int(wrong[0])} is out of range: with "
            f"num_classes={num_classes} labels go from 0 to {num_classes - 1}."
        )
    return np.asarray(np.eye(num_classes)[labels[:, 0]])
