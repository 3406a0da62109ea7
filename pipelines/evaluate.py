"""The evaluation pipeline: tiles -> normalise -> PyTorch. No flips, no mixing, every tile once, in order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from cellmix_dali._ranks import ranks_of
from cellmix_dali.errors import ArgumentError
from cellmix_dali.plugins import TileSource, tiles
from cellmix_dali.plugins.dali import Pipeline
from cellmix_dali.plugins.normalise import MEAN, STD, normalise
from cellmix_dali.storage.patience import RETRY_SECONDS
from cellmix_dali.tables.tile_table import TileTable, require_table

from ._graph_settings import GraphSettings
from .device import source_decoder
from .loader import TileLoader

__all__ = ["evaluate_loader", "evaluate_pipeline"]


def evaluate_pipeline(
    source: TileSource,
    *,
    device: str | torch.device = "cpu",
    engine: str | None = None,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    dtype: str = "float32",
    num_threads: int | None = None,
    prefetch_queue_depth: int | None = None,
) -> Pipeline:
    """Define the evaluation pipeline over a tile source.

    Parameters
    ----------
    source : TileSource
        Usually with ``shuffle=False, drop_last=False``.
    device, engine, mean, std, dtype, num_threads, prefetch_queue_depth
        See `cellmix_dali.pipelines.train_pipeline`.

    Returns
    -------
    nvidia.dali.Pipeline
        Outputs: images (3, height, width); labels as the table has them; the tile's row int64 (1,).

    Raises
    ------
    MissingDependencyError
        If the GPU is asked for where there is none.
    """
    return _graph(source, GraphSettings(device, engine, mean, std, dtype, num_threads, prefetch_queue_depth))


def _graph(source: TileSource, settings: GraphSettings) -> Pipeline:
    """Define the pipeline."""
    pipeline = settings.pipeline(source.batch_size)
    with pipeline:
        batch = tiles(source, device=source_decoder(source, settings.device))
        images = batch.images.gpu() if settings.on_gpu else batch.images
        images = normalise(images, **settings.normalising(), sizes_checked=True)
        pipeline.set_outputs(images, batch.labels, batch.tile)
    return pipeline


def evaluate_loader(
    table: TileTable,
    *,
    batch_size: int,
    num_classes: int | None = None,
    device: str | torch.device = "cpu",
    engine: str | None = None,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    dtype: str = "float32",
    tile_size: int | None = None,
    edge: str = "skip",
    on_error: str = "raise",
    fault_file: str | Path | None = None,
    retry_seconds: float = RETRY_SECONDS,
    verify: str = "headers",
    rank: int | None = None,
    world_size: int | None = None,
    num_threads: int | None = None,
    num_workers: int = 2,
    prefetch_queue_depth: int | None = None,
) -> TileLoader:
    """Make the loader of an evaluation: every tile once, the last batch short.

    Parameters
    ----------
    table : TileTable
        Tiles of one size; without labels the loader's labels are -1.
    batch_size : int
        Tiles per batch.
    num_classes : int, optional
        If given, the labels are checked against it.
    rank, world_size : int, optional
        This process among those that share the table. By default those of the process group or of
        the launcher (torchrun). Give both to have others.
    tile_size, edge, on_error, fault_file, retry_seconds, verify
        See `cellmix_dali.plugins.TileSource`.
    num_workers : int, default 2
        Threads that read slide files.
    device, engine, mean, std, dtype, num_threads, prefetch_queue_depth
        See `cellmix_dali.pipelines.train_pipeline`.

    Returns
    -------
    TileLoader
        Batches: ``images`` (batch, 3, height, width), ``labels`` int64 (batch,) or float32 (batch, classes),
        ``tile`` int64 (batch,).

    Raises
    ------
    CellMixDaliError
        For every argument, slide or label that cannot work, before the first batch.
    """
    require_table(table)
    if not len(table):
        raise ArgumentError("The tile table is empty: there is nothing to evaluate.")
    if num_classes is not None:
        table.check_labels(num_classes)
    follows_group = rank is None
    rank, world_size = ranks_of(rank, world_size)
    settings = GraphSettings(device, engine, mean, std, dtype, num_threads, prefetch_queue_depth)
    source = TileSource(
        table,
        batch_size=batch_size,
        tile_size=tile_size,
        edge=edge,
        on_error=on_error,
        fault_file=fault_file,
        shuffle=False,
        drop_last=False,
        rank=rank,
        world_size=world_size,
        num_workers=num_workers,
        retry_seconds=retry_seconds,
        verify=verify,
    )
    return TileLoader(
        partial(_graph, source, settings),
        source,
        ["images", "labels", "tile"],
        follows_group=follows_group,
        seen=settings.seen(),
    )
