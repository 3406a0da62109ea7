"""Annotations drawn in QuPath, and the labels they give to tiles.

QuPath exports annotations as GeoJSON (RFC 7946) with coordinates in pixels of the slide's first level, which begin at
the slide's bounds (see `cellmix_dali.annotations.origin`): a FeatureCollection, or in older versions a bare list of
features. A feature's class is the name in its property ``classification``, either ``{"name": "Tumor", ...}`` or the
bare name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .._arguments import path_of
from ..errors import ArgumentError, unknown_name
from ..storage.foreign_files import read_json

if TYPE_CHECKING:
    import shapely

__all__ = ["Annotations", "read_geojson"]

_PIECE_POINTS = 256  # a piece of a region is small enough to be cut with tiles when it has no more points


@dataclass(frozen=True)
class Annotations:
    """The annotated regions of one slide.

    Attributes
    ----------
    polygons : tuple of shapely Polygon or MultiPolygon
        Valid, in pixels of the slide's first level, x first.
    names : tuple of str
        The class of each polygon.
    """

    polygons: tuple[shapely.Geometry, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.polygons) != len(self.names):
            raise ArgumentError(f"{len(self.polygons)} polygons and {len(self.names)} names: give one name a polygon.")

    def moved(self, x: float, y: float) -> Annotations:
        """Return the same regions, further right and down by so many pixels."""
        if not (x or y):
            return self
        import shapely  # a tenth of a second, which a job without annotations does not need

        polygons = shapely.transform(np.array(self.polygons, object), lambda points: points + np.array([x, y]))
        return Annotations(tuple(polygons), self.names)

    def label_tiles(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        width: npt.ArrayLike,
        height: npt.ArrayLike,
        classes: Sequence[str],
        *,
        min_share: float = 0.5,
    ) -> npt.NDArray[np.int32]:
        """Label tiles by the class whose polygons cover most of them.

        Parameters
        ----------
        x, y : array_like (n,) or scalars
            Upper left corners in pixels of the slide's first level.
        width, height : array_like (n,) or scalars
            Sizes in pixels of the slide's first level, above 0.
        classes : sequence of str
            The classes in the order of their labels. Polygons of other classes are left aside.
        min_share : float
            The least share of a tile's area that its class must cover, above 0 and at most 1. Polygons of one
            class that overlap count once.

        Returns
        -------
        int32 array (n,)
            Index into `classes`, the first one where two cover the same; -1 where none covers `min_share`.

        Raises
        ------
        ArgumentError
            When the annotations have none of `classes`, a class is given twice, a size is not above 0, or
            `min_share` is out of range.
        """
        if not 0 < min_share <= 1:
            raise ArgumentError(f"min_share {min_share} is out of range: give a share above 0 and at most 1.")
        if isinstance(classes, str) or not classes or len(set(classes)) != len(classes):
            raise ArgumentError(f"classes {classes!r}: give a list of one or more different class names.")
        known = sorted(set(self.names))
        if not set(classes) & set(known):
            if not known:
                raise ArgumentError(
                    "The annotations have no classified polygon: set classes in QuPath and export again."
                )
            misses = [unknown_name("annotation class", name, known) for name in classes]
            raise next((miss for miss in misses if "Did you mean" in str(miss)), misses[0])
        left, top, w, h = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (x, y, width, height)))
        left, top, w, h = (np.atleast_1d(v) for v in (left, top, w, h))
        if left.ndim != 1:
            raise ArgumentError(
                f"Tiles come as one-dimensional arrays; x, y, width and height make shape {left.shape}."
            )
        if not ((w > 0) & (h > 0)).all():
            raise ArgumentError("A tile's width or height is not above 0: check the tile table.")

        import shapely

        tiles = shapely.box(left, top, left + w, top + h)
        tree = shapely.STRtree(tiles)
        # Areas of intersections carry rounding errors, which must not decide a tie or a tile just covered
        # enough.
        shares = np.round([self._covered(name, tiles, tree) / (w * h) for name in classes], 9)
        labels: npt.NDArray[np.int32] = shares.argmax(0).astype(np.int32)
        labels[shares.max(0) < round(min_share, 9)] = -1
        return labels

    def _covered(self, name: str, tiles: npt.NDArray[np.object_], tree: shapely.STRtree) -> npt.NDArray[np.float64]:
        """Area of each tile, in square pixels, that polygons of this class cover."""
        import shapely

        covered = np.zeros(len(tiles))
        union = shapely.union_all([p for p, n in zip(self.polygons, self.names, strict=True) if n == name])
        # Most tiles lie wholly inside: a prepared predicate finds them quickly. The others are cut with small
        # pieces of the region, as cutting takes time in proportion to the length of the whole outline.
        shapely.prepare(union)
        whole = np.zeros(len(tiles), bool)
        whole[tree.query(union, predicate="contains")] = True
        pieces = np.array(_split(union), dtype=object)
        piece, tile = tree.query(pieces, predicate="intersects")
        piece, tile = piece[~whole[tile]], tile[~whole[tile]]
        np.add.at(covered, tile, shapely.area(shapely.intersection(pieces[piece], tiles[tile])))
        covered[whole] = shapely.area(tiles[whole])
        return covered


def _split(shape: shapely.Geometry) -> list[shapely.Geometry]:
    """Halve a region across its longer side until no piece has a long outline."""
    import shapely

    pieces, waiting = [], list(shapely.get_parts(shape))
    while waiting:
        part = waiting.pop()
        if shapely.get_num_coordinates(part) <= _PIECE_POINTS:
            pieces.append(part)
            continue
        left, top, right, bottom = part.bounds
        if right - left >= bottom - top:
            middle = (left + right) / 2
            halves = shapely.box(left, top, middle, bottom), shapely.box(middle, top, right, bottom)
        else:
            middle = (top + bottom) / 2
            halves = shapely.box(left, top, right, middle), shapely.box(left, middle, right, bottom)
        waiting.extend(shapely.get_parts(shapely.intersection(part, halves)))
    return pieces


def read_geojson(path: str | Path, *, unclassified: str | None = None) -> Annotations:
    """Read annotations as QuPath exports them.

    Polygons and multipolygons are read, holes included; other features are left aside.
    Outlines that cross themselves are repaired.

    Parameters
    ----------
    path : str or Path
        A GeoJSON file: a FeatureCollection, a list of features, or one feature.
    unclassified : str, optional
        The name that polygons without a class get; by default they are left aside.

    Returns
    -------
    Annotations

    Raises
    ------
    ArgumentError
        For a file that is missing or is not such GeoJSON.
    """
    path = path_of("Annotations", path)
    content = read_json(path, "The file of annotations", "Export them from QuPath as GeoJSON.")
    polygons, names = [], []
    for number, feature in enumerate(_features(content, path)):
        found = _class_name(feature)
        name = unclassified if found is None else found
        if name is None or not isinstance(feature.get("geometry"), dict):
            continue
        for polygon in _polygons(feature["geometry"], f"feature {number} ({name}) of {path}"):
            polygons.append(polygon)
            names.append(name)
    return Annotations(tuple(polygons), tuple(names))


def _features(content: Any, path: Path) -> list[dict[str, Any]]:
    """Find the features in what a GeoJSON file holds."""
    if isinstance(content, dict):
        content = content.get("features") if content.get("type") == "FeatureCollection" else [content]
    if not isinstance(content, list) or any(not isinstance(f, dict) or f.get("type") != "Feature" for f in content):
        raise ArgumentError(
            f"Annotations {path} are not GeoJSON features: expected a FeatureCollection, a list of features "
            "or one feature. Export them from QuPath as GeoJSON."
        )
    return content


def _class_name(feature: dict[str, Any]) -> str | None:
    properties = feature.get("properties")
    found = properties.get("classification") if isinstance(properties, dict) else None
    if isinstance(found, dict):
        found = found.get("name")
    return found if isinstance(found, str) and found else None


def _polygons(geometry: dict[str, Any], where: str) -> list[shapely.Geometry]:
    """Turn a GeoJSON geometry into valid polygons: none for a point or a line."""
    import shapely.errors
    import shapely.geometry

    if geometry.get("type") not in ("Polygon", "MultiPolygon"):
        return []
    try:
        # A repaired outline may come with dangling lines: only areas can cover a tile.
        parts = shapely.get_parts(shapely.make_valid(shapely.geometry.shape(geometry)))
        areas = [part for part in shapely.get_parts(parts) if part.geom_type == "Polygon" and part.area > 0]
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, shapely.errors.ShapelyError) as error:
        raise ArgumentError(f"The outline in {where} cannot be read: {error}. Export it from QuPath again.") from error
    if len(areas) > 1:
        return [shapely.MultiPolygon(areas)]
    return list(areas)
