"""What augmentations make of a batch, in a pipeline of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline

from cellmix_dali.augment import Augmentation, Batch
from cellmix_dali.plugins import Draw, EpochClock

STAINED = Path(__file__).parents[2].parent / "shared" / "slides" / "torchstain-source.png"


def pictures(count: int, height: int = 37, width: int = 45, seed: int = 0) -> NDArray[np.uint8]:
    """Tissue-coloured noise: blobs of purple and pink on pale ground, and every level somewhere."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    images[:, : height // 2] = random.normal([190, 130, 180], 25, (count, height // 2, width, 3)).clip(0, 255)
    images[:, :3] = random.integers(235, 256, (count, 3, width, 3))
    return images


def changed(
    augment: Any,
    images: NDArray[np.uint8],
    *,
    engine: str = "numba",
    seed: int = 0,
    iteration: int = 0,
    masks: NDArray[np.uint8] | None = None,
    strength: float | None = None,
    batches: int = 1,
) -> Any:
    """Return the images of the first batches, (batches, samples, height, width, 3), and the masks if there are any."""
    pipeline = Pipeline(batch_size=len(images), num_threads=2, device_id=None, prefetch_queue_depth=1)
    draw = Draw(
        EpochClock(9, iteration=iteration), len(images), seed, 0, engine, None if strength is None else lambda: strength
    )
    with pipeline:
        node = fn.external_source(lambda: list(images), batch=True, dtype=types.UINT8, layout="HWC")
        if masks is None:
            pipeline.set_outputs(augment(node, draw))
        else:
            classes = fn.external_source(
                lambda: list(np.ascontiguousarray(masks[..., None])), batch=True, dtype=types.UINT8, layout="HWC"
            )
            assert isinstance(augment, Augmentation)
            batch = Batch(node, draw, classes)
            augment.change(batch)
            assert batch.masks is not None
            pipeline.set_outputs(batch.images, batch.masks)
    pipeline.build()
    runs: Sequence[Any] = [pipeline.run() for _ in range(batches)]
    found = [np.stack([np.array(run[place].as_array()) for run in runs]) for place in range(len(runs[0]))]
    return found[0] if masks is None else (found[0], found[1][..., 0])
