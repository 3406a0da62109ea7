"""Blocks of one level that are spliced from restart intervals, many at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.slides.block_table import PlacedBlocks
from cellmix_dali.slides.damage import zeros_may_be_data
from cellmix_dali.slides.intervals import IntervalStreams
from cellmix_dali.storage.buffers import BufferPool
from cellmix_dali.storage.open_file import OpenFile

__all__ = ["SplicedBlocks"]

_MOST_BYTES = 1 << 24  # a block that says to be larger is looked at before memory is given to it
_BUFFERS = BufferPool(1 << 26)


class SplicedBlocks:
    """Reads spliced blocks of a level by compiled code.

    Parameters
    ----------
    table : PlacedBlocks
        The level.
    streams : IntervalStreams
        Its `streams`.

    Attributes
    ----------
    header : bytes
        What its streams begin with.
    is_known : bool
        Whether a whole block was looked at closely, and with it the header.
    """

    def __init__(self, table: PlacedBlocks, streams: IntervalStreams) -> None:
        self._table = table
        self.header, self.is_known = streams.lead, False
        self._lead = np.frombuffer(streams.lead, np.uint8)
        self._zeros = zeros_may_be_data(streams.lead)

    def read(
        self, file: OpenFile, columns: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> list[NDArray[np.uint8] | None]:
        """Read blocks.

        Parameters
        ----------
        file : OpenFile
            The level's.
        columns, rows : int64 arrays (n,)
            Which blocks.

        Returns
        -------
        list of (uint8 array or None)
            For each a complete stream, in which no damage shows; None where it must be looked at more closely.
        """
        from cellmix_dali.slides._splice import splice  # numba takes a second to import

        table = self._table
        there = (columns >= 0) & (columns < table.columns) & (rows >= 0) & (rows < table.rows)
        numbers = table.numbers(np.where(there, columns, 0), np.where(there, rows, 0))
        sizes = table.places.take(numbers)[1].sum(axis=1)
        there &= sizes <= _MOST_BYTES
        buffer = _BUFFERS.take(int(sizes[there].sum()) + len(numbers) * len(self._lead))
        starts, ends = np.empty(len(numbers), np.int64), np.empty(len(numbers), np.int64)
        packed = table.places.packed
        at = packed.ctypes.data, len(packed)
        splice(file.number, numbers, there, *at, self._lead, self._zeros, buffer, starts, ends)
        return [
            buffer[start:end] if start >= 0 else None for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]
