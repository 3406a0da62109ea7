"""This project's contestants, and bare DALI on the same streams."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from measure import Contestant
from numpy.typing import NDArray
from nvidia.dali import fn, types
from nvidia.dali.pipeline import Pipeline
from settings import BATCH, BLOCK, CLASSES, FIX_RATIO, METHOD, PATCH, THREADS, P

from cellmix_dali import TileTable, open_slide
from cellmix_dali.pipelines import GraphOptions, Loader, train_loader
from cellmix_dali.pipelines.loader import loader_over
from cellmix_dali.plugins import TileSource, tiles

__all__ = ["bare_dali", "mixed", "normalised", "read", "read_pipeline", "read_to_torch", "run_pass"]


def read(table: TileTable, name: str = "read") -> Contestant:
    """Decode only; batches stay DALI's arrays."""
    source = TileSource(table, batch_size=BATCH, num_workers=THREADS)
    return Contestant(name, partial(run_pass, read_pipeline(source)), source.close)


def read_to_torch(table: TileTable, name: str = "read -> torch") -> Contestant:
    """Decode only; batches are uint8 tensors."""
    source = TileSource(table, batch_size=BATCH, num_workers=THREADS)
    return _loader(name, Loader(lambda: read_pipeline(source), source))


def normalised(table: TileTable, engine: str) -> Contestant:
    """Decode and normalise; batches are float32 tensors."""
    source = TileSource(table, batch_size=BATCH, num_workers=THREADS)
    options = GraphOptions(engine=engine, num_threads=THREADS)
    return _loader(f"read + normalise ({engine}) -> torch", loader_over(source, options))


def mixed(table: TileTable, engine: str) -> Contestant:
    """Decode, mix every batch and normalise; batches are float32 tensors."""
    loader = train_loader(
        table,
        num_classes=CLASSES,
        batch_size=BATCH,
        patch_size=PATCH,
        fix_ratio=FIX_RATIO,
        method=METHOD,
        p=P,
        flips=False,
        engine=engine,
        num_threads=THREADS,
        num_workers=THREADS,
    )
    return _loader(f"read + CellMix ({engine}) + normalise -> torch", loader)


def bare_dali(table: TileTable) -> Contestant:
    """DALI's decoder on the very streams, prepared beforehand: no reading, no checks, nothing but the decoder."""
    with open_slide(table.slides[0]) as slide:
        encoded = slide.blocks(0, (table.x // BLOCK).tolist(), (table.y // BLOCK).tolist())
    streams = [np.frombuffer(block, np.uint8) for block in encoded if block is not None]
    batches = [streams[first : first + BATCH] for first in range(0, len(streams), BATCH)]

    def source(info: types.BatchInfo) -> Sequence[NDArray[np.uint8]]:
        if info.iteration >= len(batches):
            raise StopIteration
        return batches[info.iteration]

    pipeline = Pipeline(batch_size=BATCH, num_threads=THREADS, device_id=None, prefetch_queue_depth=2)
    with pipeline:
        node = fn.external_source(source, batch=True, batch_info=True, dtype=types.UINT8, ndim=1)
        images = fn.decoders.image(node, device="cpu", output_type=types.RGB, jpeg_fancy_upsampling=True)
        pipeline.set_outputs(images)
    pipeline.build()
    return Contestant("bare DALI decoder", partial(run_pass, pipeline))


def read_pipeline(source: TileSource) -> Pipeline:
    """Nothing after the decoder."""
    pipeline = Pipeline(batch_size=BATCH, num_threads=THREADS, device_id=None, prefetch_queue_depth=2)
    with pipeline:
        batch = tiles(source)
        pipeline.set_outputs(batch.images, batch.labels, batch.tile)
    pipeline.build()
    return pipeline


def run_pass(pipeline: Pipeline) -> int:
    """Run a pipeline to the end of its epoch."""
    count = 0
    while True:
        try:
            count += len(pipeline.run()[0])
        except StopIteration:
            pipeline.reset()
            return count


def _loader(name: str, loader: Loader[TileSource]) -> Contestant:
    return Contestant(name, lambda: sum(len(batch["images"]) for batch in loader), loader.close)
