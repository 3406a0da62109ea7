"""The loader of an evaluation: no flips, no mixing, every tile once, in order."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import Unpack

from cellmix_dali._ranks import ranks_of
from cellmix_dali.collection import CollectionIndex
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import Targets
from cellmix_dali.plugins import TileSource
from cellmix_dali.reading import TileMasks
from cellmix_dali.reading.slides import SLIDE_CACHE
from cellmix_dali.storage.patience import RETRY_SECONDS
from cellmix_dali.tables.tile_table import TileTable, require_table

from .graph import GraphKeywords, GraphOptions
from .loader import Loader, loader_over

__all__ = ["evaluate_loader"]


def evaluate_loader(
    table: TileTable,
    *,
    batch_size: int,
    num_classes: int | None = None,
    targets: Targets | None = None,
    masks: TileMasks | None = None,
    tile_size: int | None = None,
    edge: str = "skip",
    on_error: str = "raise",
    fault_file: str | Path | None = None,
    retry_seconds: float = RETRY_SECONDS,
    verify: str = "headers",
    slide_cache: int | str = SLIDE_CACHE,
    index: CollectionIndex | str | Path | None = None,
    rank: int | None = None,
    world_size: int | None = None,
    num_workers: int = 2,
    **options: Unpack[GraphKeywords],
) -> Loader[TileSource]:
    """Make the loader of an evaluation: every tile once, the last batch short.

    All but the table are keyword arguments, most with a default, as in PyTorch's ``DataLoader``.

    Parameters
    ----------
    table : TileTable
        Tiles of one size; without labels the loader's labels are -1.
    batch_size : int
        Tiles per batch.
    num_classes : int, optional
        If given, the labels are checked against it.
    targets, masks
        See `cellmix_dali.pipelines.train_loader`.
    rank, world_size : int, optional
        This process among those that share the table. By default those of the process group or of
        the launcher (torchrun). Give both to have others.
    tile_size, edge, on_error, fault_file, retry_seconds, verify, slide_cache, index
        See `cellmix_dali.plugins.TileSource`.
    num_workers : int, default 2
        Threads that read slide files.
    **options
        ``device``, ``engine``, ``mean``, ``std``, ``dtype``, ``num_threads``, ``prefetch_queue_depth``,
        ``decoder``: see `cellmix_dali.pipelines.GraphOptions`.

    Returns
    -------
    Loader
        Batches: ``images`` (batch, 3, height, width), ``labels`` int64 (batch,) or float32 (batch, classes),
        ``tile`` int64 (batch,); if asked for the targets float32 (batch, numbers), ``masks`` uint8 (batch, height,
        width).

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
    graph = GraphOptions(**options)
    source = TileSource(
        table,
        batch_size=batch_size,
        targets=targets,
        masks=masks,
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
        slide_cache=slide_cache,
        index=index,
    )
    return loader_over(source, graph, follows_group=follows_group)
