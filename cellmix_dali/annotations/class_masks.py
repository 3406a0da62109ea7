"""Class masks of a slide, read anywhere: from polygons, or from a second slide file that holds classes as colours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import shapely
import tifffile
from numpy.typing import NDArray

from .._arguments import IGNORED
from ..errors import ArgumentError, SlideError
from ..slides import Slide
from ..slides.grey_blocks import GreyBlocks
from ..slides.levels import Box
from ..slides.tiff import compression_name
from .geojson import Annotations

__all__ = ["IGNORED", "ClassMask", "PolygonMask", "SlideMask"]

_SLACK = 0.02  # share by which a mask's proportions may differ from the slide's; 2 pixels in any case
_LOSSLESS = {1, 5, 8, 32773, 32946, 34925, 50000}  # none, LZW, Deflate, PackBits, Deflate again, LZMA, Zstandard
_COARSER = 0.02  # share by which a level of a mask may be coarser than what is asked for


class ClassMask(Protocol):
    """Says the class of points of a slide."""

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return the classes of a raster of points.

        Parameters
        ----------
        x, y : float64 arrays (columns,) and (rows,)
            Places of the points, the middles of pixels, in pixels of the slide's first level; evenly apart, ascending.

        Returns
        -------
        uint8 array (rows, columns)

        Raises
        ------
        SlideError
            If the mask cannot be read there.
        """

    def close(self) -> None:
        """Close what is open."""


class PolygonMask:
    """Classes from polygons.

    A point has the class of the polygon that it lies within. Where polygons of several classes overlap, the class that
    stands later in `classes` wins, whatever the order in the file. What lies on an outline counts as on its right, and
    as below it, so polygons that share an edge leave no gap and do not overlap.

    Parameters
    ----------
    annotations : Annotations
        In pixels of the slide's first level. Polygons of other classes are left aside.
    classes : sequence of str
        The classes; the n-th has the value n, counted from 1.
    unannotated : int, default 0
        The value of what no polygon covers.

    Raises
    ------
    ArgumentError
        If there are named polygons, and none is of these classes.
    """

    def __init__(self, annotations: Annotations, classes: Sequence[str], *, unannotated: int = 0) -> None:
        known = sorted(set(annotations.names))
        if known and not set(known) & set(classes):
            raise ArgumentError(
                f"The annotations have polygons of {', '.join(map(repr, known))}, and none of the classes "
                f"{', '.join(map(repr, classes))}: correct the names."
            )
        self._unannotated = unannotated
        value = {name: number for number, name in enumerate(classes, 1)}
        chosen = [
            (value[name], part)
            for polygon, name in zip(annotations.polygons, annotations.names, strict=True)
            if name in value
            for part in shapely.get_parts(polygon)
        ]
        chosen.sort(key=lambda pair: pair[0])  # later classes are painted over earlier ones
        self._values = [value for value, _ in chosen]
        self._edges = [_edges(part) for _, part in chosen]
        self._tree = shapely.STRtree([part for _, part in chosen])

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.uint8]:
        """See `ClassMask.at`."""
        from ._fill import fill  # numba takes a second to import

        canvas = np.full((len(y), len(x)), self._unannotated, np.uint8)
        met = self._tree.query(shapely.box(x[0], y[0], x[-1], y[-1]))
        for number in np.sort(met).tolist():
            fill(self._edges[number], x, y, canvas, self._values[number])
        return canvas

    def close(self) -> None:
        """Nothing is open."""


def _edges(polygon: shapely.Polygon) -> NDArray[np.float64]:
    """The edges of all rings that are not level, (edges, 4), each from its upper end to its lower one."""
    found = []
    for ring in (polygon.exterior, *polygon.interiors):
        points = shapely.get_coordinates(ring)
        found.append(np.concatenate([points[:-1], points[1:]], axis=1))
    edges = np.concatenate(found)
    upward = edges[:, 1] > edges[:, 3]
    edges[upward] = edges[upward][:, [2, 3, 0, 1]]
    return np.ascontiguousarray(edges[edges[:, 1] != edges[:, 3]], np.float64)


class SlideMask:
    """Classes from a second slide file of the same extent: grey, 8 bits, the class of each pixel its value.

    The level is that whose resolution is the wanted one, else the next finer one; a point takes the pixel that it lies
    in. So coarser levels must have been made by taking pixels, not by averaging them.

    Parameters
    ----------
    mask : Slide
        The mask; compressed without loss.
    frame : Box
        What it shows, in pixels of the slide's first level.
    values : int
        Pixels have the values 0 to ``values - 1``, or 255 where they are to be ignored.

    Raises
    ------
    ArgumentError
        If the mask has other proportions than what it should show, or is not a TIFF that is known to be without loss.
    """

    def __init__(self, mask: Slide, frame: Box, values: int) -> None:
        first = mask.levels[0]
        wanted = first.width * frame.height / frame.width
        if abs(wanted - first.height) > max(2.0, _SLACK * wanted):
            raise ArgumentError(
                f"The mask {mask.path} has {first.width} x {first.height} pixels, what it should show "
                f"{frame.width} x {frame.height}: a mask shows the slide, in its proportions, at any resolution. "
                "origin='bounds' or 'level0' says whether it shows the slide's bounds or its whole first level."
            )
        lossy = _lossy_compression(mask.path)
        if lossy is not None:
            raise ArgumentError(
                f"The mask {mask.path} is {lossy}, which may change values: its classes would be others at their "
                "borders. Write a TIFF with Deflate or LZW, such as tifffile's compression='zlib'."
            )
        self._slide, self._frame, self._values = mask, frame, values
        self._blocks = GreyBlocks(mask.path)
        finest = frame.width / first.width, frame.height / first.height
        self._scales = [(finest[0] * level.downsample, finest[1] * level.downsample) for level in mask.levels]

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.uint8]:
        """See `ClassMask.at`. What lies beyond the mask is `IGNORED`."""
        step = (x[-1] - x[0]) / (len(x) - 1) if len(x) > 1 else self._scales[0][0]
        fitting = [number for number, (across, _) in enumerate(self._scales) if across <= step * (1 + _COARSER)]
        number = max(fitting, default=0)
        level, (across, down) = self._slide.levels[number], self._scales[number]
        columns = np.floor((x - self._frame.x) / across).astype(np.int64)
        rows = np.floor((y - self._frame.y) / down).astype(np.int64)
        within_x, within_y = (columns >= 0) & (columns < level.width), (rows >= 0) & (rows < level.height)
        if not (within_x.any() and within_y.any()):
            return np.full((len(y), len(x)), IGNORED, np.uint8)
        columns, rows = columns[within_x], rows[within_y]
        left, top = int(columns[0]), int(rows[0])
        pixels = self._pixels(number, left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1)
        if pixels.shape != (len(rows), len(columns)):  # another resolution; else they are what was asked for
            pixels = pixels[(rows - top)[:, None], columns - left]
        classes = self._checked(pixels)
        if classes.shape == (len(y), len(x)):
            return classes
        found = np.full((len(y), len(x)), IGNORED, np.uint8)
        found[np.ix_(within_y, within_x)] = classes
        return found

    def close(self) -> None:
        """Close the mask's file."""
        self._slide.close()
        self._blocks.close()

    def _pixels(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Grey values, (height, width); what OpenSlide must read comes as RGB."""
        size = self._slide.file_size(level)
        if size in self._blocks:
            return self._blocks.read(size, x, y, width, height)
        pixels = self._slide.read_region(level, x, y, width, height)
        grey: NDArray[np.uint8] = pixels[..., 0]
        if (pixels != grey[..., None]).any():
            raise SlideError(f"The mask {self._slide.path} is coloured: write the classes' numbers as grey values.")
        return grey

    def _checked(self, classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Classes, if there are such."""
        wrong = (classes >= self._values) & (classes != IGNORED)
        if wrong.any():
            raise SlideError(
                f"The mask {self._slide.path} has the value {int(classes[wrong][0])}: with values={self._values} they "
                f"go from 0 to {self._values - 1}, and {IGNORED} is ignored. Correct the mask, or the number of values."
            )
        return classes


def _lossy_compression(path: Path) -> str | None:
    """How a file is compressed, unless it is a TIFF whose pixels come out as they were."""
    try:
        with tifffile.TiffFile(path) as file:
            code = int(file.pages.first.compression)
    except Exception:  # tifffile raises nearly anything on other formats
        return "not a TIFF"
    return None if code in _LOSSLESS else f"compressed as {compression_name(code)}"
