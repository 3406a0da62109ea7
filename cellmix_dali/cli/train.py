"""`cellmix-dali train`: a classifier on tiles of a list of slides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

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


def train(
    slide_list: Annotated[
        Path,
        typer.Argument(help="CSV with a column 'slide' (path), a column 'label', and optionally 'mpp'."),
    ],
    tile_size: Annotated[int, typer.Option(min=32, help="Side of a tile in pixels.")] = 224,
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
    engine: Engine = "native",
    seed: Seed = 0,
) -> None:
    """Train a small classifier on a list of slides at a stated resolution, and test it on held-out slides.

    Tiles are read from the slide files while training, nothing is tiled beforehand. Bad tiles are replaced by others of
    their class and listed in faults.jsonl. Writes report.json, mixed.png, curriculum.png, model.pt and tiles.parquet
    (the tile table) into --out.
    """
    console = Console()
    from ..tiles import TileTable
    from ..training import check_settings, collection_data

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
    check_settings(settings, tile_size)
    make_folder(out)
    with console.status("laying grids over the slides") as status:
        data = collection_data(
            slide_list,
            tile_size=tile_size,
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
