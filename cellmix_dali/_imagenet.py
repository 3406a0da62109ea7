"""ImageNet's means and standard deviations of R, G, B in [0, 1], as pretrained models expect them."""

from __future__ import annotations

__all__ = ["MEAN", "STD"]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
