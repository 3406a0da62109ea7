"""The last step of every pipeline: what the model sees."""

from __future__ import annotations

from collections.abc import Sequence

from cellmix_dali.plugins._dali import DataNode, fn, types

__all__ = ["MEAN", "STD", "normalise"]

#: ImageNet's means and standard deviations of R, G, B in [0, 1], as pretrained models expect them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(images: DataNode, mean: Sequence[float], std: Sequence[float]) -> DataNode:
    """Give float32 CHW images with mean and standard deviation taken out; `mean` and `std` are of [0, 1]."""
    return fn.crop_mirror_normalize(
        images,
        dtype=types.FLOAT,
        output_layout="CHW",
        mean=[255 * value for value in mean],
        std=[255 * value for value in std],
    )
