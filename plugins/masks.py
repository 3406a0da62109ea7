"""Class masks in the graph: moved as the images are, to the bit the same regions."""

from __future__ import annotations

from .dali import DataNode
from .engines.registry import default_engine, engine_for
from .engines.self_check import tried
from .image_shape import require_channels, require_tile_size
from .plan_arrays import PlanNodes

__all__ = ["mix_masks"]


def mix_masks(masks: DataNode, plan: PlanNodes, *, engine: str | None = None, sizes_checked: bool = False) -> DataNode:
    """Apply a plan to class masks; see `cellmix_dali.mixing.MixPlan.for_masks`.

    Parameters
    ----------
    masks : DataNode, uint8 HWC with 1 channel
        All of the plan's size, on "cpu" or "gpu".
    plan : PlanNodes
        Of any kind but "saliency" (see `saliency.placed_boxes`).
    engine : {"native", "numba"}, optional
        What moves the pixels; by default the faster one. On the GPU DALI's operators do.
    sizes_checked : bool, default False
        Whether the masks are known to have 1 channel and the plan's size; if not, the graph raises where they do not.

    Returns
    -------
    DataNode, uint8 HWC with 1 channel

    Raises
    ------
    ArgumentError
        If the plan blends pixels.
    """
    action = plan.action.for_masks()
    if not sizes_checked:
        masks = require_channels(require_tile_size(masks, plan.parameters), 1)
    chosen = engine_for(default_engine(masks.device) if engine is None else engine, masks.device)
    if action.kind not in chosen.mixes:
        chosen = engine_for("native", masks.device)
    return tried(chosen, masks, action).mix(masks, plan._replace(action=action))
