"""A slide: its levels, its encoded blocks where the file has them, and its pixels in every case."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cellmix_dali.errors import ArgumentError, SlideError
from cellmix_dali.slides.block_reader import BlockReader
from cellmix_dali.slides.damage import BlockCheck
from cellmix_dali.slides.found import Found
from cellmix_dali.slides.host_jpeg import decode_into
from cellmix_dali.slides.levels import Level
from cellmix_dali.slides.opening import look_at
from cellmix_dali.slides.slide_blocks import SlideBlocks

__all__ = ["Slide", "open_slide"]

_BAND_PIXELS = 1 << 25  # a thumbnail is made of bands of about this many pixels
_OTHER_BYTES = 1 << 14  # of memory that a slide takes besides its tables and properties, about
_EXACT = 1 / 1024  # OpenSlide draws without blurring when a region begins this near to a pixel of the level


class Slide:
    """A slide as `open_slide` found it.

    Several threads may read from one Slide at once. It pickles as its path and looks at the file again where
    it is unpickled; files are opened by the process that reads, so a forked child never shares a handle.

    Parameters
    ----------
    path : path-like
        The slide file.
    found : Found, optional
        What is known of it, as an index has it. By default the file is looked at, see `open_slide`.

    Attributes
    ----------
    path : Path
        The slide file, absolute; of one in a store the local file that stands for it.
    levels : tuple of Level
        Level 0 is the largest. They have their true scales: see `cellmix_dali.slides.scales`.
    file_levels : tuple of int
        Number of each level in the file, as OpenSlide counts; pictures that are not levels are left out.
    notes : tuple of str
        For a person: levels that were given another scale than their size says, or left out, and why.
    mpp : (float, float) or None
        Microns per pixel of level 0, across and down, as the file says them: not judged.
    bounds : Box
        The region of level 0 that is not empty, where the file says one; else the whole level.
    properties : mapping of str to str
        OpenSlide's properties; some of them, by the same names, where OpenSlide refuses the file or is not asked. Of a
        tiled TIFF they are read when somebody asks for one, which may raise a SlideError.
    route : {"direct", "openslide"}
        Whether `blocks` works, on one level at least: those without a `Level.block_width` OpenSlide reads.
    reason : str
        A sentence that says why this route.
    vendor : str or None
        OpenSlide's name of the format; None where it has none.
    format : str
        The name of the format that took the file, of `cellmix_dali.slides.formats.FORMATS`.
    """

    def __init__(self, path: str | os.PathLike[str], found: Found | None = None) -> None:
        found = found or look_at(path)
        self.path = found.path
        self.levels = found.levels
        self.file_levels = tuple(of.number for of in found.scaled)
        self.notes = found.notes
        self.mpp = found.mpp
        self.bounds = found.bounds
        self.properties: Mapping[str, str] = MappingProxyType(found.properties)
        # Those that OpenSlide has to be asked for take no memory before, and little as a rule.
        self._said = found.properties if isinstance(found.properties, dict) else {}
        self.route: Literal["direct", "openslide"] = "direct" if found.tables else "openslide"
        self.reason = found.reason
        self.vendor: str | None = found.vendor
        self.format = found.format
        self._blocks = SlideBlocks(found)
        self._scaled = found.scaled
        self._pixels = found.pixels
        self._blanks_from_finer = found.blanks_from_finer
        self._stored = found.stored

    def __reduce__(self) -> tuple[type[Slide], tuple[Path]]:
        return Slide, (self.path,)

    def __repr__(self) -> str:
        first = self.levels[0]
        return f"<Slide {self.path.name}: {first.width}x{first.height}, {len(self.levels)} levels, {self.route}>"

    def __enter__(self) -> Slide:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files that this process holds open; a later read opens them again."""
        self._blocks.close()
        if self._pixels is not None:
            self._pixels.close()

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the tables of its blocks take, about; of an index's slide they lie in its file."""
        said = sum(map(len, self._said.values()))
        return _OTHER_BYTES + said + self._blocks.nbytes

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that blocks are read from; none on the openslide route."""
        return self._blocks.files

    def _level(self, level: int) -> Level:
        if not 0 <= level < len(self.levels):
            raise ArgumentError(f"{self.path} has levels 0 to {len(self.levels) - 1}, not {level}.")
        return self.levels[level]

    def file_size(self, level: int) -> tuple[int, int]:
        """Return width and height in pixels that a level has in the file, its padding included."""
        self._level(level)
        of = self._scaled[level]
        return of.file_width, of.file_height

    def blocks(self, level: int, columns: Sequence[int], rows: Sequence[int]) -> list[bytes | None]:
        """Read encoded blocks as complete streams.

        Parameters
        ----------
        level : int
            Pyramid level.
        columns, rows : sequences of int, of one length
            Which blocks: column and row of each.

        Returns
        -------
        list of (bytes or None)
            JPEG streams, or bare JPEG 2000 code streams, that any decoder shows in the right colours, each
            `Level.block_width` by `Level.block_height` pixels: crop the last ones to the level. None for a blank block,
            which has no bytes in the file: `read_region` says how it looks.

        Raises
        ------
        SlideError
            Where OpenSlide reads the level, and where a block is not what it should be.
        NotReadError
            Where a block cannot be read for a reason of the moment.
        ArgumentError
            If there is no such level or block.
        """
        self._level(level)
        return self._blocks.read(level, columns, rows)

    def block(self, level: int, column: int, row: int) -> bytes | None:
        """Read one encoded block: `blocks` for a single place."""
        return self.blocks(level, (column,), (row,))[0]

    def block_reader(self, level: int, *, scans: bool = False, height: int | None = None) -> BlockReader:
        """Make a reader for many blocks of a level, which checks them, too; for the direct route only.

        Parameters
        ----------
        level : int
            Pyramid level.
        scans : bool, default False
            Whether to follow the scans of JPEG blocks, see `cellmix_dali.slides.damage.BlockCheck`.
        height : int, optional
            Of blocks that are joined of rows, in pixels, a multiple of `Level.row_step`: rows of blocks are then
            counted by that step. By default blocks are those of the level's grid.

        Returns
        -------
        BlockReader

        Raises
        ------
        SlideError
            Where OpenSlide reads the level.
        ArgumentError
            If there is no such level, or no block of that height.
        """
        self._level(level)
        return self._blocks.reader(level, scans=scans, height=height)

    def read_region(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Read pixels.

        Parameters
        ----------
        level : int
            Pyramid level.
        x, y : int
            Left and top edge in pixels of that level; may lie outside.
        width, height : int
            Size in pixels of that level.

        Returns
        -------
        uint8 array, shape (height, width, 3)
            RGB. What is transparent or outside the slide is white.

        Raises
        ------
        SlideError
            If the slide cannot be read there; a `NotReadError` if the moment is to blame.
        ArgumentError
            If there is no such level, or the size is not positive.

        Notes
        -----
        OpenSlide counts a region's place in pixels of level 0, and blurs where that falls between two pixels
        of the level (levels whose downsample is not a whole number). Where a level's blocks can be read such regions
        are put together from them, exactly; elsewhere the nearest place is taken.
        """
        if width < 1 or height < 1:
            raise ArgumentError(f"A region needs a positive width and height, not {width}x{height}.")
        self._level(level)
        downsample = self._scaled[level].file_downsample
        place = round(x * downsample), round(y * downsample)
        exact = all(abs(a / downsample - b) <= _EXACT for a, b in zip(place, (x, y), strict=True))
        with self._there(level, x, y, width, height):
            if self._pixels is None or (not exact and self._is_covered(level, x, y, width, height)):
                pixels = self._assemble(level, x, y, width, height)
            else:
                pixels = self._pixels.read_region(self.file_levels[level], place, (width, height))
        of = self.levels[level]
        if x + width > of.width or y + height > of.height:  # beyond it there may be padding, or the rest of a region
            pixels = pixels if pixels.flags.writeable else pixels.copy()
            pixels[max(of.height - y, 0) :] = 255
            pixels[:, max(of.width - x, 0) :] = 255
        return pixels

    def _there(self, level: int, x: int, y: int, width: int, height: int) -> AbstractContextManager[None]:
        """Have what a region needs on the disk, of a slide in a store."""
        if self._stored is None:
            return nullcontext()
        downsamples = [of.file_downsample for of in self._scaled]
        return self._stored.region(self._blocks.tables, downsamples, level, (x, y, width, height))

    def _is_covered(self, level: int, x: int, y: int, width: int, height: int) -> bool:
        # Whether the level's blocks show all of a region, as far as it lies on the level.
        if self._blocks.of(level) is None:
            return False
        of = self.levels[level]
        part = of.shown
        ends = min(x + width, of.width) <= part.x + part.width and min(y + height, of.height) <= part.y + part.height
        return ends and max(x, 0) >= part.x and max(y, 0) >= part.y

    def _assemble(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        # The region from its blocks, decoded here.
        table, canvas = self._blocks.table(level), np.full((height, width, 3), 255, np.uint8)
        wide, high = table.block_width, table.block_height
        shown = self.levels[level].shown
        x, y = x - shown.x, y - shown.y  # as the grid counts
        left, right = max(x, 0), min(x + width, shown.width)
        top, bottom = max(y, 0), min(y + height, shown.height)
        if left >= right or top >= bottom:
            return canvas
        for row in range(top // high, -(-bottom // high)):
            for column in range(left // wide, -(-right // wide)):
                x0, x1 = max(left, column * wide), min(right, (column + 1) * wide)
                y0, y1 = max(top, row * high), min(bottom, (row + 1) * high)
                pixels = self._decode(level, column, row)
                inside = pixels[y0 - row * high : y1 - row * high, x0 - column * wide : x1 - column * wide]
                canvas[y0 - y : y1 - y, x0 - x : x1 - x] = inside
        return canvas

    def _decode(self, level: int, column: int, row: int) -> NDArray[np.uint8]:
        table = self._blocks.table(level)
        stream = self.block(level, column, row)
        if stream is None:
            size = table.block_width, table.block_height
            if self._pixels is None or not self._blanks_from_finer or level == 0:
                return np.full((size[1], size[0], 3), 255, np.uint8)
            downsample = self._scaled[level].file_downsample
            place = round(column * size[0] * downsample), round(row * size[1] * downsample)
            return self._pixels.read_region(self.file_levels[level], place, size)
        try:
            # Before the decoder sees it: a block may say that it is a picture of gigabytes.
            damage = BlockCheck(table.block_width, table.block_height).damage(stream)
            if damage is not None:
                raise ValueError(damage)
            with Image.open(BytesIO(stream)) as image:
                pixels: NDArray[np.uint8] = np.asarray(image.convert("RGB"))
        except Exception as error:  # Pillow raises nearly anything on garbage
            raise SlideError(
                f"Cannot decode {table.where(self.path, level, column, row)}: {error}. Copy the slide again from its "
                "source, or leave this place out."
            ) from error
        return pixels

    def _band(self, level: int, y: int, height: int) -> NDArray[np.uint8] | None:
        """Rows of a level from its JPEG blocks, as `read_region` gives them; None where it has to read them.

        Several times as fast as OpenSlide. Blank and damaged blocks are left to it, which says how they look.
        """
        table = self._blocks.of(level)
        if table is None or table.compression != "jpeg" or table.covered is not None or table.row_step is not None:
            return None
        of = self._scaled[level]
        if (of.width, of.height) != (of.file_width, of.file_height):  # the file has pixels beyond the picture
            return None
        wide, high, first = table.block_width, table.block_height, y // table.block_height
        band, block = np.empty((height, table.width, 3), np.uint8), np.empty((high, wide, 3), np.uint8)
        reader, columns = self.block_reader(level), np.arange(table.columns)
        for row in range(first, -(-(y + height) // high)):
            top, bottom = max(y, row * high), min(y + height, (row + 1) * high)
            for column, stream in enumerate(reader.read(columns, np.full(len(columns), row))):
                if not isinstance(stream, np.ndarray) or not decode_into(stream, block):
                    return None
                left, right = column * wide, min((column + 1) * wide, table.width)
                band[top - y : bottom - y, left:right] = block[top - row * high : bottom - row * high, : right - left]
        return band

    def thumbnail(self, max_size: int) -> NDArray[np.uint8]:
        """Make a small picture of the whole slide.

        Parameters
        ----------
        max_size : int
            Pixels of its longer side; a smaller slide is not enlarged.

        Returns
        -------
        uint8 array, shape (height, width, 3)
            RGB over white, in the slide's proportions.

        Raises
        ------
        SlideError
            If the slide cannot be read.
        ArgumentError
            If `max_size` is not positive.
        """
        if max_size < 1:
            raise ArgumentError(f"A thumbnail needs a positive size, not {max_size}.")
        first = self.levels[0]
        scale = max(1.0, max(first.width, first.height) / max_size)
        size = max(1, round(first.width / scale)), max(1, round(first.height / scale))
        number = max((i for i, level in enumerate(self.levels) if level.downsample <= scale), default=0)
        level = self.levels[number]
        # Bands of whole multiples of the first reduction, so that a slide without a pyramid fits in memory.
        factor = max(1, int(scale / level.downsample / 2))
        step = factor * max(1, _BAND_PIXELS // (factor * level.width))
        bands = []
        for y in range(0, level.height, step):
            rows = min(step, level.height - y)
            with self._there(number, 0, y, level.width, rows):
                pixels = self._band(number, y, rows)
                if pixels is None:
                    pixels = self.read_region(number, 0, y, level.width, rows)
            bands.append(pixels if factor == 1 else np.asarray(Image.fromarray(pixels).reduce(factor)))
        whole = bands[0] if len(bands) == 1 else np.concatenate(bands)
        return np.array(Image.fromarray(whole).resize(size, Image.Resampling.LANCZOS))


def open_slide(path: str | os.PathLike[str]) -> Slide:
    """Open a slide and choose how to read it.

    Where a format of `cellmix_dali.slides.formats` finds blocks of JPEG or RGB JPEG 2000 in a file, it goes the direct
    route: encoded blocks are handed out as they lie in it. All else that OpenSlide reads goes the openslide route.

    Parameters
    ----------
    path : path-like
        The slide file; of a DICOM slide, any file of its series, which lies in one folder. Or the URL of a slide in a
        store (s3://, gs://, az://, https://), which needs the package's extra ``cloud``.

    Returns
    -------
    Slide
        The slide; use it as a context manager, or close it.

    Raises
    ------
    SlideError
        If there is no such slide, or it is broken, or of a kind that cannot be read; the message says which.
    NotReadError
        If it cannot be read just now, for a reason that says nothing of the slide.
    MissingDependencyError
        If OpenSlide cannot be imported.
    """
    return Slide(path)
