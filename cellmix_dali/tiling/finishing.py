"""The end of a tiling job: what became of each slide, the table of all tiles, the list of bad ones; no strays."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .._urls import place_name
from ..errors import NOT_READ
from ..shards import TILES_FILE, tile_schema, with_split_columns, write_tiles
from ..storage.aside import write_aside
from .manifest import Done
from .parts import PARTS, PLANS, SHARDS, part_file, plan_file
from .plans import OVERVIEWS
from .report import SlideResult
from .settings import TilingSettings
from .slides import JobSlide
from .tasks import Failure

__all__ = ["BAD_TILES", "FOLDERS", "put_together", "slide_result"]

BAD_TILES = "bad_tiles.jsonl"
#: Folders within a job's.
FOLDERS = (SHARDS, PARTS, PLANS, OVERVIEWS)
_REASONS = 5  # of bad tiles that the report shows for a slide


def slide_result(slide: JobSlide, settings: TilingSettings, records: Done, failure: Failure | None) -> SlideResult:
    """Return what became of a slide, by the job's records; `failure` says why it cannot be tiled."""
    plan = records.plans.get(slide.number)
    if failure is not None or plan is None:
        why = failure or Failure("")
        status: Literal["failed", "not read"] = "not read" if why.kind == NOT_READ else "failed"
        return SlideResult(slide=place_name(slide.path), status=status, reason=why.reason)
    parts = records.parts_of(slide.number)
    bad = [tile for part in parts for tile in part.bad]
    shards = [Path(file.path).name for part in parts for file in part.files if file.path.endswith(".tar")]
    return SlideResult(
        slide=place_name(slide.path),
        status="done",
        reason=plan.note,
        tiles=plan.tiles if settings.coords_only else sum(part.tiles for part in parts),
        bad_tiles=len(bad),
        unread_tiles=sum(part.unread for part in parts),
        bad_tile_reasons=tuple(f"level {tile.level}, x {tile.x}, y {tile.y}: {tile.reason}" for tile in bad[:_REASONS]),
        tiles_copied=sum(part.copied for part in parts),
        tiles_encoded=sum(part.encoded for part in parts),
        bytes=sum(part.bytes for part in parts),
        mpp=plan.mpp,
        level=plan.level,
        window=plan.window,
        tile_size=settings.tile_size,
        route=plan.route,
        shards=tuple(shards),
        overview=plan.overview,
        tissue_mm2=plan.tissue_mm2,
        seconds=plan.seconds + sum(part.seconds for part in parts),
    )


def put_together(
    folder: Path,
    settings: TilingSettings,
    records: Done,
    slides: Sequence[JobSlide],
    *,
    classes: Sequence[str] | None,
    columns: Sequence[str],
) -> set[int]:
    """Write the table of all tiles and the list of bad ones, and remove what belongs to no slide that is done.

    Parameters
    ----------
    folder : Path
        The job's.
    settings : TilingSettings
    records : Done
        What the job has noted.
    slides : sequence of JobSlide
        Those that are done.
    classes : sequence of str or None
        Names of the labels, where tiles have them.
    columns : sequence of str
        Names of what a list says of the slides.

    Returns
    -------
    set of int
        The labels that tiles have.
    """
    met: set[int] = set()

    def rows() -> Iterator[pa.Table]:
        for slide in slides:
            for table in _rows(folder, settings, records, slide):
                if classes is not None:
                    met.update(pc.unique(table["label"]).to_pylist())
                yield with_split_columns(table, slide.columns)

    none = tile_schema(labelled=classes is not None, sharded=not settings.coords_only, said=columns).empty_table()
    write_tiles(
        folder / TILES_FILE,
        chain([none], rows()),
        classes=classes,
        edge=settings.edge,
        stains=settings.normalisation,
        augmented=settings.augmentation,
    )
    with write_aside(folder / BAD_TILES) as file:
        for slide in slides:
            for part in records.parts_of(slide.number):
                for tile in part.bad:
                    line = {"slide": place_name(slide.path), **vars(tile)}
                    file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    _remove_strays(folder, records, slides)
    return met


def _rows(folder: Path, settings: TilingSettings, records: Done, slide: JobSlide) -> Iterator[pa.Table]:
    """Rows of a slide's finished tiles, one piece of work after the other."""
    if settings.coords_only:
        yield pq.read_table(plan_file(folder, slide))
        return
    for part in records.parts_of(slide.number):
        yield pq.read_table(part_file(folder, slide, part.part))


def _remove_strays(folder: Path, records: Done, slides: Sequence[JobSlide]) -> None:
    """Remove files of slides that failed, or changed since an earlier run."""
    wanted = set()
    for slide in slides:
        wanted |= {file.path for file in records.plans[slide.number].files}
        wanted |= {file.path for part in records.parts_of(slide.number) for file in part.files}
    for name in FOLDERS:
        for file in (folder / name).iterdir():
            if f"{name}/{file.name}" not in wanted:
                file.unlink(missing_ok=True)
