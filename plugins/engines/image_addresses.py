"""Where in memory the image of each region of a plan lies, so that a kernel over one sample can read the others.

The same for other data of the samples that the regions are taken from.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, attr-defined"
# ruff: noqa: ARG001 (callbacks take what they are given)

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from numba import carray
from nvidia.dali.plugin.numba import address_as_void_pointer

from ..dali import DataNode, types
from .raw_numba import RUN, SETUP, Array, compiled_callback, raw_operator

__all__ = ["IMAGE", "image_addresses"]

#: Type and number of dimensions of images.
IMAGE: Array = (types.UINT8, 3)


def image_addresses(images: DataNode, ids: DataNode, kind: Array = IMAGE) -> DataNode:
    """Return, int64 (R,), the addresses of the images with those ids, int32 (R,), on the CPU.

    They hold for an operator that takes the images as well. Of another `kind` are other data than images.
    """
    return _operator(kind)(images, ids)


@functools.cache
def _operator(kind: Array) -> Callable[..., DataNode]:
    """The operator, for all pipelines of the process."""
    return raw_operator(
        _addresses,
        _one_a_region,
        inputs=[kind, (types.INT32, 1)],
        output=(types.INT64, 1),
        batch=True,
    )


@compiled_callback(SETUP)
def _one_a_region(out_shapes, out_dimensions, outputs, in_shapes, in_dimensions, inputs, samples):
    """Say that there is an address for each of the regions."""
    out = carray(address_as_void_pointer(out_shapes), samples, np.int64)
    given = carray(address_as_void_pointer(in_shapes), (inputs, samples), np.int64)
    for sample in range(samples):
        regions = carray(address_as_void_pointer(given[1, sample]), 1, np.int64)[0]
        carray(address_as_void_pointer(out[sample]), 1, np.int64)[0] = regions


@compiled_callback(RUN)
def _addresses(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs, samples):
    """Write down where the image of each region lies; inputs are the images and the regions' ids (int32)."""
    targets = carray(address_as_void_pointer(out), samples, np.int64)
    given = carray(address_as_void_pointer(data), (inputs, samples), np.int64)
    shapes = carray(address_as_void_pointer(in_shapes), (inputs, samples), np.int64)
    for sample in range(samples):
        regions = carray(address_as_void_pointer(shapes[1, sample]), 1, np.int64)[0]
        ids = carray(address_as_void_pointer(given[1, sample]), regions, np.int32)
        target = carray(address_as_void_pointer(targets[sample]), regions, np.int64)
        for region in range(regions):
            target[region] = given[0, ids[region]]
