"""Changing colours, mixing, normalising, casting and HWC -> CHW in one pass over the pixels, as compiled code.

See `cpu_normalise`; here pixels of a plan's regions are changed by the numbers of the samples that they come from.
Regions are worked through in pieces that the nearest cache holds. Nothing here can raise.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, attr-defined, call-arg, unreachable"
# ruff: noqa: ARG001 (callbacks take what they are given)

from __future__ import annotations

import numpy as np
from numba import carray
from nvidia.dali.plugin.numba import address_as_void_pointer

from cellmix_dali._compiled import compiled, copy_bytes

from ..colour_stages import NUMBERS
from .cpu_colour import applied, changes, split_row
from .cpu_normalise import across, edges_of, planes
from .raw_numba import RUN_SAMPLE, compiled_callback
from .vectors import EIGHT, finish_eight, finish_eight_halves, prefetch, settle, stream_eight, stream_eight_halves

__all__ = ["CONSTANTS", "finish", "planes", "run"]

#: Numbers before the stages: three means, three factors, and 1 for float16.
CONSTANTS = 7

_RGB = 3
_PIXELS = 1024  # of a piece
_CACHE_LINE = 64


@compiled()
def finish(source, target, count, mean, factor, half, last):
    """Write so many numbers of one channel, normalised."""
    size = 2 if half else 4
    whole = count // EIGHT * EIGHT
    streamed = target % (EIGHT * size) == 0
    for x in range(0, whole, EIGHT):
        if half:
            if streamed:
                stream_eight_halves(source + 4 * x, target + 2 * x, mean, factor)
            else:
                finish_eight_halves(source + 4 * x, target + 2 * x, mean, factor)
        elif streamed:
            stream_eight(source + 4 * x, target + 4 * x, mean, factor)
        else:
            finish_eight(source + 4 * x, target + 4 * x, mean, factor)
    if whole < count:
        if half:
            finish_eight_halves(source + 4 * whole, last, mean, factor)
        else:
            finish_eight(source + 4 * whole, last, mean, factor)
        copy_bytes(target + size * whole, last, size * (count - whole))


@compiled(inline="always")
def _piece(source, target, box, sizes, numbers, kinds, constants, room):
    """Change and normalise a box of pixels: its height and width, and the number of its first pixel."""
    rows, others, last = room
    high, wide, first = box
    width, plane = sizes
    half = constants[6] > 0
    size = 2 if half else 4
    changed = changes(numbers, kinds.size)
    at_once = max(1, _PIXELS // wide)
    for top in range(0, high, at_once):
        count = min(at_once, high - top)
        for row in range(count):
            line = source + (top + row) * _RGB * width
            for ahead in range(0, _RGB * wide, _CACHE_LINE):
                prefetch(line + at_once * _RGB * width + ahead)  # of the next piece, while this one is worked out
            split_row(line, rows[:, row * wide : row * wide + wide], wide)
        here = rows
        if changed:
            here, _ = applied(
                rows, others, count * wide, (first + top * width, wide, width), kinds, numbers, kinds.size
            )
        for channel in range(_RGB):
            values = here[channel].ctypes.data
            for row in range(count):
                place = target + channel * plane + (top + row) * width * size
                finish(
                    values + 4 * row * wide, place, wide, constants[channel], constants[3 + channel], half,
                    last.ctypes.data,
                )  # fmt: skip


@compiled(inline="always")
def _one_sample(target, own, own_numbers, plan, of_regions, height, width, kinds, constants):
    """Band by band of rows that the same regions cover, each from left to right; later regions win."""
    images, _, places, shapes = plan
    size, line = 2 if constants[6] > 0 else 4, _RGB * width
    sizes, stages = (width, height * width * size), kinds.size
    # A few more: the last vector may reach beyond.
    length = max(_PIXELS, width) + EIGHT
    room = np.zeros((_RGB, length), np.float32), np.zeros((_RGB, length), np.float32), np.empty(4 * EIGHT, np.uint8)
    owners, edges = np.empty(width, np.int64), edges_of(places, shapes, height)
    top = np.int64(0)  # not a literal: what takes it would be compiled for that, too
    while top < height:
        bottom = top + 1
        while not edges[bottom]:
            bottom += 1
        owners[:] = -1
        for region in range(images.size):
            if places[2 * region] <= top and places[2 * region] + shapes[2 * region] >= bottom:
                owners[places[2 * region + 1] : places[2 * region + 1] + shapes[2 * region + 1]] = region
        left = 0
        while left < width:
            right = left + 1
            while right < width and owners[right] == owners[left]:
                right += 1
            region = owners[left]
            source, numbers, first = own + top * line + _RGB * left, own_numbers, top * width + left
            if region >= 0:
                source = across(plan, region, top, line)[2] + _RGB * left
                settings = of_regions[region] + 4 * (CONSTANTS + stages)
                numbers = carray(address_as_void_pointer(settings), stages * NUMBERS, np.float32)
                first = (source - images[region]) // _RGB
            place = target + (top * width + left) * size
            _piece(source, place, (bottom - top, right - left, first), sizes, numbers, kinds, constants, room)
            left = right
        top = bottom
    settle()


@compiled_callback(RUN_SAMPLE)
def run(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs):
    """Run the pass over a sample.

    Inputs are the image, uint8 HWC; settings, float32: the constants of `cpu_normalise.run`, the kinds of the stages,
    their numbers; and, where a plan is applied, the addresses (int64) of the regions' images, then of their settings,
    in_anchors, out_anchors and shapes (int32). DALI allows six.
    """
    target = carray(address_as_void_pointer(out), 1, np.int64)[0]
    given = carray(address_as_void_pointer(data), inputs, np.int64)
    shapes = carray(address_as_void_pointer(in_shapes), inputs, np.int64)
    shape = carray(address_as_void_pointer(shapes[0]), 3, np.int64)
    length = carray(address_as_void_pointer(shapes[1]), 1, np.int64)[0]
    settings = carray(address_as_void_pointer(given[1]), length, np.float32)
    stages = (length - CONSTANTS) // (1 + NUMBERS)
    kinds = np.empty(stages, np.int64)
    for stage in range(stages):
        kinds[stage] = np.int64(settings[CONSTANTS + stage])
    addresses, regions = np.empty(4, np.int64), 0
    for place in range(4):
        addresses[place] = given[2 + place] if inputs > 2 else given[0]  # any will do where there are no regions
    if inputs > 2:
        regions = carray(address_as_void_pointer(shapes[2]), 1, np.int64)[0] // 2
    plan = (
        carray(address_as_void_pointer(addresses[0]), regions, np.int64),
        carray(address_as_void_pointer(addresses[1]), 2 * regions, np.int32),
        carray(address_as_void_pointer(addresses[2]), 2 * regions, np.int32),
        carray(address_as_void_pointer(addresses[3]), 2 * regions, np.int32),
    )
    of_regions = carray(address_as_void_pointer(addresses[0] + 8 * regions), regions, np.int64)
    own_numbers = settings[CONSTANTS + stages :]
    _one_sample(target, given[0], own_numbers, plan, of_regions, shape[0], shape[1], kinds, settings[:CONSTANTS])
