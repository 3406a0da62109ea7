"""A view of an image in one pass, as compiled code: crop, resize, flip, colours, blur, normalise, HWC -> CHW.

A box of the image is resized as Pillow and torchvision do it: by triangle or cubic filters as wide as the pixels are
apart where it becomes smaller, cut off at the box's border. Rows of the view are made from top to bottom, eight at a
time: rows of the image are added up into eight lines of floats, which lie interleaved, so that pixels of all eight are
added up at once. They stay in the nearest cache while colours are changed and numbers written; where the view is
blurred, all of it is kept in between.

Nothing here can raise, see `cpu_normalise`.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, attr-defined, call-arg, unreachable"
# ruff: noqa: ARG001 (callbacks take what they are given)

from __future__ import annotations

import numpy as np
from numba import carray
from nvidia.dali.plugin.numba import address_as_void_pointer

from cellmix_dali._compiled import compiled

from ..colour_stages import NUMBERS
from .cpu_blur import gaussian_weights, mirrored
from .cpu_colour import applied, changes
from .cpu_coloured import finish
from .raw_numba import RUN_SAMPLE, SETUP, compiled_callback
from .vectors import EIGHT, settle
from .view_vectors import SIXTEEN, WIDE, cross_eight, weigh_columns, weigh_pairs, weigh_rows, widen

__all__ = ["HEAD", "run", "squares"]

#: Numbers before the kinds of the stages: three means, three factors, 1 for float16, 1 for cubic filters, how many
#: stages come before the blur; then the sample's own: the box (top, left, height, width), 1 where it is flipped
#: left-right, 1 where up-down, and the blur's deviation, 0 for none.
HEAD = 16

_RGB = 3
_PIXELS = 1024  # of a piece
_f = np.float32
_FAST = {"contract", "nnan", "ninf", "nsz"}


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
    narrow = 1 / wide
    support = 2 * wide if cubic else wide
    firsts, counts = np.empty(size, np.int64), np.empty(size, np.int64)
    weights, values = np.zeros((size, int(2 * support) + 3), np.float32), np.empty(int(2 * support) + 3, np.float64)
    for place in range(size):
        centre = (place + 0.5) * scale
        first, end = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), length)
        own, total = size - 1 - place if flipped else place, 0.0
        firsts[own], counts[own] = first, end - first
        for x in range(first, end):
            away = (x - centre + 0.5) * narrow
            values[x - first] = _cubic(away) if cubic else max(1 - abs(away), 0.0)
            total += values[x - first]
        total = 1 / total
        for x in range(end - first):
            weights[own, x] = values[x] * total
    return firsts, counts, weights


@compiled(fastmath=_FAST)
def _narrow(image, step, count, weights, length, row, lines):
    """Add up rows of fewer bytes than `WIDE`, each by its weight: one of eight lines."""
    for x in range(length):
        lines[x * EIGHT + row] = _f(0)
    for other in range(count):
        source = carray(address_as_void_pointer(image + other * step), length, np.uint8)
        for x in range(length):
            lines[x * EIGHT + row] += weights[other] * _f(source[x])


@compiled()
def _down(corner, step, filters, y, length, floats, piece, lines):
    """Make eight rows of the view of the box's rows, as wide as the box: numbers of one column lie side by side."""
    firsts, counts, weights = filters
    last, stride = firsts.size - 1, 4 * weights.shape[1]
    if length < WIDE:
        for row in range(EIGHT):
            number = min(y + row, last)
            _narrow(corner + firsts[number] * step, step, counts[number], weights[number], length, row, lines)
        return
    ends = y, min(y + EIGHT - 1, last)
    top = min(firsts[ends[0]], firsts[ends[1]])
    bottom = max(firsts[ends[0]] + counts[ends[0]], firsts[ends[1]] + counts[ends[1]])
    x = 0
    while x < length:
        first = min(x, length - WIDE)  # the last piece begins earlier: nothing beyond the row is read
        for row in range(bottom - top):
            widen(corner + (top + row) * step + first, floats.ctypes.data + 4 * WIDE * row)
        for row in range(EIGHT):
            number = min(y + row, last)
            source, of_row = (
                floats.ctypes.data + 4 * WIDE * (firsts[number] - top),
                weights.ctypes.data + stride * number,
            )
            weigh_rows(source, of_row, counts[number], piece.ctypes.data + 4 * WIDE * row)
        for part in range(0, WIDE, EIGHT):
            to = lines.ctypes.data + 4 * EIGHT * (first + part)
            cross_eight(piece.ctypes.data + 4 * part, 4 * WIDE, to, 4 * EIGHT)
        x += WIDE


@compiled()
def _along(lines, filters, size, columns, rows, at):
    """Make eight rows of the view of lines as wide as the box: whole levels, into three lines from `at` on."""
    firsts, counts, weights = filters
    most, stride, step = counts.max(), 4 * weights.shape[1], columns.shape[1] * 4
    for x in range(size):
        # Weights beyond a filter are 0, and numbers beyond the lines.
        source = lines.ctypes.data + 4 * EIGHT * _RGB * firsts[x]
        weigh_columns(source, weights.ctypes.data + stride * x, most, columns.ctypes.data + 4 * EIGHT * x, step)
    whole = size // EIGHT * EIGHT
    for channel in range(_RGB):
        # What is left of a row first: it is written with more, where the next row begins.
        for x in range(whole if whole < size else whole - EIGHT, -1, -EIGHT):
            source = columns.ctypes.data + step * channel + 4 * EIGHT * x
            target = rows.ctypes.data + 4 * (channel * rows.shape[1] + at + x)
            cross_eight(source, 4 * EIGHT, target, 4 * size)


@compiled()
def _mirror(plane, size, radius):
    """Mirror the rows beyond the border, which lie before and after the plane's."""
    for away in range(1, radius + 1):
        above, below = radius - away, radius + size - 1 + away
        like, other = radius + mirrored(-away, size), radius + mirrored(size - 1 + away, size)
        plane[above * size : (above + 1) * size] = plane[like * size : (like + 1) * size]
        plane[below * size : (below + 1) * size] = plane[other * size : (other + 1) * size]


@compiled()
def _blur(plane, size, y, weights, wide, target, at):
    """Blur one row of a plane, down and then along. Rows are written with more, where the next one begins."""
    radius = weights.size - 1
    for x in range(0, size, SIXTEEN):
        source, to = plane.ctypes.data + 4 * ((y + radius) * size + x), wide.ctypes.data + 4 * (radius + x)
        weigh_pairs(source, 4 * size, weights.ctypes.data, radius, to)
    for away in range(1, radius + 1):
        wide[radius - away] = wide[radius + mirrored(-away, size)]
        wide[radius + size - 1 + away] = wide[radius + mirrored(size - 1 + away, size)]
    for x in range(0, size, SIXTEEN):
        source, to = wide.ctypes.data + 4 * (radius + x), target.ctypes.data + 4 * (at + x)
        weigh_pairs(source, 4, weights.ctypes.data, radius, to)


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
def _resize(image, shape, own, cubic, planes, radius, kinds, numbers, room, out):
    """Make all rows of the view, change their colours, and write them, or keep them in planes where it is blurred."""
    rows, others, last = room
    target, constants = out
    line_bytes, size, at_once = shape
    top, left, high, wide = own[0], own[1], own[2], own[3]
    by_column, by_row = _filters(wide, size, cubic, own[4] > 0), _filters(high, size, cubic, own[5] > 0)
    length = _RGB * wide
    lines = np.zeros((length + _RGB * by_column[2].shape[1]) * EIGHT, np.float32)
    # Rows of the box that eight rows of the view are made of.
    most = min(high, int(EIGHT * (high / size)) + by_row[2].shape[1])
    floats, piece = np.empty(most * WIDE, np.float32), np.empty(EIGHT * WIDE, np.float32)
    columns = np.empty((_RGB, (size + EIGHT) * EIGHT), np.float32)
    corner = image + top * line_bytes + _RGB * left
    changed = changes(numbers, kinds.size)
    for y in range(0, size, at_once):
        count = min(at_once, size - y)
        for row in range(0, count, EIGHT):
            _down(corner, line_bytes, by_row, y + row, length, floats, piece, lines)
            _along(lines, by_column, size, columns, rows, row * size)
        here = rows
        if changed:
            here, _ = applied(rows, others, count * size, (y * size, size, size), kinds, numbers, kinds.size)
        if planes.size:
            for channel in range(_RGB):
                planes[channel, (radius + y) * size : (radius + y + count) * size] = here[channel, : count * size]
        else:
            _write(target, here, y * size, count * size, size * size, constants, last)


@compiled()
def _one_view(target, image, width, size, settings, kinds):
    """Make one view."""
    constants, numbers = settings[:7], settings[HEAD + kinds.size :]
    cubic, before, sigma = settings[7] > 0, int(settings[8]), settings[15]
    own = settings[9:15].astype(np.int64)
    at_once = max(1, _PIXELS // (size * EIGHT)) * EIGHT
    # A few more: the last vector may reach beyond.
    length = at_once * size + SIXTEEN
    room = np.zeros((_RGB, length), np.float32), np.zeros((_RGB, length), np.float32), np.empty(4 * EIGHT, np.uint8)
    blurred = sigma > 0
    radius = int(np.ceil(3 * sigma)) if blurred else 0
    planes = np.empty((_RGB, (size + 2 * radius) * size + SIXTEEN if blurred else 0), np.float32)
    first = before if blurred else kinds.size
    out = target, constants
    shape = _RGB * width, size, at_once
    _resize(image, shape, own, cubic, planes, radius, kinds[:first], numbers[: first * NUMBERS], room, out)
    if blurred:
        rows, others, last = room
        weights = gaussian_weights(sigma, radius)
        wide = np.zeros(size + 2 * radius + SIXTEEN, np.float32)
        kinds, numbers = kinds[first:], numbers[first * NUMBERS :]
        changed = changes(numbers, kinds.size)
        for channel in range(_RGB):
            planes[channel, (size + 2 * radius) * size :] = 0
            _mirror(planes[channel], size, radius)
        for y in range(0, size, at_once):
            count = min(at_once, size - y)
            for row in range(count):
                for channel in range(_RGB):
                    _blur(planes[channel], size, y + row, weights, wide, rows[channel], row * size)
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
