"""The overview picture of a slide: what was taken for tissue, and which tiles were chosen."""

from __future__ import annotations

import functools
import math
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ..errors import ArgumentError
from .morphology import eroded
from .slide_mask import TissueMask

__all__ = ["overview_picture"]

Colour = tuple[int, int, int]
Whole = npt.NDArray[np.int64]

_SIDE = 1600  # longest side of the slide in the picture, pixels
_NARROWEST = 640  # the picture is at least so wide, for the legend's sake
_TILE, _TISSUE, _TEXT, _PAPER = (0, 60, 230), (0, 150, 70), (30, 30, 30), (255, 255, 255)
_CROWDED = 0.3  # tiles whose lines take more than this share of their area are shown as an area
_QUALITY = 85


def overview_picture(
    thumbnail: npt.NDArray[np.uint8],
    *,
    slide_size: tuple[int, int],
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    size: npt.ArrayLike,
    mask: TissueMask | None = None,
    title: str,
    details: str = "",
    mpp: float | None = None,
) -> bytes:
    """Draw a slide with the outline of its tissue and the grid of its tiles, a legend and a scale bar.

    Parameters
    ----------
    thumbnail : uint8 array (height, width, 3)
        The whole slide; reduced to at most 1600 pixels.
    slide_size : (int, int)
        Width and height of the slide's first level.
    x, y : array_like (n,)
        Upper left corners of the chosen tiles in pixels of the first level.
    size : array_like (n,) or scalar
        Their sides in pixels of the first level.
    mask : TissueMask, optional
        Its outline is drawn.
    title : str
        First line of the legend: the slide's name.
    details : str
        Second line: what there is to say of the tiles. Text that is too long for the picture is cut.
    mpp : float, optional
        Microns per pixel of the first level. Without it there is no scale bar.

    Returns
    -------
    bytes
        A JPEG file; the same for the same arguments.

    Raises
    ------
    ArgumentError
        If the thumbnail is not such an array, `slide_size` or `mpp` is not above 0, or the tiles' arrays do not fit
        together.
    """
    if thumbnail.dtype != np.uint8 or thumbnail.ndim != 3 or thumbnail.shape[2] != 3 or not thumbnail.size:
        raise ArgumentError(
            f"An overview needs a thumbnail of uint8 pixels (height, width, 3), got {thumbnail.dtype} "
            f"{thumbnail.shape}."
        )
    if min(slide_size) < 1 or (mpp is not None and not 0 < mpp < math.inf):
        raise ArgumentError(f"slide_size={slide_size}, mpp={mpp}: an overview needs numbers above 0.")
    arrays = [np.atleast_1d(np.asarray(values, np.float64)) for values in (x, y, size)]
    try:
        left, top, side = np.broadcast_arrays(*arrays)
    except ValueError as error:
        shapes = ", ".join(str(values.shape) for values in arrays)
        raise ArgumentError(f"x, y and size of the tiles have shapes {shapes}: give one of each a tile.") from error
    picture = Image.fromarray(thumbnail)
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    across, down = picture.width / slide_size[0], picture.height / slide_size[1]
    if len(left):
        edges = [
            np.rint(values).astype(np.int64)
            for values in (left * across, top * down, (left + side) * across, (top + side) * down)
        ]
        _draw_tiles(picture, np.stack(edges, axis=1))
    if mask is not None:
        _draw_outline(picture, mask, (across, down))
    page = _with_legend(picture, title, details, None if mpp is None else mpp / across)
    file = BytesIO()
    page.save(file, "JPEG", quality=_QUALITY, subsampling="4:4:4")
    return file.getvalue()


def _draw_tiles(picture: Image.Image, edges: Whole) -> None:
    """Tint tiles, and outline them where they are wide enough: x0, y0, x1, y1 of each, the ends included."""
    # Into arrays of marks: neighbours share a line, and tiles that overlap are not darker than others.
    size = picture.size
    x0, y0, x1, y1 = np.clip(edges, 0, (np.array(size) - 1)[[0, 1, 0, 1]]).T
    inside = _filled(size, x0, y0, x1, y1)
    sides = (x0, y0, x0, y1), (x1, y0, x1, y1), (x0, y0, x1, y0), (x0, y1, x1, y1)
    lines = _filled(size, *(np.concatenate(ends) for ends in zip(*sides, strict=True)))
    crowded = np.count_nonzero(lines) > _CROWDED * np.count_nonzero(inside)
    if crowded:
        lines = inside & ~eroded(inside, 1)
    _blend(picture, inside, _TILE, 0.2 if crowded else 0.08)
    _blend(picture, lines, _TILE, 0.75)


def _filled(size: tuple[int, int], x0: Whole, y0: Whole, x1: Whole, y1: Whole) -> npt.NDArray[np.bool_]:
    """Fill rectangles, by sums over their corners: thousands take as long as ten."""
    corners = np.zeros((size[1] + 1, size[0] + 1), np.int32)
    for x, y, sign in ((x0, y0, 1), (x1 + 1, y0, -1), (x0, y1 + 1, -1), (x1 + 1, y1 + 1, 1)):
        np.add.at(corners, (y, x), sign)
    corners.cumsum(0, out=corners).cumsum(1, out=corners)
    return corners[:-1, :-1] > 0


def _draw_outline(picture: Image.Image, mask: TissueMask, scale: tuple[float, float]) -> None:
    """Draw the border of the tissue, two pixels wide; `scale` is the picture's pixels per pixel of the first level."""
    rows, columns = mask.pixels.shape
    size = [max(1, round(count * of * by)) for count, of, by in zip((columns, rows), mask.scale, scale, strict=True)]
    at = [round(place * by) for place, by in zip(mask.origin, scale, strict=True)]
    if not any(at) and abs(size[0] - picture.width) <= 1 and abs(size[1] - picture.height) <= 1:
        size = list(picture.size)
    # Enlarged masks are smoothed, reduced ones keep their thin parts.
    grey = Image.fromarray(mask.pixels.astype(np.uint8) * 255).resize((size[0], size[1]), Image.Resampling.BILINEAR)
    whole = Image.new("L", picture.size)
    whole.paste(grey, (at[0], at[1]))
    tissue = np.asarray(whole) >= 128
    _blend(picture, tissue & ~eroded(tissue, 2), _TISSUE, 1.0)


def _blend(picture: Image.Image, where: npt.NDArray[np.bool_], colour: Colour, strength: float) -> None:
    """Mix a colour into some pixels."""
    picture.paste(colour, (0, 0), Image.fromarray(where.astype(np.uint8) * round(255 * strength)))


def _with_legend(picture: Image.Image, title: str, details: str, micron: float | None) -> Image.Image:
    """Put a picture on a page with two lines and a scale bar beneath; `micron` is the width of one pixel."""
    width = max(picture.width, _NARROWEST)
    large, small, edge = _font(22), _font(17), 12
    page = Image.new("RGB", (width, picture.height + 76), _PAPER)
    page.paste(picture, ((width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(page)
    room = width - 2 * edge
    if micron is not None:
        length, label = _round_length(picture.width * micron / 5)
        bar = max(1, round(length / micron))
        right = width - edge
        draw.rectangle((right - bar, picture.height + 42, right, picture.height + 48), fill=_TEXT)
        draw.text((right - bar / 2, picture.height + 34), label, fill=_TEXT, font=small, anchor="ms")
        room -= max(bar, round(small.getlength(label))) + 2 * edge
    draw.text((edge, picture.height + 30), _cut(title, large, room), fill=_TEXT, font=large, anchor="ls")
    draw.text((edge, picture.height + 60), _cut(details, small, room), fill=_TEXT, font=small, anchor="ls")
    return page


def _round_length(microns: float) -> tuple[float, str]:
    """Return the largest length of 1, 2 or 5 times a power of ten that is not above this one, and its name."""
    power = 10.0 ** math.floor(math.log10(microns))
    length = max(step * power for step in (1, 2, 5) if step * power <= microns * (1 + 1e-9))
    return length, f"{length / 1000:g} mm" if length >= 1000 else f"{length:g} µm"


def _cut(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """Leave out the middle of a text that is too long: both ends of a file's name tell slides apart."""
    text = " ".join(text.split())
    keep = len(text)
    shown = text
    while keep > 1 and font.getlength(shown) > room:
        keep -= 1
        shown = f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"
    return shown


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: it has Greek and Cyrillic letters, Pillow's own font has not."""
    found = find_spec("matplotlib")  # which takes a quarter of a second to import
    assert found is not None
    assert found.origin is not None
    return ImageFont.truetype(Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", size)
