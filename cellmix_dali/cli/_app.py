"""The application: its commands, and what becomes of errors."""

from __future__ import annotations

import sys
from inspect import getdoc
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from .. import __version__
from ..errors import CellMixDaliError, StoppedError
from ..jobs.processes import nothing_else_runs_here
from .compare import compare
from .curriculum import curriculum
from .demo import demo
from .embed import embed
from .heatmap import heatmap
from .index import index
from .inspect import inspect
from .preview import preview
from .stain import stain
from .tile import tile
from .train import train
from .warm_up import warm_up

__all__ = ["app", "main"]


def flowing(text: str) -> str:
    """Put each paragraph on one line: a terminal breaks lines where it ends, not where the code does."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


app = typer.Typer(
    help="Whole-slide-image tiles through NVIDIA DALI to PyTorch, mixed by CellMix under a self-paced curriculum.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (demo, inspect, preview, curriculum, stain, index, tile, embed, heatmap, warm_up):
    app.command()(command)
for name, group in (("train", train), ("compare", compare)):
    app.add_typer(group, name=name)
for each in (app, train, compare):
    for registered in each.registered_commands:
        registered.help = flowing(getdoc(registered.callback) or "")


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


def main() -> None:
    """Run the command line: exit code 0, 2 with one message for what cannot work, 130 or 143 where it was stopped."""
    nothing_else_runs_here()
    try:
        app()
    except StoppedError as stopped:
        Console(stderr=True).print(escape(str(stopped)), highlight=False, soft_wrap=True)
        sys.exit(128 + stopped.signal)
    except CellMixDaliError as error:
        Console(stderr=True).print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
