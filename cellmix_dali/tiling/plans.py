"""What the tiles of a slide are: its grid, their tissue and labels, and the picture that shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..annotations.origin import annotations_of, beyond_the_tissue
from ..errors import ArgumentError
from ..shards import tile_rows, write_tiles
from ..slides import Slide, open_slide
from ..slides.resolution import mpp_problem, slide_mpp
from ..storage.aside import write_aside
from ..tables.grids import grid_tiles, level0_windows, thumbnail_size, tissue_shares
from ..tables.tile_table import TileTable
from ..tissue.overview import overview_picture
from ..tissue.slide_mask import TissueMask, find_tissue, mask_from_geojson, mask_from_png
from .parts import plan_file
from .records import Input, PlanRecord, file_stamps
from .settings import TilingSettings
from .slides import JobSlide
from .thumbnails import thumbnail_of

__all__ = ["OVERVIEWS", "plan_slide"]

OVERVIEWS = "overviews"


def plan_slide(slide: JobSlide, settings: TilingSettings, folder: Path, inputs: Sequence[Input]) -> PlanRecord:
    """Look at a slide: choose its tiles, and draw its overview picture.

    Parameters
    ----------
    slide : JobSlide
    settings : TilingSettings
    folder : Path
        The job's folder, with its subfolders.
    inputs : sequence of Input
        State of the slide's files.

    Returns
    -------
    PlanRecord

    Raises
    ------
    SlideError, ArgumentError
        If the slide, its mask or its annotations cannot be read or do not fit.
    WriteError
        If a file cannot be written.
    """
    override = settings.mpp_override if slide.mpp is None else slide.mpp
    with open_slide(slide.path) as opened:
        grid = grid_tiles(
            opened,
            settings.tile_size,
            mpp=settings.mpp,
            level=settings.level,
            magnification=settings.magnification,
            mpp_override=override,
            overlap=settings.overlap,
            edge=settings.edge,
        )
        level, window = int(grid.level[0]), int(grid.size[0])
        if settings.align == "blocks":
            check_aligned(opened, level, window)
        table, note, told = grid, "", ""
        if settings.labelled:
            table, told = _labelled(opened, slide, table, settings)
            note = "" if len(table) else "none of its tiles is covered enough by the annotations"
        elif slide.label is not None:
            table = table.with_labels(np.full(len(table), slide.label, np.int32))
        thumbnail, unread = thumbnail_of(opened, thumbnail_size(opened, grid))
        mask, of_mask = _tissue(opened, slide, settings, thumbnail, unread)
        shares = tissue_shares(opened, table, mask=mask)
        enough = shares >= settings.tissue
        beyond = beyond_the_tissue(opened, settings.annotations_origin, enough) if settings.labelled else ""
        table, shares = table.select(enough), shares[enough]
        if not note and not len(table):
            note = f"none of its {len(grid)} tiles has {settings.tissue:g} of tissue"
        note = "; ".join(each for each in (note, told, of_mask, beyond, *opened.notes) if each)
        known = override is not None or mpp_problem(opened) is None
        finest = slide_mpp(opened, override) if known else None
        # Of the finished tile: the window's pixels are shrunk to the tile's.
        scale = opened.levels[level].downsample * window / settings.tile_size
        mpp = None if finest is None else finest * scale
        x, y, size = level0_windows(opened, table)
        picture = overview_picture(
            thumbnail,
            slide_size=(opened.levels[0].width, opened.levels[0].height),
            x=x,
            y=y,
            size=size,
            mask=mask,
            title=slide.path.name,
            details=_details(len(table), settings.tile_size, mpp, note),
            mpp=finest,
        )
        route = opened.route
    rows = tile_rows(
        slide.path,
        x=table.x,
        y=table.y,
        size=table.size,
        level=table.level,
        tile_size=settings.tile_size,
        mpp=mpp,
        tissue=shares,
        label=table.label,
    )
    path = write_tiles(plan_file(folder, slide), [rows], edge=settings.edge)
    overview = folder / OVERVIEWS / f"{slide.name}.jpg"
    with write_aside(overview) as file:
        file.write(picture)
    return PlanRecord(
        slide=slide.number,
        inputs=tuple(inputs),
        files=file_stamps(folder, [path, overview]),
        grid=len(grid),
        tiles=len(table),
        parts=0 if settings.coords_only else math.ceil(len(table) / settings.shard_size),
        level=level,
        window=window,
        mpp=mpp,
        route=route,
        tissue_mm2=None if finest is None else round(mask.area_mm2(finest), 6),
        overview=overview.relative_to(folder).as_posix(),
        note=note,
    )


def check_aligned(slide: Slide, level: int, window: int) -> None:
    """Refuse a slide whose blocks do not go together with a grid of windows that begins at the level's first pixel.

    Raises
    ------
    ArgumentError
        If it has no blocks, or neither whole blocks make a window nor whole windows a block.
    """
    of = slide.levels[level]
    if of.block_width is None or of.block_height is None:
        raise ArgumentError(f"{slide.path} has no blocks to align tiles with. {slide.reason} Use align='none'.")
    for block in (of.block_width, of.block_height):
        if window % block and block % window:
            fitting = f"tile_size={of.block_width}" if of.block_width == of.block_height else "another level"
            raise ArgumentError(
                f"The tiles of {slide.path} cannot be aligned with its blocks: on level {level} a tile's window has "
                f"{window} pixels a side, a block {of.block_width} x {of.block_height}. Use {fitting} without a "
                "resize, or align='none'."
            )


def _tissue(
    slide: Slide,
    job_slide: JobSlide,
    settings: TilingSettings,
    thumbnail: NDArray[np.uint8],
    unread: NDArray[np.bool_],
) -> tuple[TissueMask, str]:
    """Where the slide has tissue, and what a person should know of that."""
    origin = settings.annotations_origin
    if settings.mask is not None and job_slide.mask is not None:
        mask = mask_from_png(job_slide.mask, slide, origin=origin)
        x, y = mask.origin
        return mask, f"the mask begins at the bounds ({x:.0f}, {y:.0f})" if x or y else ""
    if settings.annotations is not None and job_slide.annotations is not None and not settings.labelled:
        _, told = annotations_of(job_slide.annotations, slide, origin=origin, unclassified="")
        return mask_from_geojson(job_slide.annotations, slide, origin=origin), told
    mask = find_tissue(slide, thumbnail=thumbnail, method=settings.tissue_method)
    # What cannot be seen may be tissue: its tiles are tried, and reported where they cannot be read either.
    return replace(mask, pixels=mask.pixels | unread), ""


def _details(tiles: int, tile_size: int, mpp: float | None, note: str) -> str:
    """The second line below an overview picture."""
    resolution = "" if mpp is None else f" at {mpp:.4g} µm per pixel"
    return f"{tiles:,} tiles of {tile_size} px{resolution}" + (f": {note}" if note else "")


def _labelled(slide: Slide, job_slide: JobSlide, table: TileTable, settings: TilingSettings) -> tuple[TileTable, str]:
    """Tiles that a class covers, with its label, and what a person should know of the annotations."""
    path = job_slide.annotations
    assert path is not None
    assert settings.classes is not None
    if not path.is_file():
        raise ArgumentError(
            f"There are no annotations for {job_slide.path}: looked for {path}. Export them from QuPath as GeoJSON, "
            "or leave the slide out."
        )
    x, y, size = level0_windows(slide, table)
    try:
        annotations, told = annotations_of(path, slide, origin=settings.annotations_origin)
        labels = annotations.label_tiles(x, y, size, size, settings.classes, min_share=settings.min_share)
    except ArgumentError as error:
        raise error if str(path) in str(error) else ArgumentError(f"{path}: {error}") from error
    return table.with_labels(labels).select(labels >= 0), told
