"""A picture of some training samples before and after mixing, made by the graph that training uses."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..mixing import canonical_method, make_mixer
from ..pipelines.graph import GraphOptions, mixed_and_normalised, source_pipeline
from ..plugins import PlanSource, Source, TileNodes
from ..plugins.dali import DataNode
from .data import TrainingData
from .epochs import Entry
from .settings import TrainingSettings, fitting_batch_size

__all__ = ["alternating", "draw_mixed"]

_SHOWN = 8


def draw_mixed(path: Path, data: TrainingData[Any], settings: TrainingSettings, epoch: Entry) -> None:
    """Run one batch of training samples through the training's graph, and draw it before and after mixing.

    Images are augmented as the run's are; they are not flipped.

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
    samples = data.source
    labels = samples.labels(data.train)
    batch, _ = fitting_batch_size(settings.batch_size, len(labels))
    rows = alternating(labels, min(_SHOWN, batch))
    title, steering = canonical_method(settings.method), None
    if settings.steered:
        strength = epoch.get("augment_strength", 1.0)
        steering = _Steering(epoch["patch_size"], epoch["fix_ratio"], strength)
        title += (
            f", epoch {epoch['epoch']} of {settings.epochs}: patches of {epoch['patch_size']} px, "
            f"{epoch['fix_ratio']:.0%} of them stay"
        )
    if settings.augment is not None:
        title += f"; augmented ({settings.augment})"
    mixer = make_mixer(settings.method, p=1.0, seed=settings.seed)
    plans = PlanSource(mixer, tile_size=samples.size, batch_size=len(rows), curriculum=steering)
    # In levels from 0 to 255.
    options = GraphOptions(mean=(0, 0, 0), std=(1 / 255,) * 3, num_threads=2, augment=settings.augmentations()[0])
    source = samples.batch_source(data.train, rows, plans, len(data.classes))
    try:
        pipeline = source_pipeline(source, options, _before_and_after)
        pipeline.build()
        before, after, soft, numbers = (np.array(output.as_array()) for output in pipeline.run()[:4])
    finally:
        source.close()
    from ..pictures import mixed_picture  # with matplotlib, which the first batch need not wait for

    mixed_picture(
        path,
        before=before,
        after=after.transpose(0, 2, 3, 1).round().clip(0, 255).astype(np.uint8),
        labels=labels[rows][numbers.reshape(-1)],
        soft_labels=soft,
        classes=data.classes,
        title=title,
    )


class _Steering(NamedTuple):
    # What a curriculum said in the epoch that is shown.
    patch_size: int
    fix_ratio: float
    augment_strength: float


def _before_and_after(batch: TileNodes, source: Source, options: GraphOptions) -> list[DataNode]:
    """The end of the graph: the images as they are mixed, then what a training sees."""
    return [batch.images, *mixed_and_normalised(batch, source, options)]


def alternating(labels: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Choose some rows, the classes taking turns, so that neighbours have something to exchange."""
    rng = np.random.default_rng(0)
    rows = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    turns = [row for turn in zip_longest(*rows) for row in turn if row is not None]
    return np.array(turns[:count], np.int64)
