"""Blurring and sharpening as compiled code: a Gaussian down the rows, then along them, over one sample at a time.

Both loops run along interleaved pixels, where the neighbour in a row is three numbers on. Nothing here can raise, see
`cpu_normalise`.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, attr-defined, call-arg, unreachable"
# ruff: noqa: ARG001 (callbacks take what they are given)

from __future__ import annotations

import math

import numpy as np
from numba import carray
from nvidia.dali.plugin.numba import address_as_void_pointer

from cellmix_dali._compiled import compiled

from .cpu_kernel import same_shape
from .raw_numba import RUN_SAMPLE, compiled_callback

__all__ = ["gaussian_weights", "mirrored", "run", "same_shape"]

_RGB = 3
_f = np.float32
_FAST = {"contract", "nnan", "ninf", "nsz"}


@compiled()
def mirrored(place, length):
    """A place beyond the border, mirrored at the outermost pixel."""
    if length == 1:
        return 0
    period = 2 * (length - 1)
    place = abs(place) % period
    return period - place if place >= length else place


@compiled()
def gaussian_weights(sigma, radius):
    """Of a Gaussian, from its middle on."""
    weights = np.empty(radius + 1, np.float32)
    total = 0.0
    for place in range(radius + 1):
        value = math.exp(-0.5 * (place / sigma) ** 2)
        weights[place] = value
        total += value if place == 0 else 2 * value
    for place in range(radius + 1):
        weights[place] /= total
    return weights


@compiled(fastmath=_FAST)
def _first(target, source, weight, length):
    for x in range(length):
        target[x] = weight * source[x]


@compiled(fastmath=_FAST)
def _add_two(target, before, after, weight, length):
    for x in range(length):
        target[x] += weight * (_f(before[x]) + _f(after[x]))


@compiled(fastmath=_FAST)
def _finish(target, image, blurred, weight, length):
    """A row of bytes: the image's and the blurred one's, weighted."""
    rest = _f(1) - weight
    for x in range(length):
        value = weight * image[x] + rest * blurred[x]
        target[x] = np.uint8(min(max(value, _f(0)), _f(255)) + _f(0.5))


@compiled_callback(RUN_SAMPLE)
def run(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs):
    """Blur one sample. Inputs are the image, uint8 HWC, and float32: sigma, above 0, and the weight of the image."""
    given = carray(address_as_void_pointer(data), inputs, np.int64)
    shapes = carray(address_as_void_pointer(in_shapes), inputs, np.int64)
    shape = carray(address_as_void_pointer(shapes[0]), 3, np.int64)
    height, width = shape[0], shape[1]
    numbers = carray(address_as_void_pointer(given[1]), 2, np.float32)
    sigma, weight = numbers[0], numbers[1]
    image = carray(address_as_void_pointer(given[0]), (height, _RGB * width), np.uint8)
    target = carray(
        address_as_void_pointer(carray(address_as_void_pointer(out), 1, np.int64)[0]), (height, _RGB * width), np.uint8
    )
    radius = math.ceil(3 * sigma)
    weights, line, border = gaussian_weights(sigma, radius), _RGB * width, _RGB * radius
    down, along = np.empty(line + 2 * border, np.float32), np.empty(line, np.float32)
    middle = down[border : border + line]
    for y in range(height):
        _first(middle, image[y], weights[0], line)
        for away in range(1, radius + 1):
            _add_two(middle, image[mirrored(y - away, height)], image[mirrored(y + away, height)], weights[away], line)
        for away in range(1, radius + 1):
            left, right = _RGB * mirrored(-away, width), _RGB * mirrored(width - 1 + away, width)
            for channel in range(_RGB):
                down[border - _RGB * away + channel] = middle[left + channel]
                down[border + line + _RGB * (away - 1) + channel] = middle[right + channel]
        _first(along, middle, weights[0], line)
        for away in range(1, radius + 1):
            _add_two(along, down[border - _RGB * away :], down[border + _RGB * away :], weights[away], line)
        _finish(target[y], image[y], along, weight, line)
