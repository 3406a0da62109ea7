"""What the model sees: normalised images, channels first; with the mixing in the same pass over the pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cellmix_dali._imagenet import MEAN, STD
from cellmix_dali.errors import ArgumentError, unknown_name

from .colour import coloured
from .colour_stages import Colour
from .dali import DataNode
from .engines.engine import DTYPES, Normalisation
from .engines.registry import default_engine, engine_for
from .engines.self_check import tried, tried_colour
from .image_shape import require_channels, require_tile_size
from .plan_arrays import PlanNodes

__all__ = ["DTYPES", "MEAN", "STD", "channel_numbers", "normalise"]


def channel_numbers(name: str, values: Sequence[float]) -> tuple[float, float, float]:
    """Return `mean` or `std` as three floats, of R, G and B.

    Raises
    ------
    ArgumentError
        If they are not three finite numbers, or a deviation is not above 0.
    """
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError):
        raise ArgumentError(
            f"{name}={values!r} cannot be used: give three numbers, of red, green and blue, in [0, 1]."
        ) from None
    if not np.isfinite([red, green, blue]).all() or (name == "std" and min(red, green, blue) <= 0):
        raise ArgumentError(f"{name}={values!r} cannot be used: give three numbers, standard deviations above 0.")
    return red, green, blue


def normalise(
    images: DataNode,
    *,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    plan: PlanNodes | None = None,
    colour: Colour | None = None,
    dtype: str = "float32",
    engine: str | None = None,
    sizes_checked: bool = False,
) -> DataNode:
    """Take out mean and standard deviation, cast, and put the channels first; before that, change colours and mix.

    Parameters
    ----------
    images : DataNode, uint8 HWC, 3 channels
        On "cpu" or "gpu"; with a plan all of the size that it is drawn for.
    mean, std : sequence of 3 floats
        Of R, G, B in [0, 1].
    plan : PlanNodes, optional
        What to mix, of any kind but "saliency" (see `saliency.placed_boxes`).
    colour : Colour, optional
        What to do to the images' colours before they are mixed.
    dtype : {"float32", "float16"}
        Of the result.
    engine : {"native", "numba"}, optional
        DALI's operators, or one compiled pass over the pixels: on the CPU, or on the GPU by numba-cuda. On the CPU the
        results of both are the same to the bit, and so should be those of "numba" on both devices; DALI's own operator
        on the GPU may round otherwise. By default `engines.registry.default_engine`.
    sizes_checked : bool, default False
        Whether the images are known to be RGB, and of the plan's size; if not, the graph raises where they are not.

    Returns
    -------
    DataNode, CHW
        ``(images / 255 - mean) / std``.

    Raises
    ------
    ArgumentError
        For an argument that cannot work.
    CellMixDaliError
        If a compiled engine, tried once per process on a small batch, gives other numbers than it should.
    """
    chosen = engine_for(default_engine(images.device) if engine is None else engine, images.device)
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    how = Normalisation(channel_numbers("mean", mean), channel_numbers("std", std), dtype)
    if plan is not None and not sizes_checked:
        images = require_tile_size(images, plan.parameters)
    if chosen.compiled and not sizes_checked:
        images = require_channels(images, 3)
    fused = plan is None or plan.action.kind in chosen.fuses
    if colour is not None and not (fused and chosen.fuses_colours and not colour.measured):
        images, colour = coloured(images, colour, engine=chosen.name), None
    if plan is not None and plan.action.kind not in chosen.fuses:
        mixing = chosen if plan.action.kind in chosen.mixes else engine_for("native", images.device)
        images, plan = tried(mixing, images, plan.action).mix(images, plan), None
    tried(chosen, images, None if plan is None else plan.action, dtype)
    if colour is not None:
        tried_colour(chosen, images, colour.kinds, fused=True)
    return chosen.normalise(images, plan, how, colour)
