"""Where tests look for tensors: on the GPU, or on the CPU when the tests themselves are tried there by run.py."""

from __future__ import annotations

import os

__all__ = ["VARIABLE", "place"]

VARIABLE = "CELLMIX_DALI_STAND_IN"


def place() -> str:
    """Return the `torch.device.type` of what a pipeline on the GPU gives."""
    return "cpu" if os.environ.get(VARIABLE) else "cuda"
