"""Changes of colour by DALI's own operators, on both devices: see `colour_stages.plainly`, step by step in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nvidia.dali import math as dali_math

from ..colour_stages import DARKEST, FROM_XYZ, LEAST_DEVIATION, NOISE_MIDDLE, NOISE_WIDTH, TO_XYZ, Colour
from ..dali import DataNode, fn, types

__all__ = ["native_colour"]

_Channels = list[DataNode]
_RGB = 3
_MOST_PIXELS = 2**16  # of a side, where noise is added


def native_colour(images: DataNode, colour: Colour) -> DataNode:
    """Change images, uint8 HWC, by all stages, and round to whole levels at the end."""
    numbers = colour.numbers.gpu() if images.device == "gpu" else colour.numbers
    channels = _split(fn.cast(images, dtype=types.FLOAT))
    for stage, kind in enumerate(colour.kinds):
        active = numbers[stage, 0]
        changed = _KINDS[kind](channels, lambda place, stage=stage: numbers[stage, place])  # type: ignore[misc]
        channels = [
            before + active * (dali_math.clamp(after, 0.0, 255.0) - before)
            for before, after in zip(channels, changed, strict=True)
        ]
    levels = dali_math.floor(fn.cat(*channels, axis=2) + 0.5)
    return fn.reinterpret(fn.cast_like(levels, images), layout="HWC")


_Number = Callable[[int], DataNode]


def _split(images: DataNode) -> _Channels:
    return [images[:, :, channel : channel + 1] for channel in range(_RGB)]


def _product(matrix: Sequence[Sequence[DataNode | float]], channels: _Channels) -> _Channels:
    """A 3 x 3 matrix times each pixel."""
    return [sum((m * channel for m, channel in zip(row[1:], channels[1:], strict=True)), row[0] * channels[0])
            for row in matrix]  # fmt: skip


def _matrix(number: _Number, first: int) -> list[list[DataNode]]:
    return [[number(first + _RGB * row + column) for column in range(_RGB)] for row in range(_RGB)]


def _where(condition: DataNode, yes: DataNode, no: DataNode) -> DataNode:
    """One of two finite numbers."""
    chosen = fn.cast(condition, dtype=types.FLOAT)
    return chosen * yes + (1.0 - chosen) * no


def _affine(channels: _Channels, number: _Number) -> _Channels:
    return [each + number(10 + place) for place, each in enumerate(_product(_matrix(number, 1), channels))]


def _density(channels: _Channels, number: _Number) -> _Channels:
    densities = [-dali_math.log(dali_math.max(channel / 255.0, DARKEST)) for channel in channels]
    amounts = [dali_math.max(each, number(10)) for each in _product(_matrix(number, 1), densities)]
    back = _product(_matrix(number, 19), _adjusted(amounts, number))
    return [255.0 * dali_math.exp(-dali_math.clamp(each, -80.0, 80.0)) for each in back]


def _lab(channels: _Channels, number: _Number) -> _Channels:
    values = [channel / 255.0 for channel in channels]
    linear = [_where(v > 0.04045, dali_math.pow((v + 0.055) / 1.055, 2.4), v / 12.92) for v in values]
    xyz = _product(TO_XYZ.tolist(), linear)
    x, y, z = (_where(each > 0.008856, dali_math.cbrt(each), 7.787 * each + 16 / 116) for each in xyz)
    lab = [(116.0 * y - 16.0) * 2.55, 500.0 * (x - y) + 128.0, 200.0 * (y - z) + 128.0]
    light, a, b = (dali_math.clamp(each, 0.0, 255.0) for each in _adjusted(lab, number))
    y = (light / 2.55 + 16.0) / 116.0
    roots = [y + (a - 128.0) / 500.0, y, y - (b - 128.0) / 200.0]
    xyz = [_where(each > 6 / 29, each * each * each, (each - 16 / 116) / 7.787) for each in roots]
    linear = [dali_math.clamp(each, 0.0, 1.0) for each in _product(FROM_XYZ.tolist(), xyz)]
    return [255.0 * _where(each > 0.0031308, 1.055 * dali_math.pow(each, 1 / 2.4) - 0.055, 12.92 * each)
            for each in linear]  # fmt: skip


def _hsv(channels: _Channels, number: _Number) -> _Channels:
    red, green, blue = channels
    value = dali_math.max(red, dali_math.max(green, blue))
    width = value - dali_math.min(red, dali_math.min(green, blue))
    divisor = width + fn.cast(width == 0.0, dtype=types.FLOAT)
    around = (green - blue) / divisor
    around = around + 6.0 * fn.cast(around < 0.0, dtype=types.FLOAT)
    other = _where(value == green, 2.0 + (blue - red) / divisor, 4.0 + (red - green) / divisor)
    hue = 30.0 * _where(value == red, around, other)
    saturation = 255.0 * width / (value + fn.cast(value == 0.0, dtype=types.FLOAT))
    hue, saturation, value = (dali_math.clamp(each, 0.0, 255.0) for each in _adjusted([hue, saturation, value], number))
    changed = []
    for turn in (5.0, 3.0, 1.0):
        k = turn + hue / 30.0
        k = k - 6.0 * dali_math.floor(k / 6.0)
        part = dali_math.clamp(dali_math.min(k, 4.0 - k), 0.0, 1.0)
        changed.append(value - value * saturation / 255.0 * part)
    return changed


def _adjusted(channels: _Channels, number: _Number) -> _Channels:
    """Scale and shift the channels of a colour space; where it is asked for, by the image's own mean and deviation."""
    measured, adjusted = number(28), []
    for place, channel in enumerate(channels):
        scale, shift = number(13 + place), number(16 + place)
        mean = fn.reductions.mean(channel, axes=[0, 1, 2])
        deviation = dali_math.max(fn.reductions.std_dev(channel, mean, axes=[0, 1, 2]), LEAST_DEVIATION)
        own = scale / deviation
        scale = scale + measured * (own - scale)
        adjusted.append(channel * scale + (shift - measured * mean * own))
    return adjusted


def _solarise(channels: _Channels, number: _Number) -> _Channels:
    return [_where(channel >= number(10), 255.0 - channel, channel) for channel in channels]


def _stretch(channels: _Channels, number: _Number) -> _Channels:  # noqa: ARG001 (it has none)
    every = fn.cat(*channels, axis=2)
    least, most = (of(every, axes=[0, 1, 2]) for of in (fn.reductions.min, fn.reductions.max))
    flat = fn.cast(most == least, dtype=types.FLOAT)
    factor = flat + (1.0 - flat) * (255.0 / (most - least + flat))
    least = least * (1.0 - flat)
    return [(channel - least) * factor for channel in channels]


def _noise(channels: _Channels, number: _Number) -> _Channels:
    gpu = channels[0].device == "gpu"
    shape = channels[0].shape(dtype=types.INT32)
    counted = types.Constant(np.arange(_MOST_PIXELS, dtype=np.int32), device="cpu")
    rows, columns = (fn.slice(counted, 0, shape[axis], axes=[0]) for axis in (0, 1))
    pixel = fn.reshape(rows, shape=[-1, 1, 1]) * shape[1] + fn.reshape(columns, shape=[1, -1, 1])
    first = fn.cast(pixel.gpu() if gpu else pixel, dtype=types.UINT32) * _u32(_RGB)
    key = _hashed(fn.cast(number(11), dtype=types.UINT32))
    noisy = []
    for place, channel in enumerate(channels):
        bits = _hashed((first + _u32(place)) ^ key)
        total = sum(bits // _u32(2**shift) & _u32(255) for shift in (8, 16, 24))
        total = fn.cast(total + (bits & _u32(255)), dtype=types.FLOAT)
        noisy.append(channel + number(10) * (total - NOISE_MIDDLE) / NOISE_WIDTH)
    return noisy


def _stain(channels: _Channels, number: _Number) -> _Channels:
    logarithms = [dali_math.log((channel + 1.0) / 255.0) for channel in channels]
    return [
        255.0 * dali_math.exp(dali_math.clamp(each + number(10 + place), -80.0, 80.0)) - 1.0
        for place, each in enumerate(_product(_matrix(number, 1), logarithms))
    ]


def _hashed(bits: DataNode) -> DataNode:
    """See `colour_stages`; shifts are divisions."""
    bits = (bits ^ bits // _u32(2**16)) * _u32(0x7FEB352D)
    bits = (bits ^ bits // _u32(2**15)) * _u32(0x846CA68B)
    return bits ^ bits // _u32(2**16)


def _u32(value: int) -> Any:
    return types.Constant(value, dtype=types.UINT32)


_KINDS: dict[str, Callable[[_Channels, _Number], _Channels]] = {
    "affine": _affine,
    "density": _density,
    "lab": _lab,
    "hsv": _hsv,
    "solarise": _solarise,
    "stretch": _stretch,
    "noise": _noise,
    "stain": _stain,
}
