"""Encoded blocks of one level, read many at a time and checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.errors import SlideError
from cellmix_dali.slides.block_table import PlacedBlocks
from cellmix_dali.slides.damage import BlockCheck
from cellmix_dali.slides.intervals import IntervalStreams
from cellmix_dali.slides.jpeg import without_padding
from cellmix_dali.slides.spliced_blocks import SplicedBlocks
from cellmix_dali.slides.stored_slide import StoredSlide
from cellmix_dali.slides.usual_blocks import ITEM_BYTES, UsualHeader, read_usual
from cellmix_dali.storage.mirror import Mirror, Wanted, held
from cellmix_dali.storage.open_file import OpenFile

__all__ = ["Block", "BlockReader", "read_blocks"]

#: A stream, None where the file has no bytes for the block, or the reason why there is no stream.
Block: TypeAlias = "NDArray[np.uint8] | SlideError | None"
_NO_TABLE = 0, 0, 0
_TRIES = 8  # headers that are looked at before compiled reading is given up


class BlockReader:
    """Reads blocks of one level as `Slide.blocks` does, and looks for damage; made by `Slide.block_reader`.

    The usual blocks are read and checked by compiled code, some ten times as fast. Several threads may read at once.
    With `scans`, scans are followed, too: see `cellmix_dali.slides.damage.BlockCheck`.
    """

    def __init__(
        self,
        table: PlacedBlocks,
        *,
        open_file: Callable[[int], OpenFile],
        block: Callable[[int, int], bytes | None],
        where: Callable[[int, int], str],
        scans: bool = False,
        stored: StoredSlide | None = None,
    ) -> None:
        self._table, self._open_file, self._block, self._where = table, open_file, block, where
        self._check = BlockCheck(table.block_width, table.block_height, scans=scans)
        self._stored = stored
        self._header: UsualHeader | None = None
        self._tries = 0
        # The array lives as long as the table does, and that as long as the reader: who reads must hold the reader.
        self._address = (table.places.packed.ctypes.data, table.columns, table.rows)
        self._spliced: SplicedBlocks | None = None
        if isinstance(table.streams, IntervalStreams):
            self._spliced = SplicedBlocks(table, table.streams)
            self._address = _NO_TABLE

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
        return read_blocks([self], np.zeros(len(columns), np.int64), columns, rows)

    def _usual(self, file: int = 0) -> tuple[OpenFile, UsualHeader] | tuple[None, None]:
        """One of the level's files, open, and the usual header, if that is known."""
        if self._header is None:
            return None, None
        try:
            return self._open_file(file), self._header
        except SlideError:  # the careful way says it for each block
            return None, None

    def _splice(self, columns: NDArray[np.int64], rows: NDArray[np.int64]) -> list[NDArray[np.uint8] | None]:
        """Read blocks that are spliced; None for what needs the careful way."""
        assert self._spliced is not None
        if not self._spliced.is_known and len(columns):
            self._read_any(int(columns[0]), int(rows[0]))
        if not self._spliced.is_known:
            return [None] * len(columns)
        try:
            return self._spliced.read(self._open_file(0), columns, rows)
        except SlideError:  # the careful way says it for each block
            return [None] * len(columns)

    def _scan_fails(self, stream: NDArray[np.uint8]) -> bool:
        """Whether the scan of a block that begins as usual is not whole, where that is asked."""
        usual = self._spliced or self._header
        if not self._check.scans or usual is None:
            return False
        return self._check.scan_fault(usual.header, stream[len(usual.header) : -2]) is not None

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
            where = self._where(column, row)
            return SlideError(
                f"{where[0].upper()}{where[1:]} is damaged: {damage}. Copy the slide again from its source, or leave "
                "this place out."
            )
        if self._spliced is not None:
            self._spliced.is_known = True  # all blocks have one header
        elif self._tries < _TRIES:
            self._tries += 1
            with suppress(OSError):  # a SlideError is one: what was read is right, and another block may be learnt from
                self._header = self._learn(column, row, stream) or self._header
        return np.frombuffer(stream, np.uint8)

    def _learn(self, column: int, row: int, stream: bytes) -> UsualHeader | None:
        """Take a sound block's header for the usual one, if compiled code can check what follows it."""
        head = self._check.plain_head(stream)
        if head is None:
            return None
        length, zeros = head
        table = self._table
        index = row * table.columns + column
        (offset,), (count,) = (of.tolist() for of in table.places.take(np.array([index])))
        # Held, as another thread may close the slide meanwhile.
        file = self._open_file(0 if table.file is None else int(table.file[index]))
        block = without_padding(os.pread(file.number, count, offset))
        if table.in_items:
            block = block[ITEM_BYTES:]
        # The scan is the same in the file and in the stream: the header is what comes before it.
        lead = len(block) - (len(stream) - length)
        if lead < 0 or block[lead:] != stream[length:]:
            return None
        return UsualHeader(block[:lead], stream[:length], zeros, table.in_items)


def read_blocks(
    readers: Sequence[BlockReader | None],
    which: NDArray[np.int64],
    columns: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> list[Block]:
    """Read blocks of several levels, of any slides, at once.

    Parameters
    ----------
    readers : sequence of (BlockReader or None)
        Of the levels; None for one that no block is of.
    which : int64 array (n,)
        The reader of each block.
    columns, rows : int64 arrays (n,)
        Which of the level's blocks.

    Returns
    -------
    list of (uint8 array, SlideError or None)
        See `BlockReader.read`.
    """
    if not len(which):
        return []
    if all(reader is None or reader._stored is None for reader in readers):
        return _read_local(readers, which, columns, rows)
    # All that slides in stores are asked for, in one round of requests.
    wanted: list[Wanted] = []
    of: dict[int, list[Mirror]] = {}
    for number, reader in enumerate(readers):
        if reader is not None and reader._stored is not None:
            own = which == number
            asked = reader._stored.blocks(reader._table, columns[own], rows[own])
            of[number] = [mirror for mirror, _, _ in asked]
            wanted += asked
    with held(wanted) as failed:
        reasons = {
            number: next((failed[mirror] for mirror in mirrors if mirror in failed), None)
            for number, mirrors in of.items()
        }
        there = np.array([reasons.get(number) is None for number in range(len(readers))])[which]
        read = iter(_read_local(readers, which[there], columns[there], rows[there]) if there.any() else ())
        return [
            next(read) if is_there else reasons[number]
            for is_there, number in zip(there.tolist(), which.tolist(), strict=True)
        ]


def _read_local(
    readers: Sequence[BlockReader | None],
    which: NDArray[np.int64],
    columns: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> list[Block]:
    """Read blocks whose bytes are on this machine."""
    from cellmix_dali.slides._quick import look_up  # numba takes a second to import

    tables = np.array([_NO_TABLE if reader is None else reader._address for reader in readers], np.int64)
    offsets, counts = look_up(which, tables, columns, rows)
    of, wanted = _files(readers, which, columns, rows)
    # The files are held until all is read.
    usual = [(None, None) if reader is None else reader._usual(file) for reader, file in wanted]
    found: list[Block] = list(
        read_usual([file for file, _ in usual], [header for _, header in usual], of, offsets, counts)
    )
    for number, reader in enumerate(readers):
        if reader is not None and reader._spliced is not None:
            own = np.flatnonzero(which == number)
            for place, stream in zip(own.tolist(), reader._splice(columns[own], rows[own]), strict=True):
                found[place] = stream
    for place, block in enumerate(found):
        reader = readers[which[place]]
        assert reader is not None
        if block is None or (isinstance(block, np.ndarray) and reader._scan_fails(block)):
            found[place] = reader._read_any(int(columns[place]), int(rows[place]))
    return found


def _files(
    readers: Sequence[BlockReader | None],
    which: NDArray[np.int64],
    columns: NDArray[np.int64],
    rows: NDArray[np.int64],
) -> tuple[NDArray[np.int64], Sequence[tuple[BlockReader | None, int]]]:
    """The files of these blocks, each with its reader and its number there, and which of them each block lies in."""
    if all(reader is None or reader._table.file is None for reader in readers):
        return which, [(reader, 0) for reader in readers]
    numbers = np.zeros(len(which), np.int64)
    for place, reader in enumerate(readers):
        if reader is not None and reader._table.file is not None:
            own = np.flatnonzero(which == place)
            index = rows[own] * reader._table.columns + columns[own]
            numbers[own] = reader._table.file[index.clip(0, reader._table.file.size - 1)]
    pairs, of = np.unique(np.stack([which, numbers]), axis=1, return_inverse=True)
    return of.ravel().astype(np.int64), [(readers[reader], file) for reader, file in pairs.T.tolist()]
