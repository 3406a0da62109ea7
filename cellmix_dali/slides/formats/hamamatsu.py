"""Hamamatsu NDPI: a TIFF of places of 64 bits, in which each level is one JPEG with restart intervals.

The format flag, tag 65420, tells it from other TIFFs. The levels are the directories of a positive lens (65421) in the
plane of focus (65424 is 0); the macro has the lens -1. A level wider or higher than 65,500 px has 0 in its JPEG's frame
header, which says no more then. Restart intervals are a row of units (MCUs) high, and as wide as their number in the
DRI segment; a row holds a whole number of them. McuStarts (65426, with upper halves in 65432) says where they begin:
else they are looked for, as far as a level is small.

A block is some rows of one column of intervals, spliced to a JPEG of its own without decoding anything: see
`cellmix_dali.slides.intervals`. What is read through OpenSlide: the levels that OpenSlide makes of a file's own by
decoding them at a half, a quarter and an eighth; JPEG whose colours are halved in height, where the rows of a block
would be interpolated together as OpenSlide does not; and levels that do not come out even. The older VMS and VMU go
through OpenSlide, too.

Sources: OpenSlide's page "Hamamatsu format" and what its reader makes of the tags; ITU-T T.81 for restart intervals.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.errors import SlideError
from cellmix_dali.slides.block_table import BlockTable
from cellmix_dali.slides.formats.registry import SlideFormat, register_format
from cellmix_dali.slides.formats.slide_file import SlideFile
from cellmix_dali.slides.found import Found, through_openslide
from cellmix_dali.slides.intervals import IntervalStreams
from cellmix_dali.slides.ndpi import NdpiPicture, read_pictures
from cellmix_dali.slides.openslide import OpenSlideFile
from cellmix_dali.slides.samples import MOST_BLOCK_PIXELS
from cellmix_dali.slides.tiff_directories import broken

__all__ = ["Hamamatsu"]

_BLOCK_HEIGHT = 64  # pixels; of lower blocks a window takes many, of higher ones much that it does not need
_MOST_PIXELS = 1 << 24  # of a level that is one block
_PIXELS_A_BYTE = 1 << 13  # at most: a unit of 32 x 32 pixels takes a bit or more
_HEADER_BYTES = 1 << 16
_SEARCHED_BYTES = 1 << 26  # of a level that does not say where its intervals begin


@register_format
class Hamamatsu(SlideFormat):
    """Hamamatsu NDPI."""

    name, rank, suffixes = "hamamatsu", 16, (".ndpi",)
    files = "Hamamatsu NDPI"
    read = "JPEG streams spliced from restart intervals go to DALI; the levels that OpenSlide adds, through it"
    since, tested = "0.1.0", "files written in its layout, which OpenSlide takes for the vendor's"

    vendor = "hamamatsu"

    def recognises(self, file: SlideFile) -> bool:  # noqa: D102
        return file.is_tiff and file.vendor == self.vendor

    def look(self, file: SlideFile) -> Found:  # noqa: D102
        path = file.path
        try:
            own, obstacle = _tables(path, read_pictures(path))
        except SlideError:
            raise
        except (ValueError, OverflowError, OSError) as error:
            raise broken(path, error) from error
        pixels = OpenSlideFile(path, self.vendor)
        tables = tuple(own.get(size) for size in pixels.handle().level_dimensions)
        if not any(tables):
            problem = obstacle or "it finds other levels in the file"
            return through_openslide(path, self.vendor, pixels, f"Read through OpenSlide: {problem}.")
        reason = "The file is an NDPI whose restart intervals any decoder can read."
        if obstacle is not None:
            reason += f" Read through OpenSlide in part: {obstacle}."
        return through_openslide(path, self.vendor, pixels, reason, tables)


def _tables(path: Path, pictures: Sequence[NdpiPicture]) -> tuple[dict[tuple[int, int], BlockTable | None], str | None]:
    """The levels that the file has, by their sizes; and why the first that cannot be read by blocks cannot.

    OpenSlide asks GLib for memory for as many intervals as the sizes say, and GLib ends the process where there is not
    as much: so they are looked at before.
    """
    tables: dict[tuple[int, int], BlockTable | None] = {}
    obstacle: str | None = None
    with path.open("rb") as file:
        for number, picture in enumerate(pictures):
            table, problem = _table(path, file.fileno(), number, picture)
            tables[picture.width, picture.height] = table
            obstacle = obstacle or problem
    return tables, obstacle


def _table(path: Path, file: int, number: int, picture: NdpiPicture) -> tuple[BlockTable | None, str | None]:
    """A level by its blocks, or why not."""
    width, height = picture.width, picture.height
    if min(width, height) < 1 or width * height > _PIXELS_A_BYTE * path.stat().st_size:
        raise ValueError(f"level {number} says it is {width} x {height} pixels")
    try:
        streams = IntervalStreams(os.pread(file, _HEADER_BYTES, picture.start))
    except ValueError as error:
        return None, f"of level {number}, {error}"
    wide, high = width, height
    if streams.interval:
        wide, high = streams.interval * streams.unit[0], streams.unit[1]
    obstacle = _obstacle(number, picture, streams, wide, high)
    if obstacle is not None:
        return None, obstacle
    across, down = width // wide, height // high
    starts = _starts(file, picture, streams, across * down)
    if starts is None:
        return None, f"level {number} does not say where its restart intervals begin"
    if starts.size != across * down:
        raise ValueError(f"level {number} has {starts.size} restart intervals, and needs {across * down}")
    offsets, counts = _checked(path, number, picture, starts)
    lines = max(1, min(_BLOCK_HEIGHT // high, down))
    table = BlockTable(
        width=width,
        height=height,
        block_width=wide,
        block_height=lines * high,
        columns=across,
        rows=-(-down // lines),
        offsets=offsets,
        counts=counts,
        compression="jpeg",
        colour=streams.colour,
        streams=streams.sized(wide, lines * high),
        pieces=lines,
        advance=lines,
    )
    return table, None


def _obstacle(number: int, picture: NdpiPicture, streams: IntervalStreams, wide: int, high: int) -> str | None:
    """Why a level's intervals, of this size in pixels, cannot be spliced."""
    width, height = picture.width, picture.height
    if not streams.interval:
        if width * height > MOST_BLOCK_PIXELS:
            raise ValueError(f"level {number} is {width} x {height} pixels without a restart interval")
        if (width, height) != (streams.header.width, streams.header.height):
            raise ValueError(f"level {number} says it is {width} x {height} pixels, and its JPEG another size")
        return f"level {number} has no restart intervals" if width * height > _MOST_PIXELS else None
    if width % wide or height % high:
        return f"level {number} is no whole number of restart intervals wide and high"
    return f"the JPEG colours of level {number} are halved in height" if high > 8 and height > high else None


def _starts(file: int, picture: NdpiPicture, streams: IntervalStreams, number: int) -> NDArray[np.int64] | None:
    """Where the restart intervals begin; the first is where the header ends, whatever the file says."""
    header = streams.header.length
    first = picture.start + header
    if number == 1:
        return np.array([first], np.int64)
    if picture.mcu_starts is not None and picture.mcu_starts.size == number:
        starts = picture.mcu_starts.copy()
        starts[0] = first
        return starts
    if picture.length > _SEARCHED_BYTES:
        return None
    scan = np.frombuffer(os.pread(file, picture.length - header, first), np.uint8)
    markers = np.flatnonzero((scan[:-1] == 0xFF) & (scan[1:] & 0xF8 == 0xD0))
    return np.concatenate([[first], first + 2 + markers]).astype(np.int64)


def _checked(
    path: Path, number: int, picture: NdpiPicture, starts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the intervals lie, and their bytes."""
    size, counts = path.stat().st_size, np.diff(starts, append=picture.start + picture.length)
    wrong = np.flatnonzero((counts <= 0) | (starts + counts > size))
    if wrong.size:
        raise SlideError(
            f"{path} is truncated or damaged: {wrong.size} of the {starts.size} restart intervals of level {number} "
            f"lie outside the file, or not behind each other; the first, number {wrong[0]}, takes "
            f"{counts[wrong[0]]} bytes from byte {starts[wrong[0]]} on, and the file has {size}. Copy the slide again "
            "from its source."
        )
    return starts, counts
