"""`cellmix-dali train`: a classifier on tiles of a list of slides, on tiles made beforehand, or on image files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from .._arguments import byte_count
from ..errors import ArgumentError
from ..mixing import METHODS, canonical_method, mixes
from ..storage.moment import may_be_file
from ..training.division import Division
from ..training.settings import TrainingSettings, check_settings
from ._grouped import takes
from ._hints import expect, former_command
from ._options import (
    ClassColumn,
    Folds,
    GridOptions,
    ImageSize,
    IndexFile,
    Only,
    SkipBadImages,
    SkipBadSlides,
    SlideCache,
    StoreOptions,
    TileSize,
    Workers,
    data_option,
    grid_option,
    make_folder,
    may_begin,
)
from ._training import KeptRunOptions, MixingOptions, ModelOptions, TileMixingOptions, settings_of, train_and_tell

if TYPE_CHECKING:
    from ..tables import TileTable
    from ..training import TrainingData

__all__ = ["RecipeOptions", "TrainGroup", "train"]

# What means nothing without a method of CellMix's.
_OF_CELLMIX = ("patch_strategy", "ratio_strategy", "patch_size", "fix_ratio", "threshold")


class TrainGroup(TyperGroup):
    """The subcommands; what the former version took in their place gets a line that says what to type now."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse what is not a subcommand."""
        if args and args[0] not in (*self.commands, "-h", "--help"):
            raise former_command(args, self.name or "train")
        return super().parse_args(ctx, args)


train = typer.Typer(
    help="Train a classifier on slides, on finished tiles, or on folders of images.",
    cls=TrainGroup,
    no_args_is_help=True,
)


@dataclass(frozen=True)
class RecipeOptions(GridOptions):
    """Which tiles are taken of each slide of a list."""

    tile_size: Annotated[int, grid_option(min=32, help="Side of a tile in pixels.")] = 224
    annotations: Annotated[
        Path | None,
        data_option(help="Folder of QuPath GeoJSON files, one per slide: tiles are labelled by them, not by the list."),
    ] = None


@dataclass(frozen=True)
class DivisionOptions:
    """Which slides are tested on, and which choose the best epoch."""

    hold_out: Annotated[
        float,
        data_option(help="Share of the patients or slides to test on, where there is no column 'split' or 'fold'."),
    ] = 0.2
    fold: Annotated[str | None, data_option(help="Value of the column 'fold' to test on; by default the first.")] = None
    validation: Annotated[
        float,
        data_option(
            help="Share of the other patients or slides that choose the best epoch; 0: the last epoch is kept, unless "
            "a column 'split' says 'val' and 'test'."
        ),
    ] = 0.0
    validation_fold: Annotated[
        str | None, data_option(help="Instead of --validation: the value of 'fold' that chooses the best epoch.")
    ] = None

    def division(self, seed: int) -> Division:
        """Return the division, checked."""
        division = Division(**vars(self), seed=seed)
        division.check()
        if not 0 < self.hold_out < 1:
            raise ArgumentError(f"hold_out={self.hold_out}: give the share of slides to test on, above 0 and below 1.")
        return division


@train.command()
@takes(StoreOptions)
def slides(
    context: typer.Context,
    slide_list: Annotated[
        Path,
        typer.Argument(
            help="CSV with a column 'slide' (path), a column 'label', and optionally 'mpp', 'patient' (never on both "
            "sides), 'split' (train, val, test) or 'fold'."
        ),
    ],
    dividing: DivisionOptions,
    asked: RecipeOptions,
    skip_bad_slides: SkipBadSlides = False,
    verify: Annotated[
        Literal["headers", "scan"],
        data_option(help="What is verified of a tile: headers, or the codes of JPEG scans, too."),
    ] = "headers",
    slide_cache: SlideCache = "512MB",
    index: IndexFile = None,
    workers: Workers = None,
    *,
    mixing: TileMixingOptions,
    model: ModelOptions,
    run: KeptRunOptions,
) -> None:
    """Train on tiles that are read from slide files while training; whole slides are held out.

    Nothing is tiled beforehand. Bad tiles are replaced by others of their class and listed in faults.jsonl. Writes
    report.json, log.csv, confusion.png, mixed.png, curriculum.png, model.pt and tiles.parquet (the tile table) into
    --out. The state is kept there after every epoch, and after the batch in which SIGTERM or Ctrl-C comes (exit codes
    143 and 130): --resume goes on there, to the same result as an uninterrupted training.
    """
    byte_count("slide_cache", slide_cache)
    division = dividing.division(run.seed)
    console, settings = _checked(context, asked.tile_size, mixing, model, run)
    recipe = asked.recipe()
    expect("slides", slide_list)
    if not may_be_file(slide_list):
        raise ArgumentError(f"There is no file at {slide_list}: give the list of slides, a CSV.")
    if not _begins(run, console):
        return
    from ..training.collection import collection_data

    make_folder(run.out, overwrite=run.overwrite)
    with console.status("laying grids over the slides") as status:
        data = collection_data(
            slide_list,
            recipe,
            division=division,
            verify=verify,
            slide_cache=slide_cache,
            index=index or run.out / "collection.index",
            workers=workers,
            mixed_resolutions=asked.mixed_resolutions,
            skip_bad_slides=skip_bad_slides,
            progress=lambda done, count: status.update(f"laying grids over the slides: {done} of {count}"),
        )
    _save_tiles(data, run.out)
    train_and_tell(data, settings, run.out, console, resume=run.resume)


@train.command()
@takes(StoreOptions)
def tiles(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="The folder that `cellmix-dali tile --out` wrote.")],
    dividing: DivisionOptions,
    tile_size: TileSize = None,
    verify: Annotated[
        Literal["headers", "scan", "hash"],
        data_option(help="What is verified of a tile: headers, the codes of JPEG scans, too, or its SHA-256."),
    ] = "headers",
    *,
    mixing: MixingOptions,
    model: ModelOptions,
    run: KeptRunOptions,
) -> None:
    """Train on finished tiles, divided as their list of slides said.

    Without labels, the task is to tell tiles with much tissue from others. Writes the same files into --out as `train
    slides`, and goes on with --resume in the same way.
    """
    division = dividing.division(run.seed)
    console, settings = _checked(context, tile_size, mixing, model, run)
    expect("tiles", folder)
    from ..shards.table import tiles_file

    tiles_file(folder)
    if not _begins(run, console):
        return
    from ..training.shards import shard_data  # takes seconds

    data = shard_data(folder, tile_size=tile_size, division=division, verify=verify)
    check_settings(settings, data.source.size)
    make_folder(run.out, overwrite=run.overwrite)
    _save_tiles(data, run.out)
    train_and_tell(data, settings, run.out, console, resume=run.resume)


@train.command()
@takes(schedule="cosine")
def images(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder of images, DIR/train/CLASS/* and DIR/val/CLASS/* (and DIR/test/CLASS/* to test on); or "
            "DIR/CLASS/* with --folds."
        ),
    ],
    folds: Folds = None,
    fold: Annotated[
        str | None,
        data_option(
            help="The fold of --folds to test on, by default 0; the next one chooses the best epoch, unless --no-best.",
            show_default=False,
        ),
    ] = None,
    only: Only = None,
    class_column: ClassColumn = "class",
    image_size: ImageSize = 224,
    cache: Annotated[bool, data_option("--cache", help="Keep decoded, resized images in memory.")] = False,
    skip_bad_images: SkipBadImages = False,
    *,
    mixing: MixingOptions,
    model: ModelOptions,
    run: KeptRunOptions,
) -> None:
    """Train on folders of images of any size.

    Every file is decoded once before the training, and bad ones are refused. Writes report.json, log.csv,
    confusion.png, mixed.png, curriculum.png and model.pt into --out, and goes on with --resume as `train slides` does.
    """
    if folds is None:
        _refuse(context, ("fold", "only", "class_column"), "a training without --folds: it says what is in that list")
    console, settings = _checked(context, image_size, mixing, model, run)
    expect("images", folder)
    if not folder.is_dir():
        raise ArgumentError(f"There is no folder {folder}: give the folder of the images.")
    if not _begins(run, console):
        return
    from ..training import ImageSamples, folded_images, image_folders, readable_images

    source = ImageSamples(image_size)
    if folds is None:
        found = image_folders(folder, source)
    else:
        found = folded_images(
            folder, folds, fold=fold or "0", validate=model.best, only=only, class_column=class_column, source=source
        )
    with console.status("decoding every image once") as status:
        data = readable_images(
            found,
            skip=skip_bad_images,
            progress=lambda done, count: status.update(f"decoding every image once: {done} of {count}"),
        )
    if cache:
        data = replace(data, source=data.source.shared(settings))
    make_folder(run.out, overwrite=run.overwrite)
    train_and_tell(data, settings, run.out, console, resume=run.resume)


def _checked(
    context: typer.Context, size: int | None, mixing: MixingOptions, model: ModelOptions, run: KeptRunOptions
) -> tuple[Console, TrainingSettings]:
    """Refuse options that cannot work, before anything slow is imported; return the settings."""
    if not mixes(mixing.method) or not METHODS[canonical_method(mixing.method)].is_cellmix:
        _refuse(context, _OF_CELLMIX, f"--method {mixing.method}: it is CellMix's alone")
    settings = settings_of(mixing, model, run)
    check_settings(settings, size)
    return Console(), settings


def _begins(run: KeptRunOptions, console: Console) -> bool:
    """Whether there is something to train; where not, say so."""
    if may_begin(run.out, resume=run.resume, overwrite=run.overwrite):
        return True
    console.print(f"finished already: see {escape(str(run.out))}/report.json", soft_wrap=True)
    return False


def _save_tiles(data: TrainingData[TileTable], out: Path) -> None:
    """Write the table of all tiles beside the results."""
    from ..tables.tile_table import TileTable

    TileTable.concat(list(data.sets.values())).to_parquet(out / "tiles.parquet")


def _refuse(context: typer.Context, names: Any, reason: str) -> None:
    """Refuse options that were given and mean nothing here."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            raise ArgumentError(f"--{name.replace('_', '-')} does not go with {reason}. Leave it out.")
