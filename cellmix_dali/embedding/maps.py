"""Numbers of tiles as pictures: a map of the features' colours, similarity to a tile, heatmaps, QuPath's GeoJSON."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from .._arguments import integer
from ..errors import ArgumentError
from ..storage.aside import write_aside

__all__ = ["feature_colours", "slide_picture", "similarity", "write_heatmap", "write_tiles_geojson"]

_FIT = 1024  # tiles that principal components are fitted to
_PANEL = 420  # longer side of a picture's panel
_GAP, _LINE = 8, 18
_TILE = 256  # of a pyramid's blocks
_PER_TILE = 16  # pixels of a heatmap along the side of a tile
_MOST = 20_000  # pixels along the longer side of a heatmap
_ALPHA = 0.75


def feature_colours(features: NDArray[Any]) -> NDArray[np.uint8]:
    """Return colours in which tiles of like features are alike: the first three principal components as R, G and B.

    Parameters
    ----------
    features : float array (n, numbers)
        Of one slide. Components are fitted to at most 1024 of the tiles, evenly taken, and each is stretched from its
        2nd to its 98th percentile.

    Returns
    -------
    uint8 array (n, 3)
    """
    values = features.astype(np.float64)
    if not len(values):
        return np.empty((0, 3), np.uint8)
    chosen = values[np.unique(np.linspace(0, len(values) - 1, _FIT).astype(np.int64))]
    mean = chosen.mean(axis=0)
    axes = _components(chosen - mean)
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])[:, None]  # the sign of a component is free
    found = np.full((len(values), 3), 0.5)
    scores = (values - mean) @ axes.T
    low, high = np.percentile(scores, [2, 98], axis=0)
    spread = np.where(high > low, high - low, 1.0)
    found[:, : len(axes)] = np.where(high > low, np.clip((scores - low) / spread, 0, 1), 0.5)
    colours: NDArray[np.uint8] = np.rint(255 * found).astype(np.uint8)
    return colours


def _components(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first three principal components of centred values, by the smaller of their two square matrices."""
    if len(values) < values.shape[1]:
        _, vectors = np.linalg.eigh(values @ values.T)
        axes = vectors[:, :-4:-1].T @ values
        lengths = np.linalg.norm(axes, axis=1)[:, None]
        return np.where(lengths > 0, axes / np.where(lengths > 0, lengths, 1.0), 0.0)
    _, vectors = np.linalg.eigh(values.T @ values)
    found: NDArray[np.float64] = vectors[:, :-4:-1].T
    return found


def similarity(features: NDArray[Any], tile: int) -> NDArray[np.float32]:
    """Return the cosine of the angle between each tile's features and those of a chosen tile.

    Parameters
    ----------
    features : float array (n, numbers)
    tile : int
        Row of the chosen tile.

    Raises
    ------
    ArgumentError
        If there is no such tile.
    """
    integer("tile", tile, low=0, high=len(features) - 1)
    values = features.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1)
    norm = values / np.where(lengths > 0, lengths, 1.0)[:, None]
    found: NDArray[np.float32] = (norm @ norm[tile]).astype(np.float32)
    return found


def slide_picture(
    thumbnail: NDArray[np.uint8] | None,
    features: NDArray[Any],
    coords: NDArray[np.int64],
    *,
    side: float,
    slide_size: tuple[int, int],
) -> bytes:
    """Draw a slide three times side by side: as it is, in its features' colours, and its likeness to one tile.

    The tile is the one whose features are the nearest to the mean of all; it has a frame.

    Parameters
    ----------
    thumbnail : uint8 array (height, width, 3) or None
        Of the whole slide.
    features : float array (n, numbers)
    coords : int64 array (n, 2)
        Upper left corners in pixels of level 0.
    side : float
        Of a tile, in pixels of level 0.
    slide_size : tuple of int
        Width and height of level 0.

    Returns
    -------
    bytes
        JPEG.
    """
    scale = _PANEL / max(slide_size)
    width, height = (max(1, round(of * scale)) for of in slide_size)
    base = Image.new("RGB", (width, height), (235, 235, 235))
    if thumbnail is not None:
        base = Image.fromarray(thumbnail).resize((width, height), Image.Resampling.BOX)
    mean = features.astype(np.float64).mean(axis=0) if len(features) else None
    chosen = 0 if mean is None else int(((features.astype(np.float64) - mean) ** 2).sum(axis=1).argmin())
    alike = similarity(features, chosen) if len(features) else np.empty(0, np.float32)
    page = Image.new("RGB", (3 * width + 2 * _GAP, height + _LINE), "white")
    panels = (
        ("slide", None),
        ("features: principal components as colours", feature_colours(features)),
        ("likeness to the framed tile", _coloured(alike)),
    )
    for number, (title, colours) in enumerate(panels):
        panel = base if colours is None else _painted(base, colours, coords, side, scale)
        draw = ImageDraw.Draw(panel)
        if number == 2 and len(coords):
            x, y = coords[chosen] * scale
            draw.rectangle((x - 1, y - 1, x + side * scale, y + side * scale), outline="black", width=2)
        left = number * (width + _GAP)
        page.paste(panel, (left, _LINE))
        ImageDraw.Draw(page).text((left + 2, 3), title, fill="black")
    file = BytesIO()
    page.save(file, "JPEG", quality=85)
    return file.getvalue()


def write_heatmap(
    path: str | Path,
    values: ArrayLike,
    coords: NDArray[np.int64],
    *,
    side: float,
    slide_size: tuple[int, int],
    mpp: float | None = None,
    low: float | None = None,
    high: float | None = None,
) -> tuple[int, int]:
    """Write numbers of tiles as a pyramidal TIFF that OpenSlide and QuPath open, in the slide's proportions.

    Parameters
    ----------
    path : str or Path
        ``.tif`` or ``.tiff``.
    values : array (n,)
        One number for each tile; tiles without a finite one stay white, as what no tile covers. Where tiles overlap,
        the mean counts.
    coords, side, slide_size
        See `slide_picture`.
    mpp : float, optional
        Microns per pixel of level 0, so that the heatmap says its own.
    low, high : float, optional
        Numbers that have the first and the last colour (of matplotlib's "viridis"); by default the least and the
        greatest.

    Returns
    -------
    tuple of int
        Width and height of the heatmap in pixels.

    Raises
    ------
    ArgumentError
        If there are not as many numbers as tiles.
    WriteError
        If the file cannot be written.
    """
    numbers = _numbers(values, coords)
    scale = min(_PER_TILE / side, 1.0, _MOST / max(slide_size))
    width, height = (max(1, round(of * scale)) for of in slide_size)
    total, count = np.zeros((height, width)), np.zeros((height, width), np.int32)
    for (x, y), value in zip(np.rint(coords * scale).astype(int), numbers, strict=True):
        if np.isfinite(value):
            there = np.s_[y : max(y + 1, round(y + side * scale)), x : max(x + 1, round(x + side * scale))]
            total[there] += value
            count[there] += 1
    picture = np.full((height, width, 3), 255, np.uint8)
    covered = count > 0
    picture[covered] = _coloured(total[covered] / count[covered], low, high)
    levels = [picture]
    while max(levels[-1].shape[:2]) > _TILE:
        last = Image.fromarray(levels[-1])
        half = tuple(max(1, -(-of // 2)) for of in last.size)
        levels.append(np.asarray(last.resize((half[0], half[1]), Image.Resampling.BOX)))
    place = Path(path)
    content = BytesIO()
    with tifffile.TiffWriter(content, bigtiff=False) as file:
        for number, level in enumerate(levels):
            said: dict[str, Any] = {}
            if mpp is not None:
                per_cm = 1e4 / (mpp / scale * picture.shape[1] / level.shape[1])
                said = {"resolution": (per_cm, per_cm), "resolutionunit": "CENTIMETER"}
            file.write(
                level,
                tile=(_TILE, _TILE),
                compression="zlib",
                photometric="rgb",
                subfiletype=1 if number else 0,
                metadata=None,
                **said,
            )
    with write_aside(place) as out:
        out.write(content.getvalue())
    return width, height


def write_tiles_geojson(
    path: str | Path, values: ArrayLike, coords: NDArray[np.int64], *, side: float, name: str = "score"
) -> None:
    """Write tiles with a number each as GeoJSON, which QuPath opens as tiles with a measurement.

    Parameters
    ----------
    path : str or Path
        ``.geojson``.
    values, coords, side
        See `write_heatmap`; tiles without a finite number are left out.
    name : str, default "score"
        Of the measurement.

    Raises
    ------
    ArgumentError
        If there are not as many numbers as tiles.
    WriteError
        If the file cannot be written.
    """
    features = []
    for (x, y), value in zip(coords.tolist(), _numbers(values, coords).tolist(), strict=True):
        if not np.isfinite(value):
            continue
        ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": {"objectType": "tile", "measurements": {name: round(value, 6)}},
            }
        )
    with write_aside(Path(path)) as file:
        file.write(json.dumps({"type": "FeatureCollection", "features": features}).encode())


def _numbers(values: ArrayLike, coords: NDArray[np.int64]) -> NDArray[np.float64]:
    numbers = np.asarray(values, np.float64).reshape(-1)
    if len(numbers) != len(coords):
        raise ArgumentError(f"There are {len(numbers)} numbers and {len(coords)} tiles: give one for each tile.")
    return numbers


def _coloured(values: NDArray[Any], low: float | None = None, high: float | None = None) -> NDArray[np.uint8]:
    """Numbers as colours."""
    from matplotlib import colormaps

    if not len(values):
        return np.empty((0, 3), np.uint8)
    first = float(values.min()) if low is None else low
    last = float(values.max()) if high is None else high
    share = np.clip((values - first) / (last - first), 0, 1) if last > first else np.full(len(values), 0.5)
    found: NDArray[np.uint8] = colormaps["viridis"](share, bytes=True)[:, :3]
    return found


def _painted(
    base: Image.Image, colours: NDArray[np.uint8], coords: NDArray[np.int64], side: float, scale: float
) -> Image.Image:
    """A picture with tiles painted over it."""
    layer, draw_on = base.copy(), Image.new("L", base.size, 0)
    paint, cover = ImageDraw.Draw(layer), ImageDraw.Draw(draw_on)
    # Of tiles that overlap the middle is painted, so that none covers another's.
    shown = min([side, *(float(np.diff(of).min()) for of in map(np.unique, coords.T) if len(of) > 1)])
    for (x, y), colour in zip(((coords + (side - shown) / 2) * scale).tolist(), colours.tolist(), strict=True):
        box = (x, y, max(x, x + shown * scale - 1), max(y, y + shown * scale - 1))
        paint.rectangle(box, fill=tuple(colour))
        cover.rectangle(box, fill=round(255 * _ALPHA))
    return Image.composite(layer, base, draw_on)
