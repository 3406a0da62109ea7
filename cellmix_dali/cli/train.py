"""`cellmix-dali train`: a classifier on tiles of a list of slides, on tiles made beforehand, or on image files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import ArgumentError
from ._options import (
    AnnotationsOrigin,
    BatchSize,
    ClassColumn,
    Classes,
    Device,
    Edge,
    Engine,
    Epochs,
    FixRatio,
    Folds,
    ImageSize,
    Level,
    Magnification,
    MixedResolutions,
    Model,
    Mpp,
    MppOverride,
    Only,
    Out,
    Overlap,
    PatchSize,
    PatchStrategy,
    Pretrained,
    Probability,
    RatioStrategy,
    Seed,
    SkipBadImages,
    Threshold,
    Tissue,
    TissueMethodName,
    make_folder,
    may_begin,
    tile_recipe,
)
from ._training import train_and_tell, train_on_images_and_tell, training_settings

if TYPE_CHECKING:
    from ..training import ImageData

__all__ = ["train"]

_TILE_SIZE = 224
# What says how tiles are made, so that it means nothing for finished ones.
_OF_SLIDES = (
    "mixed_resolutions",
    "mpp",
    "level",
    "magnification",
    "mpp_override",
    "overlap",
    "edge",
    "tissue",
    "tissue_method",
    "annotations",
    "annotations_origin",
    "classes",
    "skip_bad_slides",
)
# What says how tiles are made or divided, so that it means nothing for image files.
_OF_TILES = ("tile_size", "hold_out", *_OF_SLIDES)
# What means nothing without --folds.
_OF_FOLDS = ("only", "class_column")
# What means nothing without a method of CellMix's.
_OF_CELLMIX = ("patch_strategy", "ratio_strategy", "patch_size", "fix_ratio", "threshold")
# What means nothing without --images.
_OF_IMAGES = (
    "image_size",
    "model",
    "pretrained",
    "learning_rate",
    "best",
    "amp",
    "tensorboard",
    "cache",
    "skip_bad_images",
)


def train(
    context: typer.Context,
    slide_list: Annotated[
        Path | None,
        typer.Argument(
            help="CSV with a column 'slide' (path), a column 'label', and optionally 'mpp', 'patient' (never on both "
            "sides), 'split' (train, val, test) or 'fold'."
        ),
    ] = None,
    tiles: Annotated[
        Path | None, typer.Option(help="Instead of slides: the folder of tiles that `cellmix-dali tile --out` wrote.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Instead of slides: a folder of images, DIR/train/CLASS/* and DIR/val/CLASS/* (and DIR/test/CLASS/* "
            "to test on); or DIR/CLASS/* with --folds."
        ),
    ] = None,
    tile_size: Annotated[
        int | None,
        typer.Option(
            min=32, help=f"Side of a tile in pixels; by default {_TILE_SIZE}, with --tiles that of the finished tiles."
        ),
    ] = None,
    mpp: Mpp = None,
    level: Level = None,
    magnification: Magnification = None,
    mpp_override: MppOverride = None,
    overlap: Overlap = 0,
    edge: Edge = "skip",
    tissue: Tissue = 0.5,
    tissue_method: TissueMethodName = "density",
    annotations: Annotated[
        Path | None,
        typer.Option(
            help="Folder of QuPath GeoJSON files, one per slide: tiles are labelled by them, not by the list."
        ),
    ] = None,
    annotations_origin: AnnotationsOrigin = "bounds",
    classes: Classes = None,
    mixed_resolutions: MixedResolutions = False,
    hold_out: Annotated[
        float,
        typer.Option(
            help="Share of the patients or slides to test on, where the list has no column 'split' or 'fold'."
        ),
    ] = 0.2,
    skip_bad_slides: Annotated[
        bool, typer.Option(help="Leave out slides that cannot be read, and report them, instead of stopping.")
    ] = False,
    folds: Folds = None,
    fold: Annotated[
        str | None,
        typer.Option(
            help="The fold to test on; by default the first of a list of slides, and 0 of --folds, where the next one "
            "chooses the best epoch.",
            show_default=False,
        ),
    ] = None,
    only: Only = None,
    class_column: ClassColumn = "class",
    image_size: ImageSize = 224,
    model: Model = "cnn",
    pretrained: Pretrained = False,
    learning_rate: Annotated[
        float | None, typer.Option(help="With --images: highest of the cosine schedule; by default the model's own.")
    ] = None,
    best: Annotated[
        bool,
        typer.Option(
            help="With --images: keep the epoch with the best balanced accuracy on the validation images, or the last "
            "one; with --folds and --no-best no fold is kept for validation."
        ),
    ] = True,
    amp: Annotated[bool, typer.Option(help="With --images: mixed precision on a GPU.")] = True,
    tensorboard: Annotated[
        bool, typer.Option(help="With --images: write TensorBoard's event files, too, where it is installed.")
    ] = False,
    cache: Annotated[
        bool, typer.Option("--cache", help="With --images: keep decoded, resized images in memory.")
    ] = False,
    skip_bad_images: SkipBadImages = False,
    epochs: Epochs = 10,
    out: Out = Path("train-out"),
    batch_size: BatchSize = 32,
    method: Annotated[
        str,
        typer.Option(
            help="CellMix, CellMix-Group, CellMix-Random4, ..., or CutMix, Mixup, Cutout, FMix, ResizeMix, "
            "SaliencyMix, or none."
        ),
    ] = "CellMix-Group",
    p: Probability = 0.5,
    patch_strategy: PatchStrategy = "loss_hold",
    ratio_strategy: RatioStrategy = "loss_hold",
    patch_size: PatchSize = None,
    fix_ratio: FixRatio = None,
    threshold: Threshold = 0.5,
    device: Device = "cpu",
    engine: Engine = None,
    seed: Seed = 0,
    verify: Annotated[
        str,
        typer.Option(
            help="What is verified of a tile: headers, scan (the codes of JPEG scans, too), or, with --tiles, hash."
        ),
    ] = "headers",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the training in --out was stopped, with the same options.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew, whatever training is in --out.")] = False,
) -> None:
    """Train a classifier on a list of slides at a stated resolution, on finished tiles, or on folders of images.

    Slides: tiles are read from the slide files while training, nothing is tiled beforehand, and whole slides are held
    out; or give --tiles. Bad tiles are replaced by others of their class and listed in faults.jsonl. Writes
    report.json, mixed.png, curriculum.png, model.pt and tiles.parquet (the tile table) into --out.

    Images: with --images. Every file is decoded once before the training, and bad ones are refused. Writes report.json,
    log.csv (a line an epoch), confusion.png, mixed.png, curriculum.png and model.pt into --out.

    The state is kept in --out after every epoch, and after the batch in which SIGTERM or Ctrl-C comes (exit codes 143
    and 130): --resume goes on there, to the same result as an uninterrupted training.
    """
    _check_sources(context, slide_list, tiles, images, folds)
    console = Console()
    from ..mixing import METHODS, canonical_method, mixes
    from ..tables.tile_table import TileTable
    from ..training import check_settings, collection_data, shard_data

    if not mixes(method) or not METHODS[canonical_method(method)].is_cellmix:
        _refuse(context, _OF_CELLMIX, f"--method {method}: it is CellMix's alone")
    settings = training_settings(
        epochs,
        batch_size,
        method,
        p,
        patch_strategy,
        ratio_strategy,
        patch_size,
        fix_ratio,
        threshold,
        device,
        engine,
        seed,
        verify,
    )
    if not may_begin(out, resume=resume, overwrite=overwrite):
        console.print(f"finished already: see {escape(str(out))}/report.json", soft_wrap=True)
        return
    if images is not None:
        from ..training import ImageSettings, check_image_settings, default_learning_rate

        image_settings = ImageSettings(
            **asdict(settings)
            | {
                "image_size": image_size,
                "model": model,
                "pretrained": pretrained,
                "learning_rate": default_learning_rate(model) if learning_rate is None else learning_rate,
                "best": best,
                "amp": amp,
                "tensorboard": tensorboard,
                "cache": cache,
            }
        )
        check_image_settings(image_settings)
        found = _find_images(images, folds, fold or "0", only, class_column, best, skip_bad_images, console)
        make_folder(out, overwrite=overwrite)
        train_on_images_and_tell(found, image_settings, out, console, resume=resume)
        return
    if slide_list is None:
        assert tiles is not None
        data = shard_data(tiles, tile_size=tile_size, hold_out=hold_out, fold=fold, seed=seed)
        check_settings(settings, data.tile_size)
        make_folder(out, overwrite=overwrite)
    else:
        size = tile_size or _TILE_SIZE
        check_settings(settings, size)
        recipe = tile_recipe(
            size,
            mpp=mpp,
            level=level,
            magnification=magnification,
            mpp_override=mpp_override,
            overlap=overlap,
            edge=edge,
            tissue=tissue,
            tissue_method=tissue_method,
            annotations=annotations,
            annotations_origin=annotations_origin,
            classes=classes,
        )
        make_folder(out, overwrite=overwrite)
        with console.status("laying grids over the slides") as status:
            data = collection_data(
                slide_list,
                recipe,
                hold_out=hold_out,
                fold=fold,
                mixed_resolutions=mixed_resolutions,
                skip_bad_slides=skip_bad_slides,
                seed=seed,
                progress=lambda done, count: status.update(f"laying grids over the slides: {done} of {count}"),
            )
    for fault in data.faults:
        console.print(f"left out: {escape(fault.reason)}", soft_wrap=True)
    for note in data.notes:
        console.print(f"note: {escape(note)}.", soft_wrap=True)
    TileTable.concat([data.train, data.test]).to_parquet(out / "tiles.parquet")
    train_and_tell(data, settings, out, console, resume=resume)


def _find_images(
    folder: Path,
    folds: Path | None,
    fold: str,
    only: str | None,
    class_column: str,
    best: bool,
    skip_bad: bool,
    console: Console,
) -> ImageData:
    """The images to train and test on, all of them decodable."""
    from ..training import folded_images, image_folders, readable_images

    if folds is None:
        found = image_folders(folder)
    else:
        found = folded_images(folder, folds, fold=fold, validate=best, only=only, class_column=class_column)
    with console.status("decoding every image once") as status:
        return readable_images(
            found,
            skip=skip_bad,
            progress=lambda done, count: status.update(f"decoding every image once: {done} of {count}"),
        )


def _check_sources(
    context: typer.Context, slide_list: Path | None, tiles: Path | None, images: Path | None, folds: Path | None
) -> None:
    """Refuse several sources, none, and options that do not go with the one that is given."""
    sources = [source for source in (slide_list, tiles, images) if source is not None]
    if not sources:
        raise ArgumentError(
            "Nothing to train on: give a list of slides (CSV), --tiles DIR with finished tiles, or --images DIR."
        )
    if len(sources) > 1:
        raise ArgumentError(
            "Give a list of slides, --tiles DIR with finished tiles, or --images DIR: one of them, not both."
        )
    if images is not None:
        _refuse(context, _OF_TILES, f"--images: {images} holds images, not slides")
        if folds is None:
            _refuse(context, ("fold", *_OF_FOLDS), "--images without --folds: it says what is in that list")
    else:
        _refuse(context, (*_OF_IMAGES, *_OF_FOLDS, "folds"), "slides and tiles: it is for --images")
    if tiles is not None:
        _refuse(context, _OF_SLIDES, f"--tiles: the tiles in {tiles} are made")


def _refuse(context: typer.Context, names: Sequence[str], reason: str) -> None:
    """Refuse options that were given and mean nothing here."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            raise ArgumentError(f"--{name.replace('_', '-')} does not go with {reason}. Leave it out.")
