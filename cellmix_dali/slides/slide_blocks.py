"""The encoded blocks of a slide, and the files that they are read from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.slides.block_reader import BlockReader
from cellmix_dali.slides.block_table import PlacedBlocks
from cellmix_dali.slides.found import Found
from cellmix_dali.slides.intervals import IntervalStreams
from cellmix_dali.slides.jp2 import CODESTREAM, bare_codestream
from cellmix_dali.slides.jpeg import without_padding
from cellmix_dali.storage.moment import refusal
from cellmix_dali.storage.open_file import KeptFile, OpenFile

__all__ = ["SlideBlocks"]


class SlideBlocks:
    """The blocks of all levels of a slide; several threads may read at once.

    Parameters
    ----------
    found : Found
        What is known of the slide.

    Attributes
    ----------
    tables : sequence of (PlacedBlocks or None)
        Of each level, where its blocks lie; None where OpenSlide reads it. Empty where it reads all.
    """

    def __init__(self, found: Found) -> None:
        self._path, self._reason, self._stored = found.path, found.reason, found.stored
        self.tables: Sequence[PlacedBlocks | None] = found.tables
        files = {path for table in found.tables if table for path in table.paths(found.path)}
        self._kept = {path: KeptFile(path) for path in files}

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that blocks are read from."""
        return tuple(self._kept)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the tables take."""
        return sum(of.nbytes for of in self.tables if of is not None)

    def close(self) -> None:
        """Close the files that this process holds open; a later read opens them again."""
        for kept in self._kept.values():
            kept.close()

    def of(self, level: int) -> PlacedBlocks | None:
        """Return where a level's blocks lie; None where OpenSlide reads it."""
        return self.tables[level] if self.tables else None

    def table(self, level: int) -> PlacedBlocks:
        """Return where a level's blocks lie.

        Raises
        ------
        SlideError
            Where OpenSlide reads the level.
        """
        table = self.of(level)
        if table is None:
            which = f"Level {level} of {self._path}" if self.tables else str(self._path)
            raise SlideError(
                f"{which} has no blocks to hand out. {self._reason} Read its pixels with read_region instead."
            )
        return table

    def read(self, level: int, columns: Sequence[int], rows: Sequence[int]) -> list[bytes | None]:
        """Read blocks: see `cellmix_dali.slides.Slide.blocks`."""
        return self._read(self.table(level), level, columns, rows)

    def reader(self, level: int, *, scans: bool = False, height: int | None = None) -> BlockReader:
        """Make a reader for many blocks of a level: see `cellmix_dali.slides.Slide.block_reader`."""
        table = self.table(level)
        if height is not None:
            step = table.row_step
            if step is None or height < step or height % step:
                raise ArgumentError(
                    f"height={height}: level {level} of {self._path} has blocks of {table.block_height} pixels"
                    + ("" if step is None else f", or of any multiple of {step}")
                    + "."
                )
            table = table.of_height(height)
        return BlockReader(
            table,
            open_file=partial(self._file, level),
            block=lambda column, row: self._read(table, level, (column,), (row,))[0],
            where=partial(table.where, self._path, level),
            scans=scans,
            stored=self._stored,
        )

    def _file(self, level: int, number: int = 0) -> OpenFile:
        path = self.table(level).paths(self._path)[number]
        try:
            return self._kept[path].open()
        except OSError as error:
            raise refusal(f"Cannot open {path}", error, "Check that the slide is still there.") from error

    def _read(self, table: PlacedBlocks, level: int, columns: Sequence[int], rows: Sequence[int]) -> list[bytes | None]:
        across, down = np.asarray(columns, np.int64), np.asarray(rows, np.int64)
        if across.shape != down.shape or across.ndim != 1:
            raise ArgumentError(f"blocks needs as many columns as rows, not {across.shape} and {down.shape}.")
        outside = (across < 0) | (across >= table.columns) | (down < 0) | (down >= table.rows)
        if outside.any():
            at = int(outside.argmax())
            raise ArgumentError(
                f"Level {level} of {self._path} has {table.columns}x{table.rows} blocks; "
                f"there is none at column {across[at]}, row {down[at]}."
            )
        if self._stored is None:
            return self._streams(table, level, across, down)
        with self._stored.there(table, across, down):
            return self._streams(table, level, across, down)

    def _streams(
        self, table: PlacedBlocks, level: int, across: NDArray[np.int64], down: NDArray[np.int64]
    ) -> list[bytes | None]:
        index = table.numbers(across, down)
        numbers = [0] * len(index) if table.file is None else table.file[index[:, 0]].tolist()
        files, streams = {number: self._file(level, number) for number in set(numbers)}, table.streams
        found: list[bytes | None] = []
        places = *(of.tolist() for of in table.places.take(index)), numbers
        for offsets, counts, number in zip(*places, strict=True):
            if not any(counts):
                found.append(None)
                continue
            file = files[number]
            try:
                pieces = list(map(os.pread, repeat(file.number), counts, offsets))
                block = b"".join(pieces) if len(pieces) > 1 else pieces[0]
                if len(block) != sum(counts):
                    raise ValueError(f"only {len(block)} of its {sum(counts)} bytes are in the file")
                if isinstance(streams, IntervalStreams):
                    first = int(table.places.take(slice(1))[0][0])
                    before = [os.pread(file.number, 2, at - 2) if at != first else b"" for at in offsets]
                    found.append(streams.splice(pieces, before))
                elif streams is not None:
                    found.append(without_padding(streams.join(block)))
                elif table.compression == "jpeg":
                    if not block.startswith(b"\xff\xd8"):
                        raise ValueError(f"no JPEG starts here (bytes {block[:4].hex(' ')})")
                    found.append(without_padding(block))
                else:
                    stream = bare_codestream(block)
                    if not stream.startswith(CODESTREAM):
                        raise ValueError(f"no JPEG 2000 starts here (bytes {block[:4].hex(' ')})")
                    found.append(stream)
            except (OSError, ValueError) as error:
                at = len(found)
                raise refusal(
                    f"Cannot read {table.where(self._path, level, int(across[at]), int(down[at]))}",
                    error,
                    "Copy the slide again from its source, or leave this place out.",
                ) from error
        return found
