"""Vahadane's method: two colours of which every pixel has as little as possible, and nothing negative."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..._arguments import integer, number
from ...errors import ArgumentError
from ..colour import HED
from ..fits import DensityFit
from ._pixels import absorbing, densities_of, density_fit
from ._registered import StainMethod, register_stain_method

__all__ = ["Vahadane"]

FloatArray = npt.NDArray[np.float64]

_SETTLED = 1e-6  # change of a colour in one round
_TINY = 1e-12


@register_stain_method("vahadane")
@dataclass(frozen=True, kw_only=True)
class Vahadane(StainMethod):
    """Optical densities are the product of non-negative colours and non-negative, sparse concentrations.

    A. Vahadane et al., "Structure-preserving color normalization and sparse stain separation for histological images",
    IEEE Transactions on Medical Imaging 35 (2016), equation 3: least squares with `sparsity` times the sum of all
    concentrations, colours of length 1. It is solved in turns, from Ruifrok's haematoxylin and eosin on: concentrations
    exactly (two stains have four cases), colours by the block coordinate descent of J. Mairal et al., "Online
    dictionary learning for sparse coding", ICML 2009. Nothing is drawn at random. As in other packages, the greatest
    concentrations and the change to a target are by plain least squares, so that a change is one matrix.

    Attributes
    ----------
    background : float, default 240
        Level of light that nothing absorbs, 1 to 255.
    beta : float, default 0.15
        Pixels that absorb less than this optical density of a colour do not count.
    sparsity : float, default 0.1
        Weight of the sum of concentrations, the paper's lambda.
    rounds : int, default 1000
        At most; it ends earlier where colours have settled.

    Raises
    ------
    ArgumentError
        If a value is out of range.
    """

    background: float = 240.0
    beta: float = 0.15
    sparsity: float = 0.1
    rounds: int = 1000

    def __post_init__(self) -> None:
        number("background", self.background, 1, 255)
        number("beta", self.beta, 0)
        number("sparsity", self.sparsity, 0)
        integer("rounds", self.rounds, 1)

    def fit(self, pixels: npt.NDArray[np.uint8]) -> DensityFit:
        """See `StainMethod.fit`."""
        densities = densities_of(pixels, self.background)
        dense = absorbing(densities, self.beta)
        stains = HED[:2] / np.linalg.norm(HED[:2], axis=1, keepdims=True)
        for _ in range(self.rounds):
            concentrations = sparse_concentrations(dense, stains, self.sparsity)
            if (concentrations.max(axis=0) <= 0).any():
                raise ArgumentError(
                    "The stain cannot be fitted: all pixels are of one stain alone. Take more of the slide, with both "
                    "stains, or the method reinhard, which needs no two stains."
                )
            found = _better_stains(dense, concentrations, stains)
            moved = float(np.abs(found - stains).max())
            stains = found
            if moved < _SETTLED:
                break
        return density_fit(stains, densities, self.background)


def sparse_concentrations(densities: FloatArray, stains: FloatArray, sparsity: float) -> FloatArray:
    """Return the concentrations of two stains in each pixel that minimise |v - W h|^2 / 2 + sparsity |h|_1, h >= 0.

    Parameters
    ----------
    densities : float64 array (n, 3)
    stains : float64 array (2, 3)
        Of length 1.
    sparsity : float

    Returns
    -------
    float64 array (n, 2)
    """
    shared = float(stains[0] @ stains[1])
    alone = densities @ stains.T - sparsity  # the optimum of one stain without the other, where it is above 0
    both = (alone - shared * alone[:, ::-1]) / max(1 - shared * shared, _TINY)
    # The problem is convex: where both are above 0 they are the optimum, else one of them is 0.
    first, second = np.maximum(alone, 0).T
    only_first = first >= second
    one = np.where(np.stack([only_first, ~only_first], axis=1), np.stack([first, second], axis=1), 0.0)
    return np.where((both > 0).all(axis=1, keepdims=True), both, one)


def _better_stains(densities: FloatArray, concentrations: FloatArray, stains: FloatArray) -> FloatArray:
    """Colours that explain the densities better, one after the other (Mairal 2009, algorithm 2)."""
    weights, targets = concentrations.T @ concentrations, concentrations.T @ densities
    found = stains.copy()
    for row in range(len(found)):
        moved = np.maximum(found[row] + (targets[row] - weights[row] @ found) / max(weights[row, row], _TINY), 0)
        found[row] = moved / max(float(np.linalg.norm(moved)), _TINY)
    return found
