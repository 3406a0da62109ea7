"""The tiles that a recipe lays over one slide."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..annotations.origin import annotations_of, beyond_the_tissue
from ..collection import CollectionIndex
from ..errors import ArgumentError
from ..slides import Slide
from ..storage.moment import may_be_file
from ..tissue.looking import look_for_tissue
from ..tissue.slide_mask import TissueMask, mask_from_geojson, mask_from_png
from ..tissue.thumbnails import thumbnail_of
from .grids import grid_tiles, thumbnail_size, tissue_shares
from .positions import level0_windows
from .recipe import SlideFiles, TileRecipe
from .tile_table import TileTable

__all__ = ["LaidTiles", "lay_tiles", "picture_of"]


@dataclass(frozen=True, eq=False)
class LaidTiles:
    """The tiles that a recipe lays over one slide.

    Attributes
    ----------
    table : TileTable
        Those with enough tissue and a label, row by row; there may be none.
    grid : int
        Places of the grid.
    tissue : float32 array (n,) or None
        Each tile's share of tissue; None where it was not looked for.
    mask : TissueMask or None
        Where the slide has tissue.
    picture : uint8 array (height, width, 3) or None
        The picture on which tissue was looked for, grey where the slide cannot be read.
    empty : str
        Why there is no tile, for a person; empty where there is one.
    notes : tuple of str
        What a person should know: levels whose scale is not what their size says; annotations or a mask that begin at
        the slide's bounds; annotations that lie mostly outside the slide or its tissue.
    """

    table: TileTable
    grid: int
    tissue: NDArray[np.float32] | None = None
    mask: TissueMask | None = None
    picture: NDArray[np.uint8] | None = None
    empty: str = ""
    notes: tuple[str, ...] = ()


def lay_tiles(
    slide: Slide,
    recipe: TileRecipe,
    *,
    label: int | None = None,
    mpp: float | None = None,
    files: SlideFiles | None = None,
    look: bool = False,
    index: CollectionIndex | None = None,
) -> LaidTiles:
    """Lay tiles over one slide.

    What cannot be read because of damage may be tissue: such tiles are laid, too.

    Parameters
    ----------
    slide : Slide
        An open slide.
    recipe : TileRecipe
        Which tiles.
    label : int, optional
        Class index of all its tiles, where annotations do not label them.
    mpp : float, optional
        Microns per pixel of its first level, instead of the recipe's `mpp_override`.
    files : SlideFiles, optional
        Its mask and annotations; by default those that have its name in the recipe's folders.
    look : bool, default False
        Whether to measure tissue and make the picture of the slide where no tile depends on them.
    index : CollectionIndex, optional
        What is known of the slides: tissue that is found in it is not looked for. With `look`, the picture is then the
        index's, where it has one.

    Returns
    -------
    LaidTiles

    Raises
    ------
    ArgumentError, SlideError
        If the slide, its mask or its annotations cannot be read or do not fit.
    """
    files = recipe.files_of([slide.path])[0] if files is None else files
    grid = grid_tiles(
        slide,
        recipe.tile_size,
        **recipe.resolution(mpp),
        overlap=recipe.overlap,
        stride=recipe.stride,
        edge=recipe.edge,
    )
    table, empty = grid, ""
    notes = []
    if recipe.labelled:
        table, told = _labelled(slide, recipe, grid, files.annotations)
        notes.append(told)
        empty = "" if len(table) else "none of its tiles is covered enough by the annotations"
    elif label is not None:
        table = table.with_labels(np.full(len(table), label, np.int32))
    mask = picture = shares = None
    if look or (recipe.tissue and len(table)):
        picture, mask, told = _tissue(slide, recipe, files, grid, look, index)
        shares = tissue_shares(slide, table, mask=mask)
        enough = shares >= recipe.tissue
        notes += [told, beyond_the_tissue(slide, recipe.annotations_origin, enough) if recipe.labelled else ""]
        table, shares = table.select(enough), shares[enough]
        if not empty and not len(table):
            empty = f"none of its {len(grid)} tiles has {recipe.tissue:g} of tissue"
    told_of = tuple(each for each in (*notes, *slide.notes) if each)
    return LaidTiles(table, len(grid), shares, mask, picture, empty, told_of)


def _labelled(slide: Slide, recipe: TileRecipe, grid: TileTable, path: Path | None) -> tuple[TileTable, str]:
    """Tiles that a class covers, with its label, and notes for a person."""
    assert path is not None
    assert recipe.classes is not None
    if not may_be_file(path):
        raise ArgumentError(
            f"There are no annotations for {slide.path} in {path.parent}: looked for {slide.path.name}.geojson and "
            f"{slide.path.stem}.geojson. Export them from QuPath as GeoJSON, or leave the slide out."
        )
    x, y, size = level0_windows(slide, grid)
    try:
        annotations, told = annotations_of(path, slide, origin=recipe.annotations_origin)
        labels = annotations.label_tiles(x, y, size, size, recipe.classes, min_share=recipe.min_share)
    except ArgumentError as error:
        raise error if str(path) in str(error) else ArgumentError(f"{path}: {error}") from error
    return grid.with_labels(labels).select(labels >= 0), told


def picture_of(slide: Slide, size: int, index: CollectionIndex | None) -> NDArray[np.uint8]:
    """Return a picture of a slide, for a person: the index's, where it has one of it, else one of so many pixels.

    Parameters
    ----------
    slide : Slide
        An open slide.
    size : int
        Pixels of the longer side, at most, of a picture that is made.
    index : CollectionIndex or None
        What is known of the slides.

    Returns
    -------
    uint8 array (height, width, 3)
        Grey where the slide cannot be read.
    """
    kept = None if index is None or slide.path not in index else index.thumbnail(slide.path)
    return thumbnail_of(slide, size)[0] if kept is None else kept


def _tissue(
    slide: Slide, recipe: TileRecipe, files: SlideFiles, grid: TileTable, look: bool, index: CollectionIndex | None
) -> tuple[NDArray[np.uint8] | None, TissueMask, str]:
    """A picture of the slide if it is needed, where it has tissue, and notes for a person."""
    regions = None if recipe.labelled else files.annotations
    if files.mask is None and regions is None:
        size, method = thumbnail_size(slide, grid), recipe.tissue_method
        known = index.tissue(slide.path, method, size) if index is not None and isinstance(method, str) else None
        if known is not None:
            return picture_of(slide, size, index) if look else None, known, ""
        return *look_for_tissue(slide, size, method), ""
    shown, origin = thumbnail_of(slide, thumbnail_size(slide, grid))[0] if look else None, recipe.annotations_origin
    if files.mask is not None:
        mask = mask_from_png(files.mask, slide, origin=origin)
        x, y = mask.origin
        return shown, mask, f"the mask begins at the bounds ({x:.0f}, {y:.0f})" if x or y else ""
    assert regions is not None
    _, told = annotations_of(regions, slide, origin=origin, unclassified="")
    return shown, mask_from_geojson(regions, slide, origin=origin), told
