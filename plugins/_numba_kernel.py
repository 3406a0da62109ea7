"""The numba engine's kernel, in the form that DALI's `numba_function` compiles.

An exception inside `numba_function` is printed and the output left as garbage, so nothing here can raise: the
compiled loops see raw addresses and plain sizes only.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc, attr-defined"

from __future__ import annotations

import numba
import numpy as np
from numba import carray, njit, prange
from nvidia.dali.plugin.numba import address_as_void_pointer

__all__ = ["paste_batch", "same_shape"]

if numba.config.THREADING_LAYER == "default":
    # A training and a validation pipeline run kernels at once, which numba's own work queue does not bear.
    numba.config.THREADING_LAYER = "omp"


def same_shape(out_shapes, in_shapes):
    """Tell DALI that outputs are shaped as the images."""
    for sample in range(len(out_shapes[0])):
        for axis in range(3):
            out_shapes[0][sample][axis] = in_shapes[0][sample][axis]


def paste_batch(outputs, images, in_ids, in_anchors, out_anchors, shapes):
    """Collect the addresses of DALI's buffers and run the kernel."""
    batch = len(images)
    addresses = np.empty((6, batch), np.int64)
    regions = np.empty(batch, np.int64)
    for sample in range(batch):
        addresses[0, sample] = outputs[sample].ctypes.data
        addresses[1, sample] = images[sample].ctypes.data
        addresses[2, sample] = in_ids[sample].ctypes.data
        addresses[3, sample] = in_anchors[sample].ctypes.data
        addresses[4, sample] = out_anchors[sample].ctypes.data
        addresses[5, sample] = shapes[sample].ctypes.data
        regions[sample] = in_ids[sample].size
    height, width, channels = images[0].shape
    _paste(addresses, regions, batch, height, width * channels, channels)


@njit(parallel=True, nogil=True, boundscheck=False)
def _paste(addresses, regions, batch, height, pitch, channels):
    """Copy every region row by row; samples in parallel."""
    for sample in prange(batch):
        count = regions[sample]
        out = carray(address_as_void_pointer(addresses[0, sample]), height * pitch, np.uint8)
        ids = carray(address_as_void_pointer(addresses[2, sample]), count, np.int32)
        start = carray(address_as_void_pointer(addresses[3, sample]), 2 * count, np.int32)
        place = carray(address_as_void_pointer(addresses[4, sample]), 2 * count, np.int32)
        size = carray(address_as_void_pointer(addresses[5, sample]), 2 * count, np.int32)
        for region in range(count):
            image = carray(address_as_void_pointer(addresses[1, ids[region]]), height * pitch, np.uint8)
            length = size[2 * region + 1] * channels
            for row in range(size[2 * region]):
                source = (start[2 * region] + row) * pitch + start[2 * region + 1] * channels
                target = (place[2 * region] + row) * pitch + place[2 * region + 1] * channels
                for byte in range(length):
                    out[target + byte] = image[source + byte]
