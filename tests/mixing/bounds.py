"""How far draws may be from what is expected: further by chance less than once in ten million."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

_CHANCE = 1e-7


def assert_mean(values: ArrayLike, expected: float) -> None:
    """Compare the mean of independent numbers between 0 and 1 with what is expected (Hoeffding)."""
    drawn = np.asarray(values, np.float64)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert abs(drawn.mean() - expected) < np.sqrt(np.log(2 / _CHANCE) / (2 * drawn.size))


def assert_distribution(values: ArrayLike, below: Callable[[float], float], slack: float = 0.0) -> None:
    """Compare the share of numbers <= x, for all x, with `below` (Dvoretzky, Kiefer, Wolfowitz, Massart).

    `slack` is what rounding to pixels adds.
    """
    drawn = np.sort(np.asarray(values, np.float64))
    places, first = np.unique(drawn, return_index=True)
    upto = np.append(first[1:], drawn.size) / drawn.size
    allowed = np.sqrt(np.log(2 / _CHANCE) / (2 * drawn.size)) + slack
    expected = np.array([below(float(place)) for place in places])
    assert np.abs(upto - expected).max() < allowed
