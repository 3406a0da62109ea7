"""Nearest-neighbour resizing in the graph, to the bit as `cellmix_dali.mixing.resampling` defines it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .dali import DataNode, fn, types

__all__ = ["resized_nearest"]


def resized_nearest(
    images: DataNode, size: DataNode | NDArray[np.float32], start: DataNode, shape: DataNode
) -> DataNode:
    """Resize a box of each image; size, start and shape are float32 (2,), height and width, on the CPU.

    DALI computes places in single precision: where they fall between two pixels, it takes either. A quarter of the
    least distance that they can have from there otherwise, 1 / (2 * size), puts all on one side.
    """
    if not isinstance(size, DataNode):
        size = types.Constant(size, device="cpu")
    shift = 0.25 / size
    return fn.resize(
        images,
        size=size,
        roi_start=start + shift,
        roi_end=start + shape + shift,
        interp_type=types.INTERP_NN,
    )
