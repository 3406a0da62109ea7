"""Colours in which stains are described: optical density, and CIE LAB."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["HED", "LOG_LEVELS", "from_lab", "optical_density", "to_lab"]

FloatArray = npt.NDArray[np.float64]
ByteArray = npt.NDArray[np.uint8]

#: Natural logarithm of each of the 256 levels, (level + 1) / 255: level 0 has one, too. As torchstain counts.
LOG_LEVELS: FloatArray = np.log((np.arange(256) + 1.0) / 255.0)

#: Optical density of red, green and blue of haematoxylin, eosin and DAB, a row each. A. C. Ruifrok and D. A. Johnston,
#: "Quantification of histochemical staining by color deconvolution", Anal. Quant. Cytol. Histol. 23 (2001).
HED: FloatArray = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])

# ITU-R BT.709 primaries under the white D65, as scikit-image and torchstain write them.
_TO_XYZ: FloatArray = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
_FROM_XYZ: FloatArray = np.linalg.inv(_TO_XYZ).astype(np.float64)
_WHITE: FloatArray = np.array([0.95047, 1.0, 1.08883])
# CIE's cube root is a line below a point, which is told apart before and after it; so are sRGB's.
_ROOT_FROM, _ROOT_TO, _SLOPE, _START = 0.008856, 0.2068966, 7.787, 16.0 / 116.0
_POWER_FROM, _POWER_TO = 0.04045, 0.0031308


def optical_density(pixels: ByteArray, background: float) -> FloatArray:
    """Return the optical density of pixels: -ln((level + 1) / background).

    Parameters
    ----------
    pixels : uint8 array (..., 3)
    background : float
        Level of light that nothing absorbs.

    Returns
    -------
    float64 array (..., 3)
        Natural logarithms; below 0 where a pixel is brighter than the background.
    """
    densities: FloatArray = (np.log(background / 255.0) - LOG_LEVELS)[pixels]
    return densities


def to_lab(pixels: ByteArray) -> FloatArray:
    """Return sRGB pixels in CIE LAB (D65).

    Parameters
    ----------
    pixels : uint8 array (..., 3)

    Returns
    -------
    float64 array (..., 3)
        L from 0 to 100, a and b about -100 to 100.
    """
    levels = np.arange(256) / 255.0
    linear = np.where(levels > _POWER_FROM, ((levels + 0.055) / 1.055) ** 2.4, levels / 12.92)[pixels]
    xyz = linear @ _TO_XYZ.T / _WHITE
    root = np.where(xyz > _ROOT_FROM, np.cbrt(xyz), _SLOPE * xyz + _START)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def from_lab(lab: FloatArray) -> FloatArray:
    """Return CIE LAB (D65) as sRGB levels.

    Parameters
    ----------
    lab : float64 array (..., 3)

    Returns
    -------
    float64 array (..., 3)
        0 to 255, neither rounded nor clipped: colours that sRGB lacks lie outside.
    """
    y = (lab[..., 0] + 16.0) / 116.0
    root = np.stack([y + lab[..., 1] / 500.0, y, y - lab[..., 2] / 200.0], axis=-1)
    linear = np.where(root > _ROOT_TO, root**3, (root - _START) / _SLOPE) * _WHITE @ _FROM_XYZ.T
    power = np.maximum(linear, _POWER_TO) ** (1 / 2.4)
    return np.where(linear > _POWER_TO, 1.055 * power - 0.055, 12.92 * linear) * 255.0
