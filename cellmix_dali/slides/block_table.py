"""Where the encoded blocks of one level lie, and what makes each a whole stream."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["BlockTable", "StreamMaker"]


class StreamMaker(Protocol):
    """Makes the bytes of a block a stream that any decoder shows in the right colours."""

    def join(self, block: bytes) -> bytes:
        """Return the whole stream of a block; a ValueError says what is wrong with it."""
        ...


@dataclass(frozen=True, eq=False)
class BlockTable:
    """One pyramid level whose blocks can be handed to a decoder.

    Attributes
    ----------
    width, height : int
        Size in pixels.
    block_width, block_height : int
        Size of a block in pixels; blocks at the right and lower edge are as large.
    columns, rows : int
        Blocks across and down.
    offsets, counts : int64 array, shape (rows * columns,)
        Where each block lies in its file, and its bytes; a block of 0 bytes is blank, wherever it is said to lie.
    compression, colour
        As in `cellmix_dali.slides.Level`.
    streams : StreamMaker or None
        Makes a block a complete stream; None where blocks are complete (whole JPEG, JPEG 2000, or all blank).
    path : Path or None, default None
        The file that has the blocks, where a slide has several; None for the file by which the slide is opened.
    files : tuple of Path, default ()
        The files that have the blocks, where the level lies in several.
    file : uint16 array, shape (rows * columns,), or None, default None
        The number of each block's file among `files`; None where there are none, or one.
    in_items : bool, default False
        Whether each block begins with the header of a DICOM item: tag and length, eight bytes.
    """

    width: int
    height: int
    block_width: int
    block_height: int
    columns: int
    rows: int
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]
    compression: Literal["jpeg", "jpeg2000"]
    colour: Literal["rgb", "ycbcr"]
    streams: StreamMaker | None
    path: Path | None = None
    files: tuple[Path, ...] = ()
    file: NDArray[np.uint16] | None = None
    in_items: bool = False

    def paths(self, opened: Path) -> tuple[Path, ...]:
        """Return the files that have the blocks, of a slide that is opened by one of them."""
        return self.files or (self.path or opened,)
