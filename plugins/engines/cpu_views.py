"""A view of an image in one pass, as compiled code: crop, resize, flip, colours, blur, normalise, HWC -> CHW.

A box of the image is resized as Pillow and torchvision do it: by triangle or cubic filters as wide as the pixels are
apart where it becomes smaller, cut off at the box's border. Rows of the view are made from top to bottom: rows of the
image are added up into a line of floats, the line's pixels into those of the view. A few rows at a time stay in the
nearest cache while colours are changed and numbers written; where the view is blurred, all of it is kept in between.

Nothing here can raise, see `cpu_normalise`.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, attr-defined, call-arg, unreachable"
# ruff: noqa: ARG001 (callbacks take what they are given)

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import carray
from numba.core import cgutils
from numba.extending import intrinsic
from nvidia.dali.plugin.numba import address_as_void_pointer

from cellmix_dali._compiled import compiled

from ..colour_stages import NUMBERS
from .cpu_blur import gaussian_weights, mirrored
from .cpu_colour import applied, changes
from .cpu_coloured import finish
from .raw_numba import RUN_SAMPLE, SETUP, compiled_callback
from .vectors import EIGHT, settle

__all__ = ["HEAD", "run", "squares"]

#: Numbers before the kinds of the stages: three means, three factors, 1 for float16, 1 for cubic filters, how many
#: stages come before the blur; then the sample's own: the box (top, left, height, width), 1 where it is flipped
#: left-right, 1 where up-down, and the blur's deviation, 0 for none.
HEAD = 16

_RGB = 3
_PIXELS = 1024  # of a piece
_f = np.float32
_FAST = {"contract", "nnan", "ninf", "nsz"}


@intrinsic
def _weigh(context, line, weights, count, target):
    """Add up pixels (float32, RGB by RGB), each by its weight; writes R, G, B and one number more."""

    def code(context, builder, signature, arguments):
        line, weights, count, target = arguments
        four, number = ir.VectorType(ir.FloatType(), 4), ir.FloatType()
        total = cgutils.alloca_once(builder, four)
        builder.store(ir.Constant(four, [0.0] * 4), total)
        with cgutils.for_range(builder, count) as loop:
            place = builder.add(line, builder.mul(loop.index, ir.Constant(line.type, 4 * _RGB)))
            pixel = builder.load(builder.inttoptr(place, four.as_pointer()))
            pixel.align = 4
            place = builder.add(weights, builder.mul(loop.index, ir.Constant(line.type, 4)))
            weight = builder.load(builder.inttoptr(place, number.as_pointer()))
            empty = ir.Constant(four, ir.Undefined)
            spread = builder.insert_element(empty, weight, ir.Constant(ir.IntType(32), 0))
            spread = builder.shuffle_vector(spread, empty, ir.Constant(ir.VectorType(ir.IntType(32), 4), [0] * 4))
            product = builder.fmul(pixel, spread, flags=["contract"])
            builder.store(builder.fadd(builder.load(total), product, flags=["contract"]), total)
        builder.store(builder.load(total), builder.inttoptr(target, four.as_pointer())).align = 4
        return context.get_dummy_value()

    address = numba.types.int64
    return numba.types.void(address, address, address, address), code


@compiled()
def _cubic(x):
    """Keys' filter with a slope of -0.5, as Pillow's and torchvision's."""
    x = abs(x)
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    if x < 2:
        return ((-0.5 * x + 2.5) * x - 4) * x + 2
    return 0.0


@compiled()
def _filters(length, size, cubic, flipped):
    """Return where each pixel of the view begins to take pixels of the box, how many, and by which weights."""
    scale = length / size
    wide = max(scale, 1.0)
    support = 2 * wide if cubic else wide
    firsts, counts = np.empty(size, np.int64), np.empty(size, np.int64)
    weights = np.zeros((size, int(2 * support) + 3), np.float32)
    for place in range(size):
        centre = (place + 0.5) * scale
        first, end = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), length)
        total = 0.0
        for x in range(first, end):
            away = (x - centre + 0.5) / wide
            total += _cubic(away) if cubic else max(1 - abs(away), 0.0)
        own = size - 1 - place if flipped else place
        firsts[own], counts[own] = first, end - first
        for x in range(first, end):
            away = (x - centre + 0.5) / wide
            weights[own, x - first] = (_cubic(away) if cubic else max(1 - abs(away), 0.0)) / total
    return firsts, counts, weights


@compiled(fastmath=_FAST)
def _add_rows(line, image, step, count, weights, length):
    """Add up so many rows of bytes, each by its weight."""
    first = carray(address_as_void_pointer(image), length, np.uint8)
    weight = weights[0]
    for x in range(length):
        line[x] = weight * _f(first[x])
    row = 1
    while row + 1 < count:
        one = carray(address_as_void_pointer(image + row * step), length, np.uint8)
        two = carray(address_as_void_pointer(image + (row + 1) * step), length, np.uint8)
        a, b = weights[row], weights[row + 1]
        for x in range(length):
            line[x] += a * _f(one[x]) + b * _f(two[x])
        row += 2
    if row < count:
        one = carray(address_as_void_pointer(image + row * step), length, np.uint8)
        a = weights[row]
        for x in range(length):
            line[x] += a * _f(one[x])


@compiled(fastmath=_FAST)
def _split(four, rows, at, count):
    """Round pixels of four numbers to whole levels, into three lines."""
    reds, greens, blues = rows[0, at : at + count], rows[1, at : at + count], rows[2, at : at + count]
    for x in range(count):
        reds[x] = np.floor(min(max(four[4 * x], _f(0)), _f(255)) + _f(0.5))
        greens[x] = np.floor(min(max(four[4 * x + 1], _f(0)), _f(255)) + _f(0.5))
        blues[x] = np.floor(min(max(four[4 * x + 2], _f(0)), _f(255)) + _f(0.5))


@compiled(fastmath=_FAST)
def _add_two(target, before, after, weight, count):
    for x in range(count):
        target[x] += weight * (before[x] + after[x])


@compiled(fastmath=_FAST)
def _blur(plane, size, y, weights, wide, target):
    """Blur one row of a plane, down and then along."""
    radius = weights.size - 1
    middle = wide[radius : radius + size]
    middle[:] = weights[0] * plane[y * size : (y + 1) * size]
    for away in range(1, radius + 1):
        above, below = mirrored(y - away, size) * size, mirrored(y + away, size) * size
        _add_two(middle, plane[above : above + size], plane[below : below + size], weights[away], size)
    for away in range(1, radius + 1):
        wide[radius - away] = middle[mirrored(-away, size)]
        wide[radius + size - 1 + away] = middle[mirrored(size - 1 + away, size)]
    target[:size] = weights[0] * middle
    for away in range(1, radius + 1):
        _add_two(target, wide[radius - away :], wide[radius + away :], weights[away], size)


@compiled()
def _write(target, rows, first, count, plane, constants, last):
    """Normalise a piece of the view and write it."""
    half = constants[6] > 0
    for channel in range(_RGB):
        place = target + (channel * plane + first) * (2 if half else 4)
        finish(
            rows[channel].ctypes.data, place, count, constants[channel], constants[3 + channel], half, last.ctypes.data
        )


@compiled()
def _resize(image, shape, own, cubic, planes, kinds, numbers, room, out):
    """Make all rows of the view, change their colours, and write them, or keep them in planes where it is blurred."""
    rows, others, last = room
    target, constants = out
    line_bytes, size, at_once = shape
    top, left, high, wide = own[0], own[1], own[2], own[3]
    columns, across, by_column = _filters(wide, size, cubic, own[4] > 0)
    lines, down, by_row = _filters(high, size, cubic, own[5] > 0)
    line, four = np.empty(_RGB * wide + 4, np.float32), np.empty(4 * (size + 1), np.float32)
    corner = image + top * line_bytes + _RGB * left
    changed = changes(numbers, kinds.size)
    stride = 4 * by_column.shape[1]
    for y in range(0, size, at_once):
        count = min(at_once, size - y)
        for row in range(count):
            number = y + row
            _add_rows(line, corner + lines[number] * line_bytes, line_bytes, down[number], by_row[number], _RGB * wide)
            for x in range(size):
                pixels, weights = line.ctypes.data + 4 * _RGB * columns[x], by_column.ctypes.data + stride * x
                _weigh(pixels, weights, across[x], four.ctypes.data + 16 * x)
            _split(four, rows, row * size, size)
        here = rows
        if changed:
            here, _ = applied(rows, others, count * size, (y * size, size, size), kinds, numbers, kinds.size)
        if planes.size:
            for channel in range(_RGB):
                planes[channel, y * size : (y + count) * size] = here[channel, : count * size]
        else:
            _write(target, here, y * size, count * size, size * size, constants, last)


@compiled()
def _one_view(target, image, width, size, settings, kinds):
    """Make one view."""
    constants, numbers = settings[:7], settings[HEAD + kinds.size :]
    cubic, before, sigma = settings[7] > 0, int(settings[8]), settings[15]
    own = settings[9:15].astype(np.int64)
    at_once = max(1, _PIXELS // size)
    # A few more: the last vector may reach beyond.
    length = at_once * size + EIGHT
    room = np.zeros((_RGB, length), np.float32), np.zeros((_RGB, length), np.float32), np.empty(4 * EIGHT, np.uint8)
    blurred = sigma > 0
    planes = np.empty((_RGB, size * size if blurred else 0), np.float32)
    first = before if blurred else kinds.size
    out = target, constants
    shape = _RGB * width, size, at_once
    _resize(image, shape, own, cubic, planes, kinds[:first], numbers[: first * NUMBERS], room, out)
    if blurred:
        rows, others, last = room
        weights = gaussian_weights(sigma, int(np.ceil(3 * sigma)))
        wide = np.empty(size + 2 * weights.size, np.float32)
        kinds, numbers = kinds[first:], numbers[first * NUMBERS :]
        changed = changes(numbers, kinds.size)
        for y in range(0, size, at_once):
            count = min(at_once, size - y)
            for row in range(count):
                for channel in range(_RGB):
                    _blur(planes[channel], size, y + row, weights, wide, rows[channel, row * size :])
            here = rows
            if changed:
                here, _ = applied(rows, others, count * size, (y * size, size, size), kinds, numbers, kinds.size)
            _write(target, here, y * size, count * size, size * size, constants, last)
    settle()


@compiled_callback(SETUP)
def squares(out_shapes, out_dimensions, outputs, in_shapes, in_dimensions, inputs, samples):
    """Say that the views are squares, CHW, as wide as the last input is long."""
    out = carray(address_as_void_pointer(out_shapes), samples, np.int64)
    given = carray(address_as_void_pointer(in_shapes), (inputs, samples), np.int64)
    for sample in range(samples):
        size = carray(address_as_void_pointer(given[2, sample]), 1, np.int64)[0]
        target = carray(address_as_void_pointer(out[sample]), 3, np.int64)
        target[0], target[1], target[2] = _RGB, size, size


@compiled_callback(RUN_SAMPLE)
def run(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs):
    """Make a view of one sample.

    Inputs are the image, uint8 HWC; settings, float32: see `HEAD`, the kinds of the stages, their numbers; and what is
    as long as the view is wide.
    """
    target = carray(address_as_void_pointer(out), 1, np.int64)[0]
    given = carray(address_as_void_pointer(data), inputs, np.int64)
    shapes = carray(address_as_void_pointer(in_shapes), inputs, np.int64)
    shape = carray(address_as_void_pointer(shapes[0]), 3, np.int64)
    length = carray(address_as_void_pointer(shapes[1]), 1, np.int64)[0]
    size = carray(address_as_void_pointer(shapes[2]), 1, np.int64)[0]
    settings = carray(address_as_void_pointer(given[1]), length, np.float32)
    stages = (length - HEAD) // (1 + NUMBERS)
    kinds = np.empty(stages, np.int64)
    for stage in range(stages):
        kinds[stage] = np.int64(settings[HEAD + stage])
    _one_view(target, given[0], shape[1], size, settings, kinds)
