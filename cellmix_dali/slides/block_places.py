"""Where encoded blocks lie, in eight bytes a block: 40 bits of the offset, 24 of the count of bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["COUNT_BITS", "ELSEWHERE", "OFFSET_BITS", "BlockPlaces"]

#: Bits of a packed place: the lower ones are the offset, the upper ones the bytes.
OFFSET_BITS, COUNT_BITS = 40, 24
#: The packed place of a block that does not fit in these, such as one of 16 MiB or behind the first TiB of its file.
ELSEWHERE = (1 << 64) - 1
_OFFSETS, _COUNTS = (1 << OFFSET_BITS) - 1, (1 << COUNT_BITS) - 1


@dataclass(frozen=True, eq=False)
class BlockPlaces:
    """Where the blocks of a level lie in their files, and their bytes.

    Attributes
    ----------
    packed : uint64 array (n,)
        The offset and the bytes of each block, see `OFFSET_BITS`; it may lie in a mapped file.
    elsewhere : mapping of int to (int, int)
        Offset and bytes of those that are packed as `ELSEWHERE`, by their numbers.
    """

    packed: NDArray[np.uint64]
    elsewhere: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, offsets: NDArray[np.int64], counts: NDArray[np.int64]) -> BlockPlaces:
        """Pack offsets and bytes. Of a blank block, which has 0 bytes, the offset is not kept."""
        fits = (offsets >= 0) & (offsets <= _OFFSETS) & (counts >= 0) & (counts < _COUNTS)
        packed = np.where(fits, counts, 0).astype(np.uint64) << np.uint64(OFFSET_BITS)
        packed |= np.where(fits & (counts > 0), offsets, 0).astype(np.uint64)
        odd = np.flatnonzero(~fits & (counts != 0))
        packed[odd] = ELSEWHERE
        places = zip(odd.tolist(), offsets[odd].tolist(), counts[odd].tolist(), strict=True)
        return cls(packed, {number: (offset, count) for number, offset, count in places})

    def __len__(self) -> int:
        return len(self.packed)

    def take(self, numbers: NDArray[np.int64] | slice) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return offsets and bytes of blocks, int64 arrays of the shape of `numbers`."""
        packed = np.asarray(self.packed[numbers])
        offsets = (packed & np.uint64(_OFFSETS)).astype(np.int64)
        counts = (packed >> np.uint64(OFFSET_BITS)).astype(np.int64)
        if self.elsewhere:
            wanted = np.arange(len(self))[numbers]
            for number, (offset, count) in self.elsewhere.items():
                offsets[wanted == number], counts[wanted == number] = offset, count
        return offsets, counts
