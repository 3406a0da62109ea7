"""The mixing plan: which patch of which sample goes where in one batch, and what that makes of the labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError

__all__ = ["MixPlan"]


@dataclass(frozen=True, eq=False)
class MixPlan:
    """Who goes where in one batch. Drawn on the host, applied by an operator; a value that never changes.

    Attributes
    ----------
    grid : tuple of int
        Rows and columns of patches in a tile; patches = rows * columns, numbered row by row.
    source_sample : int32 array (batch, patches)
        The sample from which each patch of each output tile comes.
    source_patch : int32 array (batch, patches)
        Its place there.
    weights : float32 array (batch, batch)
        The mixing matrix: ``weights[i, j]`` is how much of sample j is in output i; rows sum to 1.
    triggered : bool
        False if the batch stays as it is (the identity plan).
    """

    grid: tuple[int, int]
    source_sample: NDArray[np.int32]
    source_patch: NDArray[np.int32]
    weights: NDArray[np.float32]
    triggered: bool = True

    @classmethod
    def identity(cls, batch_size: int, grid: tuple[int, int] = (1, 1)) -> MixPlan:
        """Make the plan that changes nothing."""
        samples = np.arange(batch_size, dtype=np.int32)
        patches = np.arange(grid[0] * grid[1], dtype=np.int32)
        return cls(
            grid=grid,
            source_sample=np.repeat(samples[:, None], patches.size, axis=1),
            source_patch=np.repeat(patches[None, :], batch_size, axis=0),
            weights=np.eye(batch_size, dtype=np.float32),
            triggered=False,
        )

    @property
    def batch_size(self) -> int:
        """Number of samples."""
        return int(self.source_sample.shape[0])

    def soft_labels(self, labels: ArrayLike, num_classes: int) -> NDArray[np.float32]:
        """Mix the labels as the pixels are mixed.

        Parameters
        ----------
        labels : integer array (batch,) or (batch, 1), or float array (batch, num_classes)
            Class indices, or labels that are soft already.
        num_classes : int
            Number of classes.

        Returns
        -------
        float32 array (batch, num_classes)
            Mixing matrix x labels; for class indices the rows sum to 1.

        Raises
        ------
        ArgumentError
            If a label is out of range or the shape does not fit the batch.
        """
        given = np.asarray(labels)
        if np.issubdtype(given.dtype, np.integer):
            dense = _one_hot(given.reshape(len(given), -1), num_classes)
        else:
            dense = given.astype(np.float64)
        if dense.shape != (self.batch_size, num_classes):
            raise ArgumentError(
                f"Labels of shape {given.shape} do not fit a batch of {self.batch_size} with {num_classes} classes: "
                f"give class indices ({self.batch_size},) or soft labels ({self.batch_size}, {num_classes})."
            )
        return (self.weights.astype(np.float64) @ dense).astype(np.float32)

    def apply(self, images: NDArray[np.generic]) -> NDArray[np.generic]:
        """Move the pixels with plain NumPy: the reference that every engine is tested against.

        Parameters
        ----------
        images : array (batch, height, width, channels), any dtype
            The grid must divide height and width.

        Returns
        -------
        array of the same shape and dtype
            A new array; the input is left alone.

        Raises
        ------
        ArgumentError
            If the shape does not fit the plan.
        """
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


def _one_hot(labels: NDArray[np.integer], num_classes: int) -> NDArray[np.float64]:
    """Class indices (batch, 1) as rows of the unit matrix."""
    if labels.shape[1] != 1:
        raise ArgumentError(
            f"Integer labels must be one class index a sample, got {labels.shape[1]} numbers a sample; "
            "soft labels must be floats."
        )
    wrong = np.flatnonzero((labels[:, 0] < 0) | (labels[:, 0] >= num_classes))
    if wrong.size:
        raise ArgumentError(
            f"Label {int(labels[wrong[0], 0])} of sample {int(wrong[0])} is out of range: with "
            f"num_classes={num_classes} labels go from 0 to {num_classes - 1}."
        )
    return np.asarray(np.eye(num_classes)[labels[:, 0]])
