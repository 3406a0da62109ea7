"""Where a whole slide has tissue: found by its colour, or said by the user in a picture or in annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from .._arguments import path_of
from ..annotations.frame import Origin, frame_of
from ..annotations.origin import annotations_of, refused_shape
from ..errors import ArgumentError, unknown_name
from ..slides import Slide
from ..storage.objects import here
from ..storage.paths import path_problem
from .mask import tissue_mask, tissue_share
from .methods import DEFAULT_METHOD, TissueMethod

if TYPE_CHECKING:
    import shapely

__all__ = ["TissueMask", "find_tissue", "mask_from_geojson", "mask_from_png", "mask_of_pixels"]

BoolArray = npt.NDArray[np.bool_]
ByteArray = npt.NDArray[np.uint8]

_MOST = 4096  # a larger mask is reduced to this longer side, pixels: 16 MB at most
_SLACK = 0.02  # share by which a mask's proportions may differ from the slide's; 2 pixels in any case


@dataclass(frozen=True, eq=False)
class TissueMask:
    """Where a slide has tissue, at a low resolution.

    Attributes
    ----------
    pixels : bool array (rows, columns)
        True on tissue; shows the whole slide, or its bounds.
    scale : (float, float)
        Pixels of the slide's first level per pixel of the mask, across and down.
    method : {"colour", "picture", "annotations"}
        Where it comes from.
    origin : (float, float)
        Where the mask's upper left corner lies, x and y in pixels of the slide's first level. There is no tissue
        beyond the mask.
    """

    pixels: BoolArray
    scale: tuple[float, float]
    method: Literal["colour", "picture", "annotations"]
    origin: tuple[float, float] = (0.0, 0.0)

    def shares(
        self, x: npt.ArrayLike, y: npt.ArrayLike, width: npt.ArrayLike, height: npt.ArrayLike
    ) -> npt.NDArray[np.float32]:
        """Measure the share of tissue in tiles.

        Parameters
        ----------
        x, y, width, height : array_like (n,) or scalars
            Tiles in pixels of the slide's first level.

        Returns
        -------
        float32 array (n,)
            0 to 1, see `cellmix_dali.tissue.tissue_share`.
        """
        left, top = np.asarray(x, np.float64) - self.origin[0], np.asarray(y, np.float64) - self.origin[1]
        return tissue_share(self.pixels, left, top, width, height, scale=self.scale)

    def area_mm2(self, mpp: float) -> float:
        """Measure the tissue.

        Parameters
        ----------
        mpp : float
            Microns per pixel of the slide's first level.

        Returns
        -------
        float
            Square millimetres.
        """
        return float(np.count_nonzero(self.pixels)) * self.scale[0] * self.scale[1] * mpp * mpp / 1e6


def find_tissue(
    slide: Slide,
    max_size: int = 2048,
    *,
    thumbnail: ByteArray | None = None,
    method: str | TissueMethod = DEFAULT_METHOD,
) -> TissueMask:
    """Find a slide's tissue by its colour.

    Parameters
    ----------
    slide : Slide
        An open slide.
    max_size : int, default 2048
        Pixels of the mask's longer side.
    thumbnail : uint8 array (height, width, 3), optional
        The picture to look at, see `Slide.thumbnail`, where it is at hand already: `max_size` does not count then.
    method : str or callable, default "density"
        See `cellmix_dali.tissue.tissue_mask`.

    Returns
    -------
    TissueMask
        See `cellmix_dali.tissue.tissue_mask`.

    Raises
    ------
    SlideError
        If the slide cannot be read.
    ArgumentError
        If `max_size` is not positive, the thumbnail has other proportions than the slide, or there is no such method.
    """
    picture = slide.thumbnail(max_size) if thumbnail is None else thumbnail
    return mask_of_pixels(tissue_mask(picture, method), slide, "colour")


def mask_of_pixels(
    pixels: BoolArray, slide: Slide, method: Literal["colour", "picture", "annotations"] = "picture"
) -> TissueMask:
    """Take an array as the mask of a slide.

    Parameters
    ----------
    pixels : bool array (rows, columns)
        True on tissue, in the slide's proportions: up to 2 % or 2 pixels.
    slide : Slide
        An open slide.
    method : {"colour", "picture", "annotations"}
        Where it comes from.

    Returns
    -------
    TissueMask

    Raises
    ------
    ArgumentError
        For anything but such an array.
    """
    first = slide.levels[0]
    if pixels.dtype != np.bool_ or pixels.ndim != 2 or not pixels.size:
        raise ArgumentError(
            f"A mask is a bool array (rows, columns) in the slide's proportions, got {pixels.dtype} {pixels.shape}."
        )
    if not _in_proportion(pixels.shape[1], pixels.shape[0], first.width, first.height):
        raise ArgumentError(
            f"The mask has the shape {pixels.shape} and {slide.path} {first.width} x {first.height} pixels: a mask has "
            "rows and columns in the slide's proportions, such as tissue_mask(slide.thumbnail(2048))."
        )
    return TissueMask(pixels, (first.width / pixels.shape[1], first.height / pixels.shape[0]), method)


def _in_proportion(columns: int, rows: int, width: int, height: int) -> bool:
    """Whether a picture shows a whole slide: its rows fit its columns, up to rounding."""
    wanted = columns * height / width
    return abs(wanted - rows) <= max(2.0, _SLACK * wanted)


def mask_from_png(path: str | Path, slide: Slide, *, origin: Origin = "bounds") -> TissueMask:
    """Read a mask that says where a slide has tissue.

    Parameters
    ----------
    path : str or Path
        A PNG file, or another that Pillow reads, of any size in the slide's proportions (up to 2 % or 2 pixels). What
        is black or wholly transparent is not tissue, all else is.
    slide : Slide
        An open slide.
    origin : {"bounds", "level0"}, default "bounds"
        What the picture shows: the slide's bounds, as a picture that QuPath exports, or the whole first level.

    Returns
    -------
    TissueMask
        Reduced, where it is larger than 4096 pixels: a pixel is tissue if half of what it covers is.

    Raises
    ------
    ArgumentError
        If the file is missing, no picture, or of other proportions.
    """
    path, frame = path_of("A mask", path), frame_of(slide, origin)
    problem = path_problem(path)
    if problem is not None:
        raise ArgumentError(f"Cannot read the mask: {problem}")
    try:
        with here(path), Image.open(path) as picture:
            if not _in_proportion(*picture.size, frame.width, frame.height):
                raise refused_shape(path, slide, frame, picture.size)
            pixels = _not_black(picture)
    except ArgumentError:
        raise
    except OSError as error:
        why = error.strerror or "it is not a picture, or a damaged one"
        raise ArgumentError(f"Cannot read the mask {path}: {why}. Give a PNG file.") from error
    except Exception as error:  # Pillow raises nearly anything on garbage
        raise ArgumentError(f"Cannot read the mask {path}: {error}. Give a PNG file of at most 8192 pixels.") from error
    factor = -(-max(pixels.shape) // _MOST)
    if factor > 1:
        pixels = np.asarray(Image.fromarray(pixels.astype(np.uint8) * 255).reduce(factor)) >= 128
        # The last pixels of a reduced picture may stand for less than the others.
        scale = frame.width * factor / picture.width, frame.height * factor / picture.height
    else:
        scale = frame.width / pixels.shape[1], frame.height / pixels.shape[0]
    return TissueMask(pixels, scale, "picture", (float(frame.x), float(frame.y)))


def _not_black(picture: Image.Image) -> BoolArray:
    """Where a picture is neither black nor transparent."""
    grey = picture.mode in ("1", "L", "I", "F") or picture.mode.startswith("I;16")
    visible: BoolArray
    if grey and "transparency" not in picture.info:
        visible = np.asarray(picture) != 0
    else:
        channels = np.asarray((picture.convert("LA") if grey else picture).convert("RGBA"))
        visible = channels[..., :3].any(2) & (channels[..., 3] > 0)
    return visible


def mask_from_geojson(
    path: str | Path,
    slide: Slide,
    max_size: int = 4096,
    *,
    classes: Sequence[str] | None = None,
    origin: Origin = "bounds",
) -> TissueMask:
    """Draw QuPath's annotations as a mask.

    Parameters
    ----------
    path : str or Path
        GeoJSON, see `cellmix_dali.annotations.read_geojson`.
    slide : Slide
        An open slide.
    max_size : int, default 4096
        Pixels of the mask's longer side.
    classes : sequence of str, optional
        Take polygons of these classes alone; by default all polygons, those without a class as well.
    origin : {"bounds", "level0"}, default "bounds"
        Where the file's coordinates begin, see `cellmix_dali.annotations.origin.frame_of`.

    Returns
    -------
    TissueMask
        True inside the polygons, holes left out. Pixels that an outline crosses count as inside.

    Raises
    ------
    ArgumentError
        If the file is missing or no such GeoJSON, has no polygon (of these classes), or none that meets the slide.
    """
    import shapely  # a tenth of a second, which a job without annotations does not need

    path, first = path_of("Annotations", path), slide.levels[0]
    if max_size < 1 or isinstance(classes, str) or (classes is not None and not classes):
        raise ArgumentError(
            f"max_size={max_size}, classes={classes!r}: a mask has 1 pixel or more, and classes are a list of names."
        )
    annotations, _ = annotations_of(path, slide, origin=origin, unclassified="")
    pairs = zip(annotations.polygons, annotations.names, strict=True)
    polygons = [polygon for polygon, name in pairs if classes is None or name in classes]
    if not polygons:
        names = sorted(set(annotations.names) - {""})
        if classes is not None and names:
            missing = next((name for name in classes if name not in names), classes[0])
            raise unknown_name(f"annotation class of {path}:", missing, names)
        raise ArgumentError(
            f"{path} has no polygon{' with a class' if classes else ''}: draw tissue in QuPath, and export it again."
        )
    region = shapely.union_all(polygons)
    if not region.intersects(shapely.box(0, 0, first.width, first.height)):
        raise ArgumentError(
            f"All polygons of {path} lie beyond {slide.path} ({first.width} x {first.height} pixels): check that they "
            f"belong to this slide. Coordinates are in pixels of its first level, from its {origin} on."
        )
    down = max(1.0, max(first.width, first.height) / max_size)
    size = max(1, round(first.width / down)), max(1, round(first.height / down))
    return mask_of_pixels(_drawn(region, size, first.width, first.height), slide, "annotations")


def _drawn(region: shapely.Geometry, size: tuple[int, int], width: int, height: int) -> BoolArray:
    """Draw a region on a raster of so many columns and rows."""
    import shapely

    canvas = Image.new("L", size)
    draw = ImageDraw.Draw(canvas)
    # Pillow's whole numbers are middles of pixels.
    factor = np.array([size[0] / width, size[1] / height])
    # Parts of a union do not overlap, but one may lie in the hole of a larger one, which is drawn first.
    for part in sorted(shapely.get_parts(region), key=lambda part: -part.envelope.area):
        if part.geom_type == "Polygon":
            for ring, value in [(part.exterior, 255), *((hole, 0) for hole in part.interiors)]:
                points = np.asarray(ring.coords)[:, :2] * factor - 0.5
                draw.polygon([tuple(point) for point in points.tolist()], fill=value)
    inside: BoolArray = np.asarray(canvas) > 0
    return inside
