"""Sizes that the definition of saliency and its compiled code share."""

from __future__ import annotations

__all__ = ["MAP_SIDE", "SALIENCY_SIDE", "SIGMA"]

#: Side of the copies that are taken of images, pixel by pixel (`nearest_index`), so that every engine takes the same.
SALIENCY_SIDE = 128
#: Side of the map: each 2 x 2 pixels of a copy make one of it, as in the paper.
MAP_SIDE = 64
#: Deviation of the blur, in numbers of the map: the paper's.
SIGMA = 2.5
