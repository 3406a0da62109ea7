"""A picture of some training images before and after mixing, made by the operators that training uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..curriculum import Curriculum
from ..mixing import METHODS, canonical_method, make_mixer
from ..pictures import mixed_picture
from ..plugins import PlanSource, mix
from ..plugins.dali import Pipeline
from .settings import TrainingSettings

__all__ = ["SHOWN", "alternating", "draw_mixed"]

SHOWN = 8  # images in mixed.png


def draw_mixed(
    path: Path,
    nodes: Callable[[PlanSource], tuple[Any, Any, Any, Any]],
    count: int,
    size: int,
    classes: Sequence[str],
    settings: TrainingSettings,
    curriculum: Curriculum | None,
) -> None:
    """Run one batch of training images through the operator, keeping what went in, and draw both.

    Parameters
    ----------
    path : Path
        The picture's file.
    nodes : callable
        Given the plans, puts a source of one batch into the graph; gives nodes of images, labels, their numbers, and
        the plan.
    count, size : int
        Images of the batch, and their side in pixels.
    classes : sequence of str
        Names of the labels.
    settings : TrainingSettings
        With the method, and constants of the curriculum.
    curriculum : Curriculum or None
        Of CellMix: gives a middle patch size where the settings have none.
    """
    method = canonical_method(settings.method)
    title, constants = method, {}
    if METHODS[method].is_cellmix:
        assert curriculum is not None
        sizes = curriculum.patch_sizes
        patch_size = settings.patch_size or sizes[len(sizes) // 2]
        fix_ratio = 0.5 if settings.fix_ratio is None else settings.fix_ratio
        title = f"{method}: patches of {patch_size} px, {fix_ratio:.0%} of them stay"
        constants = {"patch_size": patch_size, "fix_ratio": fix_ratio}
    mixer = make_mixer(settings.method, p=1.0, seed=settings.seed)
    plans = PlanSource(mixer, tile_size=size, batch_size=count, **constants)  # type: ignore[arg-type]
    pipeline = Pipeline(batch_size=count, num_threads=2, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        images, labels, numbers, plan = nodes(plans)
        mixed, soft_labels = mix(images, labels, num_classes=len(classes), plan=plan)
        pipeline.set_outputs(images, labels, mixed, soft_labels, numbers)  # DALI warns of outputs that nobody uses
    pipeline.build()
    before, hard, after, soft, _ = (output.as_array() for output in pipeline.run())
    mixed_picture(
        path, before=before, after=after, labels=hard.reshape(-1), soft_labels=soft, classes=classes, title=title
    )


def alternating(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Choose some rows, the classes taking turns, so that neighbours have something to exchange."""
    rng = np.random.default_rng(0)
    rows = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    turns = [row for turn in zip_longest(*rows) for row in turn if row is not None]
    return np.array(turns[:count], np.int64)
