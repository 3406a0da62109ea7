"""What tissue methods ask of each pixel, in compiled code.

NumPy reduces three channels slowly, and goes over a picture once for each step. All numbers are float32 where NumPy's
are, so that the answers are those of plain NumPy.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from __future__ import annotations

import numpy as np

from .._compiled import compiled

__all__ = ["brightest", "chroma", "code_counts", "histograms", "mean_of_blocks", "share_of_blocks", "within"]


@compiled()
def brightest(rgb):
    """The greatest of the channels, uint8 (height, width)."""
    found = np.empty(rgb.shape[:2], np.uint8)
    for y in range(rgb.shape[0]):
        for x in range(rgb.shape[1]):
            found[y, x] = max(rgb[y, x, 0], rgb[y, x, 1], rgb[y, x, 2])
    return found


@compiled()
def within(rgb, low, high):
    """Where all channels lie between two colours, both included; bool (height, width)."""
    found = np.empty(rgb.shape[:2], np.bool_)
    for y in range(rgb.shape[0]):
        for x in range(rgb.shape[1]):
            inside = True
            for channel in range(3):
                value = rgb[y, x, channel]
                inside &= (value >= low[channel]) & (value <= high[channel])
            found[y, x] = inside
    return found


@compiled()
def code_counts(rgb):
    """How often each colour comes, of 64 steps a channel: int64 (2**18,), red first."""
    counts = np.zeros(1 << 18, np.int64)
    for y in range(rgb.shape[0]):
        for x in range(rgb.shape[1]):
            red, green, blue = np.int64(rgb[y, x, 0]), np.int64(rgb[y, x, 1]), np.int64(rgb[y, x, 2])
            counts[(red >> 2) << 12 | (green >> 2) << 6 | blue >> 2] += 1
    return counts


@compiled()
def histograms(rgb, where):
    """How often each value comes in each channel, where that is asked; int64 (3, 256)."""
    counts = np.zeros((3, 256), np.int64)
    for y in range(rgb.shape[0]):
        for x in range(rgb.shape[1]):
            if where[y, x]:
                for channel in range(3):
                    counts[channel, rgb[y, x, channel]] += 1
    return counts


@compiled()
def chroma(rgb, densities):
    """The greatest of three densities less the least: of each channel's values, float32 (3, 256)."""
    found = np.empty(rgb.shape[:2], np.float32)
    for y in range(rgb.shape[0]):
        for x in range(rgb.shape[1]):
            red = densities[0, rgb[y, x, 0]]
            green = densities[1, rgb[y, x, 1]]
            blue = densities[2, rgb[y, x, 2]]
            found[y, x] = max(max(red, green), blue) - min(min(red, green), blue)
    return found


@compiled()
def share_of_blocks(mask, side):
    """Share of each block of a mask that is True, float32; blocks at the rim are filled up by repetition."""
    height, width = mask.shape
    rows, columns = -(-height // side), -(-width // side)
    found = np.empty((rows, columns), np.float32)
    for row in range(rows):
        for column in range(columns):
            count = 0
            for y in range(row * side, row * side + side):
                for x in range(column * side, column * side + side):
                    count += mask[min(y, height - 1), min(x, width - 1)]
            found[row, column] = np.float32(count) / np.float32(side * side)
    return found


@compiled()
def mean_of_blocks(values, most):
    """Means of blocks of 8 x 8 float32 values, none counted for more than `most`, filled up as above."""
    height, width = values.shape
    rows, columns = -(-height // 8), -(-width // 8)
    found = np.empty((rows, columns), np.float32)
    line = np.empty(8, np.float32)
    for row in range(rows):
        for column in range(columns):
            total = np.float32(0)
            for y in range(row * 8, row * 8 + 8):
                for x in range(8):
                    line[x] = min(values[min(y, height - 1), min(column * 8 + x, width - 1)], most)
                # In the order in which NumPy adds.
                one = (line[0] + line[1]) + (line[2] + line[3])
                other = (line[4] + line[5]) + (line[6] + line[7])
                total += one + other
            found[row, column] = total / np.float32(64)
    return found
