"""A plan applied to images and labels in the graph, whatever its method and engine."""

from __future__ import annotations

from .dali import DataNode, Pipeline, types
from .engines.paste import move_pixels
from .labels import mix_labels
from .plan_arrays import PlanNodes
from .saliency import placed_boxes

__all__ = ["apply_plan"]


def apply_plan(
    images: DataNode,
    labels: DataNode,
    plan: PlanNodes,
    *,
    num_classes: int,
    soft: bool = False,
    engine: str = "native",
    dtype: types.DALIDataType | None = None,
    name: str | None = None,
) -> tuple[DataNode, DataNode]:
    """Apply a plan to images that are known to be of its size: `mix` without its checks of the images.

    Parameters and results are those of `mix`.
    """
    if plan.action.kind == "saliency":
        plan = placed_boxes(images, plan)
    mixed = move_pixels(images, plan, engine=engine, dtype=dtype, name=name)
    labels = mix_labels(labels, plan.weights, num_classes, Pipeline.current().max_batch_size, soft=soft)
    return mixed, labels.gpu() if images.device == "gpu" and labels.device == "cpu" else labels
