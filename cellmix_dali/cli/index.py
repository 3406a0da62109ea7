"""`cellmix-dali index`: what is known of each slide of a collection, in one file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from .._urls import place_name, url_of
from ..errors import ArgumentError
from ..jobs.job_shard import JobShard
from ..storage.patience import RETRY_SECONDS, SLIDE_TIMEOUT
from ._grouped import takes
from ._options import (
    Level,
    Magnification,
    Mpp,
    MppOverride,
    NamedSlides,
    RetrySeconds,
    Scheduler,
    SlideTimeout,
    StoreOptions,
    TissueMethodName,
    make_folder,
)
from ._telling import SOME_FAILED, SlidesDisplay, may_end_early, say

if TYPE_CHECKING:
    from ..collection.tasks import IndexedSlide

__all__ = ["index"]


@takes(StoreOptions, out_in_stores=True)
def index(
    slides: NamedSlides,
    out: Annotated[Path, typer.Option(help="The index; one that is there is brought up to date.")] = Path(
        "collection.index"
    ),
    tissue: Annotated[bool, typer.Option("--tissue/--no-tissue", help="Whether tissue is looked for.")] = True,
    tissue_method: TissueMethodName = "density",
    tile_size: Annotated[
        int, typer.Option(min=32, help="Side of the tiles whose tissue is to be measured, in pixels.")
    ] = 224,
    mpp: Mpp = None,
    level: Level = None,
    magnification: Magnification = None,
    mpp_override: MppOverride = None,
    thumbnail: Annotated[
        int, typer.Option(min=0, help="Longer side of the pictures of slides that are kept, in pixels; 0: none.")
    ] = 1024,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="N/OF",
            help="Look at a part of the slides alone, 3/64, beside others with theirs on hosts that share the file "
            "system or the store; then the same command without it puts all together.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew, whatever is there.")] = False,
    skip_bad_slides: Annotated[
        bool,
        typer.Option("--skip-bad-slides", help="End with exit code 0, not 3, where some slides cannot be opened."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Worker processes; by default one per core, but none for fewer than 16 slides. 0: none.",
            show_default=False,
        ),
    ] = None,
    scheduler: Scheduler = None,
    retry_seconds: RetrySeconds = RETRY_SECONDS,
    slide_timeout: SlideTimeout = SLIDE_TIMEOUT,
) -> None:
    """Look at every slide once: its levels, where its blocks lie, its tissue.

    Loaders, `train slides` and Python's `tiles_of_slides` with --index open no slide then but to read tiles, and look
    for no tissue that is known. An interrupted run goes on where it stopped, by the same command; slides that have
    changed, or are new, are looked at again, others are not. Exit code: 0 all slides are in it, 3 some cannot be opened
    (0 with --skip-bad-slides), 2 wrong use, 1 the job had to stop (a full disk).
    """
    console, errors = Console(), Console(stderr=True)
    if out.is_dir():
        raise ArgumentError(f"{out} is a folder: name a file for the index, such as --out collection.index.")
    from ..collection import IndexSettings, make_index
    from ..tiling import find_slides
    from ..tiling.settings import TilingSettings

    settings = IndexSettings(
        tissue=tissue,
        tissue_method=tissue_method,
        tile_size=tile_size,
        mpp=mpp,
        level=level,
        magnification=magnification,
        mpp_override=mpp_override,
        thumbnail=thumbnail,
    )
    part = None if shard is None else JobShard.read(shard)
    found = find_slides(slides, TilingSettings()).slides
    if url_of(out) is None:
        make_folder(out.parent)
    display = _Display(console)
    with may_end_early(errors, "What is done is kept: the same command goes on."), display:
        made = make_index(
            [slide.path for slide in found],
            out,
            settings,
            mpps=[slide.mpp for slide in found],
            overwrite=overwrite,
            shard=part,
            workers=workers,
            scheduler=scheduler,
            retry_seconds=retry_seconds,
            slide_timeout=slide_timeout or None,
            progress=display.show,
        )
    chosen = found if part is None else part.slides(found)
    faults = {str(slide.path): made.fault(slide.path) for slide in chosen if slide.path in made}
    bad = [name for name, fault in faults.items() if fault] + [
        str(slide.path) for slide in chosen if str(slide.path) not in faults
    ]
    say(
        console,
        f"{len(chosen) - len(bad):,} of {len(chosen):,} slides indexed; written to {escape(place_name(made.path))}",
    )
    if part is not None:
        say(console, f"that was part {part}: when all are done, put them together by the same command without --shard")
    for name in bad:
        if name not in display.told:  # as a run before this one found
            say(console, f"  {escape(faults.get(name) or name)}")
    if bad and not (skip_bad_slides and len(bad) < len(chosen)):
        sys.exit(SOME_FAILED)


class _Display(SlidesDisplay):
    def show(self, done: int, count: int, slide: IndexedSlide) -> None:
        """Show a slide that is done."""
        kind = "not read" if slide.kind == "not read" else "without tissue" if slide.opens else "failed"
        self.step(done, count, str(slide.slide), good=slide.slide.name, fault=slide.fault, kind=kind)
