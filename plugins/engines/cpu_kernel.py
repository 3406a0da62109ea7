"""The numba engine's kernels: one for each kind of plan, over one sample at a time.

DALI calls them in its own threads, by what `_raw_numba` says. An exception inside would be printed and the output left
as garbage, so nothing here can raise: the loops see raw addresses and plain sizes only.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, attr-defined, call-arg, unreachable"
# ruff: noqa: ARG001 (callbacks take what they are given)

from __future__ import annotations

import math

import numpy as np
from numba import carray
from nvidia.dali.plugin.numba import address_as_void_pointer

from cellmix_dali._compiled import compiled, copy_bytes

from .raw_numba import RUN_SAMPLE, SETUP, compiled_callback

__all__ = ["fill", "linear", "mask", "nearest", "paste", "same_shape", "share"]


@compiled()
def _bytes(address, length):
    """Pixels, or other bytes, at an address."""
    return carray(address_as_void_pointer(address), length, np.uint8)


@compiled()
def _words(address, length):
    """Addresses, or the numbers of a shape, at an address."""
    return carray(address_as_void_pointer(address), length, np.int64)


@compiled()
def _numbers(address, length):
    """Numbers of a plan at an address."""
    return carray(address_as_void_pointer(address), length, np.int32)


@compiled()
def _image_shape(in_shapes):
    """Height, width and channels of the first input, which is the sample's own image."""
    return _words(_words(in_shapes, 1)[0], 3)


# Compiled at once, so everything they call stands above. All have the sample's own image first, uint8 HWC; and, unless
# it says otherwise, the addresses of the regions' images second.
@compiled_callback(SETUP)
def same_shape(out_shapes, out_dimensions, outputs, in_shapes, in_dimensions, inputs, samples):
    """Say that outputs are shaped as the images."""
    targets, images = _words(out_shapes, samples), _words(in_shapes, samples)
    for sample in range(samples):
        target, shape = _words(targets[sample], 3), _words(images[sample], 3)
        for axis in range(3):
            target[axis] = shape[axis]


@compiled_callback(RUN_SAMPLE)
def paste(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs):
    """Copy every region row by row; in_anchors, out_anchors and shapes (R, 2)."""
    given, shape = _words(data, inputs), _image_shape(in_shapes)
    width, channels = shape[1], shape[2]
    regions = _words(_words(in_shapes, 2)[1], 1)[0]
    target, images = _words(out, 1)[0], _words(given[1], regions)
    starts, places, sizes = (
        _numbers(given[2], 2 * regions),
        _numbers(given[3], 2 * regions),
        _numbers(given[4], 2 * regions),
    )
    for region in range(regions):
        length = sizes[2 * region + 1] * channels
        for row in range(sizes[2 * region]):
            first = (starts[2 * region] + row) * width + starts[2 * region + 1]
            place = (places[2 * region] + row) * width + places[2 * region + 1]
            copy_bytes(target + place * channels, images[region] + first * channels, length)


@compiled_callback(RUN_SAMPLE)
def fill(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs):
    """Overwrite the box; out_anchors and shapes (1, 2), and the values (uint8), instead of the addresses."""
    given, shape = _words(data, inputs), _image_shape(in_shapes)
    width, channels = shape[1], shape[2]
    size = shape[0] * width * channels
    target = _words(out, 1)[0]
    pixels = _bytes(target, size)
    place, box = _numbers(given[1], 2), _numbers(given[2], 2)
    count = _words(_words(in_shapes, 4)[3], 1)[0]
    values = _bytes(given[3], count)
    copy_bytes(target, given[0], size)
    for row in range(place[0], place[0] + box[0]):
        for column in range(place[1], place[1] + box[1]):
            for channel in range(channels):
                pixels[(row * width + column) * channels + channel] = values[min(channel, count - 1)]


@compiled_callback(RUN_SAMPLE)
def nearest(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs):
    """Paste the box resized, each pixel that in which its centre lies.

    Then come in_anchor (1, 2), out_anchor (1, 2), and the shapes of what is taken and of what it becomes (2, 2).
    """
    given, shape = _words(data, inputs), _image_shape(in_shapes)
    width, channels = shape[1], shape[2]
    size = shape[0] * width * channels
    target = _words(out, 1)[0]
    pixels, image = _bytes(target, size), _bytes(_words(given[1], 1)[0], size)
    start, place, sizes = _numbers(given[2], 2), _numbers(given[3], 2), _numbers(given[4], 4)
    rows, columns, height, breadth = sizes[0], sizes[1], sizes[2], sizes[3]
    copy_bytes(target, given[0], size)
    for row in range(height):
        y = start[0] + (2 * row + 1) * rows // (2 * height)
        for column in range(breadth):
            x = start[1] + (2 * column + 1) * columns // (2 * breadth)
            at = ((place[0] + row) * width + place[1] + column) * channels
            for channel in range(channels):
                pixels[at + channel] = image[(y * width + x) * channels + channel]


@compiled_callback(RUN_SAMPLE)
def linear(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs):
    """Paste the box resized by triangle filters as wide as the pixels are apart; beyond its border lies its border.

    Inputs are those of `nearest`.
    """
    given, shape = _words(data, inputs), _image_shape(in_shapes)
    width, channels = shape[1], shape[2]
    size = shape[0] * width * channels
    target = _words(out, 1)[0]
    pixels, image = _bytes(target, size), _bytes(_words(given[1], 1)[0], size)
    start, place, sizes = _numbers(given[2], 2), _numbers(given[3], 2), _numbers(given[4], 4)
    rows, columns, height, breadth = sizes[0], sizes[1], sizes[2], sizes[3]
    scale_y, scale_x = rows / height, columns / breadth
    reach_y, reach_x = max(scale_y, 1.0), max(scale_x, 1.0)
    copy_bytes(target, given[0], size)
    for row in range(height):
        # In pixels' own terms: the centre of pixel 0 is at 0.
        centre_y = (row + 0.5) * scale_y - 0.5
        for column in range(breadth):
            centre_x = (column + 0.5) * scale_x - 0.5
            at = ((place[0] + row) * width + place[1] + column) * channels
            for channel in range(channels):
                total, weights = 0.0, 0.0
                for y in range(math.ceil(centre_y - reach_y), math.floor(centre_y + reach_y) + 1):
                    line = (start[0] + min(max(y, 0), rows - 1)) * width + start[1]
                    weight_y = 1.0 - abs(y - centre_y) / reach_y
                    for x in range(math.ceil(centre_x - reach_x), math.floor(centre_x + reach_x) + 1):
                        weight = weight_y * (1.0 - abs(x - centre_x) / reach_x)
                        weights += weight
                        total += weight * image[(line + min(max(x, 0), columns - 1)) * channels + channel]
                pixels[at + channel] = np.uint8(total / weights + 0.5)


@compiled_callback(RUN_SAMPLE)
def share(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs):
    """Blend, rounding to the nearest; then comes the own sample's share, float32 (1,)."""
    given, shape = _words(data, inputs), _image_shape(in_shapes)
    size = shape[0] * shape[1] * shape[2]
    pixels, own, other = _bytes(_words(out, 1)[0], size), _bytes(given[0], size), _bytes(_words(given[1], 1)[0], size)
    mine = carray(address_as_void_pointer(given[2]), 1, np.float32)[0]
    rest = np.float32(1.0) - mine
    for byte in range(size):
        pixels[byte] = np.uint8(np.float32(own[byte]) * mine + np.float32(other[byte]) * rest + np.float32(0.5))


@compiled_callback(RUN_SAMPLE)
def mask(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs):
    """Take each pixel from one or the other; then comes the mask, uint8 (height, width), 1 where it is the sample's.

    Masks are of few pieces, so runs of pixels are copied.
    """
    given, shape = _words(data, inputs), _image_shape(in_shapes)
    count, channels = shape[0] * shape[1], shape[2]
    target, other = _words(out, 1)[0], _words(given[1], 1)[0]
    stays = _bytes(given[2], count)
    pixel = 0
    while pixel < count:
        first, own = pixel, stays[pixel] != 0
        while pixel < count and (stays[pixel] != 0) == own:
            pixel += 1
        image = given[0] if own else other
        copy_bytes(target + first * channels, image + first * channels, (pixel - first) * channels)
