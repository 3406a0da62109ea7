"""Assertions within the graph: images are of the size that their plan was drawn for, and have the channels expected.

DALI has no assertion, but `fn.slice` raises outside its input's bounds; a sum with its always-zero result keeps it in
the graph. No pixel is touched.
"""

from __future__ import annotations

import numpy as np

from .dali import DataNode, fn, math, types

__all__ = ["require_channels", "require_tile_size"]


def require_tile_size(images: DataNode, parameters: DataNode) -> DataNode:
    """Make the graph raise if the images are not of the size that the plan was drawn for.

    Larger ones would be cropped silently.
    """
    shape = images.shape(dtype=types.INT32)
    off = shape[0:2] - fn.cast(parameters[5:7], dtype=types.INT32)
    distance = fn.reductions.sum(math.abs(off), dtype=types.INT32)
    # DALI's error shows the line, and with it what was wrong.
    zero = fn.slice(_origin(), distance, 1, axes=[0])  # raises if images are not of the plan's tile_size
    return fn.reshape(images, shape=shape + zero, layout="HWC")


def require_channels(images: DataNode, channels: int | None = None) -> DataNode:
    """Make the graph raise if the images have another number of channels; by default, another than the batch's first.

    Compiled code would read, or write, beyond them.
    """
    shape = images.shape(dtype=types.INT32)
    if channels is None:
        expected = fn.permute_batch(shape, indices=types.Constant(np.int32(0), device="cpu"))[2]
    else:
        expected = types.Constant(np.int32(channels), device="cpu")
    zero = fn.slice(_origin(), math.abs(shape[2] - expected), 1, axes=[0])  # raises if images have other channels
    return fn.reshape(images, shape=shape + zero, layout="HWC")


def _origin() -> DataNode:
    return types.Constant(np.zeros(1, np.int32), device="cpu")
