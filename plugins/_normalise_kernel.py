"""Mixing, normalising, casting and HWC -> CHW in one pass over the pixels, as compiled code on DALI's CPU buffers.

DALI runs the pass sample by sample in its own threads. A sample takes pixels from others of its batch; where those lie,
the operator `addresses` has written down before.

Nothing here can raise: an exception inside a compiled operator is printed and its output left as garbage. The loops see
raw addresses and plain sizes only.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, attr-defined, call-arg, unreachable"
# ruff: noqa: ARG001 (callbacks take what they are given)

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import carray
from numba.extending import intrinsic
from nvidia.dali.plugin.numba import address_as_void_pointer

from cellmix_dali._compiled import compiled

from ._raw_numba import RUN_SAMPLE, SETUP, compiled_callback

__all__ = ["planes", "run"]

_RGB = 3


@intrinsic
def _half(context, value):
    """The bits of a float32 as float16, rounded to the nearest even (IEEE 754)."""
    if value != numba.types.float32:
        return None

    def code(context, builder, signature, arguments):
        return builder.bitcast(builder.fptrunc(arguments[0], ir.HalfType()), ir.IntType(16))

    return numba.types.uint16(value), code


@compiled()
def _one_sample(target, own, regions, plan, height, width, constants):
    """Row by row: the sample's own pixels, what the regions paste over them, and all of it normalised."""
    row = np.empty(_RGB * width, np.float32)
    edges = np.zeros(height + 1, np.uint8)
    active = np.empty(regions, np.int64)
    images = carray(address_as_void_pointer(plan[0]), regions, np.int64)
    sources = carray(address_as_void_pointer(plan[1]), 2 * regions, np.int32)
    places = carray(address_as_void_pointer(plan[2]), 2 * regions, np.int32)
    sizes = carray(address_as_void_pointer(plan[3]), 2 * regions, np.int32)
    edges[height] = 1
    for region in range(regions):
        edges[places[2 * region]] = 1
        edges[places[2 * region] + sizes[2 * region]] = 1
    top = 0
    while top < height:
        bottom = top + 1
        while not edges[bottom]:
            bottom += 1
        count = 0
        for region in range(regions):
            first = places[2 * region]
            # What comes from its own place changes nothing.
            still = (
                images[region] == own
                and sources[2 * region] == first
                and sources[2 * region + 1] == places[2 * region + 1]
            )
            if not still and first <= top and first + sizes[2 * region] >= bottom:
                active[count] = region
                count += 1
        for y in range(top, bottom):
            _cast(row, own + y * width * _RGB, 0, width * _RGB)
            for number in range(count):
                region = active[number]
                line = sources[2 * region] + y - places[2 * region]
                image = images[region] + (line * width + sources[2 * region + 1]) * _RGB
                _cast(row, image, places[2 * region + 1] * _RGB, sizes[2 * region + 1] * _RGB)
            if constants[6] > 0:
                _planes_half(target, row, y, height, width, constants)
            else:
                _planes(target, row, y, height, width, constants)
        top = bottom


@compiled()
def _cast(row, address, start, length):
    """Bytes at an address as numbers of the row."""
    pixels = carray(address_as_void_pointer(address), length, np.uint8)
    target = row[start : start + length]
    for place in range(length):
        target[place] = np.float32(pixels[place])


@compiled()
def _planes(target, row, y, height, width, constants):
    """One row of all three channels."""
    out = carray(address_as_void_pointer(target), (_RGB, height, width), np.float32)
    red, green, blue = out[0, y], out[1, y], out[2, y]
    for x in range(width):
        red[x] = (row[3 * x] - constants[0]) * constants[3]
        green[x] = (row[3 * x + 1] - constants[1]) * constants[4]
        blue[x] = (row[3 * x + 2] - constants[2]) * constants[5]


@compiled()
def _planes_half(target, row, y, height, width, constants):
    """The same as float16."""
    out = carray(address_as_void_pointer(target), (_RGB, height, width), np.uint16)
    red, green, blue = out[0, y], out[1, y], out[2, y]
    for x in range(width):
        red[x] = _half((row[3 * x] - constants[0]) * constants[3])
        green[x] = _half((row[3 * x + 1] - constants[1]) * constants[4])
        blue[x] = _half((row[3 * x + 2] - constants[2]) * constants[5])


# Compiled at once, so everything they call stands above.
@compiled_callback(SETUP)
def planes(out_shapes, out_dimensions, outputs, in_shapes, in_dimensions, inputs, samples):
    """Say that the outputs are the images' shapes, CHW."""
    out = carray(address_as_void_pointer(out_shapes), samples, np.int64)
    images = carray(address_as_void_pointer(in_shapes), samples, np.int64)
    for sample in range(samples):
        target = carray(address_as_void_pointer(out[sample]), 3, np.int64)
        shape = carray(address_as_void_pointer(images[sample]), 3, np.int64)
        target[0], target[1], target[2] = shape[2], shape[0], shape[1]


@compiled_callback(RUN_SAMPLE)
def run(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs):
    """Run the pass over a sample.

    Inputs are the image, uint8 HWC; constants, float32: 3 means, 3 reciprocals of deviations, and 1 for float16; and,
    where a plan is applied, the regions' images (int64 addresses), in_anchors, out_anchors and shapes (int32).
    """
    target = carray(address_as_void_pointer(out), 1, np.int64)[0]
    given = carray(address_as_void_pointer(data), inputs, np.int64)
    shapes = carray(address_as_void_pointer(in_shapes), inputs, np.int64)
    shape = carray(address_as_void_pointer(shapes[0]), 3, np.int64)
    constants = carray(address_as_void_pointer(given[1]), 7, np.float32)
    plan = np.zeros(4, np.int64)
    regions = 0
    if inputs > 2:
        plan[:] = given[2:6]
        regions = carray(address_as_void_pointer(shapes[2]), 1, np.int64)[0]
    else:
        plan[:] = given[0]  # any address will do where there are no regions
    _one_sample(target, given[0], regions, plan, shape[0], shape[1], constants)
