"""`cellmix-dali inspect`: what a slide file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from ..slides.stream_kinds import decoder_routes
from ._grouped import takes
from ._options import MppOverride, StoreOptions

if TYPE_CHECKING:
    from ..slides.stream_kinds import DecoderRoute

__all__ = ["inspect"]


@takes(StoreOptions)
def inspect(
    slide: Annotated[Path, typer.Argument(help="A slide file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    mpp_override: MppOverride = None,
    device: Annotated[
        Literal["cpu", "gpu"], typer.Option(help="The pipeline's; it says how this slide is decoded there.")
    ] = "cpu",
    blocks: Annotated[
        bool, typer.Option("--blocks", help="Time how fast tiles are read: by us, by OpenSlide alone, by cuCIM.")
    ] = False,
) -> None:
    """Say what a slide file holds: levels, mpp, blocks, compression, colour; how it is read and decoded, and why."""
    from ..slides.inspection import add_decoders, add_times, inspect_slide, inspection_table

    info = inspect_slide(slide, mpp_override=mpp_override)
    add_decoders(info, device, _routes(device))
    if blocks:
        from ..pipelines.reading_times import reading_times  # takes seconds to import: DALI

        add_times(info, [time._asdict() for time in reading_times(slide)])
    if as_json:
        typer.echo(json.dumps(info, indent=2))
    else:
        Console().print(inspection_table(info))


def _routes(device: str) -> dict[str, DecoderRoute]:
    """How a pipeline on the device decodes slides; on the GPU, that is tried."""
    if device == "cpu":
        return decoder_routes(device, {})
    from ..pipelines.routes import routes_taken  # takes seconds to import: DALI and PyTorch

    return routes_taken(device)
