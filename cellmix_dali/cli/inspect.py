"""`cellmix-dali inspect`: what a slide file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ._options import MppOverride

__all__ = ["inspect"]


def inspect(
    slide: Annotated[Path, typer.Argument(help="A slide file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    mpp_override: MppOverride = None,
) -> None:
    """Say what a slide file holds: levels, mpp, blocks, compression, colour; which way it will be read, and why."""
    from ..inspection import inspect_slide, inspection_table

    info = inspect_slide(slide, mpp_override=mpp_override)
    if as_json:
        typer.echo(json.dumps(info, indent=2))
    else:
        Console().print(inspection_table(info))
