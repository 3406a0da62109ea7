"""Soft labels in the graph: the mixing matrix times the batch's labels, by native operators."""

from __future__ import annotations

import numpy as np

from ._dali import DataNode, fn, types

__all__ = ["mix_labels"]


def mix_labels(labels: DataNode, weights: DataNode, num_classes: int, batch_size: int, *, soft: bool) -> DataNode:
    """Give float32 (num_classes,): row i of the mixing matrix times the labels of all samples.

    DALI has no operator across the samples of a batch but the paste: it gathers the batch's label rows in every
    sample, (batch, num_classes), which the sample's own weights then sum up.
    """
    if labels.device == "gpu":
        labels = labels.cpu()
    row = labels if soft else _one_hot(labels, num_classes)
    row = fn.reshape(fn.cast(row, dtype=types.FLOAT), shape=[1, num_classes, 1], layout="HWC")
    order = np.arange(batch_size, dtype=np.int32)
    gathered = fn.multi_paste(
        row,
        in_ids=types.Constant(order, device="cpu"),
        out_anchors=types.Constant(np.stack([order, np.zeros_like(order)], axis=-1), device="cpu"),
        shapes=types.Constant(np.tile(np.array([[1, num_classes]], np.int32), (batch_size, 1)), device="cpu"),
        output_size=[batch_size, num_classes],
    )
    gathered = fn.reshape(gathered, shape=[batch_size, num_classes], layout="")
    return fn.reductions.sum(gathered * fn.reshape(weights, shape=[batch_size, 1], layout=""), axes=[0])


def _one_hot(labels: DataNode, num_classes: int) -> DataNode:
    """Rows of the unit matrix; unlike `fn.one_hot`, a slice raises for a label out of range."""
    index = fn.reshape(fn.cast(labels, dtype=types.INT32), shape=[1], layout="")
    unit = types.Constant(np.eye(num_classes, dtype=np.float32), device="cpu")
    return fn.slice(unit, index, 1, axes=[0])  # raises if a label is not in 0 .. num_classes - 1
