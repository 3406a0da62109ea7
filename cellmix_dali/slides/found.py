"""What there is to know of a slide before reading from it, and the two ways to come to know it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path

from cellmix_dali.slides import openslide, samples
from cellmix_dali.slides.block_table import BlockTable, PlacedBlocks
from cellmix_dali.slides.levels import Box, Level
from cellmix_dali.slides.scales import ScaledLevel, true_scales
from cellmix_dali.slides.stored_slide import StoredSlide
from cellmix_dali.storage.moment import refusal

__all__ = ["Found", "from_blocks", "through_openslide"]


@dataclass(frozen=True, eq=False)
class Found:
    """What there is to know of a slide before reading from it.

    Attributes
    ----------
    path, levels, mpp, bounds, properties, reason, vendor
        As in `cellmix_dali.slides.Slide`.
    scaled : tuple of ScaledLevel
        What each level is in the file.
    notes : tuple of str
        As in `cellmix_dali.slides.Slide`.
    tables : tuple of (PlacedBlocks or None)
        Where the blocks of each level lie, None for one that OpenSlide reads; empty on the openslide route.
    pixels : OpenSlideFile or None
        The file in OpenSlide; None where OpenSlide refuses it and only blocks can be read.
    blanks_from_finer : bool, default False
        Whether OpenSlide draws a blank block from the level below; else blank is white.
    format : str, default ""
        The name of the format that took the file; `look_at` fills it in.
    stored : StoredSlide or None, default None
        What of a slide in a store must be there for a read; None for a local file.
    """

    path: Path
    levels: tuple[Level, ...]
    mpp: tuple[float, float] | None
    bounds: Box
    properties: Mapping[str, str]
    reason: str
    vendor: str | None
    scaled: tuple[ScaledLevel, ...]
    notes: tuple[str, ...]
    tables: tuple[PlacedBlocks | None, ...]
    pixels: openslide.OpenSlideFile | None
    blanks_from_finer: bool = False
    format: str = ""
    stored: StoredSlide | None = None


def through_openslide(
    path: Path,
    vendor: str,
    pixels: openslide.OpenSlideFile,
    reason: str,
    tables: tuple[BlockTable | None, ...] = (),
    mpp: tuple[float, float] | None = None,
    *,
    blanks_from_finer: bool = False,
) -> Found:
    """Describe a slide that OpenSlide opens.

    Parameters
    ----------
    path, vendor, pixels, reason, mpp, blanks_from_finer
        As in `Found`; without `mpp`, OpenSlide's is taken.
    tables : tuple of (BlockTable or None)
        The blocks of all of OpenSlide's levels, for the direct route, None for a level that OpenSlide is to read; an
        empty one for OpenSlide's own route.

    Raises
    ------
    SlideError
        If OpenSlide refuses the file or cannot describe it, or it is not a brightfield slide.
    """
    handle = pixels.handle()
    try:
        downsamples, properties = handle.level_downsamples, dict(handle.properties)
    except Exception as error:  # of OpenSlide, or text that is none
        raise refusal(
            f"OpenSlide cannot describe {path}", error, "Copy the slide again from its source.", path=path
        ) from error
    samples.check_properties(path, properties)
    blocks = [openslide.tile_of(properties, number) for number in range(len(downsamples))]
    scaled, notes = true_scales(handle.level_dimensions, blocks, downsamples)
    tables = tuple(tables[of.number] for of in scaled) if tables else ()
    if not any(tables):
        tables = ()
    levels = tuple(starmap(_level, zip(tables or [None] * len(scaled), scaled, strict=True)))
    return Found(
        path=path,
        levels=levels,
        mpp=mpp or openslide.mpp_of(properties),  # OME-XML is precise; its writers often leave the tags at 1
        bounds=Box(*openslide.bounds_of(properties, levels[0].width, levels[0].height)),
        properties=properties,
        reason=reason,
        vendor=vendor,
        scaled=tuple(scaled),
        notes=tuple(notes),
        tables=tuple(None if of is None else of.placed() for of in tables),
        pixels=pixels,
        blanks_from_finer=blanks_from_finer,
    )


def from_blocks(
    path: Path,
    tables: Sequence[BlockTable],
    reason: str,
    *,
    vendor: str | None = None,
    mpp: tuple[float, float] | None = None,
    properties: Mapping[str, str] | None = None,
    pixels: openslide.OpenSlideFile | None = None,
    blanks_from_finer: bool = False,
) -> Found:
    """Describe a slide of which all levels are read by their blocks; OpenSlide is not asked.

    Parameters
    ----------
    path, reason, vendor, mpp, properties, blanks_from_finer
        As in `Found`.
    pixels : OpenSlideFile or None, default None
        The file in OpenSlide, which finds the same levels, for what lies between blocks; None where it refuses the file
        or sees less.
    tables : sequence of BlockTable
        The levels, the largest first. Each may have a compression, and a file, of its own.
    """
    first = tables[0]
    # OpenSlide's own rule: the mean of both sides' ratios.
    downsamples = [(first.width / t.width + first.height / t.height) / 2 for t in tables]
    sizes = [(table.width, table.height) for table in tables]
    scaled, notes = true_scales(sizes, [(t.block_width, t.block_height) for t in tables], downsamples)
    kept = tuple(tables[of.number] for of in scaled)
    return Found(
        path=path,
        levels=tuple(starmap(_level, zip(kept, scaled, strict=True))),
        mpp=mpp,
        bounds=Box(0, 0, first.width, first.height),
        properties={} if properties is None else properties,
        reason=reason,
        vendor=vendor,
        scaled=tuple(scaled),
        notes=tuple(notes),
        tables=tuple(of.placed() for of in kept),
        pixels=pixels,
        blanks_from_finer=blanks_from_finer,
    )


def _level(table: BlockTable | None, scaled: ScaledLevel) -> Level:
    if table is None:
        return Level(scaled.width, scaled.height, scaled.downsample)
    return Level(
        width=scaled.width,
        height=scaled.height,
        downsample=scaled.downsample,
        block_width=table.block_width,
        block_height=table.block_height,
        columns=table.columns,
        rows=table.rows,
        compression=table.compression,
        colour=table.colour,
        covered=table.covered,
        row_step=table.row_step,
    )
