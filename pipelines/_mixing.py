"""The end of every training graph: a plan is applied, and what the model sees is made."""

from __future__ import annotations

from collections.abc import Sequence

from cellmix_dali.plugins import PlanNodes
from cellmix_dali.plugins.dali import DataNode, Pipeline
from cellmix_dali.plugins.labels import mix_labels
from cellmix_dali.plugins.normalise import normalise
from cellmix_dali.plugins.saliency import placed_boxes

__all__ = ["mixed_and_normalised"]


def mixed_and_normalised(
    images: DataNode,
    labels: DataNode,
    plan: PlanNodes | None,
    *,
    num_classes: int | None,
    mean: Sequence[float],
    std: Sequence[float],
    dtype: str,
    engine: str | None,
    sizes_checked: bool,
) -> tuple[DataNode, DataNode]:
    """Return normalised images, mixed by a plan of their size, and the labels, on the images' device.

    The labels were mixed by their source; but where boxes lie where the images say, so do the weights, and labels
    (shares of `num_classes`) are mixed here. Where the sizes are not known to be those of the plan, the graph checks.
    """
    if plan is not None and plan.action.kind == "saliency":
        plan = placed_boxes(images, plan)
        assert num_classes is not None
        labels = mix_labels(labels, plan.weights, num_classes, Pipeline.current().max_batch_size, soft=True)
    gpu = images.device == "gpu"
    images = normalise(images, mean=mean, std=std, plan=plan, dtype=dtype, engine=engine, sizes_checked=sizes_checked)
    return images, labels.gpu() if gpu else labels
