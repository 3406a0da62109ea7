"""SaliencyMix in the graph: the boxes' places from small copies of the images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.mixing import Action
from cellmix_dali.mixing.saliency import SALIENCY_SIDE, scaled_peaks
from cellmix_dali.mixing.saliencymix import SaliencyCut

from .dali import DataNode, fn, types
from .nearest import resized_nearest
from .plan_arrays import PlanNodes, Settings, box_regions

__all__ = ["placed_boxes"]

_AT_ONCE = 8


def placed_boxes(images: DataNode, plan: PlanNodes, source_map: bool | int = False) -> PlanNodes:
    """Turn a plan of kind "saliency" into one of kind "paste", with the map of its tokens if that is asked for.

    The images are sampled by `fn.resize` on their device; the copies of 128 x 128 pixels go to the host, where NumPy
    finds the peaks: those that `saliency_peaks` finds.
    """
    side = fn.cast(plan.parameters[5:7], dtype=types.FLOAT)
    small = resized_nearest(images, np.full(2, SALIENCY_SIDE, np.float32), side * 0.0, side)
    if small.device == "gpu":
        small = small.cpu()
    in_ids, in_anchors, out_anchors, shapes, weights, *tokens = fn.python_function(
        small,
        plan.in_ids,
        plan.shapes,
        plan.parameters,
        function=partial(_place, source_map=source_map),
        batch_processing=True,
        num_outputs=5 + (source_map is not False),
    )
    return plan._replace(
        in_ids=in_ids,
        in_anchors=in_anchors,
        out_anchors=out_anchors,
        shapes=shapes,
        weights=weights,
        action=Action("paste"),
        source_map=tokens[0] if tokens else None,
    )


def _place(
    small: Sequence[NDArray[np.uint8]],
    in_ids: Sequence[NDArray[np.int32]],
    shapes: Sequence[NDArray[np.int32]],
    parameters: Sequence[NDArray[np.float64]],
    *,
    source_map: bool | int,
) -> tuple[list[NDArray[np.generic]], ...]:
    """Work out one batch's regions and weights."""
    _, _, triggered, _, _, height, width = map(int, parameters[0])
    rows, columns = map(int, shapes[0][0])
    cut = SaliencyCut((height, width), np.concatenate(in_ids), (rows, columns), triggered=bool(triggered))
    # A batch that stays as it is needs no peaks.
    plan = cut.plan(_peaks(small, (height, width)) if triggered else ())
    tokens = Settings((height, width), 0, 0, source_map=source_map).tokens(plan)
    told = [] if source_map is False else [list(tokens)]
    return (*(list(array) for array in box_regions(plan)), list(plan.weights), *told)


def _peaks(small: Sequence[NDArray[np.uint8]], tile_size: tuple[int, int]) -> NDArray[np.int32]:
    """The peaks of one batch, a few images at a time: what NumPy makes on its way then stays in the caches."""
    groups = (np.stack(small[first : first + _AT_ONCE]) for first in range(0, len(small), _AT_ONCE))
    return np.concatenate([scaled_peaks(group, tile_size) for group in groups])
