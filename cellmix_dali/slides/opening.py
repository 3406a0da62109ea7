"""How a slide can be read: what file it is, and the route to its pixels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cellmix_dali._arguments import path_of
from cellmix_dali.errors import NotReadError, SlideError
from cellmix_dali.slides import openslide, samples, tiff
from cellmix_dali.slides.levels import Box, Level
from cellmix_dali.slides.scales import ScaledLevel, true_scales
from cellmix_dali.storage.moment import MOMENT, probe, refusal
from cellmix_dali.storage.paths import path_problem

__all__ = ["Found", "look_at"]


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
    tables : tuple of TiffLevel
        Where the blocks of each level lie; empty on the openslide route.
    pixels : OpenSlideFile or None
        The file in OpenSlide; None where OpenSlide refuses it and only blocks can be read.
    """

    path: Path
    levels: tuple[Level, ...]
    mpp: tuple[float, float] | None
    bounds: Box
    properties: Mapping[str, str]
    reason: str
    vendor: str
    scaled: tuple[ScaledLevel, ...]
    notes: tuple[str, ...]
    tables: tuple[tiff.TiffLevel, ...]
    pixels: openslide.OpenSlideFile | None


def look_at(path: str | os.PathLike[str]) -> Found:
    """Look at a slide file and choose how to read it.

    Parameters
    ----------
    path : path-like
        The slide file.

    Returns
    -------
    Found
        What it is.

    Raises
    ------
    SlideError
        If there is no such slide, or it is broken, or of a kind that cannot be read.
    NotReadError
        If it cannot be read just now, for a reason that says nothing of the slide.
    MissingDependencyError
        If OpenSlide cannot be imported.
    """
    place = path_of("A slide", path).absolute()
    try:
        try:
            return _look_at(place)
        except SlideError as error:
            if isinstance(error, NotReadError) or not place.is_file():
                raise
        # OpenSlide may not know a file of which it could not read a part, or not open it, and says no more of that.
        cause = probe(place)
        if cause is not None:
            raise cause
        return _look_at(place)
    except SlideError:
        raise
    except OSError as error:
        raise refusal(f"Cannot read {place}", error, "Check that you may read the file.") from error


def _look_at(place: Path) -> Found:
    if "\0" in str(place):
        raise SlideError(str(path_problem(place)))
    try:
        place.stat()
    except OSError as error:
        if error.errno in MOMENT:
            raise
    problem = path_problem(place)
    if problem is not None:
        raise SlideError(problem)
    if place.is_dir():
        raise SlideError(f"{place} is a folder, not a slide. Name one slide file in it.")
    if not place.exists():
        raise SlideError(f"There is no slide at {place}. Check the path.")
    empty = place.stat().st_size == 0
    is_tiff = tiff.is_tiff(place)
    if empty:
        raise SlideError(f"{place} is empty: 0 bytes. Copy the slide again from its source.")
    vendor = openslide.detect_format(place)
    if vendor in (None, "generic-tiff"):
        # What no vendor's format is recognised in, perhaps since it could not be read: asked once more.
        vendor = openslide.detect_format(place)
    if vendor is None:
        convert = tiff.CONVERT.format(name=place.name)
        if is_tiff and tiff.untiled(place):
            raise SlideError(f"{place} is a TIFF but not tiled, so not a slide. Convert it, for example: {convert}.")
        if tiff.is_big_endian(place) and tiff.chain_ends(place):
            return _unknown_to_openslide(place)
        raise SlideError(
            f"{place} is not a slide: neither a tiled TIFF nor a format that OpenSlide knows. "
            "Check the file, and export it again from the scanner's software if it should be one."
        )
    if vendor in ("aperio", "generic-tiff"):
        return _open_tiff(place, vendor)
    # NDPI has no blocks to look at, and beyond 4 GiB directories that only its own readers find.
    if is_tiff and vendor != "hamamatsu" and tiff.chain_ends(place):
        samples.check_tiff(place)
    pixels = openslide.OpenSlideFile(place, vendor)
    return _through_openslide(place, vendor, pixels, f"Files of the format {vendor} are read through OpenSlide.")


def _unknown_to_openslide(path: Path) -> Found:
    # OpenSlide takes no big-endian TIFF for a slide; blocks have no byte order.
    found, kind = tiff.read_tiff(path, "generic-tiff"), "a big-endian TIFF"
    if not found.levels:
        raise SlideError(
            f"{path} cannot be read: it is {kind} that OpenSlide does not know, and {found.obstacle}, so its blocks "
            f"cannot be decoded without OpenSlide. Convert it, for example: {tiff.CONVERT.format(name=path.name)}."
        )
    return _without_openslide(
        path,
        "generic-tiff",
        found,
        f"The file is {kind} whose blocks any decoder can read; OpenSlide does not know it.",
    )


def _open_tiff(path: Path, vendor: str) -> Found:
    found = tiff.read_tiff(path, vendor)
    pixels = openslide.OpenSlideFile(path, vendor)
    try:
        handle = pixels.handle()
    except NotReadError:
        raise
    except SlideError as error:
        if found.levels and tiff.JPEG2000 in found.codes:
            return _without_openslide(
                path,
                vendor,
                found,
                "The file is a tiled TIFF in JPEG 2000 (34712), which OpenSlide refuses and decoders read.",
            )
        if found.obstacle is None:
            raise
        raise SlideError(
            f"{path} cannot be read: {found.obstacle}, and OpenSlide refuses it too ({error.__cause__}). "
            f"Convert it, for example: {tiff.CONVERT.format(name=path.name)}."
        ) from error
    if found.obstacle is not None:
        unseen = "" if not found.subifds else f" It does not see the file's {found.subifds} lower levels (SubIFDs)."
        reason = f"Read through OpenSlide: {found.obstacle}.{unseen}"
        return _through_openslide(path, vendor, pixels, reason, mpp=found.ome_mpp)
    if found.subifds:
        return _without_openslide(
            path,
            vendor,
            found,
            f"The file is a tiled TIFF whose blocks any decoder can read; {found.subifds} of its levels are SubIFDs, "
            "which OpenSlide does not see.",
            dict(handle.properties),
        )
    if [(level.width, level.height) for level in found.levels] != list(handle.level_dimensions):
        return _through_openslide(
            path, vendor, pixels, "Read through OpenSlide: it finds other levels in the file.", mpp=found.ome_mpp
        )
    return _through_openslide(
        path,
        vendor,
        pixels,
        f"The file is a tiled TIFF whose blocks any decoder can read.{_blanks(found)}",
        found.levels,
        found.ome_mpp,
    )


def _blanks(found: tiff.TiffSlide) -> str:
    # Left out by the writer, or their byte counts were lost: nobody can tell, so it is said.
    if not found.without_bytes:
        return ""
    return f" Blocks with a place in the file but no bytes count as blank: {found.without_bytes}."


def _with_blocks(table: tiff.TiffLevel, scaled: ScaledLevel) -> Level:
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
    )


def _through_openslide(
    path: Path,
    vendor: str,
    pixels: openslide.OpenSlideFile,
    reason: str,
    tables: tuple[tiff.TiffLevel, ...] = (),
    mpp: tuple[float, float] | None = None,
) -> Found:
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
    if tables:
        tables = tuple(tables[of.number] for of in scaled)
        levels = tuple(_with_blocks(table, of) for table, of in zip(tables, scaled, strict=True))
    else:
        levels = tuple(Level(of.width, of.height, of.downsample) for of in scaled)
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
        tables=tables,
        pixels=pixels,
    )


def _without_openslide(
    path: Path, vendor: str, found: tiff.TiffSlide, reason: str, properties: Mapping[str, str] | None = None
) -> Found:
    first = found.levels[0]
    # OpenSlide's own rule: the mean of both sides' ratios.
    downsamples = [(first.width / t.width + first.height / t.height) / 2 for t in found.levels]
    sizes = [(table.width, table.height) for table in found.levels]
    scaled, notes = true_scales(sizes, [(t.block_width, t.block_height) for t in found.levels], downsamples)
    tables = tuple(found.levels[of.number] for of in scaled)
    levels = tuple(_with_blocks(table, of) for table, of in zip(tables, scaled, strict=True))
    return Found(
        path=path,
        levels=levels,
        mpp=found.mpp,
        bounds=Box(0, 0, first.width, first.height),
        properties=properties or found.properties,
        reason=reason + _blanks(found),
        vendor=vendor,
        scaled=tuple(scaled),
        notes=tuple(notes),
        tables=tables,
        pixels=None,
    )
