"""The file that a command writes its picture to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ArgumentError, unknown_name
from ._options import make_folder

__all__ = ["PictureOut", "ready_picture_file"]

_SUFFIXES = (".png", ".pdf", ".svg")

PictureOut = Annotated[Path, typer.Option(help="The picture: .png, .pdf or .svg.")]


def ready_picture_file(out: Path) -> None:
    """Make the folder of a picture's file; refuse a file that no picture can be written to."""
    if out.suffix.lower() not in _SUFFIXES:
        raise unknown_name("kind of picture", out.suffix or out.name, _SUFFIXES)
    if out.is_dir():
        raise ArgumentError(f"{out} is a folder: give another --out, the name of the picture's file.")
    make_folder(out.parent)
