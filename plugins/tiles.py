"""The tiles of a source as images of a DALI graph: decoded, put together from their blocks, resized."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

from .assemble import assembled
from .dali import DataNode, fn, types
from .decode import decode
from .plan_source import PlanArrays, PlanNodes
from .tile_source import TileSource

__all__ = ["TileNodes", "tiles"]


class TileNodes(NamedTuple):
    """Tiles as nodes of a DALI graph.

    Attributes
    ----------
    images : DataNode, uint8 HWC
        Decoded tiles, RGB, all of the source's tile size.
    labels : DataNode
        int32 (1,) class index, or float32 (classes,) class shares; int32 (1,) of -1 where the table has no labels.
    tile : DataNode, int64 (1,)
        Row of the tile table.
    flips : DataNode, int32 (2,), or None
        Two random bits per tile for `fn.flip`, drawn by the batch's key: horizontal, vertical; if the source draws any.
    plan : PlanNodes or None
        The batch's mixing plan, if the source draws one.
    """

    images: DataNode
    labels: DataNode
    tile: DataNode
    flips: DataNode | None
    plan: PlanNodes | None


def tiles(source: TileSource, *, device: str = "cpu") -> TileNodes:
    """Put a source into the DALI graph that is being defined, and decode its tiles.

    Parameters
    ----------
    source : TileSource
        Where the tiles come from.
    device : {"cpu", "mixed"}, default "cpu"
        Of `fn.decoders.image`: "mixed" decodes on the GPU.

    Returns
    -------
    TileNodes
        Images on the CPU, or on the GPU for "mixed".
    """
    slots, whole = source.reader.slots, source.reader.whole
    soft = source.num_classes is not None or (source.table.label is not None and source.table.label.ndim == 2)
    dtypes, ndims = [types.UINT8] * slots, [1] * slots
    if not whole:
        dtypes, ndims = dtypes + [types.INT32] * (4 + 2 * slots), ndims + [2] * 3 + [1] * (2 * slots + 1)
    dtypes, ndims = [*dtypes, types.FLOAT if soft else types.INT32, types.INT64], [*ndims, 1, 1]
    if source.flips:
        dtypes, ndims = [*dtypes, types.INT32], [*ndims, 1]
    dtypes, ndims = dtypes + PlanArrays.dtypes(source.plan_fields), ndims + PlanArrays.ndims(source.plan_fields)
    nodes = iter(
        fn.external_source(
            source=source, num_outputs=len(dtypes), batch=True, batch_info=True, dtype=dtypes, ndim=ndims
        )
    )
    encoded = list(islice(nodes, slots))
    if whole:
        images = decode(encoded[0], device)
    else:
        in_anchors, out_anchors, shapes = next(nodes), next(nodes), next(nodes)
        decoded = [decode(stream, device, anchor=next(nodes), shape=next(nodes)) for stream in encoded]
        images = assembled(decoded, in_anchors=in_anchors, out_anchors=out_anchors, shapes=shapes, size=next(nodes))
    if source.resizing:
        # Antialiased linear interpolation; an image that has the size already comes out as it was, to the bit.
        images = fn.resize(images, size=[source.tile_size, source.tile_size], antialias=True)
    labels, tile = next(nodes), next(nodes)
    flips = next(nodes) if source.flips else None
    plan = None if source.plans is None else PlanNodes.of(source.plans.action, source.plan_fields, list(nodes))
    return TileNodes(images, labels, tile, flips, plan)
