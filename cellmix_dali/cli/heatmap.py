"""`cellmix-dali heatmap`: a number for each tile as a picture over its slide."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import ArgumentError
from ._grouped import takes
from ._options import StoreOptions
from ._telling import say

__all__ = ["heatmap"]

_TIFF, _GEOJSON = (".tif", ".tiff"), (".geojson", ".json")


@takes(StoreOptions)
def heatmap(
    features: Annotated[
        Path,
        typer.Argument(
            help="A slide's file of features: .h5 of TRIDENT, .parquet or .zarr.zip, of embed.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="A pyramidal TIFF (.tif), which OpenSlide and QuPath open, or QuPath's tiles (.geojson).",
            show_default=False,
        ),
    ],
    values: Annotated[
        Path | None,
        typer.Option(help="A number for each tile: CSV with the columns x, y (of level 0) and value, or NumPy's .npy."),
    ] = None,
    like: Annotated[
        str | None, typer.Option(help="Instead of --values: X,Y of level 0; likeness to the tile that lies there.")
    ] = None,
    slide: Annotated[Path | None, typer.Option(help="The slide, whose mpp the TIFF then says in proportion.")] = None,
    low: Annotated[float | None, typer.Option(help="Number of the first colour; by default the least.")] = None,
    high: Annotated[float | None, typer.Option(help="Number of the last colour; by default the greatest.")] = None,
) -> None:
    """Write a number for each tile of a slide, such as an attention or a score, as a heatmap or as QuPath's tiles."""
    if (values is None) == (like is None):
        raise ArgumentError("Give --values, or --like X,Y: one of them.")
    kind = out.suffix.lower()
    if kind not in (*_TIFF, *_GEOJSON):
        raise ArgumentError(f"--out {out}: give a file with the suffix .tif or .geojson.")
    place = None if like is None else _place(like)
    from ..embedding.files import read_attributes, read_features
    from ..embedding.maps import similarity, write_heatmap, write_tiles_geojson
    from ..embedding.values import tile_at, values_of
    from ..slides import open_slide
    from ..slides.resolution import slide_mpp

    found, coords = read_features(features)
    told = read_attributes(features)
    side = float(told["patch_size_level0"])
    if place is not None:
        numbers = similarity(found, tile_at(coords, side, *place)).astype(float)
    else:
        assert values is not None
        numbers = values_of(values, coords)
    if kind in _GEOJSON:
        write_tiles_geojson(out, numbers, coords, side=side)
        say(Console(), f"{len(coords):,} tiles: {escape(str(out))}")
        return
    mpp = None
    if slide is not None:
        with open_slide(slide) as opened:
            mpp = slide_mpp(opened)
    size = int(told["level0_width"]), int(told["level0_height"])
    width, height = write_heatmap(out, numbers, coords, side=side, slide_size=size, mpp=mpp, low=low, high=high)
    say(Console(), f"{width:,} x {height:,} pixels of {len(coords):,} tiles: {escape(str(out))}")


def _place(text: str) -> tuple[float, float]:
    try:
        x, y = (float(each) for each in text.split(","))
    except ValueError:
        raise ArgumentError(f"--like {text}: give X,Y in pixels of level 0, such as 10240,2048.") from None
    return x, y
