"""The training pipeline: tiles -> flips -> mixing -> normalise -> PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from cellmix_dali._ranks import ranks_of
from cellmix_dali.errors import ArgumentError
from cellmix_dali.plugins import Augment, TileSource, tiles
from cellmix_dali.plugins.dali import Pipeline, fn
from cellmix_dali.plugins.normalise import MEAN, STD
from cellmix_dali.plugins.plan_source import CurriculumLike
from cellmix_dali.shards import image_sizes
from cellmix_dali.storage.patience import RETRY_SECONDS
from cellmix_dali.tables.tile_table import TileTable, require_table

from ._graph_settings import GraphSettings
from ._mixing import mixed_and_normalised
from ._training_plans import training_plans
from .device import source_decoder
from .loader import Stateful, TileLoader

__all__ = ["train_loader", "train_pipeline"]


def train_pipeline(
    source: TileSource,
    *,
    device: str | torch.device = "cpu",
    engine: str | None = None,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    dtype: str = "float32",
    num_threads: int | None = None,
    prefetch_queue_depth: int | None = None,
    augment: Augment | None = None,
) -> Pipeline:
    """Define the training pipeline over a tile source.

    Parameters
    ----------
    source : TileSource
        With `num_classes`, so that it makes soft labels; with `plans`, by which it mixes them.
    device : {"cpu", "gpu"}, default "cpu"
        Where tiles are decoded, mixed and normalised. PyTorch's names mean the same: "cuda", "cuda:1" and
        `torch.device`. What ran on a GPU: docs/gpu.md.
    engine : {"native", "numba"}, optional
        What mixes and normalises: DALI's operators, or one compiled pass over the pixels; the result is
        the same. By default the faster one, see `cellmix_dali.plugins.normalise.default_engine`.
    mean, std : sequence of 3 floats
        Of R, G, B in [0, 1].
    dtype : {"float32", "float16"}
        Of the images.
    num_threads : int, optional
        DALI's threads. By default as many as the process may use cores, at most 16.
    prefetch_queue_depth : int, optional
        Batches that DALI makes ahead. By default 2, on the GPU 4.
    augment : callable, optional
        ``augment(images, draw)`` changes the images, uint8 HWC, after the flips and before the mixing, by operators of
        the graph and by the numbers of `draw` (see `cellmix_dali.plugins.Draw`); it returns them, of the same size and
        type.

    Returns
    -------
    nvidia.dali.Pipeline
        Outputs: images (3, height, width); soft labels float32 (num_classes,); the tile's row int64 (1,); where plans
        are drawn, as applied, float64 (7,): patch size, fix ratio, triggered, epoch, iteration, tile height and width.

    Raises
    ------
    ArgumentError
        If the source makes no soft labels, or an argument cannot be used.
    MissingDependencyError
        If the GPU is asked for where there is none.
    """
    if source.num_classes is None:
        raise ArgumentError(
            "The training pipeline needs a source that gives soft labels: TileSource(..., num_classes=...)."
        )
    return _graph(source, GraphSettings(device, engine, mean, std, dtype, num_threads, prefetch_queue_depth, augment))


def _graph(source: TileSource, settings: GraphSettings) -> Pipeline:
    """Define the pipeline."""
    pipeline = settings.pipeline(source.batch_size)
    with pipeline:
        batch = tiles(source, device=source_decoder(source, settings.device))
        images = batch.images.gpu() if settings.on_gpu else batch.images
        if batch.flips is not None:
            images = fn.flip(images, horizontal=batch.flips[0], vertical=batch.flips[1])
        images = settings.augmented(images, source)
        # The source has checked that its tiles are of the plans' size, and mixed the labels.
        images, labels = mixed_and_normalised(
            images,
            batch.labels,
            batch.plan,
            num_classes=source.num_classes,
            sizes_checked=settings.augment is None,
            **settings.normalising(),
        )
        applied = [] if batch.plan is None else [batch.plan.parameters]
        pipeline.set_outputs(images, labels, batch.tile, *applied)
    return pipeline


def train_loader(
    table: TileTable,
    *,
    num_classes: int,
    batch_size: int,
    curriculum: CurriculumLike | None = None,
    patch_size: int | None = None,
    fix_ratio: float | None = None,
    method: str | None = "CellMix-Group",
    method_parameters: Mapping[str, Any] | None = None,
    p: float = 0.5,
    flips: bool = True,
    device: str | torch.device = "cpu",
    engine: str | None = None,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
    dtype: str = "float32",
    tile_size: int | None = None,
    edge: str = "skip",
    shuffle: bool | str = True,
    balance: str | None = None,
    on_error: str = "replace",
    fault_file: str | Path | None = None,
    retry_seconds: float = RETRY_SECONDS,
    verify: str = "headers",
    seed: int = 0,
    rank: int | None = None,
    world_size: int | None = None,
    num_threads: int | None = None,
    num_workers: int = 2,
    prefetch_queue_depth: int | None = None,
    augment: Augment | None = None,
) -> TileLoader:
    """Make the loader that a training loop iterates over.

    Parameters
    ----------
    table : TileTable
        Tiles of one size with labels.
    num_classes : int
        Number of classes.
    batch_size : int
        Tiles per batch; an incomplete last batch is left out.
    curriculum : Curriculum, optional
        Says CellMix's patch size and fix ratio; step it with the epoch's mean loss between two passes. Instead of it
        give `patch_size` (pixels) and `fix_ratio` (0 to 1). Other methods take none of the three.
    method : str or None, default "CellMix-Group"
        One of `cellmix_dali.mixing.METHODS`; None or "none" for no mixing.
    method_parameters : mapping, optional
        The method's own, such as ``{"alpha": 0.2}``; by default its paper's: see ``METHODS[method].parameters``.
    p : float, default 0.5
        Probability that a batch (of Cutout: a tile) is mixed; 0 turns the mixing off.
    flips : bool, default True
        Whether tiles are flipped at random, left-right and up-down.
    seed : int, default 0
        Of order, flips and plans.
    rank, world_size : int, optional
        This process among those that train together. By default those of the process group or of
        the launcher (torchrun). Give both to have others.
    tile_size, edge, shuffle, balance, on_error, fault_file, retry_seconds, verify
        See `cellmix_dali.plugins.TileSource`; but a tile that cannot be read is replaced by another of its class
        unless told otherwise. ``loader.faults`` says which.
    num_workers : int, default 2
        Threads that read slide files.
    device, engine, mean, std, dtype, num_threads, prefetch_queue_depth, augment
        See `train_pipeline`. A state is told from another by the augmentation's name.

    Returns
    -------
    TileLoader
        Batches: ``images`` (batch, 3, height, width), ``labels`` float32 (batch, num_classes), ``tile`` int64
        (batch,); and, but for no mixing, as applied ``patch_size``, ``fix_ratio``, ``triggered``, ``epoch``,
        ``iteration``, (batch,).

    Raises
    ------
    CellMixDaliError
        For every argument, slide or label that cannot work, before the first batch.
    """
    require_table(table)
    if not len(table):
        raise ArgumentError("The tile table is empty: there is nothing to train on.")
    follows_group = rank is None
    rank, world_size = ranks_of(rank, world_size)
    settings = GraphSettings(device, engine, mean, std, dtype, num_threads, prefetch_queue_depth, augment)
    plans = training_plans(
        method,
        tile_size=int(image_sizes(table)[0]) if tile_size is None else tile_size,
        batch_size=batch_size,
        curriculum=curriculum,
        patch_size=patch_size,
        fix_ratio=fix_ratio,
        method_parameters=method_parameters,
        p=p,
        seed=seed,
        rank=rank,
    )
    source = TileSource(
        table,
        batch_size=batch_size,
        tile_size=tile_size,
        edge=edge,
        plans=plans,
        flips=flips,
        num_classes=num_classes,
        shuffle=shuffle,
        balance=balance,
        on_error=on_error,
        fault_file=fault_file,
        seed=seed,
        rank=rank,
        world_size=world_size,
        num_workers=num_workers,
        retry_seconds=retry_seconds,
        verify=verify,
    )
    stateful = curriculum if hasattr(curriculum, "state_dict") else None
    return TileLoader(
        partial(_graph, source, settings),
        source,
        ["images", "labels", "tile"] + ["parameters"] * (plans is not None),
        curriculum=cast("Stateful | None", stateful),
        follows_group=follows_group,
        seen=settings.seen(),
    )
