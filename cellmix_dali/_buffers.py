"""Memory that is used again when the last array on it is gone.

What is read for a batch takes a megabyte or more. The system gives such memory page by page, cleared, and takes it back
after each batch: that costs more than a third of the time of reading from the page cache.
"""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np
from numpy.typing import NDArray

__all__ = ["BufferPool"]

_LEAST = 1 << 16  # bytes; less comes from the system's own store


class BufferPool:
    """Gives arrays of bytes; their memory is kept for the next ones. Several threads may take at once.

    Parameters
    ----------
    most_bytes : int
        As much is kept at most, of each size (a power of two), while nobody uses it.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._free: dict[int, deque[bytearray]] = {}

    def take(self, size: int) -> NDArray[np.uint8]:
        """Give an uint8 array (size,) with anything in it."""
        if not _LEAST <= size <= self._most_bytes:
            return np.empty(size, np.uint8)
        whole = 1 << (size - 1).bit_length()
        free = self._free.get(whole)
        if free is None:
            free = self._free.setdefault(whole, deque(maxlen=max(1, self._most_bytes // whole)))
        try:
            memory = free.pop()
        except IndexError:
            memory = bytearray(whole)
        # Views of the array have it as their base, as its own base is no array: it goes when the last of them does.
        array = np.frombuffer(memory, np.uint8)
        weakref.finalize(array, free.append, memory).atexit = False
        return array[:size]
