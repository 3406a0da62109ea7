"""Grey TIFF pictures of 8 bits read block by block, as they are: class masks, for which OpenSlide's way takes long.

OpenSlide makes RGBA of a picture, in some milliseconds a tile; a block of Deflate is unpacked in a tenth of one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray

from cellmix_dali.slides.samples import check_block_size
from cellmix_dali.storage.moment import refusal
from cellmix_dali.storage.objects import here
from cellmix_dali.storage.open_file import KeptFile

__all__ = ["BEYOND", "GreyBlocks"]

#: The value of what lies beyond a picture, and of blocks that have no bytes.
BEYOND = 255
_UNPACKED_HERE = {1, 8, 32946}  # none, Deflate, Deflate under its older number: what needs no further package
_BLACK_IS_ZERO = 1


class _Picture(NamedTuple):
    # One of the pictures of a file.
    width: int
    height: int
    block_width: int
    block_height: int
    columns: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    unpack: Callable[..., Any]


class GreyBlocks:
    """The pictures of a TIFF that are tiled, grey, of 8 bits, and compressed by Deflate or not at all.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    SlideError
        If it cannot be read, or a block is absurdly large.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, KeptFile(path)
        try:
            with here(path), tifffile.TiffFile(path) as file:
                pages = [page for page in file.pages if isinstance(page, tifffile.TiffPage)]
                pages += [inner for page in pages for inner in page.pages or () if isinstance(inner, tifffile.TiffPage)]
                found = [_picture(path, number, page) for number, page in enumerate(pages) if _is_plain(page)]
        except Exception as error:  # tifffile raises nearly anything on what is damaged
            raise refusal(f"Cannot read the directories of {path}", error, "Write the file again.") from error
        self._pictures = {(each.width, each.height): each for each in found}

    def __contains__(self, size: tuple[int, int]) -> bool:
        """Whether there is a picture of that width and height."""
        return size in self._pictures

    def read(self, size: tuple[int, int], x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read pixels.

        Parameters
        ----------
        size : (int, int)
            Width and height of the picture.
        x, y, width, height : int
            What is read of it; may reach beyond.

        Returns
        -------
        uint8 array (height, width)

        Raises
        ------
        SlideError
            If a block cannot be read; a `NotReadError` if the moment is to blame.
        """
        of = self._pictures[size]
        pixels = np.full((height, width), BEYOND, np.uint8)
        left, right, top, bottom = max(x, 0), min(x + width, of.width), max(y, 0), min(y + height, of.height)
        if left >= right or top >= bottom:
            return pixels
        for row in range(top // of.block_height, (bottom - 1) // of.block_height + 1):
            for column in range(left // of.block_width, (right - 1) // of.block_width + 1):
                first_x, first_y = column * of.block_width, row * of.block_height
                x0, x1 = max(left, first_x), min(right, first_x + of.block_width)
                y0, y1 = max(top, first_y), min(bottom, first_y + of.block_height)
                block = self._block(of, row * of.columns + column)
                inside = block[y0 - first_y : y1 - first_y, x0 - first_x : x1 - first_x]
                pixels[y0 - y : y1 - y, x0 - x : x1 - x] = inside
        return pixels

    def close(self) -> None:
        """Close the file; it is opened again when it is read again."""
        self._file.close()

    def _block(self, of: _Picture, number: int) -> NDArray[np.uint8]:
        """One block, (height, width)."""
        if not of.counts[number]:
            return np.full((of.block_height, of.block_width), BEYOND, np.uint8)
        try:
            with here(self._path):
                data = os.pread(self._file.open().number, of.counts[number], of.offsets[number])
            if len(data) != of.counts[number]:
                raise ValueError(f"only {len(data)} of its {of.counts[number]} bytes are in the file")
            segment = of.unpack(data, number)[0]
            if segment is None or segment.ndim != 4 or segment.dtype != np.uint8:
                raise ValueError("it holds no pixels")
        except Exception as error:  # decoders raise nearly anything on what is damaged
            what = f"Cannot read block {number % of.columns}, {number // of.columns} (column, row) of {self._path}"
            raise refusal(what, error, "Write the file again.") from error
        block: NDArray[np.uint8] = segment[0, :, :, 0]
        return block


def _is_plain(page: tifffile.TiffPage) -> bool:
    """Whether a picture is of the kind that is read here."""
    return (
        page.is_tiled
        and page.samplesperpixel == 1
        and page.dtype == np.uint8
        and int(page.photometric) == _BLACK_IS_ZERO
        and int(page.compression) in _UNPACKED_HERE
        and page.imagedepth == 1
    )


def _picture(path: Path, number: int, page: tifffile.TiffPage) -> _Picture:
    check_block_size(path, number, page.tilewidth, page.tilelength)
    columns = -(-page.imagewidth // page.tilewidth)
    return _Picture(
        page.imagewidth,
        page.imagelength,
        page.tilewidth,
        page.tilelength,
        columns,
        tuple(page.dataoffsets),
        tuple(page.databytecounts),
        page.decode,
    )
