"""The loader of self-supervised training: several views of each tile from one decoded region."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import Unpack

from cellmix_dali._ranks import ranks_of
from cellmix_dali.augment.block_masks import BlockMasks
from cellmix_dali.augment.views import View, ViewsLike, views_of
from cellmix_dali.collection import CollectionIndex
from cellmix_dali.errors import ArgumentError
from cellmix_dali.plugins import TileSource
from cellmix_dali.plugins.normalise import DTYPES
from cellmix_dali.plugins.place_source import PlaceSource
from cellmix_dali.reading.slides import SLIDE_CACHE
from cellmix_dali.sampling.places import Places
from cellmix_dali.storage.buffers import BufferPool
from cellmix_dali.storage.patience import RETRY_SECONDS
from cellmix_dali.tables.tile_table import TileTable, require_table

from ._augment_trial import try_augmentation
from ._view_graph import made_views, view_outputs
from .augmenting import told
from .graph import GraphKeywords, GraphOptions, source_pipeline
from .loader import Loader

__all__ = ["ViewLoader", "host_tensor", "view_loader"]

_STEPS = 1000
_MEMORY = 1 << 30  # bytes of batches' memory that are kept while nobody uses them
_BFLOAT16 = "bfloat16"  # DALI has no such type: it is cast at hand-over


class ViewLoader(Loader[TileSource]):
    """A `Loader` whose batches are views: one tensor for all views of a name.

    Parameters
    ----------
    source : TileSource
        Where the regions come from.
    options : GraphOptions
        Of the graph.
    views : sequence of View
        What is made of each region.
    boxes, places : bool
        See `view_loader`.
    token_masks : BlockMasks, optional
        See `view_loader`.
    cast : torch.dtype, optional
        What the views are cast to at hand-over.
    follows_group : bool, default False
        See `Loader`.
    """

    def __init__(
        self,
        source: TileSource,
        options: GraphOptions,
        *,
        views: tuple[View, ...],
        boxes: bool,
        places: bool,
        token_masks: BlockMasks | None,
        cast: torch.dtype | None = None,
        follows_group: bool = False,
    ) -> None:
        self.views = views
        self._places, self._cast, self._memory = places, cast, BufferPool(_MEMORY)
        names = [view.name for view in views for _ in range(view.count)]
        self._groups: dict[str, list[int]] = {}
        for number, name in enumerate(names):
            self._groups.setdefault(name, []).append(number)
        self._boxes, self._mask = boxes, token_masks
        drawn = None if token_masks is None else repr(token_masks)
        seen = {**options.seen(), "views": [_told(view) for view in views], "mask": drawn}
        super().__init__(
            partial(
                source_pipeline, source, options, partial(made_views, views=views, boxes=boxes, token_masks=token_masks)
            ),
            source,
            follows_group=follows_group,
            seen=seen,
            outputs=view_outputs(views, boxes=boxes, masks=token_masks is not None),
        )  # fmt: skip

    def _fetch(self) -> dict[str, Tensor]:
        """Take the iterator's next batch, its views put together by their names."""
        batch = super()._fetch()
        found = {name: self._together(batch, "", numbers, self._cast) for name, numbers in self._groups.items()}
        if self._boxes:
            for name, numbers in self._groups.items():
                found[f"{name}_boxes"] = self._together(batch, " box", numbers).long()
        if self._mask is not None:
            count = len(self._groups[self._mask.view])
            drawn = batch["mask"].transpose(0, 1)
            found["mask"] = drawn.reshape(count * drawn.shape[1], -1).bool()
        if self._places:
            table, rows = self.source.table, batch["tile"].cpu().numpy()
            columns = (table.slide[rows], table.level[rows], table.x[rows], table.y[rows], table.size[rows])
            slide, *place = (torch.from_numpy(column.astype("int64")) for column in columns)
            found["slide"], found["place"] = slide, torch.stack(place, dim=1)
        return {**found, "labels": batch["labels"], "tile": batch["tile"]}

    def _together(
        self, batch: dict[str, Tensor], suffix: str, numbers: Sequence[int], cast: torch.dtype | None = None
    ) -> Tensor:
        """Outputs of some views, one view of all samples after the other."""
        parts = [batch[f"{number}{suffix}"] for number in numbers]
        dtype = parts[0].dtype if cast is None else cast
        if len(parts) == 1 or parts[0].device.type != "cpu":
            return torch.cat(parts).to(dtype)
        samples, *shape = parts[0].shape
        whole = host_tensor(self._memory, (len(parts) * samples, *shape), dtype)
        for target, part in zip(torch.split(whole, samples), parts, strict=True):
            target.copy_(part)
        return whole


def host_tensor(memory: BufferPool, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return a tensor on the host whose numbers are not set; its memory goes back when nothing holds it any more."""
    size = math.prod(shape) * dtype.itemsize
    return torch.from_numpy(memory.take(size)).view(dtype).view(shape) if size else torch.empty(shape, dtype=dtype)


def view_loader(
    table: TileTable | Places,
    views: ViewsLike = "dinov2",
    *,
    batch_size: int,
    steps: int | None = None,
    tile_size: int | None = None,
    token_masks: BlockMasks | None = None,
    boxes: bool = False,
    places: bool = False,
    edge: str = "skip",
    shuffle: bool | str = True,
    balance: str | None = None,
    drop_last: bool = True,
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
) -> ViewLoader:
    """Make the loader of a self-supervised training: several views of each tile, from one decoded region.

    Every argument but the first two is a keyword, most with a default: a training names the few that it changes.

    Parameters
    ----------
    table : TileTable or Places
        The regions, such as tiles of 448 pixels. Labels are not needed; those that are there come along. `Places` draw
        random places in tissue, without an epoch: a batch is a pure function of (seed, its number, rank).
    views : str, View or sequence of View, default "dinov2"
        What is made of each region: a name of `cellmix_dali.augment.views.VIEW_PRESETS` ("dino", "dinov2", "virchow2",
        "simclr", "mae"), or the views. See `cellmix_dali.augment.views.View`.
    batch_size : int
        Regions per batch.
    steps : int, optional
        Of random places: batches of a pass over the loader, 1,000 by default. The next pass goes on with the next
        batch.
    tile_size : int, optional
        Side of the regions in pixels; by default that of the table's windows.
    token_masks : BlockMasks, optional
        Masks of tokens to draw for the views of one name, on the host.
    boxes : bool, default False
        Whether batches say which box of its region each view shows.
    places : bool, default False
        Whether batches say where each region lies.
    drop_last : bool, default True
        Whether an incomplete last batch is left out.
    seed : int, default 0
        Of the order, the boxes and all augmentations.
    rank, world_size : int, optional
        This process among those that train together. By default those of the process group or of the launcher
        (torchrun). Give both to have others.
    edge, shuffle, balance
        See `cellmix_dali.plugins.TileSource`; of tile tables alone, as `drop_last` and `tile_size`.
    on_error, fault_file, retry_seconds, verify, slide_cache, index
        See `cellmix_dali.plugins.TileSource`; here a tile that cannot be read is replaced by another by default.
        ``loader.faults`` says which.
    num_workers : int, default 2
        Threads that read slide files.
    **options
        ``device``, ``engine``, ``mean``, ``std``, ``num_threads``, ``prefetch_queue_depth``, ``decoder``: see
        `cellmix_dali.pipelines.GraphOptions`; ``dtype`` may be "bfloat16", too, which DALI does not have: it is made of
        float32 at hand-over. Views have augmentations of their own, so there is no ``augment``.

    Returns
    -------
    ViewLoader
        Batches: for each name of views a tensor (views * batch, 3, size, size), the first view of all regions, then
        the second, and so on, as DINOv2 wants it; ``labels`` int64 (batch,), -1 where there are none, or float32
        (batch, classes); ``tile`` int64 (batch,), the row of the table. If asked for: ``NAME_boxes`` int64
        (views * batch, 4), top, left, height and width in pixels of the region; ``slide`` int64 (batch,), the number
        among ``table.slides``, and ``place`` int64 (batch, 4): level, x, y and size, in pixels of that level; ``mask``
        bool (views * batch, tokens) of the views that are masked, True where a token is.

    Raises
    ------
    CellMixDaliError
        For every argument, slide or view that cannot work, before the first batch.
    """
    follows_group = rank is None
    rank, world_size = ranks_of(rank, world_size)
    shared: dict[str, Any] = {
        "batch_size": batch_size,
        "on_error": on_error,
        "fault_file": fault_file,
        "seed": seed,
        "rank": rank,
        "world_size": world_size,
        "num_workers": num_workers,
        "retry_seconds": retry_seconds,
        "verify": verify,
        "slide_cache": slide_cache,
        "index": index,
    }
    if isinstance(table, Places):
        if (tile_size, edge, shuffle, balance, drop_last) != (None, "skip", True, None, True):
            raise ArgumentError(
                "tile_size, edge, shuffle, balance and drop_last are of tile tables: random places have "
                "PlaceSettings(...) and weights."
            )
        source: TileSource = PlaceSource(table, steps=_STEPS if steps is None else steps, **shared)
    else:
        require_table(table)
        if not len(table):
            raise ArgumentError("The tile table is empty: there is nothing to make views of.")
        if steps is not None:
            raise ArgumentError(f"steps={steps} is of random places: an epoch of a tile table has its own length.")
        source = TileSource(
            table,
            tile_size=tile_size,
            edge=edge,
            shuffle=shuffle,
            balance=balance,
            drop_last=drop_last,
            **shared,
        )
    try:
        return loader_of_views(
            source, views, token_masks=token_masks, boxes=boxes, places=places, follows_group=follows_group, **options
        )
    except BaseException:
        source.close()
        raise


def loader_of_views(
    source: TileSource,
    views: ViewsLike,
    *,
    token_masks: BlockMasks | None,
    boxes: bool,
    places: bool,
    follows_group: bool,
    **options: Unpack[GraphKeywords],
) -> ViewLoader:
    """Make the loader over a source of regions; see `view_loader`.

    Raises
    ------
    CellMixDaliError
        For a view, masks or an option that cannot work.
    """
    if options.get("augment") is not None:
        raise ArgumentError("augment cannot be used here: views have augmentations of their own, View(augment=...).")
    dtype = options.get("dtype", "float32")
    if dtype not in (*DTYPES, _BFLOAT16):
        raise ArgumentError(f"dtype={dtype!r} is not known. Known: {', '.join((*DTYPES, _BFLOAT16))}.")
    given: dict[str, Any] = {**options, "dtype": "float32" if dtype == _BFLOAT16 else dtype}
    graph, made = GraphOptions(**given), views_of(views, source.tile_size)
    if token_masks is not None:
        sizes = {view.name: view.size for view in made}
        if token_masks.view not in sizes:
            raise ArgumentError(f"token_masks are for views named {token_masks.view!r}, there are: {', '.join(sizes)}.")
        token_masks.side(sizes[token_masks.view])
    for view in made:
        if view.augment is not None and view.one_pass() is None:
            assert callable(view.augment)
            try_augmentation(view.augment, view.size, graph.device)
    cast = torch.bfloat16 if dtype == _BFLOAT16 else None
    return ViewLoader(
        source,
        graph,
        views=made,
        boxes=boxes,
        places=places,
        token_masks=token_masks,
        cast=cast,
        follows_group=follows_group,
    )


def _told(view: View) -> list[Any]:
    """All of a view that changes pixels, as plain values."""
    ranges = [None if of is None else list(of) for of in (view.scale, view.zoom, view.ratio)]  # type: ignore[arg-type]
    augment = None if view.augment is None else told(view.augment)
    return [view.name, view.size, view.count, *ranges, view.interpolation, augment]
