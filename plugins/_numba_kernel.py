"""The numba engine's kernel, in the form that DALI's `numba_function` compiles.

An exception inside `numba_function` is printed and the output left as garbage, so nothing here can raise: the
compiled loops see raw addresses and plain sizes only. One kernel does all kinds of plans, as compiling DALI's frame
around it takes seconds; what it is to do comes as numbers, `PASTE` and so on first.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc, attr-defined"

from __future__ import annotations

import math

import numba
import numpy as np
from numba import carray, njit, prange
from nvidia.dali.plugin.numba import address_as_void_pointer

__all__ = ["FILL", "LINEAR", "MASK", "NEAREST", "PASTE", "SHARE", "mix_batch", "same_shape"]

# What follows the first number (int32), all a sample's own; a float32 is given by its bits:
PASTE = 0  # ids (R), in_anchors (R, 2), out_anchors (R, 2), shapes (R, 2) of R regions
FILL = 1  # anchor (2), shape (2); the values are in the bytes
NEAREST = 2  # id, in_anchor (2), out_anchor (2), source shape (2), target shape (2)
LINEAR = 3  # the same
SHARE = 4  # id, share of the own sample
MASK = 5  # id; the mask is in the bytes

if numba.config.THREADING_LAYER == "default":
    # A training and a validation pipeline run kernels at once, which numba's own work queue does not bear.
    numba.config.THREADING_LAYER = "omp"

# The error model keeps divisions from raising.
_serial = njit(nogil=True, boundscheck=False, error_model="numpy")


def same_shape(out_shapes, in_shapes):
    """Tell DALI that outputs are shaped as the images."""
    for sample in range(len(out_shapes[0])):
        for axis in range(3):
            out_shapes[0][sample][axis] = in_shapes[0][sample][axis]


def mix_batch(outputs, images, numbers, values):
    """Collect the addresses of DALI's buffers and run the kernel."""
    batch = len(images)
    addresses = np.empty((4, batch), np.int64)
    sizes = np.empty((2, batch), np.int64)
    for sample in range(batch):
        addresses[0, sample] = outputs[sample].ctypes.data
        addresses[1, sample] = images[sample].ctypes.data
        addresses[2, sample] = numbers[sample].ctypes.data
        addresses[3, sample] = values[sample].ctypes.data
        sizes[0, sample] = numbers[sample].size
        sizes[1, sample] = values[sample].size
    height, width, channels = images[0].shape
    _mix(addresses, sizes, batch, height, width, channels)


@njit(parallel=True, nogil=True, boundscheck=False, error_model="numpy")
def _mix(addresses, sizes, batch, height, width, channels):
    """Do what the numbers say; samples in parallel."""
    for sample in prange(batch):
        numbers = carray(address_as_void_pointer(addresses[2, sample]), sizes[0, sample], np.int32)
        values = carray(address_as_void_pointer(addresses[3, sample]), sizes[1, sample], np.uint8)
        out = _image(addresses[0, sample], height, width, channels)
        own = _image(addresses[1, sample], height, width, channels)
        kind = numbers[0]
        if kind == PASTE:
            _paste(addresses[0, sample], numbers, addresses[1], width, channels)
            continue
        if kind == FILL:
            _copy(addresses[0, sample], addresses[1, sample], out.size)
            _fill(out, numbers, values, width, channels)
            continue
        other = _image(addresses[1, numbers[1]], height, width, channels)
        if kind == SHARE:
            share = carray(address_as_void_pointer(addresses[2, sample]), sizes[0, sample], np.float32)[2]
            _share(out, own, other, share)
        elif kind == MASK:
            _mask(out, own, other, values, channels)
        else:
            _copy(addresses[0, sample], addresses[1, sample], out.size)
            if kind == NEAREST:
                _nearest(out, other, numbers, width, channels)
            else:
                _linear(out, other, numbers, width, channels)


@_serial
def _image(address, height, width, channels):
    """An image's bytes."""
    return carray(address_as_void_pointer(address), height * width * channels, np.uint8)


@_serial
def _copy(target, source, length):
    """Copy a run of bytes from one address to another; counted from 0, which lets the compiler make it fast."""
    out = carray(address_as_void_pointer(target), length, np.uint8)
    image = carray(address_as_void_pointer(source), length, np.uint8)
    for byte in range(length):
        out[byte] = image[byte]


@_serial
def _paste(out, numbers, images, width, channels):
    """Copy every region row by row; addresses of the output and of all images."""
    count = (numbers.size - 1) // 7
    starts, places, shapes = 1 + count, 1 + 3 * count, 1 + 5 * count
    for region in range(count):
        image = images[numbers[1 + region]]
        length = numbers[shapes + 2 * region + 1] * channels
        for row in range(numbers[shapes + 2 * region]):
            source = (numbers[starts + 2 * region] + row) * width + numbers[starts + 2 * region + 1]
            target = (numbers[places + 2 * region] + row) * width + numbers[places + 2 * region + 1]
            _copy(out + target * channels, image + source * channels, length)


@_serial
def _fill(out, numbers, values, width, channels):
    """Overwrite the box."""
    for row in range(numbers[1], numbers[1] + numbers[3]):
        for column in range(numbers[2], numbers[2] + numbers[4]):
            for channel in range(channels):
                out[(row * width + column) * channels + channel] = values[channel if values.size > 1 else 0]


@_serial
def _nearest(out, image, numbers, width, channels):
    """Paste the box resized, each pixel that in which its centre lies."""
    top, left, place_y, place_x = numbers[2], numbers[3], numbers[4], numbers[5]
    rows, columns, height, breadth = numbers[6], numbers[7], numbers[8], numbers[9]
    for row in range(height):
        y = top + (2 * row + 1) * rows // (2 * height)
        for column in range(breadth):
            x = left + (2 * column + 1) * columns // (2 * breadth)
            target = ((place_y + row) * width + place_x + column) * channels
            for channel in range(channels):
                out[target + channel] = image[(y * width + x) * channels + channel]


@_serial
def _linear(out, image, numbers, width, channels):
    """Paste the box resized by triangle filters as wide as the pixels are apart; beyond its border lies its border."""
    top, left, place_y, place_x = numbers[2], numbers[3], numbers[4], numbers[5]
    rows, columns, height, breadth = numbers[6], numbers[7], numbers[8], numbers[9]
    scale_y, scale_x = rows / height, columns / breadth
    reach_y, reach_x = max(scale_y, 1.0), max(scale_x, 1.0)
    for row in range(height):
        # In pixels' own terms: the centre of pixel 0 is at 0.
        centre_y = (row + 0.5) * scale_y - 0.5
        for column in range(breadth):
            centre_x = (column + 0.5) * scale_x - 0.5
            target = ((place_y + row) * width + place_x + column) * channels
            for channel in range(channels):
                total, weights = 0.0, 0.0
                for y in range(math.ceil(centre_y - reach_y), math.floor(centre_y + reach_y) + 1):
                    line = (top + min(max(y, 0), rows - 1)) * width + left
                    weight_y = 1.0 - abs(y - centre_y) / reach_y
                    for x in range(math.ceil(centre_x - reach_x), math.floor(centre_x + reach_x) + 1):
                        weight = weight_y * (1.0 - abs(x - centre_x) / reach_x)
                        weights += weight
                        total += weight * image[(line + min(max(x, 0), columns - 1)) * channels + channel]
                out[target + channel] = np.uint8(total / weights + 0.5)


@_serial
def _share(out, own, other, share):
    """Blend, rounding to the nearest."""
    rest = np.float32(1.0) - share
    for byte in range(out.size):
        out[byte] = np.uint8(np.float32(own[byte]) * share + np.float32(other[byte]) * rest + np.float32(0.5))


@_serial
def _mask(out, own, other, mask, channels):
    """Take each pixel from one or the other."""
    for pixel in range(mask.size):
        for byte in range(pixel * channels, (pixel + 1) * channels):
            out[byte] = own[byte] if mask[pixel] else other[byte]
