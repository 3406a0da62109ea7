"""`cellmix-dali stain`: the stain of each slide, fitted once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import ArgumentError
from ..stain.methods import METHODS
from ..storage.patience import RETRY_SECONDS, SLIDE_TIMEOUT
from ._grouped import takes
from ._options import (
    AnnotationsOrigin,
    JobIndex,
    JobWorkers,
    Level,
    Magnification,
    MixedResolutions,
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
from ._picture_file import ready_picture_file
from ._telling import SOME_FAILED, SlidesDisplay, may_end_early, say

if TYPE_CHECKING:
    from ..stain import SlideStain, StainSettings, StainTable

__all__ = ["stain"]


@takes(StoreOptions)
def stain(
    slides: NamedSlides,
    out: Annotated[Path, typer.Option(help="The table of stains, a .parquet file.")] = Path("stains.parquet"),
    method: Annotated[str, typer.Option(help=f"How stains are fitted: {', '.join(METHODS.names())}.")] = "macenko",
    parameter: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE: a parameter of the method, such as alpha=2. May be given several times."),
    ] = None,
    mpp: Mpp = None,
    level: Level = None,
    magnification: Magnification = None,
    mpp_override: MppOverride = None,
    mixed_resolutions: MixedResolutions = False,
    tissue: Annotated[
        float, typer.Option(min=0, max=1, help="Least share of tissue in a tile that pixels are taken from.")
    ] = 0.1,
    tissue_method: TissueMethodName = "density",
    mask: Annotated[
        Path | None,
        typer.Option(help="Folder of PNG masks, one per slide (a.png for a.svs): where they are not black is tissue."),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(help="Folder of QuPath GeoJSON files, one per slide: their polygons say where tissue is."),
    ] = None,
    annotations_origin: AnnotationsOrigin = "bounds",
    tiles: Annotated[int, typer.Option(min=1, help="Tiles of a slide that are read, at most.")] = 64,
    pixels: Annotated[int, typer.Option(help="Pixels of a slide that its stain is fitted to, at most.")] = 250_000,
    seed: Annotated[int, typer.Option(min=0, help="Draws the tiles and pixels.")] = 0,
    picture: Annotated[
        Path | None,
        typer.Option(help="Draw a tile of some slides as it is and normalised: a .png, .pdf or .svg file."),
    ] = None,
    target: Annotated[
        str, typer.Option(help="What --picture normalises to: median, a slide among SLIDES, or a picture of tissue.")
    ] = "median",
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with --out: what is fitted is kept, other slides, and those that failed, are done."
        ),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew where --out is there already.")] = False,
    skip_bad_slides: Annotated[
        bool,
        typer.Option(
            "--skip-bad-slides",
            help="End with exit code 0, not 3, where the stain of some slides could not be fitted.",
        ),
    ] = False,
    index: JobIndex = None,
    workers: JobWorkers = None,
    scheduler: Scheduler = None,
    retry_seconds: RetrySeconds = RETRY_SECONDS,
    slide_timeout: SlideTimeout = SLIDE_TIMEOUT,
) -> None:
    """Fit the stain of each slide on its tissue, for stain normalisation.

    Writes a Parquet file with a row for each slide: method, statistics, and why a slide's stain could not be fitted,
    where it could not. An interrupted run goes on with --resume. Exit code: 0 all fitted, 3 some were not (0 with
    --skip-bad-slides, if there are others), 2 wrong use, 1 the job had to stop (a full disk) and can be resumed.
    """
    console, errors = Console(), Console(stderr=True)
    from ..stain import StainSettings, fit_stains
    from ..stain.methods import find_method
    from ..tables.slide_list import SlideList
    from ..tiling import find_slides
    from ..tiling.settings import TilingSettings

    settings = StainSettings(
        method=find_method(method, _parameters(parameter or [])),
        mpp=mpp,
        level=level,
        magnification=magnification,
        mpp_override=mpp_override,
        tissue=tissue,
        tissue_method=tissue_method,
        mask=mask,
        annotations=annotations,
        annotations_origin=annotations_origin,
        tiles=tiles,
        pixels=pixels,
        seed=seed,
    )
    if picture is not None:
        ready_picture_file(picture)
    found = find_slides(slides, TilingSettings()).slides
    make_folder(out.parent)
    display = _Display(console)
    with may_end_early(errors, "What is done is kept: go on with --resume."), display:
        table = fit_stains(
            SlideList(tuple(slide.path for slide in found), mpp=_mpps([slide.mpp for slide in found])),
            out,
            settings,
            resume=resume,
            overwrite=overwrite,
            mixed_resolutions=mixed_resolutions,
            index=index,
            workers=workers,
            scheduler=scheduler,
            retry_seconds=retry_seconds,
            slide_timeout=slide_timeout or None,
            progress=display.show,
        )
    fitted = sum(row.fit is not None for row in table.rows)
    say(console, f"{fitted:,} of {len(table):,} slides fitted by {table.method_name}; written to {escape(str(out))}")
    for row in table.rows:
        if row.fit is None and row.slide not in display.told:  # as a run before this one found
            say(console, f"  {escape(row.fault)}")
    if picture is not None and fitted:
        _draw(picture, table, settings, target)
        say(console, f"drawn to {escape(str(picture))}")
    if fitted < len(table) and not (skip_bad_slides and fitted):
        sys.exit(SOME_FAILED)


def _draw(path: Path, table: StainTable, settings: StainSettings, target: str) -> None:
    from ..pictures import stains_picture
    from ..previews import normalised_tiles

    tiles = normalised_tiles(table, settings, target=target)
    title = f"{table.method_name}, to {'the median of the slides' if target == 'median' else Path(target).name}"
    stains_picture(path, names=tiles.names, before=tiles.before, after=tiles.after, title=title)


def _parameters(given: list[str]) -> dict[str, Any]:
    """Parameters of the method: numbers where they are such."""
    found: dict[str, Any] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name or not value:
            raise ArgumentError(f"--parameter {each!r}: give NAME=VALUE, such as alpha=2.")
        try:
            found[name] = int(value)
        except ValueError:
            try:
                found[name] = float(value)
            except ValueError:
                found[name] = value
    return found


def _mpps(given: list[float | None]) -> Any:
    """Microns per pixel that a list says, as a column; None where it says none."""
    import numpy as np

    return None if all(mpp is None for mpp in given) else np.array([np.nan if mpp is None else mpp for mpp in given])


class _Display(SlidesDisplay):
    def show(self, done: int, count: int, row: SlideStain) -> None:
        """Show a slide that is done."""
        good = f"{Path(row.slide).name}, {row.pixels:,} pixels"
        kind = "not read" if row.fault_kind == "not read" else "failed"
        self.step(done, count, row.slide, good=good, fault=row.fault if row.fit is None else "", kind=kind)
