"""The structure of a tiled TIFF slide: its levels, where each block lies, and what makes it a whole stream.

Sources: TIFF 6.0 (tags, tiles), Adobe TIFF Technical Notes (JPEG in TIFF), the BigTIFF design, Aperio's
"Digital Slides and Third-party Data Interchange" (33003 and 33005), and OpenSlide's format pages for which
directories are levels.
"""

from __future__ import annotations

import itertools
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import tifffile
from numpy.typing import NDArray

from cellmix_dali.errors import SlideError
from cellmix_dali.slides.jp2 import strange_colours
from cellmix_dali.slides.jpeg import BlockStreams, segments
from cellmix_dali.slides.jpeg2000 import parse_codestream
from cellmix_dali.slides.samples import check_block_size, check_pictures, ome_of
from cellmix_dali.storage.moment import moment_of, refusal

__all__ = [
    "CONVERT",
    "TiffLevel",
    "TiffSlide",
    "chain_ends",
    "compression_name",
    "is_big_endian",
    "is_tiff",
    "read_tiff",
    "untiled",
]

CONVERT = "vips tiffsave {name} out.tiff --tile --pyramid --compression jpeg"

_NOT_COMPRESSED, JPEG, APERIO_YCBCR, APERIO_RGB, JPEG2000 = 1, 7, 33003, 33005, 34712
_RGB, _PALETTE, _YCBCR = 2, 3, 6
_HEADER_BYTES = 65536
_MOST_HEADER_BYTES = 1 << 26  # a colour profile or a comment may take several segments of 64 KiB
_MOST_DIRECTORIES = 1000  # a slide has a dozen; each costs time
_MOST_SUBIFDS = 64  # levels of one picture
Colour: TypeAlias = Literal["rgb", "ycbcr"]


@dataclass(frozen=True, eq=False)
class TiffLevel:
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
        Where each block lies in the file, and its bytes; a block of 0 bytes is blank, wherever it is said to lie.
    compression, colour
        As in `cellmix_dali.slides.Level`.
    streams : BlockStreams or None
        Makes a block a complete JPEG stream; None where blocks are complete (JPEG 2000, or all blank).
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
    colour: Colour
    streams: BlockStreams | None


@dataclass(frozen=True, eq=False)
class TiffSlide:
    """What `read_tiff` found.

    Attributes
    ----------
    levels : tuple of TiffLevel
        All levels, or none where one of them cannot be read directly.
    obstacle : str or None
        Why there are none: a clause for a person.
    codes : frozenset of int
        The levels' TIFF compression codes.
    mpp : (float, float) or None
        From the resolution tags of the first directory, or from its OME-XML.
    properties : dict
        Its description and resolution tags, named as OpenSlide names them.
    ome_mpp : (float, float) or None
        PhysicalSizeX and PhysicalSizeY of its OME-XML, in microns.
    subifds : int
        How many levels are SubIFDs of the first directory, which OpenSlide does not see. They are among `levels`.
    without_bytes : int
        How many blocks of all levels have a place in the file, but the byte count 0: they count as blank.
    """

    levels: tuple[TiffLevel, ...]
    obstacle: str | None
    codes: frozenset[int]
    mpp: tuple[float, float] | None
    properties: dict[str, str]
    ome_mpp: tuple[float, float] | None = None
    subifds: int = 0
    without_bytes: int = 0


def compression_name(code: int) -> str:
    """Name a TIFF compression for a person, such as "WEBP (50001)"."""
    try:
        return f"{tifffile.COMPRESSION(code).name} ({code})"
    except ValueError:
        return str(code)


def is_tiff(path: Path) -> bool:
    """Whether a file begins as a TIFF or BigTIFF does (byte order, then 42 or 43)."""
    with path.open("rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def is_big_endian(path: Path) -> bool:
    """Whether a file begins as a big-endian TIFF or BigTIFF does."""
    with path.open("rb") as file:
        return file.read(4) in (b"MM\0*", b"MM\0+")


def untiled(path: Path) -> bool:
    """Whether the first picture of a TIFF file is there and not tiled.

    Raises
    ------
    SlideError
        If the file has no readable picture, or its directories go round in a circle.
    """
    try:
        _check_chain(path)
        with tifffile.TiffFile(path) as file:
            return not file.pages.first.is_tiled
    except Exception as error:  # tifffile raises nearly anything on garbage, MemoryError among it
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> SlideError:
    if moment_of(error) is not None:
        return refusal(f"Cannot read the directories of {path}", error, "")
    return SlideError(
        f"{path} begins as a TIFF but its directory cannot be read ({error or type(error).__name__}): it is "
        "truncated or damaged. Copy the slide again from its source."
    )


def read_tiff(path: Path, vendor: str) -> TiffSlide:
    """Find the levels of a tiled TIFF slide and check that their blocks are there.

    Parameters
    ----------
    path : Path
        The slide.
    vendor : {"aperio", "generic-tiff"}
        OpenSlide's name of the format. In Aperio files every tiled directory is a level, in file order; in
        others the first directory, the tiled ones marked as reduced, and the SubIFDs of the first, by falling width.

    Returns
    -------
    TiffSlide
        The levels in the order that OpenSlide reports, or why they cannot be read directly.

    Raises
    ------
    SlideError
        If the file is truncated or damaged, has blocks too large for memory, or holds pictures that readers would show
        wrongly (see `cellmix_dali.slides.samples`).
    """
    try:
        _check_chain(path)
        with tifffile.TiffFile(path) as file:
            tiled = [page for page in file.pages if isinstance(page, tifffile.TiffPage) and page.is_tiled]
            pages, subifds = tiled, 0
            if vendor != "aperio":
                pages = [page for page in tiled if page.index == 0 or page.subfiletype & 1]
                if pages and pages[0].index == 0:
                    further = _subifd_levels(pages[0], {page.imagewidth for page in pages})
                    pages, subifds = pages + further, len(further)
                pages.sort(key=lambda page: -page.imagewidth)
            if not pages:
                raise ValueError("no tiled picture in it")
            for number, page in enumerate(pages):
                check_block_size(path, number, page)
            check_pictures(path, pages, tiled)
            for number, page in enumerate(pages):
                _check_agreement(number, page)
            codes = frozenset(int(page.compression) for page in pages)
            obstacle = next((found for number, page in enumerate(pages) if (found := _obstacle(number, page))), None)
            obstacle = obstacle or next(filter(None, (_strange_boxes(path, *of) for of in enumerate(pages))), None)
            levels: tuple[TiffLevel, ...] = ()
            if obstacle is None:
                levels = tuple(_level(path, number, page) for number, page in enumerate(pages))
            first = file.pages.first
            mpp, properties = _resolution(first), _properties(first)
            ome = ome_of(first)
            ome_mpp = None if ome is None else ome.mpp
    except SlideError:
        raise
    except Exception as error:  # as above
        raise _broken(path, error) from error
    without_bytes = sum(int(((level.counts == 0) & (level.offsets != 0)).sum()) for level in levels)
    if vendor == "aperio":
        for finer, coarser in itertools.pairwise(levels):
            _spread_blanks(finer, coarser)
    return TiffSlide(levels, obstacle, codes, ome_mpp or mpp, properties, ome_mpp, subifds, without_bytes)


def _subifd_levels(first: tifffile.TiffPage, widths: set[int]) -> list[tifffile.TiffPage]:
    # The lower levels of an OME-TIFF: OME-TIFF specification, "Sub-resolutions".
    if not first.subifds:
        return []
    if len(first.subifds) > _MOST_SUBIFDS:
        raise ValueError(f"its first directory has {len(first.subifds)} SubIFDs, and a picture at most {_MOST_SUBIFDS}")
    found = []
    for page in first.pages or ():
        if not isinstance(page, tifffile.TiffPage) or not page.is_tiled or page.subfiletype & 4:  # 4: a mask
            continue
        # A level of OpenSlide's may stand in the file a second time.
        smaller = page.imagewidth < first.imagewidth and page.imagelength <= first.imagelength
        if smaller and page.imagewidth not in widths:
            found.append(page)
            widths.add(page.imagewidth)
    return found


def chain_ends(path: Path) -> bool:
    """Whether the chain of a TIFF file's directories comes to its end within the file.

    Raises
    ------
    SlideError
        If it goes round in a circle.
    """
    try:
        return _check_chain(path)
    except ValueError as error:
        raise _broken(path, error) from error


def _check_chain(path: Path) -> bool:
    # Whether the directories come to an end. A circle of them, or far too many, would be followed for minutes: TIFF
    # 6.0, section 2, and BigTIFF.
    with path.open("rb") as file:
        start = file.read(16)
        order = "<" if start.startswith(b"II") else ">"
        big = 43 in start[2:4]
        link, number, entry = (f"{order}Q", f"{order}Q", 20) if big else (f"{order}I", f"{order}H", 12)
        seen: set[int] = set()
        try:
            (place,) = struct.unpack_from(link, start, 8 if big else 4)
            while place:
                if place in seen:
                    raise ValueError(f"directory {len(seen) - 1} leads back to an earlier one")
                if len(seen) == _MOST_DIRECTORIES:
                    raise ValueError(f"there are more than {_MOST_DIRECTORIES} directories")
                seen.add(place)
                file.seek(place)
                (entries,) = struct.unpack(number, file.read(struct.calcsize(number)))
                file.seek(entries * entry, os.SEEK_CUR)
                (place,) = struct.unpack(link, file.read(struct.calcsize(link)))
        except (struct.error, OverflowError, OSError) as error:
            if moment_of(error) is not None:
                raise
            return False  # it leads out of the file: whether what came before is enough, others see
    return True


def _check_agreement(number: int, page: tifffile.TiffPage) -> None:
    # Readers show garbage without a word where these tags contradict each other.
    if int(page.photometric) == _PALETTE and page.samplesperpixel != 1:
        raise ValueError(f"level {number} has a palette and {page.samplesperpixel} samples per pixel")
    if int(page.compression) == _NOT_COMPRESSED:
        planes = page.samplesperpixel if int(page.planarconfig) == 1 else 1
        least = page.tilewidth * page.tilelength * planes * page.bitspersample // 8
        short = [count for count in page.databytecounts if 0 < count < least]
        if short:
            raise ValueError(
                f"level {number} is not compressed, but has a block of {short[0]} bytes instead of {least}"
            )


def _obstacle(number: int, page: tifffile.TiffPage) -> str | None:
    # Why a level's blocks cannot go to a decoder as they are.
    code, photometric = int(page.compression), int(page.photometric)
    if code == APERIO_YCBCR:
        return f"level {number} is JPEG 2000 in YCbCr (33003), whose colours only OpenSlide converts"
    if code not in (JPEG, APERIO_RGB, JPEG2000):
        name = compression_name(code)
        return f"the blocks of level {number} are compressed with {name}, not JPEG or JPEG 2000"
    bits = page.bitspersample
    if int(page.planarconfig) != 1 or page.samplesperpixel != 3 or bits != 8 or int(page.sampleformat) != 1:
        return f"level {number} is not three interleaved samples of 8 bits"
    if photometric != _RGB and (code != JPEG or photometric != _YCBCR):
        return f"level {number} has the photometric interpretation {photometric}, not RGB or YCbCr"
    if page.imagedepth != 1 or page.tiledepth != 1:
        return f"level {number} is a volume"
    return None


def _strange_boxes(path: Path, number: int, page: tifffile.TiffPage) -> str | None:
    # What JP2 boxes say of a level's colours that its bare code streams would not; the first block tells for all.
    at = next((at for at, count in enumerate(page.databytecounts) if count > 0), None)
    if at is None or int(page.compression) == JPEG:
        return None
    try:
        strange = strange_colours(_beginning(path, page.dataoffsets[at], page.databytecounts[at], is_jpeg=False))
    except (ValueError, OSError, OverflowError):
        return None  # damage, which is looked for elsewhere
    return None if strange is None else f"level {number} is JPEG 2000 whose JP2 boxes say {strange}"


def _level(path: Path, number: int, page: tifffile.TiffPage) -> TiffLevel:
    width, height, block_width, block_height = (
        page.imagewidth,
        page.imagelength,
        page.tilewidth,
        page.tilelength,
    )
    if min(width, height, block_width, block_height) < 1:
        raise ValueError(f"level {number} has the size {width}x{height} in blocks of {block_width}x{block_height}")
    columns, rows = -(-width // block_width), -(-height // block_height)
    offsets, counts = np.array(page.dataoffsets, np.int64), np.array(page.databytecounts, np.int64)
    _check_places(path, number, columns * rows, offsets, counts)
    # Some writers leave a block out and keep an offset; readers take it for blank. A whole level of them is damage.
    if not counts.any() and offsets.all():
        raise SlideError(
            f"{path} is truncated or damaged: all {len(counts)} blocks of level {number} have a place in the file, but "
            "the byte count 0. Copy the slide again from its source."
        )
    code, photometric = int(page.compression), int(page.photometric)
    colour: Colour = "ycbcr" if photometric == _YCBCR else "rgb"
    streams = None
    filled = np.flatnonzero(counts > 0)
    if filled.size:
        at = int(filled[0])
        where = f"block {at % columns}, {at // columns} (column, row) of level {number}"
        try:
            block = _beginning(path, int(offsets[at]), int(counts[at]), code == JPEG)
            if code == JPEG:
                streams = BlockStreams(colour, page.jpegtables, block)
                header = streams.header
                found = header.width, header.height, header.components, header.precision
                if header.process not in (0xC0, 0xC1, 0xC2):
                    raise ValueError("it is a JPEG of a kind that decoders do not know (lossless or arithmetic)")
            else:
                codestream = parse_codestream(block)
                found = codestream.width, codestream.height, len(codestream.bits), max(codestream.bits)
            if found != (block_width, block_height, 3, 8):
                raise ValueError(
                    f"it is {found[0]}x{found[1]} pixels of {found[2]} components with {found[3]} bits, "
                    f"the TIFF says {block_width}x{block_height} pixels of 3 with 8"
                )
        except ValueError as error:
            raise SlideError(
                f"{path} is truncated or damaged: {where}: {error}. Copy the slide again from its source, "
                f"or convert it, for example: {CONVERT.format(name=path.name)}."
            ) from error
    return TiffLevel(
        width=width,
        height=height,
        block_width=block_width,
        block_height=block_height,
        columns=columns,
        rows=rows,
        offsets=offsets,
        counts=counts,
        compression="jpeg" if code == JPEG else "jpeg2000",
        colour=colour,
        streams=streams,
    )


def _beginning(path: Path, offset: int, count: int, is_jpeg: bool) -> bytes:
    # A block as far as its header goes, which nearly always is short.
    with path.open("rb") as file:
        block = os.pread(file.fileno(), min(count, _HEADER_BYTES), offset)
        if is_jpeg and count > _HEADER_BYTES:
            try:
                for _ in segments(block):
                    pass
            except ValueError:
                return os.pread(file.fileno(), min(count, _MOST_HEADER_BYTES), offset)
    return block


def _check_places(path: Path, number: int, blocks: int, offsets: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
    size = path.stat().st_size
    if len(offsets) != blocks or len(counts) != blocks:
        raise SlideError(
            f"{path} is truncated or damaged: level {number} has {blocks} blocks, but {len(offsets)} offsets "
            f"and {len(counts)} byte counts. Copy the slide again from its source."
        )
    wrong = np.flatnonzero((counts < 0) | ((counts > 0) & ((offsets <= 0) | (offsets > size - counts))))
    if wrong.size:
        at = int(wrong[0])
        raise SlideError(
            f"{path} is truncated or damaged: {wrong.size} of the {blocks} blocks of level {number} lie "
            f"outside the file; the first, number {at}, takes {counts[at]} bytes from byte {offsets[at]} on, "
            f"and the file has {size}. Copy the slide again from its source."
        )


def _spread_blanks(finer: TiffLevel, coarser: TiffLevel) -> None:
    # Some Aperio scanners leave blocks out and write damaged ones above them in the pyramid. OpenSlide draws
    # those from the finer level, so they count as blank here too.
    across = max(1, round(finer.columns / coarser.columns))
    down = max(1, round(finer.rows / coarser.rows))
    blank = np.flatnonzero(finer.counts == 0)
    columns, rows = blank % finer.columns // across, blank // finer.columns // down
    inside = (columns < coarser.columns) & (rows < coarser.rows)
    coarser.counts[rows[inside] * coarser.columns + columns[inside]] = 0


def _resolution(page: tifffile.TiffPage) -> tuple[float, float] | None:
    # Pixels per centimetre (unit 3) or inch (unit 2; the default) made microns per pixel.
    try:
        unit = {2: 25400.0, 3: 10000.0}[int(page.tags.valueof("ResolutionUnit", 2))]
        (x, x_parts), (y, y_parts) = page.tags.valueof("XResolution"), page.tags.valueof("YResolution")
        return (unit * x_parts / x, unit * y_parts / y) if x_parts and y_parts else None
    except (KeyError, TypeError, ValueError, ZeroDivisionError):  # not said, or no fractions
        return None


def _properties(page: tifffile.TiffPage) -> dict[str, str]:
    names = ("ImageDescription", "Software", "XResolution", "YResolution", "ResolutionUnit")
    found = {f"tiff.{name}": page.tags.valueof(name) for name in names}
    return {name: str(value) for name, value in found.items() if value is not None}
