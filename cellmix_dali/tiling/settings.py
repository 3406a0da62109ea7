"""What a tiling job is asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypeAlias

from .._arguments import integer, number
from ..annotations.origin import Origin, check_origin
from ..errors import ArgumentError, unknown_name
from ..shards import Encoding
from ..slides.resolution import check_resolution
from ..storage.moment import is_folder
from ..tables.grids import Edge, check_grid
from ..tissue.methods import DEFAULT_METHOD, find_method

__all__ = ["Align", "Format", "Json", "TilingSettings", "differences", "settings_hash"]

Format: TypeAlias = Literal["auto", "jpeg", "png"]
Align: TypeAlias = Literal["none", "blocks"]
Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

_FORMATS = ("auto", "jpeg", "png")
_ALIGNS = ("none", "blocks")
_MOST_CLASSES = 65536


@dataclass(frozen=True, kw_only=True)
class TilingSettings:
    """Everything that decides over the bytes that a tiling job writes, apart from the slides themselves.

    Attributes
    ----------
    tile_size : int, default 256
        Side of a finished tile in pixels.
    mpp, level, magnification, mpp_override
        The resolution, see `cellmix_dali.slides.resolution.choose_level`; by default level 0.
    overlap : int, default 0
        Pixels of the finished tile that neighbours share.
    edge : {"skip", "pad"}, default "skip"
        Tiles over the slide's right and lower edge: left out, or filled up with white.
    align : {"none", "blocks"}, default "none"
        "blocks": every window begins and ends on borders of the file's own blocks, or blocks on borders of windows, so
        that no block is decoded twice, and one that is a tile is copied; a slide with other blocks fails. "none": the
        grid begins at the level's first pixel whatever the blocks, which are still copied where they fit.
    tissue : float, default 0.5
        Least share of tissue in a tile, 0 to 1; 0 takes all tiles.
    tissue_method : str, default "density"
        How tissue is found where neither masks nor annotations say it: a name of `cellmix_dali.tissue.methods.METHODS`,
        or ``module:function`` of your own, which every worker imports.
    mask : Path, optional
        Folder of pictures that say where tissue is, one per slide: ``a.png`` or ``a.svs.png`` for ``a.svs``, in the
        slide's proportions; what is not black is tissue. By default tissue is found by its colour.
    annotations : Path, optional
        Folder of QuPath's GeoJSON files, one per slide: ``a.geojson`` or ``a.svs.geojson`` for ``a.svs``. With
        `classes` they label tiles; without, their polygons say where tissue is, in the place of `mask`.
    annotations_origin : {"bounds", "level0"}, default "bounds"
        Where coordinates of annotations begin, and what masks show: the slide's bounds, as QuPath exports them, or the
        whole first level.
    classes : tuple of str, optional
        Class names in the order of their indices.
    min_share : float, default 0.5
        Least share of a tile that its class covers, above 0, at most 1; only with `annotations` and `classes`.
    format : {"auto", "jpeg", "png"}, default "auto"
        "auto": JPEG blocks that are tiles are copied as they are, all other tiles encoded as JPEG. "jpeg", "png": all
        tiles are decoded and encoded anew.
    quality : int, default 90
        Of JPEG, 1 to 100.
    subsampling : {"4:4:4", "4:2:2", "4:2:0"}, default "4:2:0"
        Of the colours in JPEG.
    shard_size : int, default 4096
        Places of the grid a part of a slide has at most; a part is one unit of work and has its own shards.
    coords_only : bool, default False
        Whether to write the tile table alone, for tiling on the fly.
    device : {"cpu", "gpu"}, default "cpu"
        Where tiles are decoded.

    Raises
    ------
    ArgumentError
        If a value is out of range, or two do not go together.
    """

    tile_size: int = 256
    mpp: float | None = None
    level: int | None = None
    magnification: float | None = None
    mpp_override: float | None = None
    overlap: int = 0
    edge: Edge = "skip"
    align: Align = "none"
    tissue: float = 0.5
    tissue_method: str = DEFAULT_METHOD
    mask: Path | None = None
    annotations: Path | None = None
    annotations_origin: Origin = "bounds"
    classes: tuple[str, ...] | None = None
    min_share: float = 0.5
    format: Format = "auto"
    quality: int = 90
    subsampling: Literal["4:4:4", "4:2:2", "4:2:0"] = "4:2:0"
    shard_size: int = 4096
    coords_only: bool = False
    device: Literal["cpu", "gpu"] = "cpu"

    def __post_init__(self) -> None:
        integer("tile_size", self.tile_size, low=1)
        check_resolution(
            self.tile_size,
            mpp=self.mpp,
            level=self.level,
            magnification=self.magnification,
            mpp_override=self.mpp_override,
        )
        check_grid(self.tile_size, overlap=integer("overlap", self.overlap, low=0), edge=self.edge)
        number("tissue", self.tissue, 0, 1)
        find_method(self.tissue_method)
        number("min_share", self.min_share, 0, 1, above_low=True)
        for name in ("mpp", "magnification", "mpp_override", "tissue", "min_share"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, float(value))  # 1 and 1.0 are the same setting
        integer("shard_size", self.shard_size, low=1)
        for name, value, allowed in (
            ("align", self.align, _ALIGNS),
            ("format", self.format, _FORMATS),
            ("device", self.device, ("cpu", "gpu")),
        ):
            if value not in allowed:
                raise unknown_name(name, value, allowed)
        if self.align == "blocks" and self.overlap:
            raise ArgumentError(f"align='blocks' and overlap={self.overlap}: blocks do not overlap. Leave one out.")
        _ = self.encoding  # refuses a quality or subsampling out of range
        check_origin(self.annotations_origin)
        for name in ("mask", "annotations"):
            folder = getattr(self, name)
            if folder is None:
                continue
            if not is_folder(folder):
                raise ArgumentError(f"{name}={str(folder)!r}: there is no such folder. Check the path.")
            object.__setattr__(self, name, Path(folder).absolute())
        if self.classes is not None:
            asked: object = self.classes
            given = (asked,) if isinstance(asked, str) else tuple(self.classes)
            if not 0 < len(set(given)) == len(given) <= _MOST_CLASSES or not all(given):
                raise ArgumentError(f"classes={list(given)}: give one or more different names.")
            object.__setattr__(self, "classes", given)
        if self.mask is not None and self.annotations is not None and self.classes is None:
            raise ArgumentError(
                "mask and annotations both say where tissue is: give one of them, or classes=[...] to label tiles by "
                "the annotations."
            )

    @property
    def encoding(self) -> Encoding:
        """How tiles are encoded that are not copied."""
        return Encoding("png" if self.format == "png" else "jpeg", self.quality, self.subsampling)

    @property
    def labelled(self) -> bool:
        """Whether annotations label the tiles."""
        return self.annotations is not None and self.classes is not None

    def to_json(self) -> dict[str, Json]:
        """Return the settings as JSON values, in a fixed order."""
        found: dict[str, Json] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            found[field.name] = (
                str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
            )
        return found


def settings_hash(values: Mapping[str, Json]) -> str:
    """Return the SHA-256 of JSON values, whatever their order."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(before: Mapping[str, Json], now: Mapping[str, Json]) -> list[str]:
    """Say which settings differ, for a person: "tile_size was 256, is 512"."""
    names = [*before, *(name for name in now if name not in before)]
    return [
        f"{name} was {json.dumps(before.get(name))}, is {json.dumps(now.get(name))}"
        for name in names
        if before.get(name) != now.get(name)
    ]
