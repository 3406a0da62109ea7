"""What the tiles of a slide are, and the picture that shows them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ..collection import CollectionIndex
from ..collection.index import open_with
from ..errors import ArgumentError
from ..shards import tile_rows, write_tiles
from ..slides import Slide
from ..slides.resolution import mpp_problem, slide_mpp
from ..storage.aside import write_aside
from ..tables.laying import lay_tiles
from ..tables.positions import level0_windows
from ..tables.recipe import SlideFiles
from ..tissue.overview import overview_picture
from .parts import plan_file
from .records import Input, PlanRecord, file_stamps
from .settings import TilingSettings
from .slides import JobSlide
from .stains import scale_note

__all__ = ["OVERVIEWS", "plan_slide"]

OVERVIEWS = "overviews"


def plan_slide(
    slide: JobSlide,
    settings: TilingSettings,
    folder: Path,
    inputs: Sequence[Input],
    index: CollectionIndex | None = None,
) -> PlanRecord:
    """Look at a slide: choose its tiles, and draw its overview picture.

    Parameters
    ----------
    slide : JobSlide
    settings : TilingSettings
    folder : Path
        The job's folder, with its subfolders.
    inputs : sequence of Input
        State of the slide's files.
    index : CollectionIndex, optional
        What is known of the slides.

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
    with open_with(index, slide.path) as opened:
        choice = settings.choose_level(opened, override)
        if settings.align == "blocks":
            check_aligned(opened, choice.level, choice.size)
        files = SlideFiles(slide.mask, slide.annotations)
        laid = lay_tiles(opened, settings, label=slide.label, mpp=override, files=files, look=True, index=index)
        table, mask, note = laid.table, laid.mask, "; ".join(each for each in (laid.empty, *laid.notes) if each)
        assert laid.picture is not None
        assert mask is not None
        known = override is not None or mpp_problem(opened) is None
        finest = slide_mpp(opened, override) if known else None
        # Of the finished tile: the window's pixels are shrunk to the tile's.
        scale = opened.levels[choice.level].downsample * choice.size / settings.tile_size
        mpp = None if finest is None else finest * scale
        if settings.stains is not None:
            told = scale_note(settings.stains, settings.stain_target, slide.path, mpp)
            note = "; ".join(each for each in (note, told) if each)
        x, y, size = level0_windows(opened, table)
        picture = overview_picture(
            laid.picture,
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
        tissue=laid.tissue,
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
        grid=laid.grid,
        tiles=len(table),
        parts=0 if settings.coords_only else math.ceil(len(table) / settings.shard_size),
        level=choice.level,
        window=choice.size,
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
    part = of.shown
    for block, begin in ((of.block_width, part.x), (of.block_height, part.y)):
        if begin % min(window, block) or (window % block and block % window):
            fitting = f"tile_size={of.block_width}" if of.block_width == of.block_height else "another level"
            raise ArgumentError(
                f"The tiles of {slide.path} cannot be aligned with its blocks: on level {level} a tile's window has "
                f"{window} pixels a side, a block {of.block_width} x {of.block_height}. Use {fitting} without a "
                "resize, or align='none'."
            )


def _details(tiles: int, tile_size: int, mpp: float | None, note: str) -> str:
    """The second line below an overview picture."""
    resolution = "" if mpp is None else f" at {mpp:.4g} µm per pixel"
    return f"{tiles:,} tiles of {tile_size} px{resolution}" + (f": {note}" if note else "")
