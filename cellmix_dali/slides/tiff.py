"""The structure of a tiled TIFF slide: its levels, where each block lies, and what makes it a whole stream.

Sources: TIFF 6.0 (tags, tiles), Adobe TIFF Technical Notes (JPEG in TIFF), the BigTIFF design, Aperio's
"Digital Slides and Third-party Data Interchange" (33003 and 33005), and OpenSlide's format pages for which
directories are levels.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.errors import SlideError
from cellmix_dali.slides.block_table import BlockTable
from cellmix_dali.slides.jp2 import strange_colours
from cellmix_dali.slides.jpeg import BlockStreams, segments
from cellmix_dali.slides.jpeg2000 import parse_codestream
from cellmix_dali.slides.samples import check_block_size, check_pictures
from cellmix_dali.slides.tiff_directories import broken
from cellmix_dali.slides.tiff_pages import TiffFile, TiffPage

__all__ = [
    "CONVERT",
    "TiffSlide",
    "all_tiled",
    "compression_name",
    "read_tiff",
    "spread_blanks",
    "tiff_levels",
]

CONVERT = "vips tiffsave {name} out.tiff --tile --pyramid --compression jpeg"

_NOT_COMPRESSED, JPEG, APERIO_YCBCR, APERIO_RGB, JPEG2000 = 1, 7, 33003, 33005, 34712
_RGB, _PALETTE, _YCBCR = 2, 3, 6
_HEADER_BYTES = 65536
_MOST_HEADER_BYTES = 1 << 26  # a colour profile or a comment may take several segments of 64 KiB
_MOST_SUBIFDS = 64  # levels of one picture
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_PROPERTIES = {
    "ImageDescription": 270, "Software": 305, "XResolution": _X_RESOLUTION, "YResolution": _Y_RESOLUTION,
    "ResolutionUnit": _RESOLUTION_UNIT,
}  # fmt: skip
Colour: TypeAlias = Literal["rgb", "ycbcr"]
Chooser: TypeAlias = "Callable[[Sequence[TiffPage]], tuple[list[TiffPage], int]]"


@dataclass(frozen=True, eq=False)
class TiffSlide:
    """What `read_tiff` found.

    Attributes
    ----------
    levels : tuple of (BlockTable or None)
        All levels; None for one that cannot be read directly.
    sizes : tuple of (int, int)
        Their widths and heights in pixels.
    obstacle : str or None
        Why the first of these cannot: a clause for a person.
    codes : frozenset of int
        The levels' TIFF compression codes.
    mpp : (float, float) or None
        From the resolution tags of the first directory.
    properties : dict
        Its description and resolution tags, named as OpenSlide names them.
    subifds : int
        How many levels are SubIFDs of the first directory, which OpenSlide does not see. They are among `levels`.
    without_bytes : int
        How many blocks of all levels have a place in the file, but the byte count 0: they count as blank.
    """

    levels: tuple[BlockTable | None, ...]
    sizes: tuple[tuple[int, int], ...]
    obstacle: str | None
    codes: frozenset[int]
    mpp: tuple[float, float] | None
    properties: dict[str, str]
    subifds: int = 0
    without_bytes: int = 0

    @property
    def whole(self) -> tuple[BlockTable, ...] | None:
        """The levels, where all can be read directly."""
        found = tuple(level for level in self.levels if level is not None)
        return found if len(found) == len(self.levels) else None


def compression_name(code: int) -> str:
    """Name a TIFF compression for a person, such as "WEBP (50001)"."""
    import tifffile  # only for a name: it takes a tenth of a second to import

    try:
        return f"{tifffile.COMPRESSION(code).name} ({code})"
    except ValueError:
        return str(code)


def all_tiled(tiled: Sequence[TiffPage]) -> tuple[list[TiffPage], int]:
    """Choose every tiled directory as a level, in file order, as Aperio and Philips mean it; none is a SubIFD."""
    return list(tiled), 0


def tiff_levels(tiled: Sequence[TiffPage]) -> tuple[list[TiffPage], int]:
    """Choose the levels of any other TIFF, by falling width, and say how many are SubIFDs.

    They are the first directory, the tiled ones marked as reduced, and the SubIFDs of the first.
    """
    pages, subifds = [page for page in tiled if page.index == 0 or page.subfiletype & 1], 0
    if pages and pages[0].index == 0:
        further = _subifd_levels(pages[0], {page.imagewidth for page in pages})
        pages, subifds = pages + further, len(further)
    pages.sort(key=lambda page: -page.imagewidth)
    return pages, subifds


def read_tiff(path: Path, file: TiffFile, choose: Chooser) -> TiffSlide:
    """Find the levels of a tiled TIFF slide and check that their blocks are there.

    Parameters
    ----------
    path : Path
        The slide.
    file : TiffFile
        The slide, opened; its chain of directories has been checked.
    choose : callable
        Of the tiled directories, those that are levels, and how many of them are SubIFDs: `all_tiled` or
        `tiff_levels`.

    Returns
    -------
    TiffSlide
        The levels in that order, which is OpenSlide's, or why they cannot be read directly.

    Raises
    ------
    SlideError
        If the file is truncated or damaged, has blocks too large for memory, or holds pictures that readers would show
        wrongly (see `cellmix_dali.slides.samples`).
    """
    try:
        tiled = [page for page in file.pages if page.is_tiled]
        pages, subifds = choose(tiled)
        if not pages:
            raise ValueError("no tiled picture in it")
        for number, page in enumerate(pages):
            check_block_size(path, number, page.tilewidth, page.tilelength)
        check_pictures(path, pages, tiled)
        for number, page in enumerate(pages):
            _check_agreement(number, page)
        codes = frozenset(page.compression for page in pages)
        obstacles = [_obstacle(number, page) or _strange_boxes(path, number, page) for number, page in enumerate(pages)]
        levels = tuple(
            _level(path, number, page) if obstacle is None else None
            for number, (page, obstacle) in enumerate(zip(pages, obstacles, strict=True))
        )
        first = file.pages[0]
        mpp, properties = _resolution(first), _properties(first)
    except SlideError:
        raise
    except (ValueError, ArithmeticError, IndexError, MemoryError, OSError) as error:
        raise broken(path, error) from error
    without_bytes = sum(int(((of.counts == 0) & (of.offsets != 0)).sum()) for of in levels if of is not None)
    sizes = tuple((page.imagewidth, page.imagelength) for page in pages)
    return TiffSlide(levels, sizes, next(filter(None, obstacles), None), codes, mpp, properties, subifds, without_bytes)


def _subifd_levels(first: TiffPage, widths: set[int]) -> list[TiffPage]:
    # The lower levels of an OME-TIFF: OME-TIFF specification, "Sub-resolutions".
    if len(first.subifds) > _MOST_SUBIFDS:
        raise ValueError(f"its first directory has {len(first.subifds)} SubIFDs, and a picture at most {_MOST_SUBIFDS}")
    found = []
    for page in first.subpages():
        if not page.is_tiled or page.subfiletype & 4:  # 4: a mask
            continue
        # A level of OpenSlide's may stand in the file a second time.
        smaller = page.imagewidth < first.imagewidth and page.imagelength <= first.imagelength
        if smaller and page.imagewidth not in widths:
            found.append(page)
            widths.add(page.imagewidth)
    return found


def _check_agreement(number: int, page: TiffPage) -> None:
    # Readers show garbage without a word where these tags contradict each other.
    if page.photometric == _PALETTE and page.samplesperpixel != 1:
        raise ValueError(f"level {number} has a palette and {page.samplesperpixel} samples per pixel")
    if page.compression == _NOT_COMPRESSED:
        planes = page.samplesperpixel if page.planarconfig == 1 else 1
        least = page.tilewidth * page.tilelength * planes * page.bitspersample // 8
        counts = page.counts
        short = counts[(counts > 0) & (counts < least)]
        if short.size:
            raise ValueError(
                f"level {number} is not compressed, but has a block of {short[0]} bytes instead of {least}"
            )


def _obstacle(number: int, page: TiffPage) -> str | None:
    # Why a level's blocks cannot go to a decoder as they are.
    code, photometric = page.compression, page.photometric
    if code == APERIO_YCBCR:
        return f"level {number} is JPEG 2000 in YCbCr (33003), whose colours only OpenSlide converts"
    if code not in (JPEG, APERIO_RGB, JPEG2000):
        name = compression_name(code)
        return f"the blocks of level {number} are compressed with {name}, not JPEG or JPEG 2000"
    bits = page.bitspersample
    if page.planarconfig != 1 or page.samplesperpixel != 3 or bits != 8 or page.sampleformat != 1:
        return f"level {number} is not three interleaved samples of 8 bits"
    if photometric != _RGB and (code != JPEG or photometric != _YCBCR):
        return f"level {number} has the photometric interpretation {photometric}, not RGB or YCbCr"
    if page.imagedepth != 1 or page.tiledepth != 1:
        return f"level {number} is a volume"
    return None


def _strange_boxes(path: Path, number: int, page: TiffPage) -> str | None:
    # What JP2 boxes say of a level's colours that its bare code streams would not; the first block tells for all.
    if page.compression == JPEG:
        return None
    offsets, counts = page.offsets, page.counts
    filled = np.flatnonzero(counts > 0)
    try:
        at = int(filled[0])
        strange = strange_colours(_beginning(path, int(offsets[at]), int(counts[at]), is_jpeg=False))
    except (ValueError, IndexError, OSError, OverflowError):
        return None  # damage, which is looked for elsewhere
    return None if strange is None else f"level {number} is JPEG 2000 whose JP2 boxes say {strange}"


def _level(path: Path, number: int, page: TiffPage) -> BlockTable:
    width, height, block_width, block_height = (
        page.imagewidth,
        page.imagelength,
        page.tilewidth,
        page.tilelength,
    )
    if min(width, height, block_width, block_height) < 1:
        raise ValueError(f"level {number} has the size {width}x{height} in blocks of {block_width}x{block_height}")
    columns, rows = -(-width // block_width), -(-height // block_height)
    offsets, counts = page.offsets, page.counts
    _check_places(path, number, columns * rows, offsets, counts)
    # Some writers leave a block out and keep an offset; readers take it for blank. A whole level of them is damage.
    if not counts.any() and offsets.all():
        raise SlideError(
            f"{path} is truncated or damaged: all {len(counts)} blocks of level {number} have a place in the file, but "
            "the byte count 0. Copy the slide again from its source."
        )
    code, photometric = page.compression, page.photometric
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
    return BlockTable(
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


def spread_blanks(finer: BlockTable, coarser: BlockTable) -> None:
    """Count as blank what lies above blank blocks of an Aperio file.

    Some Aperio scanners leave blocks out and write damaged ones above them in the pyramid. OpenSlide draws those from
    the finer level.
    """
    across = max(1, round(finer.columns / coarser.columns))
    down = max(1, round(finer.rows / coarser.rows))
    blank = np.flatnonzero(finer.counts == 0)
    columns, rows = blank % finer.columns // across, blank // finer.columns // down
    inside = (columns < coarser.columns) & (rows < coarser.rows)
    coarser.counts[rows[inside] * coarser.columns + columns[inside]] = 0


def _resolution(page: TiffPage) -> tuple[float, float] | None:
    # Pixels per centimetre (unit 3) or inch (unit 2; the default) made microns per pixel, rounded as OpenSlide does.
    unit = {2: 25400.0, 3: 10000.0}.get(page.number(_RESOLUTION_UNIT, 2))
    x, y = page.real(_X_RESOLUTION), page.real(_Y_RESOLUTION)
    return (unit / x, unit / y) if unit and x and y else None


def _properties(page: TiffPage) -> dict[str, str]:
    found = {f"tiff.{name}": page.value(tag) for name, tag in _PROPERTIES.items()}
    return {name: str(value) for name, value in found.items() if value is not None}
