"""The loader that a training loop iterates over: tiles, flipped, mixed, normalised."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import Unpack

from cellmix_dali._ranks import ranks_of
from cellmix_dali.collection import CollectionIndex
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import Targets
from cellmix_dali.plugins import TileSource
from cellmix_dali.plugins.plan_source import CurriculumLike
from cellmix_dali.reading import TileMasks
from cellmix_dali.reading.slides import SLIDE_CACHE
from cellmix_dali.shards import image_sizes
from cellmix_dali.storage.patience import RETRY_SECONDS
from cellmix_dali.tables.tile_table import TileTable, require_table

from ._training_plans import training_plans
from .graph import GraphKeywords, GraphOptions
from .loader import Loader, loader_over

__all__ = ["train_loader"]


def train_loader(
    table: TileTable,
    *,
    num_classes: int | None = None,
    batch_size: int,
    curriculum: CurriculumLike | None = None,
    patch_size: int | None = None,
    fix_ratio: float | None = None,
    method: str | None = "CellMix-Group",
    method_parameters: Mapping[str, Any] | None = None,
    p: float = 0.5,
    flips: bool = True,
    source_map: bool | int = False,
    targets: Targets | None = None,
    masks: TileMasks | None = None,
    tile_size: int | None = None,
    edge: str = "skip",
    shuffle: bool | str = True,
    balance: str | None = None,
    on_error: str = "replace",
    fault_file: str | Path | None = None,
    retry_seconds: float = RETRY_SECONDS,
    verify: str = "headers",
    slide_cache: int | str = SLIDE_CACHE,
    index: CollectionIndex | str | Path | None = None,
    seed: int = 0,
    rank: int | None = None,
    world_size: int | None = None,
    num_workers: int = 2,
    **options: Unpack[GraphKeywords],
) -> Loader[TileSource]:
    """Make the loader that a training loop iterates over.

    Every argument is a keyword with a default where there can be one, as in PyTorch's ``DataLoader``: a training names
    the few that it changes.

    Parameters
    ----------
    table : TileTable
        Tiles of one size with labels.
    num_classes : int, optional
        Number of classes. Without it the table has no column ``label``, and there are `targets`.
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
    source_map : bool or int, default False
        Whether batches say which sample each token comes from: True, each patch of CellMix; a number, each token of
        that side in pixels. See `cellmix_dali.plugins.mix`.
    targets : mapping of str to Target or TargetValues, optional
        Further targets, by the names that batches have for them: see `cellmix_dali.mixing.targets`.
    masks : AnnotationMasks or MaskSlides, optional
        Where class masks of the tiles come from, see `cellmix_dali.reading.masks`. They are flipped and mixed as the
        images are.
    seed : int, default 0
        Of order, flips and plans.
    rank, world_size : int, optional
        This process among those that train together. By default those of the process group or of
        the launcher (torchrun). Give both to have others.
    tile_size, edge, shuffle, balance, on_error, fault_file, retry_seconds, verify, slide_cache, index
        See `cellmix_dali.plugins.TileSource`; here a tile that cannot be read is replaced by another of its class
        by default. ``loader.faults`` says which.
    num_workers : int, default 2
        Threads that read slide files.
    **options
        ``device``, ``engine``, ``mean``, ``std``, ``dtype``, ``num_threads``, ``prefetch_queue_depth``, ``augment``,
        ``decoder``: see `cellmix_dali.pipelines.GraphOptions`.

    Returns
    -------
    Loader
        Batches: ``images`` (batch, 3, height, width), ``labels`` float32 (batch, num_classes), or int64 (batch,) of -1
        without num_classes, ``tile`` int64 (batch,); where batches are mixed, also ``patch_size``,
        ``fix_ratio``, ``triggered``, ``epoch`` and ``iteration`` (batch,), as they were applied. If asked for
        ``source_map`` int64 (batch, tokens), the
        targets float32 (batch, numbers), ``masks`` uint8 (batch, height, width); and, where a target stays with its
        sample, the mixing matrix ``weights`` float32 (batch, batch).

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
    graph = GraphOptions(**options)
    if num_classes is None and (table.label is not None or not targets):
        raise ArgumentError(
            "num_classes is missing: labels need it. Without it the table must have no column 'label', and "
            "targets={...} say what is learned."
        )
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
        source_map=source_map,
    )
    source = TileSource(
        table,
        batch_size=batch_size,
        tile_size=tile_size,
        edge=edge,
        plans=plans,
        targets=targets,
        masks=masks,
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
        slide_cache=slide_cache,
        index=index,
    )
    return loader_over(source, graph, follows_group=follows_group)
