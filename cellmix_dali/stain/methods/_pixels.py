"""What methods do with the pixels that they are given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...errors import ArgumentError
from ..colour import optical_density
from ..fits import DensityFit

__all__ = ["FEWEST", "absorbing", "densities_of", "density_fit", "flat"]

FloatArray = npt.NDArray[np.float64]

#: Pixels that a stain is fitted to, or more.
FEWEST = 256
_ROBUST = 99.0  # percentile of concentrations that counts as the greatest one


def flat(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pixels as an array (n, 3); refused where they are none, or too few."""
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim < 2 or pixels.shape[-1] != 3:
        got = f"{pixels.dtype} {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise ArgumentError(f"A stain is fitted to uint8 pixels (n, 3) or (height, width, 3), got {got}.")
    rows = pixels.reshape(-1, 3)
    if len(rows) < FEWEST:
        raise ArgumentError(f"The stain cannot be fitted: there are {len(rows)} pixels, {FEWEST} are needed.")
    return rows


def absorbing(densities: FloatArray, beta: float) -> FloatArray:
    """Densities of the pixels that absorb at least `beta` of each colour; refused where they are too few."""
    found: FloatArray = densities[(densities >= beta).all(axis=1)]
    if len(found) < FEWEST:
        raise ArgumentError(
            f"The stain cannot be fitted: of {len(densities)} pixels {len(found)} absorb enough light of each colour "
            f"(optical density {beta:g}), {FEWEST} are needed. Take more tissue, or a smaller beta."
        )
    return found


def density_fit(stains: FloatArray, densities: FloatArray, background: float) -> DensityFit:
    """Make the fit of two stains, in either order, from the densities of all pixels."""
    # Haematoxylin is blue: it absorbs more red than eosin does.
    ordered = stains if stains[0, 0] > stains[1, 0] else stains[::-1]
    concentrations = densities @ np.linalg.pinv(ordered)  # least squares
    return DensityFit(np.ascontiguousarray(ordered), np.percentile(concentrations, _ROBUST, axis=0), background)


def densities_of(pixels: npt.NDArray[np.uint8], background: float) -> FloatArray:
    """Optical densities of pixels (n, 3)."""
    return optical_density(flat(pixels), background)
