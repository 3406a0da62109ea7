"""What a change of colour is made of: stages, each of a kind, with numbers of their own for each sample.

A stage takes pixels from 0 to 255, in floats, to pixels from 0 to 255. An engine works out all stages of a sample in
one pass and rounds to whole levels once, at the end. `plainly` says in float64 what it must make.

Sources: "density", Ruifrok and Johnston (2001) as `skimage.color.separate_stains` and `combine_stains` have it;
"stain", the law of Beer and Lambert as `cellmix_dali.stain.StainChange` has it; "lab",
CIE L*a*b* under D65, and "hsv", both in OpenCV's 8-bit units: L from 0 to 255, a and b around 128, hue from 0 to 180.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .dali import DataNode

__all__ = [
    "DARKEST",
    "KINDS",
    "LEAST_DEVIATION",
    "NOISE_KEYS",
    "NOISE_MIDDLE",
    "NOISE_WIDTH",
    "NUMBERS",
    "Colour",
    "Stages",
    "changed_plainly",
    "plainly",
    "stage_numbers",
]

#: Kinds of stages; engines know them by their place here.
KINDS = ("affine", "density", "lab", "hsv", "solarise", "stretch", "noise", "stain")

#: Numbers of a stage per sample, float32; see `stage_numbers`.
NUMBERS = 29

#: What the logarithm of a black pixel is taken of, as skimage does.
DARKEST = 1e-6

#: Deviations of an image below this count as this, as RandStainNA's authors have it.
LEAST_DEVIATION = 1e-4

#: How many keys there are of noise: whole numbers that a float32 holds.
NOISE_KEYS = 2**24

#: Mean and deviation of the sum of four bytes, all equally likely.
NOISE_MIDDLE = 4 * 127.5
NOISE_WIDTH = (4 * (256**2 - 1) / 12) ** 0.5

Stages = NDArray[np.float32]
_Pixels = NDArray[np.float64]

_RGB_TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_WHITE = np.array([0.95047, 1.0, 1.08883])
#: XYZ relative to white, from linear RGB, and back.
TO_XYZ = _RGB_TO_XYZ / _WHITE[:, None]
FROM_XYZ = np.linalg.inv(TO_XYZ)


class Colour(NamedTuple):
    """Nodes of a change of colour.

    Attributes
    ----------
    kinds : tuple of str
        Of the stages, in their order; from `KINDS`.
    numbers : DataNode, float32 (stages, NUMBERS)
        Of each sample, on the CPU.
    measured : bool
        Whether stages may depend on an image's own means and deviations.
    """

    kinds: tuple[str, ...]
    numbers: DataNode
    measured: bool = False


def stage_numbers(
    batch_size: int,
    *,
    active: ArrayLike = True,
    matrix: ArrayLike | None = None,
    offset: ArrayLike = 0.0,
    scale: ArrayLike = 1.0,
    shift: ArrayLike = 0.0,
    back: ArrayLike | None = None,
    measured: ArrayLike = False,
) -> Stages:
    """Put the numbers of a stage where engines look for them; each is one for all samples or one per sample.

    Parameters
    ----------
    batch_size : int
        Number of samples.
    active : bool or (batch,)
        Whether the stage changes the sample.
    matrix : (3, 3) or (batch, 3, 3), optional
        "affine": pixels become ``matrix @ pixel + offset``. "stain": the same of ``ln((pixel + 1) / 255)``. "density":
        amounts of stains are ``matrix @ density``, where ``density = -ln(max(pixel / 255, 1e-6))``. By default the
        identity.
    offset : float, (3,) or (batch, 3)
        "affine": in levels. "stain": see `matrix`. "density": its first number is the least that an amount may be.
        "solarise": values from its first number on are inverted. "noise": the deviation in levels, and a key from 0 to
        `NOISE_KEYS` - 1.
    scale, shift : float, (3,) or (batch, 3)
        "density", "lab", "hsv": each channel becomes ``scale * channel + shift``. Measured: the deviation and the mean
        that it is to have.
    back : (3, 3) or (batch, 3, 3), optional
        "density": densities are ``back @ amounts`` then. By default the identity.
    measured : bool or (batch,)
        "density", "lab", "hsv": whether each channel of the image is brought from its own mean and deviation to
        `shift` and `scale`.

    Returns
    -------
    ndarray of float32, (batch, NUMBERS)
        "stretch" needs `active` only.
    """
    numbers = np.zeros((batch_size, NUMBERS), np.float32)
    numbers[:, 0] = active
    numbers[:, 1:10] = np.reshape(np.eye(3) if matrix is None else matrix, (-1, 9))
    numbers[:, 10:13] = offset
    numbers[:, 13:16] = scale
    numbers[:, 16:19] = shift
    numbers[:, 19:28] = np.reshape(np.eye(3) if back is None else back, (-1, 9))
    numbers[:, 28] = measured
    return numbers


def plainly(image: NDArray[np.uint8], kinds: Sequence[str], numbers: Stages) -> NDArray[np.uint8]:
    """Change one image, uint8 (height, width, 3), by stages whose numbers are (stages, NUMBERS), in float64."""
    return np.floor(changed_plainly(image.astype(np.float64), kinds, numbers) + 0.5).astype(np.uint8)


def changed_plainly(pixels: NDArray[np.float64], kinds: Sequence[str], numbers: Stages) -> NDArray[np.float64]:
    """Change pixels (height, width, 3) as `plainly` does, without rounding."""
    for kind, of_stage in zip(kinds, numbers.astype(np.float64), strict=True):
        if of_stage[0]:
            pixels = np.clip(_PLAIN[kind](pixels, of_stage), 0, 255)
    return pixels


def _affine(pixels: _Pixels, numbers: _Pixels) -> _Pixels:
    changed: _Pixels = pixels @ numbers[1:10].reshape(3, 3).T + numbers[10:13]
    return changed


def _density(pixels: _Pixels, numbers: _Pixels) -> _Pixels:
    density = -np.log(np.maximum(pixels / 255, DARKEST))
    amounts = _adjusted(np.maximum(density @ numbers[1:10].reshape(3, 3).T, numbers[10]), numbers)
    return 255 * np.exp(-(amounts @ numbers[19:28].reshape(3, 3).T))


def _lab(pixels: _Pixels, numbers: _Pixels) -> _Pixels:
    values = pixels / 255
    linear = np.where(values > 0.04045, ((values + 0.055) / 1.055) ** 2.4, values / 12.92)
    xyz = linear @ TO_XYZ.T
    roots = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(roots, -1, 0)
    lab = np.stack([(116 * y - 16) * 2.55, 500 * (x - y) + 128, 200 * (y - z) + 128], axis=-1)
    light, a, b = np.moveaxis(np.clip(_adjusted(lab, numbers), 0, 255), -1, 0)
    y = (light / 2.55 + 16) / 116
    roots = np.stack([y + (a - 128) / 500, y, y - (b - 128) / 200], axis=-1)
    xyz = np.where(roots > 6 / 29, roots**3, (roots - 16 / 116) / 7.787)
    linear = np.clip(xyz @ FROM_XYZ.T, 0, 1)
    levels: _Pixels = 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return levels


def _hsv(pixels: _Pixels, numbers: _Pixels) -> _Pixels:
    red, green, blue = np.moveaxis(pixels, -1, 0)
    value, least = pixels.max(axis=-1), pixels.min(axis=-1)
    width = value - least
    divisor = np.where(width > 0, width, 1)
    hue = np.where(
        value == red,
        (green - blue) / divisor,
        np.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    hue = np.where(hue < 0, hue + 6, hue) * 30
    saturation = 255 * width / np.where(value > 0, value, 1)
    hue, saturation, value = np.moveaxis(
        np.clip(_adjusted(np.stack([hue, saturation, value], axis=-1), numbers), 0, 255), -1, 0
    )
    around = [np.mod(turn + hue / 30, 6) for turn in (5, 3, 1)]
    return np.stack([value - value * saturation / 255 * np.clip(np.minimum(k, 4 - k), 0, 1) for k in around], axis=-1)


def _adjusted(channels: _Pixels, numbers: _Pixels) -> _Pixels:
    """Scale and shift the channels of a colour space."""
    scale, shift = numbers[13:16], numbers[16:19]
    if numbers[28]:
        means, deviations = channels.mean(axis=(0, 1)), channels.std(axis=(0, 1))
        scale = scale / np.maximum(deviations, LEAST_DEVIATION)
        shift = shift - means * scale
    return channels * scale + shift


def _solarise(pixels: _Pixels, numbers: _Pixels) -> _Pixels:
    return np.where(pixels >= numbers[10], 255 - pixels, pixels)


def _stretch(pixels: _Pixels, _: _Pixels) -> _Pixels:
    least, most = pixels.min(), pixels.max()
    return (pixels - least) * (255 / (most - least)) if most > least else pixels


def _noise(pixels: _Pixels, numbers: _Pixels) -> _Pixels:
    key = _hashed(np.array([int(numbers[11])], np.uint32))
    bits = _hashed(np.arange(pixels.size, dtype=np.uint32) ^ key)
    total = sum((bits >> shift) & np.uint32(255) for shift in np.arange(0, 32, 8, dtype=np.uint32))
    noise: _Pixels = (np.reshape(total, pixels.shape) - NOISE_MIDDLE) / NOISE_WIDTH
    return np.asarray(pixels + numbers[10] * noise)


def _stain(pixels: _Pixels, numbers: _Pixels) -> _Pixels:
    logarithms = np.log((pixels + 1) / 255) @ numbers[1:10].reshape(3, 3).T + numbers[10:13]
    return np.asarray(255 * np.exp(logarithms) - 1)


def _hashed(bits: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Mix 32 bits so that each of the result depends on all (C. Wellons's lowbias32, in the public domain)."""
    bits = (bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B)
    return bits ^ (bits >> np.uint32(16))


_PLAIN = dict(zip(KINDS, (_affine, _density, _lab, _hsv, _solarise, _stretch, _noise, _stain), strict=True))
