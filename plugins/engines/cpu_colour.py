"""Changes of colour as compiled code: all stages of a sample in one pass over its pixels.

A row's channels lie in three lines of floats that stay in the nearest cache; each stage is a few plain loops over them,
which LLVM makes vectors of. Logarithms and powers are those of `cpu_curves`.

Nothing here can raise, see `cpu_normalise`.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, attr-defined, call-arg, unreachable, var-annotated"
# ruff: noqa: ARG001 (callbacks take what they are given)

from __future__ import annotations

import numpy as np
from numba import carray
from nvidia.dali.plugin.numba import address_as_void_pointer

from cellmix_dali._compiled import compiled, copy_bytes

from ..colour_stages import (
    DARKEST,
    FROM_XYZ,
    KINDS,
    LEAST_DEVIATION,
    NOISE_MIDDLE,
    NOISE_WIDTH,
    NUMBERS,
    TO_XYZ,
)
from .cpu_curves import FAST, level, levels, light, root, rough_log2, unlight, unroot
from .cpu_kernel import same_shape
from .raw_numba import RUN_SAMPLE, compiled_callback
from .vectors import EIGHT, join_eight, split_eight

__all__ = ["applied", "changes", "run", "same_shape", "split_row"]

_AFFINE, _DENSITY, _LAB, _HSV, _SOLARISE, _STRETCH, _NOISE, _STAIN = (KINDS.index(kind) for kind in KINDS)
_RGB = 3
_f = np.float32
_SUMS = FAST | {"reassoc"}  # sums of many numbers may be put together as is fastest

_NATURAL, _LOG_255 = _f(0.6931471805599453), _f(7.994353436858858)
_DARK, _LEAST = _f(DARKEST), _f(LEAST_DEVIATION)
_PER_LEVEL, _LEVELS = _f(1 / 255), _f(255)
_TO, _FROM = TO_XYZ.astype(np.float32), FROM_XYZ.astype(np.float32)


@compiled(fastmath=FAST)
def _into(reds, greens, blues, count, m, offset, target):
    """``target = m @ (red, green, blue) + offset``, one channel of it."""
    a, b, c = m[0], m[1], m[2]
    for x in range(count):
        target[x] = a * reds[x] + b * greens[x] + c * blues[x] + offset


@compiled(fastmath=FAST)
def _adjust(channel, count, scale, shift, low, high):
    for x in range(count):
        channel[x] = min(max(scale * channel[x] + shift, low), high)


@compiled(fastmath=FAST)
def _affine(rows, others, count, numbers):
    reds, greens, blues = rows[0], rows[1], rows[2]
    for channel in range(_RGB):
        target, offset = others[channel], numbers[10 + channel]
        a, b, c = numbers[1 + 3 * channel], numbers[2 + 3 * channel], numbers[3 + 3 * channel]
        for x in range(count):
            target[x] = level(a * reds[x] + b * greens[x] + c * blues[x] + offset)


@compiled(fastmath=FAST)
def _amounts(rows, others, count, numbers):
    """How much there is of each stain; in powers of two until the scale."""
    for channel in range(_RGB):
        row = rows[channel]
        for x in range(count):
            row[x] = rough_log2(max(row[x], _LEVELS * _DARK))
    for channel in range(_RGB):
        target = others[channel]
        # Densities are natural logarithms of 255 / level.
        a, b, c = (
            _NATURAL * numbers[1 + 3 * channel],
            _NATURAL * numbers[2 + 3 * channel],
            _NATURAL * numbers[3 + 3 * channel],
        )
        offset, floor = _LOG_255 * (a + b + c), numbers[10]
        reds, greens, blues = rows[0], rows[1], rows[2]
        for x in range(count):
            target[x] = max(offset - a * reds[x] - b * greens[x] - c * blues[x], floor)


@compiled(fastmath=FAST)
def _densities_back(rows, others, count, numbers):
    """From amounts of stains, scaled and shifted, to levels."""
    binary = _f(-1.4426950408889634)
    for channel in range(_RGB):
        target = others[channel]
        m = numbers[19 + 3 * channel :]
        a, b, c = binary * m[0] * numbers[13], binary * m[1] * numbers[14], binary * m[2] * numbers[15]
        offset = binary * (m[0] * numbers[16] + m[1] * numbers[17] + m[2] * numbers[18])
        reds, greens, blues = rows[0], rows[1], rows[2]
        for x in range(count):
            target[x] = levels(a * reds[x] + b * greens[x] + c * blues[x] + offset)


@compiled(fastmath=FAST)
def _stain(rows, others, count, numbers):
    """From levels to levels by logarithms of levels plus 1."""
    for channel in range(_RGB):
        row = rows[channel]
        for x in range(count):
            row[x] = rough_log2(row[x] + _f(1))
    reds, greens, blues, binary = rows[0], rows[1], rows[2], _f(1.4426950408889634)
    for channel in range(_RGB):
        target = others[channel]
        m = numbers[1 + 3 * channel :]
        a, b, c = m[0], m[1], m[2]
        # Logarithms are of (level + 1) / 255; so is the result, of at most 256.
        offset = binary * numbers[10 + channel] - (a + b + c) * _LOG_255
        for x in range(count):
            sum_of = a * reds[x] + b * greens[x] + c * blues[x] + offset
            target[x] = level(levels(sum_of - _f(0.01)) * _f(1.0069555500567189) - _f(1))


@compiled(fastmath=FAST)
def _to_lab(rows, others, count):
    for channel in range(_RGB):
        row = rows[channel]
        for x in range(count):
            row[x] = light(row[x])
    for channel in range(_RGB):
        target = others[channel]
        _into(rows[0], rows[1], rows[2], count, _TO[channel], _f(0), target)
        for x in range(count):
            target[x] = root(target[x])
    xs, ys, zs = others[0], others[1], others[2]
    for x in range(count):
        first, second, third = xs[x], ys[x], zs[x]
        xs[x] = (_f(116) * second - _f(16)) * _f(2.55)
        ys[x] = _f(500) * (first - second) + _f(128)
        zs[x] = _f(200) * (second - third) + _f(128)


@compiled(fastmath=FAST)
def _from_lab(rows, others, count):
    lights, reddish, yellowish = rows[0], rows[1], rows[2]
    for x in range(count):
        light, a, b = lights[x], reddish[x], yellowish[x]
        y = (light * _f(1 / 2.55) + _f(16)) * _f(1 / 116)
        lights[x] = unroot(y + (a - _f(128)) * _f(1 / 500))
        reddish[x] = unroot(y)
        yellowish[x] = unroot(y - (b - _f(128)) * _f(1 / 200))
    for channel in range(_RGB):
        target = others[channel]
        _into(rows[0], rows[1], rows[2], count, _FROM[channel], _f(0), target)
        for x in range(count):
            target[x] = unlight(target[x])


@compiled(fastmath=FAST)
def _to_hsv(rows, count):
    reds, greens, blues = rows[0], rows[1], rows[2]
    for x in range(count):
        red, green, blue = reds[x], greens[x], blues[x]
        value = max(red, max(green, blue))
        width = value - min(red, min(green, blue))
        part = _f(30) / (width if width > _f(0) else _f(1))
        around = (green - blue) * part
        around = around + _f(180) if around < _f(0) else around
        other = (blue - red) * part + _f(60) if value == green else (red - green) * part + _f(120)
        reds[x] = around if value == red else other
        greens[x] = _LEVELS * width / (value if value > _f(0) else _f(1))
        blues[x] = value


@compiled(inline="always", fastmath=FAST)
def _around(turn, hue, saturation, value):
    """One channel of a colour: that of a hue so many sixths of the circle on."""
    k = turn + hue * _f(1 / 30)
    k -= _f(6) if k >= _f(6) else _f(0)
    k -= _f(6) if k >= _f(6) else _f(0)  # a hue may be up to 255
    return value - value * saturation * _PER_LEVEL * min(max(min(k, _f(4) - k), _f(0)), _f(1))


@compiled(fastmath=FAST)
def _from_hsv(rows, count):
    reds, greens, blues = rows[0], rows[1], rows[2]
    for x in range(count):
        hue, saturation, value = reds[x], greens[x], blues[x]
        reds[x] = _around(_f(5), hue, saturation, value)
        greens[x] = _around(_f(3), hue, saturation, value)
        blues[x] = _around(_f(1), hue, saturation, value)


@compiled(fastmath=FAST)
def _solarise(rows, count, threshold):
    for channel in range(_RGB):
        row = rows[channel]
        for x in range(count):
            row[x] = _LEVELS - row[x] if row[x] >= threshold else row[x]


@compiled(inline="always")
def _hashed(bits):
    """See `colour_stages`; 32 bits, in signed numbers."""
    bits = (bits ^ ((bits >> np.int32(16)) & np.int32(0xFFFF))) * np.int32(0x7FEB352D)
    bits = (bits ^ ((bits >> np.int32(15)) & np.int32(0x1FFFF))) * np.int32(0x846CA68B - 2**32)
    return bits ^ ((bits >> np.int32(16)) & np.int32(0xFFFF))


@compiled(fastmath=FAST)
def _noise(rows, count, sigma, key, place):
    """Add noise; `place` is that of `applied`."""
    first, across, width = place
    mixed, factor = _hashed(np.int32(key)), sigma * _f(1 / NOISE_WIDTH)
    byte = np.int32(255)
    for channel in range(_RGB):
        for line in range(count // across):
            row = rows[channel, line * across : (line + 1) * across]
            start = np.int32(_RGB * (first + line * width) + channel)
            for x in range(across):
                bits = _hashed(np.int32(start + np.int32(_RGB * np.int32(x))) ^ mixed)
                total = (bits & byte) + ((bits >> np.int32(8)) & byte)
                total += ((bits >> np.int32(16)) & byte) + ((bits >> np.int32(24)) & byte)
                row[x] = level(row[x] + factor * (_f(total) - _f(NOISE_MIDDLE)))


@compiled(inline="always")
def _channels(kind, rows, others, count, numbers):
    """Bring a row into the colour space of a kind; gives where it lies then, and the room that is free."""
    if kind == _DENSITY:
        _amounts(rows, others, count, numbers)
        return others, rows
    if kind == _LAB:
        _to_lab(rows, others, count)
        return others, rows
    if kind == _HSV:
        _to_hsv(rows, count)
    return rows, others


@compiled()
def applied(rows, others, count, place, kinds, numbers, stages):
    """Change pixels, float32 (3, count), by the first stages; gives where they lie then: in `rows` or in `others`.

    `place` says which pixels of their image they are: the number of the first one, how many lie side by side, and the
    image's width.
    """
    for stage in range(stages):
        own = numbers[stage * NUMBERS : (stage + 1) * NUMBERS]
        if own[0] == 0:
            continue
        kind = kinds[stage]
        if kind == _AFFINE or kind == _STRETCH:  # noqa: SIM109 (numba's sets are slow)
            _affine(rows, others, count, own)
            rows, others = others, rows
        elif kind == _SOLARISE:
            _solarise(rows, count, own[10])
        elif kind == _STAIN:
            _stain(rows, others, count, own)
            rows, others = others, rows
        elif kind == _NOISE:
            _noise(rows, count, own[10], own[11], place)
        else:
            rows, others = _channels(kind, rows, others, count, own)
            if kind == _DENSITY:
                _densities_back(rows, others, count, own)
                rows, others = others, rows
                continue
            for channel in range(_RGB):
                _adjust(rows[channel], count, own[13 + channel], own[16 + channel], _f(0), _LEVELS)
            if kind == _LAB:
                _from_lab(rows, others, count)
                rows, others = others, rows
            else:
                _from_hsv(rows, count)
    return rows, others


@compiled()
def split_row(source, rows, count):
    """Read pixels at an address into three lines of numbers."""
    whole = count // EIGHT * EIGHT
    reds, greens, blues = rows[0].ctypes.data, rows[1].ctypes.data, rows[2].ctypes.data
    for x in range(0, whole, EIGHT):
        split_eight(source + _RGB * x, reds + 4 * x, greens + 4 * x, blues + 4 * x)
    rest = carray(address_as_void_pointer(source + _RGB * whole), _RGB * (count - whole), np.uint8)
    for x in range(whole, count):
        for channel in range(_RGB):
            rows[channel, x] = rest[_RGB * (x - whole) + channel]


@compiled()
def _join_row(target, rows, count):
    """Write three lines of numbers as pixels at an address."""
    whole = count // EIGHT * EIGHT
    reds, greens, blues = rows[0].ctypes.data, rows[1].ctypes.data, rows[2].ctypes.data
    for x in range(0, whole, EIGHT):
        join_eight(target + _RGB * x, reds + 4 * x, greens + 4 * x, blues + 4 * x)
    rest = carray(address_as_void_pointer(target + _RGB * whole), _RGB * (count - whole), np.uint8)
    for x in range(whole, count):
        for channel in range(_RGB):
            rest[_RGB * (x - whole) + channel] = np.uint8(rows[channel, x] + _f(0.5))


@compiled(fastmath=_SUMS)
def _moments(row, count, origin):
    """The sum of a row's distances from a number, and of their squares."""
    first, second = _f(0), _f(0)
    for x in range(count):
        away = row[x] - origin
        first += away
        second += away * away
    return first, second


@compiled()
def _measured(image, height, width, rows, others, kinds, numbers, stage):
    """Put an image's own means and deviations, or its least and greatest level, into the numbers of a stage."""
    own = numbers[stage * NUMBERS : (stage + 1) * NUMBERS]
    kind = kinds[stage]
    sums, squares, origin = np.zeros(_RGB, np.float64), np.zeros(_RGB, np.float64), np.zeros(_RGB, np.float64)
    least, most = _f(255), _f(0)
    for y in range(height):
        split_row(image + y * width * _RGB, rows, width)
        here, free = applied(rows, others, width, (y * width, width, width), kinds, numbers, stage)
        if kind == _STRETCH:
            for channel in range(_RGB):
                least, most = min(least, here[channel, :width].min()), max(most, here[channel, :width].max())
            continue
        here, free = _channels(kind, here, free, width, own)
        for channel in range(_RGB):
            if y == 0:
                origin[channel] = here[channel, 0]  # sums of what is near 0 are exact enough
            first, second = _moments(here[channel], width, _f(origin[channel]))
            sums[channel] += first
            squares[channel] += second
    if kind == _STRETCH:
        factor = _LEVELS / (most - least) if most > least else _f(1)
        own[1:10] = 0
        own[1], own[5], own[9] = factor, factor, factor
        own[10:13] = -least * factor if most > least else _f(0)
        return
    for channel in range(_RGB):
        mean = sums[channel] / (height * width)
        deviation = np.sqrt(max(squares[channel] / (height * width) - mean * mean, 0.0))
        scale = own[13 + channel] / max(deviation, _LEAST)
        own[16 + channel] -= (mean + origin[channel]) * scale
        own[13 + channel] = scale


@compiled()
def resolved(image, height, width, rows, others, kinds, given):
    """Return a sample's numbers, with what follows from the image itself put in."""
    numbers = given.copy()
    for stage in range(kinds.size):
        first = stage * NUMBERS
        if numbers[first] != 0 and (kinds[stage] == _STRETCH or numbers[first + 28] != 0):
            _measured(image, height, width, rows, others, kinds, numbers, stage)
    return numbers


@compiled()
def changes(numbers, stages):
    """Whether any stage changes the sample."""
    active = 0
    for stage in range(stages):
        active += numbers[stage * NUMBERS] != 0
    return active > 0


@compiled_callback(RUN_SAMPLE)
def run(out, out_shapes, out_dimensions, outputs, data, in_shapes, in_dimensions, inputs):
    """Change one sample. Inputs are the image, uint8 HWC; the kinds, int32; and the numbers, float32."""
    target = carray(address_as_void_pointer(out), 1, np.int64)[0]
    given = carray(address_as_void_pointer(data), inputs, np.int64)
    shapes = carray(address_as_void_pointer(in_shapes), inputs, np.int64)
    shape = carray(address_as_void_pointer(shapes[0]), 3, np.int64)
    stages = carray(address_as_void_pointer(shapes[1]), 1, np.int64)[0]
    height, width, image = shape[0], shape[1], given[0]
    kinds = carray(address_as_void_pointer(given[1]), stages, np.int32)
    asked = carray(address_as_void_pointer(given[2]), stages * NUMBERS, np.float32)
    line = _RGB * width
    if not changes(asked, stages):
        copy_bytes(target, image, height * line)
        return
    rows, others = np.empty((_RGB, width), np.float32), np.empty((_RGB, width), np.float32)
    numbers = resolved(image, height, width, rows, others, kinds, asked)
    for y in range(height):
        split_row(image + y * line, rows, width)
        here, _ = applied(rows, others, width, (y * width, width, width), kinds, numbers, stages)
        _join_row(target + y * line, here, width)
