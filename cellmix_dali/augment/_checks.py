"""Parameters of augmentations: probabilities, and ranges that numbers are drawn from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._arguments import number
from cellmix_dali.errors import ArgumentError

__all__ = ["Range", "around", "between", "drawn_between", "probability"]

#: A range (low, high).
Range: TypeAlias = "tuple[float, float]"


def probability(p: float) -> float:
    """Return a probability, checked."""
    return number("p", p, 0, 1)


def between(name: str, given: float | Sequence[float], low: float = -math.inf, high: float = math.inf) -> Range:
    """Return a range, checked; a single number is the range that holds it alone."""
    ends = [given, given] if isinstance(given, int | float) else list(given) if isinstance(given, Sequence) else []
    if len(ends) != 2:
        raise ArgumentError(f"{name}={given!r}: give a range, (low, high), or one number.")
    first, last = number(name, ends[0], low, high), number(name, ends[1], low, high)
    if first > last:
        raise ArgumentError(f"{name}={given!r}: the range's low end is above its high end.")
    return first, last


def around(name: str, given: float | Sequence[float], middle: float, low: float, high: float = math.inf) -> Range:
    """Return a range, checked; a single number is how far it reaches to both sides of its middle."""
    if isinstance(given, int | float):
        reach = number(name, given, 0, high - middle)
        return between(name, (max(middle - reach, low), min(middle + reach, high)), low, high)
    return between(name, given, low, high)


def drawn_between(
    random: np.random.Generator,
    ends: float | Sequence[float],
    shape: int | tuple[int, ...],
    *,
    strength: float = 1.0,
    middle: float = 0.0,
) -> NDArray[np.float64]:
    """Draw evenly from a range that strength draws together, or apart, around the number that changes nothing."""
    first, last = ends if isinstance(ends, Sequence) else (ends, ends)
    low, high = (middle + strength * (end - middle) for end in (first, last))
    return low + random.random(shape) * (high - low)
