"""Memory that is used again when the last array on it is gone.

What is read for a batch takes a megabyte or more. The system gives such memory page by page, cleared, and takes it back
after each batch: that took 14 to 20 % of the host's time a tile.
"""

from __future__ import annotations

import weakref
from threading import RLock

import numpy as np
from numpy.typing import NDArray

__all__ = ["BufferPool"]

_LEAST = 1 << 16  # bytes; less comes from the system's own store


class BufferPool:
    """Gives arrays of bytes; their memory is kept for the next ones. Several threads may take at once.

    Parameters
    ----------
    most_bytes : int
        As much is kept at most while nobody uses it.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._free: dict[int, list[NDArray[np.uint8]]] = {}  # by size, a power of two
        self._kept = 0
        self._lock = RLock()  # memory may come back at any time, to a thread that is taking some, too

    def take(self, size: int) -> NDArray[np.uint8]:
        """Return an uint8 array (size,) with anything in it."""
        if not _LEAST <= size <= self._most_bytes:
            return np.empty(size, np.uint8)
        whole = 1 << (size - 1).bit_length()
        with self._lock:
            free = self._free.get(whole)
            memory = free.pop() if free else None
            self._kept -= 0 if memory is None else whole
        if memory is None:
            memory = np.empty(whole, np.uint8)
        # Views of the array have it as their base, as its own base is no array: it goes when the last of them does.
        array = np.frombuffer(memory.data, np.uint8)
        weakref.finalize(array, self._give_back, memory).atexit = False
        return array[:size]

    def _give_back(self, memory: NDArray[np.uint8]) -> None:
        """Keep memory for the next one who wants as much."""
        with self._lock:
            if self._kept + memory.size > self._most_bytes:
                # What is used now is rather wanted again than what was used once.
                self._free, self._kept = {}, 0
            if memory.size <= self._most_bytes:
                self._free.setdefault(memory.size, []).append(memory)
                self._kept += memory.size
