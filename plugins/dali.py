"""DALI, or a message saying how to get it."""

from __future__ import annotations

import os

from cellmix_dali.errors import needing

# DALI decodes JPEG 2000 by OpenCV, which says of each block in vain that it assumes RGB.
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")

with needing(
    "Pipelines need NVIDIA DALI",
    "Install it with one of the extras: pip install 'cellmix-dali[cuda120]' for CUDA 12 (also right for a machine "
    "without a GPU), or pip install 'cellmix-dali[cuda130]' for CUDA 13.",
):
    from nvidia.dali import fn, math, types
    from nvidia.dali.data_node import DataNode
    from nvidia.dali.pipeline import Pipeline

__all__ = ["DataNode", "Pipeline", "fn", "math", "types"]
