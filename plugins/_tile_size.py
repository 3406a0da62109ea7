"""An assertion within the graph: images are of the size that their plan was drawn for."""

from __future__ import annotations

import numpy as np

from ._dali import DataNode, fn, math, types

__all__ = ["require_tile_size"]


def require_tile_size(images: DataNode, parameters: DataNode) -> DataNode:
    """Make the graph raise if the images are not of the size that the plan was drawn for.

    Larger ones would be cropped silently. DALI has no assertion, but `fn.slice` raises outside its input's bounds;
    the sum with its always-zero result keeps it in the graph. No pixel is touched.
    """
    shape = images.shape(dtype=types.INT32)
    off = shape[0:2] - fn.cast(parameters[5:7], dtype=types.INT32)
    distance = fn.reductions.sum(math.abs(off), dtype=types.INT32)
    origin = types.Constant(np.zeros(1, np.int32), device="cpu")
    zero = fn.slice(origin, distance, 1, axes=[0])  # raises if images are not of the plan's tile_size
    return fn.reshape(images, shape=shape + zero, layout="HWC")
