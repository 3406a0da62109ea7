"""The command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from . import __version__
from .errors import ArgumentError, CellMixDaliError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Whole-slide-image tiles through NVIDIA DALI to PyTorch, mixed by CellMix under a self-paced curriculum.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cellmix-dali {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
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
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training tiles.")] = 12,
    out: Annotated[Path, typer.Option(help="Folder for report.json, mixed.png and curriculum.png.")] = Path("demo-out"),
    tile_size: Annotated[
        int | None,
        typer.Option(min=32, help="Side of a tile in pixels; by default the slides' own block size."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Tiles a batch.")] = 32,
    method: Annotated[str, typer.Option(help="CellMix variant, such as CellMix, CellMix-Group, CellMix-Random4.")] = (
        "CellMix-Group"
    ),
    p: Annotated[float, typer.Option(help="Probability that a batch is mixed, from 0 to 1.")] = 0.5,
    patch_strategy: Annotated[
        str,
        typer.Option(help="Patch sizes over the epochs: linear, reverse, random, loop, loss_hold, loss_back, fixed."),
    ] = "loss_hold",
    ratio_strategy: Annotated[
        str, typer.Option(help="Fix ratio over the epochs: decay, loss_hold, loss_back, fixed.")
    ] = "loss_hold",
    patch_size: Annotated[
        int | None, typer.Option(help="Constant patch size in pixels; implies --patch-strategy fixed.")
    ] = None,
    fix_ratio: Annotated[
        float | None,
        typer.Option(help="Constant share of patches that stay, from 0 to 1; implies --ratio-strategy fixed."),
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="Loss a sample at which the curriculum makes the next epoch harder.")
    ] = 0.5,
    device: Annotated[str, typer.Option(help="cpu or gpu.")] = "cpu",
    engine: Annotated[str, typer.Option(help="What mixes the pixels: native or numba; the result is the same.")] = (
        "native"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of slides, order, mixing and weights.")] = 0,
) -> None:
    """Train a small classifier on tiles straight from slide files, and test it on a held-out slide.

    Tiles go from the slide files through a DALI pipeline, are mixed by CellMix under a loss-driven curriculum, and
    reach a PyTorch model. Writes report.json, mixed.png (a batch before and after mixing) and curriculum.png into --out.
    """
    console = Console()
    from .demo import RENDERED_TILE, DemoSettings, check_settings, rendered_data, run_demo, slide_data

    settings = DemoSettings(
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
    if tile_size or not slides:
        check_settings(settings, tile_size or RENDERED_TILE)
    _make_folder(out)
    if slides:
        data = slide_data(slides, tile_size=tile_size, seed=seed)
    else:
        with console.status("rendering slides"):
            data = rendered_data(out / "slides", tile_size=tile_size, seed=seed)
    console.print(f"task: {data.task}\ntiles: {len(data.train)} to train on, {len(data.test)} to test on; {data.split}")
    report = run_demo(data, settings, out, console)
    final = report["final"]
    console.print(
        f"held-out accuracy {final['accuracy']:.3f}, AUROC {final['auroc']:.3f}\ntiles read: "
        f"{report['tiles_read']['direct']} directly, {report['tiles_read']['openslide']} through OpenSlide"
    )
    console.print(f"written to {escape(str(out))}: report.json, mixed.png, curriculum.png")


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
