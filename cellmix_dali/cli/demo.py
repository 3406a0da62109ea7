"""`cellmix-dali demo`: the whole way on rendered slides, or on the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from rich.console import Console

from ..training.settings import check_settings
from ._grouped import takes
from ._options import StoreOptions, data_option, make_folder
from ._training import MixingOptions, ModelOptions, RunOptions, settings_of, train_and_tell

__all__ = ["demo"]

_RENDERED_TILE = 256


@takes(StoreOptions, epochs=12, out=Path("demo-out"))
def demo(
    slides: Annotated[
        list[Path] | None,
        data_option(
            help="A slide file, or a folder of slides (what is not a slide in it is left out); may be given several "
            "times. The task is then tissue against glass. Without it, H&E-like slides with two tissue classes are "
            "rendered."
        ),
    ] = None,
    tile_size: Annotated[
        int | None, data_option(min=32, help="Side of a tile in pixels; by default the slides' own block size.")
    ] = None,
    *,
    mixing: MixingOptions,
    model: ModelOptions,
    run: RunOptions,
) -> None:
    """Train a small classifier on tiles straight from slide files, and test it on a held-out slide.

    Tiles go from the slide files through a DALI pipeline, are mixed by CellMix under a loss-driven curriculum, and
    reach a PyTorch model. Writes report.json, log.csv, confusion.png, mixed.png (a batch before and after mixing),
    curriculum.png and model.pt into --out.
    """
    console = Console()
    settings = settings_of(mixing, model, run)
    check_settings(settings, tile_size or (None if slides else _RENDERED_TILE))
    make_folder(run.out)
    from ..training import rendered_data, slide_data

    if slides:
        data = slide_data(slides, tile_size=tile_size, seed=run.seed)
    else:
        with console.status("rendering slides"):
            data = rendered_data(run.out / "slides", tile_size=tile_size, seed=run.seed)
    train_and_tell(data, settings, run.out, console)
