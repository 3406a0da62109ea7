"""`cellmix-dali demo`: the whole way on rendered slides, or on the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ._options import (
    BatchSize,
    Device,
    Engine,
    Epochs,
    FixRatio,
    Method,
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

__all__ = ["demo"]


def demo(
    slides: Annotated[
        list[Path] | None,
        typer.Option(
            help="A slide file, or a folder of slides; may be given several times. The task is then tissue against "
            "glass. Without it, H&E-like slides with two tissue classes are rendered.",
        ),
    ] = None,
    epochs: Epochs = 12,
    out: Out = Path("demo-out"),
    tile_size: Annotated[
        int | None,
        typer.Option(min=32, help="Side of a tile in pixels; by default the slides' own block size."),
    ] = None,
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
    """Train a small classifier on tiles straight from slide files, and test it on a held-out slide.

    Tiles go from the slide files through a DALI pipeline, are mixed by CellMix under a loss-driven curriculum, and
    reach a PyTorch model. Writes report.json, mixed.png (a batch before and after mixing), curriculum.png and model.pt
    into --out.
    """
    console = Console()
    from ..training import RENDERED_TILE, check_settings, rendered_data, slide_data

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
    if tile_size or not slides:
        check_settings(settings, tile_size or RENDERED_TILE)
    make_folder(out)
    if slides:
        data = slide_data(slides, tile_size=tile_size, seed=seed)
    else:
        with console.status("rendering slides"):
            data = rendered_data(out / "slides", tile_size=tile_size, seed=seed)
    train_and_tell(data, settings, out, console)
