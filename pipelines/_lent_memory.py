"""Memory for tensors of batches, lent again when nothing holds it: fresh memory costs more than the copying."""

from __future__ import annotations

import math
import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["LentMemory"]

_KEPT = 4  # pieces of one size that wait: more than a loop holds at once


class LentMemory:
    """Lends host memory to tensors; what no tensor uses any more is lent again."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[NDArray[np.uint8]]] = {}

    def tensor(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return a tensor on the host, whose numbers are not set."""
        size = math.prod(shape) * dtype.itemsize
        if not size:
            return torch.empty(shape, dtype=dtype)
        waiting = self._waiting.setdefault(size, [])
        memory = waiting.pop() if waiting else np.empty(size, np.uint8)
        lent = memory[:]  # an array of its own, which the tensor's storage holds as long as it lives
        weakref.finalize(lent, _take_back, waiting, memory).atexit = False
        return torch.from_numpy(lent).view(dtype).view(shape)


def _take_back(waiting: list[NDArray[np.uint8]], memory: NDArray[np.uint8]) -> None:
    """Keep memory that is no longer in use, up to a bound."""
    if len(waiting) < _KEPT:
        waiting.append(memory)
