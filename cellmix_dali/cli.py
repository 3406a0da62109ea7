"""The command line."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from . import __version__
from .errors import ArgumentError, CellMixDaliError

if TYPE_CHECKING:
    from .training import TrainingData, TrainingSettings

__all__ = ["app", "main"]

app = typer.Typer(
    help="Whole-slide-image tiles through NVIDIA DALI to PyTorch, mixed by CellMix under a self-paced curriculum.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Epochs = Annotated[int, typer.Option(min=1, help="Passes over the training tiles.")]
Out = Annotated[Path, typer.Option(help="Folder for report.json, mixed.png, curriculum.png and model.pt.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Tiles a batch.")]
Method = Annotated[str, typer.Option(help="CellMix variant, such as CellMix, CellMix-Group, CellMix-Random4.")]
Probability = Annotated[float, typer.Option("--p", help="Probability that a batch is mixed, from 0 to 1.")]
PatchStrategy = Annotated[
    str, typer.Option(help="Patch sizes over the epochs: linear, reverse, random, loop, loss_hold, loss_back, fixed.")
]
RatioStrategy = Annotated[str, typer.Option(help="Fix ratio over the epochs: decay, loss_hold, loss_back, fixed.")]
PatchSize = Annotated[int | None, typer.Option(help="Constant patch size in pixels; implies --patch-strategy fixed.")]
FixRatio = Annotated[
    float | None,
    typer.Option(help="Constant share of patches that stay, from 0 to 1; implies --ratio-strategy fixed."),
]
Threshold = Annotated[float, typer.Option(help="Loss a sample at which the curriculum makes the next epoch harder.")]
Device = Annotated[str, typer.Option(help="cpu or gpu.")]
Engine = Annotated[str, typer.Option(help="What mixes the pixels: native or numba; the result is the same.")]
Seed = Annotated[int, typer.Option(min=0, help="Of slides, order, mixing and weights.")]
MppOverride = Annotated[
    float | None,
    typer.Option(help="Microns per pixel of level 0, where the file says none or a wrong one."),
]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cellmix-dali {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Whole-slide-image tiles through NVIDIA DALI to PyTorch, mixed by CellMix under a self-paced curriculum."""


@app.command()
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
    engine: Engine = "native",
    seed: Seed = 0,
) -> None:
    """Train a small classifier on tiles straight from slide files, and test it on a held-out slide.

    Tiles go from the slide files through a DALI pipeline, are mixed by CellMix under a loss-driven curriculum, and
    reach a PyTorch model. Writes report.json, mixed.png (a batch before and after mixing), curriculum.png and model.pt
    into --out.
    """
    console = Console()
    from .training import RENDERED_TILE, check_settings, rendered_data, slide_data

    settings = _settings(
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
    _make_folder(out)
    if slides:
        data = slide_data(slides, tile_size=tile_size, seed=seed)
    else:
        with console.status("rendering slides"):
            data = rendered_data(out / "slides", tile_size=tile_size, seed=seed)
    _train(data, settings, out, console)


@app.command()
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
    from .tiles import TileTable
    from .training import check_settings, collection_data

    settings = _settings(
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
    _make_folder(out)
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
    _train(data, settings, out, console)


@app.command()
def inspect(
    slide: Annotated[Path, typer.Argument(help="A slide file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    mpp_override: MppOverride = None,
) -> None:
    """Say what a slide file holds: levels, mpp, blocks, compression, colour; which way it will be read, and why."""
    from .inspection import inspect_slide, inspection_table

    info = inspect_slide(slide, mpp_override=mpp_override)
    if as_json:
        typer.echo(json.dumps(info, indent=2))
    else:
        Console().print(inspection_table(info))


def _settings(
    epochs: int,
    batch_size: int,
    method: str,
    p: float,
    patch_strategy: str,
    ratio_strategy: str,
    patch_size: int | None,
    fix_ratio: float | None,
    threshold: float,
    device: str,
    engine: str,
    seed: int,
) -> TrainingSettings:
    """The options that both trainings share, as settings; a constant implies the strategy "fixed"."""
    from .training import TrainingSettings

    return TrainingSettings(
        epochs=epochs,
        batch_size=batch_size,
        method=method,
        p=p,
        patch_strategy=patch_strategy if patch_size is None else "fixed",
        ratio_strategy=ratio_strategy if fix_ratio is None else "fixed",
        patch_size=patch_size,
        fix_ratio=fix_ratio,
        threshold=threshold,
        device=device,
        engine=engine,
        seed=seed,
    )


def _train(data: TrainingData, settings: TrainingSettings, out: Path, console: Console) -> None:
    """Train, and say what came out."""
    from .training import run_training

    console.print(f"task: {escape(data.task)}", soft_wrap=True)
    console.print(
        f"tiles: {len(data.train)} to train on, {len(data.test)} to test on; {escape(data.split)}", soft_wrap=True
    )
    report = run_training(data, settings, out, console)
    final, read = report["final"], report["tiles_read"]
    console.print(f"held-out accuracy {final['accuracy']:.3f}, AUROC {final['auroc']:.3f}")
    console.print(f"tiles read: {read['direct']} directly, {read['openslide']} through OpenSlide")
    if report["bad_tiles"]:
        console.print(f"{len(report['bad_tiles'])} bad tiles were replaced: see faults.jsonl")
    console.print(f"written to {escape(str(out))}: report.json, mixed.png, curriculum.png, model.pt", soft_wrap=True)


def _make_folder(folder: Path) -> None:
    """Make the folder of the results."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentError(f"The folder {folder} cannot be made ({error.strerror}): give another --out.") from error


def main() -> None:
    """Run the command line: exit code 0, or 2 with one message for what cannot work."""
    try:
        app()
    except CellMixDaliError as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
