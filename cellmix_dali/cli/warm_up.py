"""`cellmix-dali warm-up`: compile now what would be compiled at its first use."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Annotated

import typer
from rich.console import Console

from ..errors import CellMixDaliError, unknown_name
from ._warming import PIECES, compile_for, not_compiled

__all__ = ["warm_up"]


def warm_up(
    pieces: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PIECE]...", help=f"For what: {', '.join(PIECES)}; by default for all."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that compile at once.")] = 2,
) -> None:
    """Compile now what loaders and jobs would compile at their first use, and keep it on disk.

    For the image of a container, or a machine that is new. What is compiled is kept with the installed package, or in
    the user's cache folder where that cannot be written to, and used by all processes until the package, numba, numpy
    or the kind of processor is another. What is there already is not compiled again.
    """
    chosen = list(dict.fromkeys(pieces or PIECES))
    for piece in chosen:
        if piece not in PIECES:
            raise unknown_name("piece", piece, tuple(PIECES))
    from .._compiled_cache import cache_folders, writable_folders
    from ..jobs.executor import carry_out, make_executor

    began, console = time.monotonic(), Console()
    folder = next(writable_folders(), None)
    if folder is None:
        raise CellMixDaliError(
            f"Compiled code cannot be kept: none of {', '.join(map(str, cache_folders()))} can be written to. Set "
            "CELLMIX_DALI_CACHE to a folder that can be, here and wherever the package is used."
        )
    before = set(folder.glob("*.nbc"))
    waiting = iter(chosen)
    with closing(make_executor(compile_for, not_compiled, min(workers, len(chosen)))) as executor:
        for piece, wrong in carry_out(executor, lambda: next(waiting, None)):
            if wrong is not None:
                raise CellMixDaliError(
                    f"Not all could be compiled: {wrong}. What they wrote to the error output says more."
                )
            console.print(f"{piece}: compiled.", highlight=False)
    count = len(set(folder.glob("*.nbc")) - before)
    seconds = time.monotonic() - began
    console.print(f"{count} functions are new in {folder}, in {seconds:.0f} s.", highlight=False, soft_wrap=True)
