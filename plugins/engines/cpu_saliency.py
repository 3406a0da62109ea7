"""Where images are most salient, as an operator of compiled code: image by image, in DALI's threads."""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, attr-defined"
# ruff: noqa: ARG001 (callbacks take what they are given)

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numba import carray
from nvidia.dali.plugin.numba import address_as_void_pointer

from cellmix_dali.mixing.quick_saliency import peak_within

from ..dali import DataNode, types
from .raw_numba import RUN_SAMPLE, SETUP, compiled_callback, raw_operator

__all__ = ["salient_places"]


def salient_places(images: DataNode, parameters: DataNode) -> DataNode:
    """Find the most salient pixel of each image.

    Parameters
    ----------
    images : DataNode, uint8 HWC, on the CPU
        One channel or 3.
    parameters : DataNode, float64 (7,)
        Of a plan, see `PlanArrays`. Where a batch is not mixed, nothing is looked for.

    Returns
    -------
    DataNode, int32 (3,)
        y and x in the map, and 1 where they are certain: see `cellmix_dali.mixing.quick_saliency.peak_within`.
    """
    # DALI's error shows the line, and with it what to do.
    return _operator()(images, parameters)  # raises but for 8-bit images: mix before normalising, or cast to uint8


@functools.cache
def _operator() -> Callable[..., DataNode]:
    """The operator, for all pipelines of the process."""
    return raw_operator(
        _find, _three, inputs=[(types.UINT8, 3), (types.FLOAT64, 1)], output=(types.INT32, 1), batch=False
    )


@compiled_callback(SETUP)
def _three(out_shapes, out_dimensions, outputs, in_shapes, in_dimensions, inputs, samples):
    """Say that each sample has three numbers."""
    out = carray(address_as_void_pointer(out_shapes), samples, np.int64)
    for sample in range(samples):
        carray(address_as_void_pointer(out[sample]), 1, np.int64)[0] = 3


@compiled_callback(RUN_SAMPLE)
def _find(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs):
    """Look at one image; an image of other channels has no certain place."""
    given = carray(address_as_void_pointer(data), inputs, np.int64)
    shapes = carray(address_as_void_pointer(in_shapes), inputs, np.int64)
    shape = carray(address_as_void_pointer(shapes[0]), 3, np.int64)
    height, width, channels = shape[0], shape[1], shape[2]
    found = carray(address_as_void_pointer(carray(address_as_void_pointer(out), 1, np.int64)[0]), 3, np.int32)
    found[:] = 0
    triggered = carray(address_as_void_pointer(given[1]), 7, np.float64)[2]
    if triggered and height * width > 0 and (channels == 1 or channels == 3):
        pixels = carray(address_as_void_pointer(given[0]), height * width * channels, np.uint8)
        y, x, certain = peak_within(pixels, (height, width, channels))
        found[0], found[1], found[2] = y, x, certain
