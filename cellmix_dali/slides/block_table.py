"""Where the encoded blocks of one level lie, and what makes each a whole stream."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.slides.block_places import BlockPlaces
from cellmix_dali.slides.intervals import IntervalStreams
from cellmix_dali.slides.levels import Box

__all__ = ["BlockGrid", "BlockTable", "PlacedBlocks", "StreamMaker"]

_Number = TypeVar("_Number", bound=np.integer)


class StreamMaker(Protocol):
    """Makes the bytes of a block a stream that any decoder shows in the right colours."""

    def join(self, block: bytes) -> bytes:
        """Return the whole stream of a block; a ValueError says what is wrong with it."""
        ...


@dataclass(frozen=True, eq=False)
class BlockGrid:
    """One pyramid level whose blocks can be handed to a decoder: all but where they lie.

    Attributes
    ----------
    width, height : int
        Size in pixels.
    block_width, block_height : int
        Size of a block in pixels; blocks at the right and lower edge are as large.
    columns, rows : int
        Blocks across and down.
    compression, colour
        As in `cellmix_dali.slides.Level`.
    streams : StreamMaker, IntervalStreams or None
        Makes a block, or the pieces of one, a complete JPEG stream; None where blocks are complete (whole JPEG,
        JPEG 2000, or all blank).
    path : Path or None, default None
        The file that has the blocks, where a slide has several; None for the file by which the slide is opened.
    files : tuple of Path, default ()
        The files that have the blocks, where the level lies in several.
    file : uint16 array, shape (rows * columns,), or None, default None
        The number of each block's file among `files`; None where there are none, or one.
    in_items : bool, default False
        Whether each block begins with the header of a DICOM item: tag and length, eight bytes.
    covered : Box or None, default None
        As in `cellmix_dali.slides.Level`.
    pieces : int, default 1
        How many pieces of the file, one below the other, make a block: restart intervals of a JPEG, which
        `IntervalStreams` splices. The last blocks are filled up with the last row of pieces.
    advance : int, default 1
        By how many rows of pieces one row of blocks begins below the one before.
    """

    width: int
    height: int
    block_width: int
    block_height: int
    columns: int
    rows: int
    compression: Literal["jpeg", "jpeg2000"]
    colour: Literal["rgb", "ycbcr"]
    streams: StreamMaker | IntervalStreams | None
    path: Path | None = None
    files: tuple[Path, ...] = ()
    file: NDArray[np.uint16] | None = None
    in_items: bool = False
    covered: Box | None = None
    pieces: int = 1
    advance: int = 1

    def paths(self, opened: Path) -> tuple[Path, ...]:
        """Return the files that have the blocks, of a slide that is opened by one of them."""
        return self.files or (self.path or opened,)

    def where(self, opened: Path, level: int, column: int, row: int) -> str:
        """Say which block of a slide, opened by a file, it is, and in which other file it lies."""
        number = 0 if self.file is None else int(self.file[row * self.columns + column])
        path = self.paths(opened)[number]
        said = f"block {column}, {row} (column, row) of level {level} of {opened}"
        return said if path == opened else f"{said}, in {path}"

    @property
    def row_step(self) -> int | None:
        """See `cellmix_dali.slides.Level`."""
        return self.block_height // self.pieces if isinstance(self.streams, IntervalStreams) else None


@dataclass(frozen=True, eq=False, kw_only=True)
class BlockTable(BlockGrid):
    """A level as a format finds it: its grid, and where each block lies.

    Attributes
    ----------
    offsets, counts : int64 array, shape (rows * columns,)
        Where each block lies in its file, and its bytes; a block of 0 bytes is blank, wherever it is said to lie. Where
        blocks are joined of pieces, these: row by row, as many rows as the file has.
    """

    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]

    def placed(self) -> PlacedBlocks:
        """Return the level as an open slide keeps it."""
        grid = {of.name: getattr(self, of.name) for of in fields(BlockGrid)}
        return PlacedBlocks(**grid, places=BlockPlaces.of(self.offsets, self.counts))

    def laid_on(self, width: int, height: int) -> BlockTable | None:
        """Return the blocks on a level of this width and height in pixels, as far as they lie on it; None if none does.

        Where they lie is `covered`: it may reach over the level's edge.
        """
        part = self.covered or Box(0, 0, self.width, self.height)
        part = Box(part.x, part.y, min(part.width, width - part.x), min(part.height, height - part.y))
        if min(part.width, part.height) < 1:
            return None
        whole = part == Box(0, 0, width, height)
        return replace(self, width=width, height=height, covered=None if whole else part)

    def cropped(self, width: int, height: int) -> BlockTable:
        """Return the level without what lies beyond a width and height in pixels."""
        columns, rows = -(-width // self.block_width), -(-height // self.block_height)

        def kept(values: NDArray[_Number]) -> NDArray[_Number]:
            return np.ascontiguousarray(values.reshape(self.rows, self.columns)[:rows, :columns]).ravel()

        return replace(
            self,
            width=width,
            height=height,
            columns=columns,
            rows=rows,
            offsets=kept(self.offsets),
            counts=kept(self.counts),
            file=None if self.file is None else kept(self.file),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class PlacedBlocks(BlockGrid):
    """A level as an open slide keeps it: its grid, and in eight bytes a block where each lies.

    Attributes
    ----------
    places : BlockPlaces
        As the offsets and counts of a `BlockTable`, of as many blocks or pieces.
    """

    places: BlockPlaces

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where each block, or piece, lies in its file: unpacked, eight bytes for each."""
        return self.places.take(slice(None))[0]

    @property
    def counts(self) -> NDArray[np.int64]:
        """The bytes of each block, or piece: unpacked, eight bytes for each."""
        return self.places.take(slice(None))[1]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that its arrays take; those in a mapped file take none."""
        arrays = (self.places.packed, self.file)
        return sum(of.nbytes for of in arrays if of is not None and of.flags.writeable)

    def of_height(self, height: int) -> PlacedBlocks:
        """Return the level in blocks of another height, a multiple of `row_step`, from each row of pieces on."""
        step = self.row_step
        if step is None or not isinstance(self.streams, IntervalStreams):
            return self
        return replace(
            self,
            block_height=height,
            rows=len(self.places) // self.columns,
            pieces=height // step,
            advance=1,
            streams=self.streams.sized(self.block_width, height),
        )

    def numbers(self, columns: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of blocks, or of their pieces, among `places`: (n, pieces)."""
        if self.row_step is None:
            return (rows * self.columns + columns)[:, None]
        line = rows[:, None] * self.advance + np.arange(self.pieces)
        last = len(self.places) // self.columns - 1
        numbers: NDArray[np.int64] = np.minimum(line, last) * self.columns + columns[:, None]
        return numbers
