"""Tiles put together from the decoded blocks of their batch by compiled code, on the CPU.

Two operators: the first, over the batch, says where in memory each region lies; the second, over one sample at a time
in DALI's threads, copies. Nothing in them can raise: an error inside would leave garbage unseen.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, attr-defined, call-overload, call-arg"
# ruff: noqa: ARG001 (callbacks take what they are given)

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from numba import carray
from nvidia.dali.plugin.numba import address_as_void_pointer

from cellmix_dali._compiled import copy_bytes
from cellmix_dali.reading.cells import grouped

from ..dali import DataNode, fn, types
from .raw_numba import RUN, RUN_SAMPLE, SETUP, compiled_callback, raw_operator

__all__ = ["put_together"]


def put_together(cells: Sequence[DataNode], pixels: DataNode, regions: DataNode) -> DataNode:
    """Make each sample's image of regions of the batch's cells; see `cellmix_dali.plugins.assemble.assembled`."""
    groups, single = grouped(len(cells)), len(grouped(len(cells))) == len(cells)
    nodes = [cells[group[0]] if single else _end_to_end([cells[slot] for slot in group]) for group in groups]
    places, copies = _operators(len(groups), 3 if single else 1)
    # The groups are given to both, so that they are there until the last pixel is copied.
    return fn.reinterpret(copies(places(*nodes, pixels, regions), *nodes, pixels), layout="HWC")


def _end_to_end(cells: Sequence[DataNode]) -> DataNode:
    """Each sample's decoded parts, one behind the other."""
    flat = [fn.reshape(each, shape=[-1], layout="") for each in cells]
    return fn.cat(*flat, axis=0) if len(flat) > 1 else flat[0]


@functools.cache
def _operators(groups: int, dimensions: int) -> tuple[Callable[..., DataNode], Callable[..., DataNode]]:
    """The operators for so many groups, for all pipelines of the process."""
    pictures = [*[(types.UINT8, dimensions)] * groups, (types.UINT8, 3)]
    places = raw_operator(
        _places,
        _one_a_region,
        inputs=[*pictures, (types.INT32, 2)],
        output=(types.INT64, 2),
        batch=True,
    )
    copies = raw_operator(
        _copies,
        _square,
        inputs=[(types.INT64, 2), *pictures],
        output=(types.UINT8, 3),
        batch=False,
    )
    return places, copies


@compiled_callback(SETUP)
def _one_a_region(out_shapes, out_dimensions, outputs, in_shapes, in_dimensions, inputs, samples):
    """Say that there are six numbers for each of the regions, which are the last input."""
    out = carray(address_as_void_pointer(out_shapes), samples, np.int64)
    given = carray(address_as_void_pointer(in_shapes), (inputs, samples), np.int64)
    for sample in range(samples):
        target = carray(address_as_void_pointer(out[sample]), 2, np.int64)
        target[0] = carray(address_as_void_pointer(given[inputs - 1, sample]), 2, np.int64)[0]
        target[1] = 6


@compiled_callback(RUN)
def _places(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs, samples):
    """Write down of each region the address of its first pixel, how many bytes its rows are apart, where it goes."""
    targets = carray(address_as_void_pointer(out), samples, np.int64)
    given = carray(address_as_void_pointer(data), (inputs, samples), np.int64)
    shapes = carray(address_as_void_pointer(in_shapes), (inputs, samples), np.int64)
    for sample in range(samples):
        count = carray(address_as_void_pointer(shapes[inputs - 1, sample]), 2, np.int64)[0]
        regions = carray(address_as_void_pointer(given[inputs - 1, sample]), (count, 11), np.int32)
        target = carray(address_as_void_pointer(targets[sample]), (count, 6), np.int64)
        for region in range(count):
            target[region, 0] = given[regions[region, 8], regions[region, 1]] + regions[region, 9]
            target[region, 1] = regions[region, 10]
            for number in range(4):
                target[region, 2 + number] = regions[region, 4 + number]


@compiled_callback(SETUP)
def _square(out_shapes, out_dimensions, outputs, in_shapes, in_dimensions, inputs, samples):
    """Say that images are as wide and high as the pixels, the last input, are high."""
    out = carray(address_as_void_pointer(out_shapes), samples, np.int64)
    given = carray(address_as_void_pointer(in_shapes), (inputs, samples), np.int64)
    for sample in range(samples):
        target = carray(address_as_void_pointer(out[sample]), 3, np.int64)
        target[0] = target[1] = carray(address_as_void_pointer(given[inputs - 1, sample]), 3, np.int64)[0]
        target[2] = 3


@compiled_callback(RUN_SAMPLE)
def _copies(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs):
    """Copy the regions row by row; what none covers is white."""
    given = carray(address_as_void_pointer(data), inputs, np.int64)
    shapes = carray(address_as_void_pointer(in_shapes), inputs, np.int64)
    count = carray(address_as_void_pointer(shapes[0]), 2, np.int64)[0]
    side = carray(address_as_void_pointer(shapes[inputs - 1]), 3, np.int64)[0]
    places = carray(address_as_void_pointer(given[0]), (count, 6), np.int64)
    target = carray(address_as_void_pointer(out), 1, np.int64)[0]
    covered = 0
    for region in range(count):
        covered += places[region, 4] * places[region, 5]
    if covered < side * side:
        image = carray(address_as_void_pointer(target), 3 * side * side, np.uint8)
        for byte in range(3 * side * side):
            image[byte] = 255
    for region in range(count):
        first = target + 3 * (places[region, 2] * side + places[region, 3])
        length = 3 * places[region, 5]
        for row in range(places[region, 4]):
            copy_bytes(first + 3 * side * row, places[region, 0] + places[region, 1] * row, length)
