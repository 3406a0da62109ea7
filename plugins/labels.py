"""Soft labels in the graph: the mixing matrix times the batch's labels, on the CPU."""

from __future__ import annotations

import numpy as np

from cellmix_dali._arguments import SHARE_TOLERANCE
from cellmix_dali.mixing import TargetKind

from .dali import DataNode, fn, types

__all__ = ["mix_labels", "mix_target", "soft_rows"]

_GREATEST = float(np.finfo(np.float32).max)


def mix_labels(labels: DataNode, weights: DataNode, num_classes: int, *, soft: bool, checked: bool = False) -> DataNode:
    """Return float32 (num_classes,): row i of the mixing matrix times the labels of all samples.

    `checked` says of soft labels that their source has looked whether they are shares.
    """
    from .engines.cpu_rows import mixed_rows

    return mixed_rows(labels if soft and checked else soft_rows(labels, num_classes, soft=soft), weights)


def mix_target(values: DataNode, weights: DataNode | None, kind: TargetKind) -> DataNode:
    """Return float32 (numbers,): a target, float (numbers,) or one number, mixed as its kind says.

    The graph raises where a value is not a number or out of the kind's range. Without weights nothing is mixed.
    """
    from .engines.cpu_rows import mixed_rows

    row = fn.cast(values.cpu() if values.device == "gpu" else values, dtype=types.FLOAT)
    row = fn.reshape(row, shape=[-1], layout="")
    low, high = (min(max(limit, -_GREATEST), _GREATEST) for limit in (kind.low, kind.high))
    # Comparisons with NaN are false.
    fits = (fn.reductions.min(row, axes=[0]) >= low) & (fn.reductions.max(row, axes=[0]) <= high)
    fits &= fn.reductions.sum(row * 0.0, axes=[0]) == 0.0
    row = _asserted(row, fits)  # raises if a target is not a number, or out of the range of its kind
    return row if weights is None or not kind.mixed else mixed_rows(row, weights)


def soft_rows(labels: DataNode, num_classes: int, *, soft: bool) -> DataNode:
    """Return float32 (num_classes,) on the CPU, of class indices or soft labels; the graph raises for wrong ones."""
    if labels.device == "gpu":
        labels = labels.cpu()
    if soft:
        return _checked(fn.cast(labels, dtype=types.FLOAT), num_classes)
    return fn.reshape(_one_hot(labels, num_classes), shape=[num_classes], layout="")


def _checked(row: DataNode, num_classes: int) -> DataNode:
    """Soft labels; a slice raises where the shares do not add up to 1, or one is negative or not a number."""
    row = fn.reshape(row, shape=[num_classes], layout="")
    total = fn.reductions.sum(row, axes=[0])
    # Comparisons with NaN are false.
    fits = (fn.reductions.min(row, axes=[0]) >= 0) & (total > 1 - SHARE_TOLERANCE) & (total < 1 + SHARE_TOLERANCE)
    return _asserted(row, fits)  # raises if soft labels are not shares, 0 to 1, that add up to 1


def _asserted(row: DataNode, fits: DataNode) -> DataNode:
    """The row, if it fits; a slice raises if not."""
    off = 1 - fn.reshape(fn.cast(fits, dtype=types.INT32), shape=[1], layout="")
    one = types.Constant(np.ones(1, np.float32), device="cpu")
    return row * fn.slice(one, off, 1, axes=[0])


def _one_hot(labels: DataNode, num_classes: int) -> DataNode:
    """Rows of the unit matrix; unlike `fn.one_hot`, a slice raises for a label out of range."""
    index = fn.reshape(fn.cast(labels, dtype=types.INT32), shape=[1], layout="")
    unit = types.Constant(np.eye(num_classes, dtype=np.float32), device="cpu")
    return fn.slice(unit, index, 1, axes=[0])  # raises if a label is not in 0 .. num_classes - 1
