"""Boxes around a centre, as Cutout, CutMix and SaliencyMix cut them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["clipped_boxes", "cut_size"]


def cut_size(tile_size: tuple[int, int], share: float) -> tuple[int, int]:
    """Return height and width of the box that has the tile's shape and about that share of its area."""
    side = math.sqrt(share)
    return int(tile_size[0] * side), int(tile_size[1] * side)


def clipped_boxes(centres: ArrayLike, size: tuple[int, int], tile_size: tuple[int, int]) -> NDArray[np.int32]:
    """Return y, x, height, width (n, 4) of boxes around centres (n, 2); what lies beyond the tile is cut off."""
    start = np.asarray(centres, np.int64) - np.array(size) // 2
    low, high = np.maximum(start, 0), np.minimum(start + np.array(size), tile_size)
    return np.concatenate([low, high - low], axis=-1).astype(np.int32)
