"""A tile's image: the slide file's own block copied as it is, or pixels encoded once."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from ..errors import ArgumentError, SlideError, unknown_name

if TYPE_CHECKING:
    from ..slides import Slide

__all__ = ["Encoding", "can_copy", "copy_blocks"]

_EXTENSIONS = {"jpeg": "jpg", "png": "png"}
_SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")


@dataclass(frozen=True)
class Encoding:
    """How tiles are encoded that cannot be copied. The same pixels always give the same bytes.

    Attributes
    ----------
    format : {"jpeg", "png"}
        JPEG (ITU-T T.81, baseline, YCbCr in JFIF), or PNG, which loses nothing.
    quality : int, default 90
        Of JPEG, 1 to 100 (libjpeg's scale).
    subsampling : {"4:4:4", "4:2:2", "4:2:0"}, default "4:2:0"
        Of JPEG: whether colour has the full resolution, half of it across, or half of it both ways.

    Raises
    ------
    ArgumentError
        If a value is not one of these.
    """

    format: str = "jpeg"
    quality: int = 90
    subsampling: str = "4:2:0"

    def __post_init__(self) -> None:
        if self.format not in _EXTENSIONS:
            raise unknown_name("format", self.format, _EXTENSIONS)
        if not 1 <= self.quality <= 100:
            raise ArgumentError(f"quality={self.quality}: give 1 (small files) to 100 (best pictures).")
        if self.subsampling not in _SUBSAMPLINGS:
            raise unknown_name("subsampling", self.subsampling, _SUBSAMPLINGS)

    @property
    def extension(self) -> str:
        """Ending of the images' names: "jpg" or "png"."""
        return _EXTENSIONS[self.format]

    def encode(self, pixels: NDArray[np.uint8]) -> bytes:
        """Encode one tile.

        Parameters
        ----------
        pixels : uint8 array, shape (height, width, 3)
            RGB.

        Returns
        -------
        bytes
            A complete image file.

        Raises
        ------
        ArgumentError
            If the array is not uint8 of that shape, or is empty.
        """
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or pixels.size == 0:
            raise ArgumentError(
                f"A tile to encode is a non-empty uint8 array of shape (height, width, 3), not {pixels.dtype} "
                f"{pixels.shape}. Convert the picture to RGB bytes first."
            )
        out, picture = BytesIO(), Image.fromarray(pixels)
        if self.format == "png":
            picture.save(out, "png")
        else:
            picture.save(out, "jpeg", quality=self.quality, subsampling=self.subsampling)
        return out.getvalue()


def can_copy(slide: Slide, level: int, x: ArrayLike, y: ArrayLike, size: ArrayLike) -> NDArray[np.bool_]:
    """Say which windows are exactly one JPEG block of the slide file, so that `copy_blocks` can return their images.

    Parameters
    ----------
    slide : Slide
        An open slide.
    level : int
        Pyramid level.
    x, y : integer arrays (n,)
        Upper left corners of the windows in pixels of the level.
    size : integer array (n,), or one number for all
        Sides of the windows in pixels of the level, which are those of the finished tiles, too: what is resized cannot
        be copied.

    Returns
    -------
    bool array (n,)
        False, too, for a block that reaches over the level's edge: its pixels there are not part of the slide.
    """
    left, top, side = np.asarray(x), np.asarray(y), np.asarray(size)
    of = slide.levels[level]
    own = of.block_width
    if own is None or of.compression != "jpeg" or own != of.block_height:
        return np.zeros(left.shape, np.bool_)
    part = of.shown
    left, top = left - part.x, top - part.y
    whole = (left >= 0) & (top >= 0) & (left + own <= part.width) & (top + own <= part.height)
    aligned: NDArray[np.bool_] = whole & (side == own) & (left % own == 0) & (top % own == 0)
    return aligned


def copy_blocks(slide: Slide, level: int, x: ArrayLike, y: ArrayLike) -> list[memoryview | SlideError | None]:
    """Return the images of windows that are one block each, as the slide file has them, without encoding anew.

    Parameters
    ----------
    slide : Slide
        An open slide.
    level : int
        Pyramid level.
    x, y : integer arrays (n,)
        Upper left corners of windows for which `can_copy` holds.

    Returns
    -------
    list of (memoryview of bytes, SlideError or None)
        A JPEG file that any reader shows in the right colours: RGB blocks carry Adobe's APP14 marker. The codes of its
        scan have been followed: it is whole. In the place of a damaged block stands what is wrong with it; None stands
        for a blank block, which has no bytes in the file: its pixels are those of `Slide.read_region`.

    Raises
    ------
    ArgumentError
        If a window cannot be copied.
    SlideError
        If the slide is not on the direct route.
    """
    of = slide.levels[level]
    left, top, own = np.asarray(x, np.int64), np.asarray(y, np.int64), of.block_width or 1
    copyable = can_copy(slide, level, left, top, own)
    if not copyable.all():
        place = int(copyable.argmin())
        raise ArgumentError(
            f"The window at x {left[place]}, y {top[place]} of level {level} of {slide.path} is not one JPEG block: "
            "encode its pixels, and ask can_copy first."
        )
    part = of.shown
    reader, columns, rows = slide.block_reader(level, scans=True), (left - part.x) // own, (top - part.y) // own
    # From its first block the reader learns how to read the others faster.
    blocks = reader.read(columns[:1], rows[:1]) + reader.read(columns[1:], rows[1:])
    return [block.data if isinstance(block, np.ndarray) else block for block in blocks]
