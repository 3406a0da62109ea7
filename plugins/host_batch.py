"""What sources of tiles and of images work out on the host for a batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._random import generator

from .plan_arrays import PlanArrays

__all__ = ["drawn_flips", "mixed_labels"]

_FLIPS = 2  # keeps the flips' random numbers apart from the others under one seed


def drawn_flips(count: int, *, seed: int, epoch: int, iteration: int, rank: int) -> NDArray[np.int32]:
    """Draw two bits per sample, (count, 2): whether it is flipped left-right, and up-down."""
    random = generator(seed, epoch=epoch, iteration=iteration, rank=rank, stream=_FLIPS)
    return random.integers(0, 2, (count, 2), dtype=np.int32)


def mixed_labels(labels: NDArray[np.generic], num_classes: int, plan: PlanArrays | None) -> NDArray[np.float32]:
    """Return labels, class indices (batch,) or shares (batch, classes), as shares, mixed as the plan says."""
    soft = labels.ndim == 2
    dense = np.asarray(labels, np.float32) if soft else np.eye(num_classes, dtype=np.float32)[labels.astype(np.int64)]
    return dense if plan is None else (plan.weights.astype(np.float64) @ dense).astype(np.float32)
