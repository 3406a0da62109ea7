"""`cellmix-dali tile`: slides into training shards."""

from __future__ import annotations

import sys
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from .._urls import place_name
from ..jobs.job_shard import JobShard
from ..storage.patience import RETRY_SECONDS, SLIDE_TIMEOUT
from ..tiling.settings import Align, Format, Subsampling, TilingSettings
from ._grouped import takes
from ._options import Device, GridOptions, JobIndex, JobWorkers, Scheduler, StoreOptions
from ._telling import SOME_FAILED, Display, duration, may_end_early, say

if TYPE_CHECKING:
    from ..tiling import JobState, TilingResult

__all__ = ["tile"]

_SHOWN = 20  # failed slides that are named at the end


@takes(StoreOptions, out_in_stores=True)
def tile(
    slides: Annotated[
        list[str],
        typer.Argument(
            help="Slide files, folders of slides, patterns in quotes such as '/data/**/*.svs', or one CSV list with "
            "the columns slide[, label][, mpp][, patient][, split][, fold].",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for everything that is made, or its URL (s3://, gs://, az://); a new one, unless --resume."
        ),
    ],
    tile_size: Annotated[int, typer.Option(min=1, help="Side of a tile in pixels.")] = 256,
    *,
    grid: GridOptions,
    align: Annotated[
        Align,
        typer.Option(help="blocks: only windows along the borders of the file's own blocks; other slides fail."),
    ] = "none",
    mask: Annotated[
        Path | None,
        typer.Option(help="Folder of PNG masks, one per slide (a.png for a.svs): where they are not black is tissue."),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="Folder of QuPath GeoJSON files, one per slide: with --classes they label the tiles, without, their "
            "polygons say where tissue is."
        ),
    ] = None,
    min_share: Annotated[
        float, typer.Option(help="Least share of a tile that an annotated class covers, above 0, at most 1.")
    ] = 0.5,
    image_format: Annotated[
        Format,
        typer.Option(
            "--format",
            help="auto: JPEG blocks that are tiles are copied as they are, all else is encoded as JPEG; jpeg, png: all "
            "tiles are encoded anew.",
        ),
    ] = "auto",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG.")] = 90,
    subsampling: Annotated[Subsampling, typer.Option(help="Of the colours in JPEG.")] = "4:2:0",
    shard_size: Annotated[
        int, typer.Option(min=1, help="Tiles per shard at most; slides with more are made in parts of as many.")
    ] = 4096,
    coords_only: Annotated[
        bool, typer.Option("--coords-only", help="Write the table of the tiles alone, for tiling on the fly.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the job in --out; slides that failed or were not read are tried again."
        ),
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="With --resume: read all that is done and compare digests; else sizes and times of files decide.",
        ),
    ] = False,
    index: JobIndex = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="N/OF",
            help="Do a part of the slides alone, 3/64, beside others with theirs on hosts that share the file system; "
            "then the same command with --resume puts all together.",
        ),
    ] = None,
    skip_bad_slides: Annotated[
        bool,
        typer.Option(
            "--skip-bad-slides",
            help="End with exit code 0, not 3, where some slides failed or tiles were lost; they are reported all the "
            "same.",
        ),
    ] = False,
    workers: JobWorkers = None,
    scheduler: Scheduler = None,
    retry_seconds: Annotated[
        float,
        typer.Option(
            min=0,
            help="How long a slide is tried again that cannot be read just now: too many open files, a right, a "
            "timeout, a server that does not answer.",
        ),
    ] = RETRY_SECONDS,
    slide_timeout: Annotated[
        float,
        typer.Option(
            min=0,
            help="Seconds that the work on a slide may take at once, before it is given up and the job goes on. 0: as "
            "long as it takes.",
        ),
    ] = SLIDE_TIMEOUT,
    device: Device = "cpu",
    stains: Annotated[
        Path | None,
        typer.Option(help="Table of stains that `cellmix-dali stain` wrote: normalise all tiles; none is copied then."),
    ] = None,
    stain_target: Annotated[
        str, typer.Option(help="What --stains normalises to: median, a slide of the table, or a picture of tissue.")
    ] = "median",
    augment: Annotated[
        str | None,
        typer.Option(
            help="Change tiles before they are written: a recipe (.yaml), one augmentation by its name, such as "
            "hed_jitter, or module:object. None may move pixels; none is copied then.",
            show_default=False,
        ),
    ] = None,
    augment_seed: Annotated[
        int, typer.Option(min=0, help="Of --augment: the same seed gives a tile the same change.")
    ] = 0,
) -> None:
    """Tile slides into WebDataset shards, with a table of all tiles and a report.

    Writes shards/, tiles.parquet, overviews/, report.html, report.json and bad_tiles.jsonl into --out. A slide that
    cannot be tiled, and a tile that cannot be read, is left out and reported; what could not be read for a reason of
    the moment is told apart from damage ("not read"). A job that was interrupted goes on with --resume, and ends with
    the same files; what was not read is tried again. Exit code: 0 all good, 3 slides failed or tiles were lost (0 with
    --skip-bad-slides, if there are tiles), 2 wrong use, 1 the job had to stop (a full disk) and can be resumed.
    """
    console, errors = Console(), Console(stderr=True)
    recipe = grid.recipe(tile_size=tile_size, mask=mask, annotations=annotations, min_share=min_share)
    settings = TilingSettings.of(
        recipe,
        align=align,
        format=image_format,
        quality=quality,
        subsampling=subsampling,
        shard_size=shard_size,
        coords_only=coords_only,
        device=device,
        stains=stains,
        stain_target=stain_target,
        augment=augment,
        augment_seed=augment_seed,
    )
    part = None if shard is None else JobShard.read(shard)
    from ..tiling import tile_slides  # takes a while, and comes after the checks

    display = _Display(console)
    with may_end_early(errors, "What is done is kept: go on with --resume."), display:
        result = tile_slides(
            slides,
            out,
            settings,
            resume=resume,
            verify=verify,
            shard=part,
            index=index,
            mixed_resolutions=grid.mixed_resolutions,
            workers=workers,
            scheduler=scheduler,
            retry_seconds=retry_seconds,
            slide_timeout=slide_timeout or None,
            progress=display.show,
        )
    _tell(console, result, coords_only, display.told, part)
    if (result.failed or result.not_read or result.bad_tiles) and not (skip_bad_slides and result.tiles):
        sys.exit(SOME_FAILED)


class _Display(Display):
    """Shows how far a tiling job is: bars of slides and tiles, or a line for each slide that is done."""

    def __init__(self, console: Console) -> None:
        text = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeElapsedColumn()
        super().__init__(console, *text, late=True)
        self.told: set[str] = set()  # slides that were not tiled, and of which it was said why
        if self.bars is not None:
            self._slides = self.bars.add_task("slides", total=None, text="starting")
            self._tiles = self.bars.add_task("tiles", total=None, text="")

    def show(self, state: JobState) -> None:
        """Show a state."""
        self.appear()
        left = state.seconds_left
        rest = "" if left is None else f", {duration(left)} left"
        speed = f"{state.tiles_per_second:,.0f} tiles/s{rest}"
        last = state.last
        if last is not None and last.status != "done":
            say(self.console, f"[red]{last.status}:[/] {escape(last.reason)}")
            self.told.add(str(last.slide))
        if self.bars is not None:
            done, of = f"{state.slides_done:,} of {state.slides:,}", f"{state.tiles_done:,} of {state.tiles:,}"
            self.bars.update(self._slides, total=state.slides, completed=state.slides_done, text=done)
            self.bars.update(self._tiles, total=state.tiles, completed=state.tiles_done, text=f"{of}, {speed}")
        elif last is not None and last.status == "done":
            note = f" ({last.reason})" if last.reason else ""
            place = f"{state.slides_done:,} of {state.slides:,} slides"
            say(self.console, f"{place}: {escape(Path(last.slide).name)}, {last.tiles:,} tiles{escape(note)}; {speed}")


def _tell(
    console: Console, result: TilingResult, coords_only: bool, told: Container[str], shard: JobShard | None
) -> None:
    """Say what came out; why a slide was not tiled is said once."""
    for path in result.changed:
        say(console, f"done again, since its file had changed: {escape(place_name(path))}")
    for repeated in result.repeats[:_SHOWN]:
        count = len(repeated.also) + 1
        say(console, f"{count:,} files are one slide, which was tiled once: {escape(place_name(repeated.slide))}")
    if len(result.repeats) > _SHOWN:
        say(console, f"and {len(result.repeats) - _SHOWN:,} more slides that were reached by several files")
    if result.folders:
        first = escape(str(result.folders[0]))
        pattern = escape(str(result.folders[0].parent / "*" / "*"))
        say(
            console,
            f"{len(result.folders):,} folders within the named ones were not looked into, the first is "
            f"{first}: name them too, or give a pattern in quotes, such as '{pattern}'",
        )
    good = sum(slide.status == "done" for slide in result.slides)
    some = f"{good:,} of " if good < len(result.slides) else ""
    say(console, f"{result.tiles:,} tiles of {some}{len(result.slides):,} slides")
    if not coords_only and result.tiles:
        copied = sum(slide.tiles_copied for slide in result.slides)
        size = sum(slide.bytes for slide in result.slides)
        say(console, f"{copied:,} copied as they are, {result.tiles - copied:,} encoded; {size / 1e6:,.1f} MB")
    if result.empty_classes:
        names = ", ".join(result.empty_classes)
        say(console, f"[red]no tile is of class {escape(names)}[/]: are the annotations' names spelt like this?")
    if result.bad_tiles:
        say(console, f"[red]{result.bad_tiles:,} tiles cannot be read[/] and were left out: see bad_tiles.jsonl")
    for slides, what in ((result.failed, "failed"), (result.not_read, "were not read")):
        if slides:
            say(console, f"[red]{len(slides):,} of {len(result.slides):,} slides {what}[/]")
        before = [slide for slide in slides if str(slide.slide) not in told]  # as a run before this one found
        for slide in before[:_SHOWN]:
            say(console, f"  {escape(slide.reason)}")
        if len(before) > _SHOWN:
            say(console, f"  and {len(before) - _SHOWN:,} more: see report.html")
    if result.not_read or result.unread_tiles:
        also = f", and for {result.unread_tiles:,} of the tiles" if result.unread_tiles else ""
        say(console, f"{len(result.not_read):,} slides could not be read just then{also}: try again with --resume")
    if shard is None:
        say(console, f"written to {escape(place_name(result.folder))}: see report.html")
    else:
        say(console, f"that was part {shard}: when all are done, put them together with --resume instead of --shard")
