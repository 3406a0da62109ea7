"""`cellmix-dali train`: a classifier on tiles of a list of slides, or on tiles that were made beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import ArgumentError
from ._options import (
    BatchSize,
    Device,
    Engine,
    Epochs,
    FixRatio,
    Method,
    MppOverride,
    Out,
    PatchSize,
    PatchStrategy,
    Probability,
    RatioStrategy,
    Seed,
    Threshold,
    make_folder,
)
from ._training import train_and_tell, training_settings

__all__ = ["train"]


_TILE_SIZE = 224
# What says how tiles are made, so that it means nothing for finished ones.
_OF_SLIDES = (
    "mpp",
    "level",
    "magnification",
    "mpp_override",
    "overlap",
    "edge",
    "tissue",
    "annotations",
    "classes",
    "skip_bad_slides",
)


def train(
    context: typer.Context,
    slide_list: Annotated[
        Path | None,
        typer.Argument(help="CSV with a column 'slide' (path), a column 'label', and optionally 'mpp'."),
    ] = None,
    tiles: Annotated[
        Path | None, typer.Option(help="Instead of slides: the folder of tiles that `cellmix-dali tile --out` wrote.")
    ] = None,
    tile_size: Annotated[
        int | None,
        typer.Option(
            min=32, help=f"Side of a tile in pixels; by default {_TILE_SIZE}, with --tiles that of the finished tiles."
        ),
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option(help="Microns per pixel of the tiles: the nearest finer level is read and resized."),
    ] = None,
    level: Annotated[int | None, typer.Option(min=0, help="Instead of --mpp: a level, 0 is the finest.")] = None,
    magnification: Annotated[
        float | None, typer.Option(help="Instead of --mpp: a magnification, by the slide's objective power.")
    ] = None,
    mpp_override: MppOverride = None,
    overlap: Annotated[int, typer.Option(min=0, help="Pixels that neighbouring tiles share.")] = 0,
    edge: Annotated[str, typer.Option(help="Tiles over the slide's edge: skip, or pad with white.")] = "skip",
    tissue: Annotated[float, typer.Option(min=0, max=1, help="Least share of tissue in a tile.")] = 0.5,
    annotations: Annotated[
        Path | None,
        typer.Option(help="Folder of QuPath GeoJSON files, one a slide: tiles are labelled by them, not by the list."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Class names, comma-separated, in the order of their indices.")
    ] = None,
    hold_out: Annotated[float, typer.Option(help="Share of the slides to test on.")] = 0.2,
    skip_bad_slides: Annotated[
        bool, typer.Option(help="Leave out slides that cannot be read, and report them, instead of stopping.")
    ] = False,
    epochs: Epochs = 10,
    out: Out = Path("train-out"),
    batch_size: BatchSize = 32,
    method: Method = "CellMix-Group",
    p: Probability = 0.5,
    patch_strategy: PatchStrategy = "loss_hold",
    ratio_strategy: RatioStrategy = "loss_hold",
    patch_size: PatchSize = None,
    fix_ratio: FixRatio = None,
    threshold: Threshold = 0.5,
    device: Device = "cpu",
    engine: Engine = None,
    seed: Seed = 0,
) -> None:
    """Train a small classifier on a list of slides at a stated resolution, and test it on held-out slides.

    Tiles are read from the slide files while training, nothing is tiled beforehand; or give --tiles. Bad tiles are
    replaced by others of their class and listed in faults.jsonl. Writes report.json, mixed.png, curriculum.png,
    model.pt and tiles.parquet (the tile table) into --out.
    """
    _check_sources(context, slide_list, tiles)
    console = Console()
    from ..tiles import TileTable
    from ..training import check_settings, collection_data, shard_data

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
    )
    if slide_list is None:
        assert tiles is not None
        data = shard_data(tiles, tile_size=tile_size, hold_out=hold_out, seed=seed)
        check_settings(settings, data.tile_size)
        make_folder(out)
    else:
        size = tile_size or _TILE_SIZE
        check_settings(settings, size)
        make_folder(out)
        with console.status("laying grids over the slides") as status:
            data = collection_data(
                slide_list,
                tile_size=size,
                mpp=mpp,
                level=level,
                magnification=magnification,
                mpp_override=mpp_override,
                overlap=overlap,
                edge=edge,
                tissue=tissue,
                annotations=annotations,
                classes=classes.split(",") if classes else None,
                hold_out=hold_out,
                skip_bad_slides=skip_bad_slides,
                seed=seed,
                progress=lambda done, count: status.update(f"laying grids over the slides: {done} of {count}"),
            )
    for fault in data.faults:
        console.print(f"left out: {escape(fault.reason)}", soft_wrap=True)
    TileTable.concat([data.train, data.test]).to_parquet(out / "tiles.parquet")
    train_and_tell(data, settings, out, console)


def _check_sources(context: typer.Context, slide_list: Path | None, tiles: Path | None) -> None:
    """Refuse two sources of tiles, none, and options that do not go with finished tiles."""
    if (slide_list is None) == (tiles is None):
        raise ArgumentError(
            "Give either a list of slides or --tiles DIR with finished tiles, not both."
            if tiles
            else "Nothing to train on: give a list of slides (CSV), or --tiles DIR with finished tiles."
        )
    if tiles is None:
        return
    for name in _OF_SLIDES:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            option = "--" + name.replace("_", "-")
            raise ArgumentError(f"{option} does not go with --tiles: the tiles in {tiles} are made. Leave it out.")
