"""A picture of some training samples before and after mixing, made by the operators that training uses."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..mixing import canonical_method, make_mixer
from ..pictures import mixed_picture
from ..plugins import PlanSource, mix
from ..plugins.dali import Pipeline
from .data import TrainingData
from .epochs import Entry
from .settings import TrainingSettings, fitting_batch_size

__all__ = ["alternating", "draw_mixed"]

_SHOWN = 8


def draw_mixed(path: Path, data: TrainingData[Any], settings: TrainingSettings, epoch: Entry) -> None:
    """Run one batch of training samples through the operator, keeping what went in, and draw both.

    Parameters
    ----------
    path : Path
        The picture's file.
    data : TrainingData
        Whose training samples are shown, and by what source.
    settings : TrainingSettings
        With the method.
    epoch : Entry
        Figures of the epoch that is shown: of CellMix's methods with its patch size and fix ratio.
    """
    source = data.source
    labels_there = source.labels(data.train)
    batch, _ = fitting_batch_size(settings.batch_size, len(labels_there))
    rows = alternating(labels_there, min(_SHOWN, batch))
    title, constants = canonical_method(settings.method), {}
    if settings.steered:
        constants = {name: epoch[name] for name in ("patch_size", "fix_ratio")}
        title += (
            f", epoch {epoch['epoch']} of {settings.epochs}: patches of {epoch['patch_size']} px, "
            f"{epoch['fix_ratio']:.0%} of them stay"
        )
    mixer = make_mixer(settings.method, p=1.0, seed=settings.seed)
    plans = PlanSource(mixer, tile_size=source.size, batch_size=len(rows), **constants)
    pipeline = Pipeline(batch_size=len(rows), num_threads=2, device_id=None, prefetch_queue_depth=1)
    with ExitStack() as stack:
        with pipeline:
            images, labels, numbers, plan = source.one_batch(data.train, rows, plans, stack)
            mixed, soft_labels = mix(images, labels, num_classes=len(data.classes), plan=plan)
            pipeline.set_outputs(images, labels, mixed, soft_labels, numbers)  # DALI warns of outputs that nobody uses
        pipeline.build()
        before, hard, after, soft, _ = (output.as_array() for output in pipeline.run())
    mixed_picture(
        path, before=before, after=after, labels=hard.reshape(-1), soft_labels=soft, classes=data.classes, title=title
    )


def alternating(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Choose some rows, the classes taking turns, so that neighbours have something to exchange."""
    rng = np.random.default_rng(0)
    rows = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    turns = [row for turn in zip_longest(*rows) for row in turn if row is not None]
    return np.array(turns[:count], np.int64)
