"""Encoded blocks of one level, read many at a time and checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cellmix_dali._open_file import OpenFile
from cellmix_dali.errors import SlideError
from cellmix_dali.slides.damage import BlockCheck
from cellmix_dali.slides.tiff import TiffLevel

__all__ = ["Block", "BlockReader"]

#: A stream, None where the file has no bytes for the block, or the reason why there is no stream.
Block: TypeAlias = "NDArray[np.uint8] | SlideError | None"
_MOST_BYTES = 1 << 24  # a block that says to be larger is looked at before memory is given to it
_TRIES = 8  # headers that are looked at before compiled reading is given up


class _Header(NamedTuple):
    # What the usual block of the level begins with.
    lead: NDArray[np.uint8]  # in the file
    new_lead: NDArray[np.uint8]  # in the stream
    zeros: bool  # whether long runs of zeros may be data


class BlockReader:
    """Reads blocks of one level as `Slide.blocks` does, and looks for damage; made by `Slide.block_reader`.

    The usual blocks are read and checked by compiled code, some ten times as fast. Several threads may read at once.
    """

    def __init__(
        self,
        table: TiffLevel,
        *,
        open_file: Callable[[], OpenFile],
        block: Callable[[int, int], bytes | None],
        where: str,
    ) -> None:
        self._table, self._open_file, self._block, self._where = table, open_file, block, where
        self._check = BlockCheck(table.block_width, table.block_height)
        self._header: _Header | None = None
        self._tries = 0

    def read(self, columns: NDArray[np.int64], rows: NDArray[np.int64]) -> list[Block]:
        """Read blocks.

        Parameters
        ----------
        columns, rows : int64 arrays (n,)
            Which blocks; each must be one of the level's.

        Returns
        -------
        list of (uint8 array, SlideError or None)
            For each a complete stream; what is wrong with it; or None for a blank block, which has no bytes in the
            file.
        """
        found: list[Block] = [None] * len(columns)
        careful: Sequence[int] = range(len(columns))
        header = self._header
        if header is not None:
            index = rows * self._table.columns + columns
            counts = self._table.counts[index]
            if counts.max(initial=0) <= _MOST_BYTES:
                careful = self._read_usual(header, self._table.offsets[index], counts, found)
        for place in careful:
            found[place] = self._read_any(int(columns[place]), int(rows[place]))
        return found

    def _read_usual(
        self, header: _Header, offsets: NDArray[np.int64], counts: NDArray[np.int64], found: list[Block]
    ) -> list[int]:
        """Read all blocks that are as usual; give the places of the others."""
        from cellmix_dali.slides._quick import read_quickly  # numba takes a second to import

        longer = header.new_lead.size - header.lead.size
        buffer = np.empty(int(np.maximum(counts, 0).sum()) + len(counts) * max(longer, 0), np.uint8)
        starts = np.empty(len(counts), np.int64)
        try:
            file = self._open_file()
        except SlideError:  # the careful way says it for each block
            return list(range(len(counts)))
        read_quickly(file.number, offsets, counts, header.lead, header.new_lead, header.zeros, buffer, starts)
        others = []
        for place, (start, end) in enumerate(zip(starts.tolist(), (starts + counts + longer).tolist(), strict=True)):
            if start < 0:
                others.append(place)
            else:
                found[place] = buffer[start:end]
        return others

    def _read_any(self, column: int, row: int) -> Block:
        """Read one block of any kind."""
        try:
            stream = self._block(column, row)
        except SlideError as error:
            return error
        if stream is None:
            return None
        damage = self._check.damage(stream)
        if damage is not None:
            return SlideError(
                f"Block {column}, {row} (column, row) of {self._where} is damaged: {damage}. Copy the slide again from "
                "its source, or leave this place out."
            )
        if self._tries < _TRIES:
            self._tries += 1
            self._header = self._learn(column, row, stream) or self._header
        return np.frombuffer(stream, np.uint8)

    def _learn(self, column: int, row: int, stream: bytes) -> _Header | None:
        """Take a sound block's header for the usual one, if compiled code can check what follows it."""
        head = self._check.plain_head(stream)
        if head is None:
            return None
        length, zeros = head
        index = row * self._table.columns + column
        count = int(self._table.counts[index])
        file = self._open_file()  # held, as another thread may close the slide meanwhile
        block = os.pread(file.number, count, int(self._table.offsets[index]))
        # The scan is the same in the file and in the stream: the header is what comes before it.
        lead = len(block) - (len(stream) - length)
        if lead < 0 or block[lead:] != stream[length:]:
            return None
        return _Header(np.frombuffer(block[:lead], np.uint8), np.frombuffer(stream[:length], np.uint8), zeros)
