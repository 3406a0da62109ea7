"""SaliencyMix in the graph: boxes are placed where the images say."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.mixing import Action
from cellmix_dali.mixing.saliency import SALIENCY_SIDE, check_images, settled_peaks
from cellmix_dali.mixing.saliencymix import SaliencyCut

from .dali import DataNode, fn, types
from .nearest import resized_nearest
from .plan_arrays import PlanNodes, Settings, box_regions

__all__ = ["placed_boxes"]


def placed_boxes(
    images: DataNode, plan: PlanNodes, source_map: bool | int = False, *, copied: bool | None = None
) -> PlanNodes:
    """Turn a plan of kind "saliency" into one of kind "paste", with the map of its tokens if that is asked for.

    The peaks are those of `cellmix_dali.mixing.saliency_peaks`. Compiled code looks for them in DALI's threads, on the
    host, and NumPy settles the few that it is not certain of.

    Parameters
    ----------
    images : DataNode, uint8 HWC
        One channel or 3.
    plan : PlanNodes
        Of kind "saliency".
    source_map : bool or int, default False
        Which tokens' sources to tell, see `cellmix_dali.mixing.source_map`.
    copied : bool, optional
        Whether to look at copies of 128 x 128 pixels, which `fn.resize` makes where the images are. By default only of
        images on the GPU: the copies come to the host.
    """
    from .engines.cpu_saliency import salient_places

    gpu = images.device == "gpu"
    if gpu if copied is None else copied:
        side = fn.cast(plan.parameters[5:7], dtype=types.FLOAT)
        images = resized_nearest(images, np.full(2, SALIENCY_SIDE, np.float32), side * 0.0, side)
        images = images.cpu() if gpu else images
    in_ids, in_anchors, out_anchors, shapes, weights, *tokens = fn.python_function(
        salient_places(images, plan.parameters),
        images,
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
    found: Sequence[NDArray[np.int32]],
    images: Sequence[NDArray[np.uint8]],
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
    if not triggered:
        plan = cut.plan(())
    else:
        check_images(images[0][None])
        plan = cut.plan(settled_peaks(np.stack(found), images, (height, width)))
    tokens = Settings((height, width), 0, 0, source_map=source_map).tokens(plan)
    told = [] if source_map is False else [list(tokens)]
    return (*(list(array) for array in box_regions(plan)), list(plan.weights), *told)
