"""The most salient pixel of an image by compiled code, and whether that is certain.

The definition is `saliency.saliency_map`, in NumPy's single precision. Here the same map is worked out in another
order, and how far rounding, here and there, can move its values is estimated from the image's own spectrum. A peak that
lies higher above the rest than that is the peak of the definition, too.
"""

# The annotations would be compiled with the functions.
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np

from .._compiled import compiled
from ._fourier import LANES, LENGTH, transform
from ._gauss import REACH, blurred
from ._saliency_sizes import SALIENCY_SIDE

__all__ = ["peak_within", "pooled"]

_HALF = LENGTH // 2
_KEPT = _HALF + 1  # frequencies of real numbers that are not another's conjugate
_PADDED = -(-_KEPT // LANES) * LANES
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as in the definition
_LEAST = np.float32(1e-16)  # the least power, as in the definition

# Off is a frequency by at most so many roundings of the image's norm (5 were seen, 12 along the axes); so far the mean
# of nine logarithms; and so far a blurred value, as a part of it. Of what follows from these together, differences
# between the highest pixels were off by 0.07 at most, in 2,000 pictures of tissue: a quarter is taken for the limit. It
# says nothing where it is not little, or a frequency is lost in rounding: of nearly uniform images.
_OFF = np.full(LENGTH * _PADDED, 8 * 2.0**-24, np.float32)
_OFF[:_PADDED] = _OFF[::_PADDED] = 16 * 2.0**-24
_OFF.reshape(LENGTH, _PADDED)[:, _KEPT:] = 0
_COUNTED = np.array([1, *[2] * (_HALF - 1), 1, *[0] * (_PADDED - _KEPT)], np.float32)  # itself, and its conjugate
_LOGARITHMS = np.float32(2e-6)
_BLURRING = np.float32(3e-6)
_TAKEN, _LITTLE, _LOST = np.float32(0.25), np.float32(0.01), np.float32(0.25)

# Logarithm and exponential by polynomials, within two roundings (Cephes' logf and expf).
# fmt: off
_LOG = np.array(
    [7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
     2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1], np.float32
)
# fmt: on
_EXP = np.array(
    [1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1], np.float32
)
_LN2, _LN2_HIGH, _LN2_LOW = np.float32(0.6931471805599453), np.float32(0.693359375), np.float32(-2.12194440e-4)
_SQRT_HALF, _HALF_OF, _ONE = np.float32(0.70710678), np.float32(0.5), np.float32(1.0)
_NINTH = np.float32(1 / 9)


@compiled()
def peak_within(pixels, shape):
    """Find the most salient pixel of an image's map; nothing is raised.

    Parameters
    ----------
    pixels : uint8 array (height * width * channels,)
    shape : tuple of int
        Height, width, channels (1 or 3).

    Returns
    -------
    tuple of int, int, bool
        y and x in the map of 64 x 64 pixels; whether they are certain.
    """
    wide, wide_too = np.empty((2, LENGTH, _PADDED), np.float32), np.empty((2, LENGTH, _PADDED), np.float32)
    narrow, narrow_too = np.empty((2, LENGTH, _HALF), np.float32), np.empty((2, LENGTH, _HALF), np.float32)
    norm = _grey(pooled(pixels, shape), narrow)
    _apart(transform(narrow, narrow_too), wide)
    spectrum = transform(wide, wide_too)
    off = _whiten(spectrum, norm)
    _together(transform(spectrum, wide if spectrum is wide_too else wide_too), narrow)
    return _highest(blurred(_squares(transform(narrow, narrow_too))), off)


@compiled()
def pooled(pixels, shape):
    """Sum each 2 x 2 pixels of an image's copy of 128 x 128: uint16 (channels, 64, 64).

    For the arguments see `peak_within`.
    """
    height, width, channels = shape
    sums, line = np.empty((channels, LENGTH, LENGTH), np.uint16), np.empty(width * channels, np.uint16)
    # Numbers without a sign are no places counted from the end, which would be looked for at each pixel.
    lefts = np.empty(SALIENCY_SIDE, np.uintp)
    for place in range(SALIENCY_SIDE):
        lefts[place] = (2 * place + 1) * width // (2 * SALIENCY_SIDE) * channels
    for y in range(LENGTH):
        top = (4 * y + 1) * height // (2 * SALIENCY_SIDE) * line.size
        bottom = (4 * y + 3) * height // (2 * SALIENCY_SIDE) * line.size
        upper, lower = pixels[top : top + line.size], pixels[bottom : bottom + line.size]
        for number in range(line.size):
            line[number] = np.uint16(upper[number]) + np.uint16(lower[number])
        for channel in range(channels):
            found, from_channel = sums[channel, y], np.uintp(channel)
            for x in range(LENGTH):
                found[x] = line[lefts[2 * x] + from_channel] + line[lefts[2 * x + 1] + from_channel]
    return sums


@compiled()
def _grey(sums, target):
    """Luma of summed pixels: the left half of the image as real parts, the right as imaginary ones; and its norm."""
    squares = np.zeros(_HALF, np.float32)
    for half in range(2):
        for y in range(LENGTH):
            grey = target[half, y]
            first = sums[0, y, half * _HALF : (half + 1) * _HALF]
            if len(sums) == 3:
                second = sums[1, y, half * _HALF : (half + 1) * _HALF]
                third = sums[2, y, half * _HALF : (half + 1) * _HALF]
                for x in range(_HALF):
                    own = np.float32(first[x]) * _LUMA[0] + np.float32(second[x]) * _LUMA[1]
                    grey[x] = own + np.float32(third[x]) * _LUMA[2]
            else:
                for x in range(_HALF):
                    grey[x] = np.float32(first[x])
            for x in range(_HALF):
                squares[x] += grey[x] * grey[x]
    return np.sqrt(squares.sum())


@compiled()
def _apart(both, target):
    """Spectra of pairs of columns, (2, 64, 32), as one of each column, of the frequencies that are kept: (2, x, 40)."""
    target[:, :, _KEPT:] = 0
    for frequency in range(_KEPT):
        opposite = -frequency % LENGTH
        for x in range(_HALF):
            real, imag = both[0, frequency, x], both[1, frequency, x]
            real_too, imag_too = both[0, opposite, x], both[1, opposite, x]
            target[0, x, frequency] = _HALF_OF * (real + real_too)
            target[1, x, frequency] = _HALF_OF * (imag - imag_too)
            target[0, x + _HALF, frequency] = _HALF_OF * (imag + imag_too)
            target[1, x + _HALF, frequency] = _HALF_OF * (real_too - real)


@compiled()
def _together(each, target):
    """The reverse, for an inverse transform: imaginary parts come first, here and there."""
    for frequency in range(_KEPT):
        opposite = -frequency % LENGTH
        for x in range(_HALF):
            imag, real = each[0, x, frequency], each[1, x, frequency]
            imag_too, real_too = each[0, x + _HALF, frequency], each[1, x + _HALF, frequency]
            target[0, opposite, x], target[1, opposite, x] = real_too - imag, real + imag_too
            target[0, frequency, x], target[1, frequency, x] = real_too + imag, real - imag_too


@compiled()
def _whiten(spectrum, norm):
    """Make the spectrum that of the residual, imaginary parts first; give how far its inverse is off, root mean square.

    The residual's amplitude over the spectrum's is exp(-mean of the logarithms around).
    """
    count = LENGTH * _PADDED
    real, imag = spectrum[0].reshape(count), spectrum[1].reshape(count)
    power, inverse = np.empty(count, np.float32), np.empty(count, np.float32)
    for number in range(count):
        power[number] = max(real[number] * real[number] + imag[number] * imag[number], _LEAST)
    for number in range(count):
        inverse[number] = _ONE / np.sqrt(power[number])
    means = _means(_logarithms(power))
    factors = _exponentials(means)
    doubts = _means(inverse)
    for number in range(count):
        # Off is the amplitude itself, and so are the logarithms around it.
        off, amplitude = norm * _OFF[number], power[number] * inverse[number]
        doubts[number] = factors[number] * (off + amplitude * (off * doubts[number] + _LOGARITHMS))
        inverse[number] *= off
    for number in range(count):
        turned = imag[number] * factors[number]
        imag[number] = real[number] * factors[number]
        real[number] = turned
    sums, most = np.zeros(_PADDED, np.float32), np.zeros(_PADDED, np.float32)
    for line in range(LENGTH):
        for frequency in range(_PADDED):
            number = line * _PADDED + frequency
            sums[frequency] += _COUNTED[frequency] * doubts[number] * doubts[number]
            most[frequency] = max(most[frequency], inverse[number])
    return np.float32(np.inf) if most.max() > _LOST else np.sqrt(sums.sum())


@compiled()
def _logarithms(power):
    """Half the natural logarithm: of amplitudes."""
    count = power.size
    bits, scales, mantissas = power.view(np.int32), np.empty(count, np.float32), np.empty(count, np.float32)
    parts = mantissas.view(np.int32)
    for number in range(count):
        scales[number] = np.float32((bits[number] >> 23) - 126)
        parts[number] = (bits[number] & 0x007FFFFF) | 0x3F000000  # in [0.5, 1)
    for number in range(count):
        small = mantissas[number] < _SQRT_HALF
        scale = scales[number] - (_ONE if small else np.float32(0))
        x = (mantissas[number] + mantissas[number] if small else mantissas[number]) - _ONE
        y = _LOG[0]
        for place in range(1, 9):
            y = y * x + _LOG[place]
        square = x * x
        y = y * x * square + scale * _LN2_LOW - _HALF_OF * square
        scales[number] = _HALF_OF * (x + y + scale * _LN2_HIGH)
    return scales


@compiled()
def _exponentials(means):
    """exp(-x)."""
    count = means.size
    values, twos = np.empty(count, np.float32), np.empty(count, np.int32)
    for number in range(count):
        whole = np.floor(_HALF_OF - means[number] / _LN2)
        x = -means[number] - whole * _LN2_HIGH - whole * _LN2_LOW
        y = _EXP[0]
        for place in range(1, 6):
            y = y * x + _EXP[place]
        values[number] = y * x * x + x + _ONE
        twos[number] = (np.int32(whole) + 127) << 23
    powers = twos.view(np.float32)
    for number in range(count):
        values[number] *= powers[number]
    return values


@compiled()
def _means(values):
    """Means over 3 x 3 frequencies; beside those that are kept lie their conjugates, of the opposite frequency."""
    whole, sums = np.empty((LENGTH, _PADDED + 2), np.float32), np.empty(_PADDED + 2, np.float32)
    means = np.empty(LENGTH * _PADDED, np.float32)
    for line in range(LENGTH):
        opposite = (-line % LENGTH) * _PADDED
        whole[line, 0] = values[opposite + 1]
        whole[line, 1 : _KEPT + 1] = values[line * _PADDED : line * _PADDED + _KEPT]
        whole[line, _KEPT + 1 :] = values[opposite + _HALF - 1]
    for line in range(LENGTH):
        above, own, below = whole[line - 1], whole[line], whole[(line + 1) % LENGTH]
        for number in range(_PADDED + 2):
            sums[number] = above[number] + own[number] + below[number]
        found = means[line * _PADDED : (line + 1) * _PADDED]
        for number in range(_PADDED):
            found[number] = (sums[number] + sums[number + 1] + sums[number + 2]) * _NINTH
    return means


@compiled()
def _squares(halves):
    """The map before the blur, with nothing above and below; of (2, 64, 32), the right half first."""
    padded = np.zeros((LENGTH + 2 * REACH, LENGTH), np.float32)
    for y in range(LENGTH):
        for x in range(_HALF):
            padded[y + REACH, x] = halves[1, y, x] * halves[1, y, x]
            padded[y + REACH, x + _HALF] = halves[0, y, x] * halves[0, y, x]
    return padded


@compiled()
def _highest(found, off):
    """Where the map is highest, and whether by more than it can be off."""
    best = second = np.float32(-1)
    at_y = at_x = 0
    for y in range(LENGTH):
        for x in range(LENGTH):
            value = found[y, x]
            if value > best:
                second, best, at_y, at_x = best, value, y, x
            elif value > second:
                second = value
    doubt = 2 * np.sqrt(best) * off + off * off + _BLURRING * best
    certain = doubt < _LITTLE * best and best - second > _TAKEN * doubt  # neither, if anything is NaN
    return at_y, at_x, bool(certain)
