"""`cellmix-dali embed`: slides into features."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from .._urls import place_name
from ..embedding.settings import Amp, FeatureType, ModelSettings, Tokens
from ..errors import ArgumentError
from ..jobs.job_shard import JobShard
from ..storage.patience import RETRY_SECONDS
from ._grouped import takes
from ._options import GridOptions, JobIndex, StoreOptions, model_option, run_option
from ._telling import SOME_FAILED, Display, duration, may_end_early, say

if TYPE_CHECKING:
    from ..embedding import EmbedResult, EmbedState

__all__ = ["embed"]

_SHOWN = 20  # failed slides that are named at the end


@takes(StoreOptions, out_in_stores=True)
def embed(
    slides: Annotated[
        list[str],
        typer.Argument(
            help="Slide files, folders of slides, patterns in quotes, one list of slides (CSV), or one tile table: the "
            "folder of `cellmix-dali tile`, or a file of Arrow or Parquet.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str,
        model_option(
            help="timm:NAME, hf-hub:ORG/NAME or the folder of such a model, MODULE:CALLABLE of your own, which takes "
            "nothing and returns a module (or a module and a dict with mean, std, input_size, mpp), or a file: "
            "TorchScript (.pt) or torch.export (.pt2).",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the features, or its URL; a new one, unless --resume.", show_default=False)
    ],
    tile_size: Annotated[
        int | None, typer.Option(min=1, help="Side of a tile in pixels; by default the model's own, else 224.")
    ] = None,
    *,
    grid: GridOptions,
    mask: Annotated[
        Path | None, typer.Option(help="Folder of PNG masks, one per slide: where they are not black is tissue.")
    ] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="Folder of QuPath GeoJSON files, one per slide: their polygons are tissue.")
    ] = None,
    coords: Annotated[
        Path | None, typer.Option(help="Folder of CLAM's or TRIDENT's coordinates, instead of a grid on tissue.")
    ] = None,
    file_format: Annotated[
        str,
        typer.Option(
            "--format",
            help="trident: ID.h5; clam: h5_files/ID.h5 and pt_files/ID.pt; parquet: a table with x, y, features; zarr: "
            "ID.zarr.zip; or one of another package.",
        ),
    ] = "trident",
    weights: Annotated[Path | None, model_option(help="File of the model's weights (a state dict).")] = None,
    pretrained: Annotated[
        bool, model_option("--pretrained", help="Begin with timm's weights, which it downloads.")
    ] = False,
    tokens: Annotated[
        Tokens, model_option(help="Of a transformer: its output, the class token, the patches' mean, or both.")
    ] = "output",
    layers: Annotated[
        str | None, model_option(help="Names of submodules, comma-separated, whose outputs are the features.")
    ] = None,
    dtype: Annotated[FeatureType, model_option(help="Of the features.")] = "float32",
    batch_size: Annotated[int, run_option(min=1, help="Tiles per batch.")] = 64,
    device: Annotated[str, run_option(help="Where the model runs: cpu, cuda, cuda:1.")] = "cpu",
    decoder: Annotated[Literal["cpu", "gpu"], run_option(help="Where tiles are decoded.")] = "cpu",
    num_threads: Annotated[int | None, run_option(min=1, help="That decode; by default one per core.")] = None,
    amp: Annotated[Amp, run_option(help="Precision of torch.autocast.")] = "off",
    channels_last: Annotated[bool, run_option("--channels-last", help="PyTorch's memory format.")] = False,
    compiled: Annotated[bool, run_option("--compile", help="Compile the model by torch.compile.")] = False,
    deterministic: Annotated[
        bool,
        run_option(
            "--deterministic", help="The same bytes in every run on one machine: batches of one slide each, filled up."
        ),
    ] = False,
    index: JobIndex = None,
    shard: Annotated[
        str | None,
        run_option(
            metavar="N/OF",
            help="Do a part of the slides alone, 3/64, as in an array of jobs: dealt by their tiles. By default "
            "what torchrun says.",
        ),
    ] = None,
    resume: Annotated[bool, run_option("--resume", help="Go on with the job in --out.")] = False,
    skip_bad_slides: Annotated[
        bool,
        run_option("--skip-bad-slides", help="End with exit code 0, not 3, where slides failed or tiles were lost."),
    ] = False,
    retry_seconds: Annotated[
        float, run_option(min=0, help="How long a slide is tried again that cannot be read just now.")
    ] = RETRY_SECONDS,
) -> None:
    """Write the features that a model gives of all tiles of slides, one file per slide.

    Tissue is found and tiles are decoded ahead of the model, across slides. A slide that cannot be read, and a tile
    that cannot be read, is left out and reported in job/report.json and job/bad_tiles.jsonl. A job that was
    interrupted goes on with --resume. Exit code: 0 all good, 3 slides failed or tiles were lost (0 with
    --skip-bad-slides, if there are tiles), 2 wrong use, 1 the job had to stop (a full disk) and can be resumed.
    """
    from ..embedding.formats import usable_format

    console, errors = Console(), Console(stderr=True)
    part, kind = _shard(shard), usable_format(file_format)
    settings = ModelSettings(
        weights=weights,
        pretrained=pretrained,
        device=_device(device),
        batch_size=batch_size,
        tokens=tokens,
        layers=tuple(name.strip() for name in layers.split(",")) if layers else (),
        dtype=dtype,
        amp=amp,
        channels_last=channels_last,
        compiled=compiled,
        deterministic=deterministic,
    )
    recipe = grid.recipe(tile_size=tile_size or 224, mask=mask, annotations=annotations)
    from ..embedding import embed_slides, open_model  # takes a while, and comes after the checks

    opened = open_model(model, settings, size=tile_size)
    if tile_size is None and opened.configuration.size is not None:
        recipe = grid.recipe(tile_size=opened.configuration.size, mask=mask, annotations=annotations)
    display = _Display(console)
    with may_end_early(errors, "What is done is kept: go on with --resume."), display:
        result = embed_slides(
            slides,
            out,
            opened,
            recipe,
            file_format=kind,
            coordinates=coords,
            resume=resume,
            mixed_resolutions=grid.mixed_resolutions,
            index=index,
            shard=part,
            decoder=decoder,
            num_threads=num_threads,
            retry_seconds=retry_seconds,
            progress=display.show,
        )
    _tell(console, result, display.told)
    if (result.failed or result.bad_tiles) and not (skip_bad_slides and result.tiles):
        sys.exit(SOME_FAILED)


def _shard(text: str | None) -> JobShard | None:
    """Which part of the slides this process does."""
    if text is not None:
        return JobShard.read(text)
    try:
        rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError:
        raise ArgumentError(
            "The environment variables RANK and WORLD_SIZE are not whole numbers: give --shard."
        ) from None
    return None if ranks == 1 else JobShard(rank + 1, ranks)


def _device(device: str) -> str:
    """The GPU of this process among those of torchrun."""
    own = os.environ.get("LOCAL_RANK")
    return f"cuda:{own}" if device == "cuda" and own is not None else device


class _Display(Display):
    """Shows how far an embedding job is: bars, or a line for each slide that is done."""

    def __init__(self, console: Console) -> None:
        text = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"), TimeElapsedColumn()
        super().__init__(console, *text)
        self.told: set[str] = set()  # slides of which it was said why they failed
        if self.bars is not None:
            self._slides = self.bars.add_task("slides", total=None, text="starting")
            self._slide = self.bars.add_task("slide", total=None, text="")

    def show(self, state: EmbedState) -> None:
        """Show a state."""
        left, own, last = state.seconds_left, state.slide_seconds_left, state.last
        rest = "" if left is None else f", {duration(left)} left"
        waiting = f", model waits {100 * state.waited / state.seconds:.0f} %" if state.seconds else ""
        speed = f"{state.tiles_per_second:,.0f} tiles/s{rest}{waiting}"
        if last is not None and last.status != "done":
            say(self.console, f"[red]{last.status}:[/] {escape(last.reason)}")
            self.told.add(last.slide)
        if self.bars is not None:
            done = f"{state.slides_done:,} of {state.slides:,}, {speed}"
            self.bars.update(self._slides, total=state.slides, completed=state.slides_done, text=done)
            of = f"{Path(state.slide).name}: {state.slide_tiles_done:,} of {state.slide_tiles:,} tiles"
            of += "" if own is None else f", {duration(own)} left"
            self.bars.update(self._slide, total=state.slide_tiles, completed=state.slide_tiles_done, text=of)
        elif last is not None and last.record is not None:
            note = f" ({last.reason})" if last.reason else ""
            place = f"{state.slides_done:,} of {state.slides:,} slides"
            name = escape(Path(last.slide).name)
            say(self.console, f"{place}: {name}, {last.record.tiles:,} tiles{escape(note)}; {speed}")


def _tell(console: Console, result: EmbedResult, told: set[str]) -> None:
    """Say what came out."""
    for note in result.notes:
        say(console, escape(note))
    kept = sum(slide.kept for slide in result.slides)
    good = len(result.slides) - len(result.failed)
    some = f"{good:,} of " if result.failed else ""
    before = f"; {kept:,} slides were done before" if kept else ""
    say(console, f"{result.tiles:,} tiles of {some}{len(result.slides):,} slides{before}")
    if result.busy is not None and result.tiles_now:
        rate = result.tiles_now / result.seconds
        say(console, f"{rate:,.0f} tiles/s; the model worked {100 * result.busy:.0f} % of the time, and waited else")
    if result.bad_tiles:
        say(console, f"[red]{result.bad_tiles:,} tiles cannot be read[/] and were left out: see job/bad_tiles.jsonl")
    if result.failed:
        say(console, f"[red]{len(result.failed):,} of {len(result.slides):,} slides failed[/]")
        for slide in [each for each in result.failed if each.slide not in told][:_SHOWN]:
            say(console, f"  {escape(slide.reason)}")
    say(console, f"written to {escape(place_name(result.folder))}")
