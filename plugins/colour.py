"""Changes of colour in a graph: brightness, stain and the like, by numbers of its own for each sample."""

from __future__ import annotations

from cellmix_dali.errors import ArgumentError, unknown_name

from .colour_stages import KINDS, Colour
from .dali import DataNode
from .engines.registry import default_engine, engine_for
from .engines.self_check import tried_colour
from .image_shape import require_channels

__all__ = ["coloured"]


def coloured(images: DataNode, colour: Colour, *, engine: str | None = None) -> DataNode:
    """Change the colours of a batch.

    Parameters
    ----------
    images : DataNode, uint8 HWC, 3 channels
        On "cpu" or "gpu".
    colour : Colour
        The stages, and their numbers for each sample, see `colour_stages.stage_numbers`.
    engine : {"native", "numba"}, optional
        DALI's operators, or one compiled pass over the pixels; the results differ by at most 1 level. By default
        `engines.registry.default_engine`; where that has no such pass, DALI's operators.

    Returns
    -------
    DataNode, uint8 HWC

    Raises
    ------
    ArgumentError
        If a kind of stage is not known.
    CellMixDaliError
        If a compiled engine, tried once per process on a small batch, gives other pixels than it should.
    """
    for kind in colour.kinds:
        if kind not in KINDS:
            raise unknown_name("kind of stage", kind, KINDS)
    if not colour.kinds:
        raise ArgumentError("A change of colour needs at least one stage.")
    chosen = engine_for(default_engine(images.device) if engine is None else engine, images.device)
    if not chosen.colours:
        chosen = engine_for("native", images.device)
    if chosen.compiled:
        images = require_channels(images, 3)
    return tried_colour(chosen, images, colour.kinds).colour(images, colour)
