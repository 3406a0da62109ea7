"""The tiles of a source as images of a DALI graph: decoded, put together from their blocks, resized."""

from __future__ import annotations

from typing import NamedTuple

from ._dali import DataNode, fn, types
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
        Two random bits a tile for `fn.flip`, drawn by the batch's key: horizontal, vertical; if the source draws them.
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
    soft = source.table.label is not None and source.table.label.ndim == 2
    dtypes, ndims = [types.UINT8] * slots, [1] * slots
    if not whole:
        dtypes, ndims = dtypes + [types.INT32] * 4, [*ndims, 2, 2, 2, 1]
    dtypes, ndims = [*dtypes, types.FLOAT if soft else types.INT32, types.INT64], [*ndims, 1, 1]
    if source.flips:
        dtypes, ndims = [*dtypes, types.INT32], [*ndims, 1]
    if source.plans is not None:
        dtypes, ndims = dtypes + PlanArrays.dtypes(), ndims + PlanArrays.ndims()
    nodes = iter(
        fn.external_source(
            source=source, num_outputs=len(dtypes), batch=True, batch_info=True, dtype=dtypes, ndim=ndims
        )
    )
    # Fancy upsampling is what OpenSlide's libjpeg does for 4:2:0; without it pixels differ.
    decoded = [
        fn.decoders.image(
            next(nodes),
            device=device,
            output_type=types.RGB,
            jpeg_fancy_upsampling=True,
            adjust_orientation=False,
        )
        for _ in range(slots)
    ]
    if whole:
        (images,) = decoded
    else:
        images = fn.multi_paste(
            *decoded, in_anchors=next(nodes), out_anchors=next(nodes), shapes=next(nodes), output_size=next(nodes)
        )
    if source.resizing:
        # Antialiased linear interpolation; an image that has the size already comes out as it was, to the bit.
        images = fn.resize(images, size=[source.tile_size, source.tile_size], antialias=True)
    labels, tile = next(nodes), next(nodes)
    flips = next(nodes) if source.flips else None
    rest = list(nodes)
    return TileNodes(images, labels, tile, flips, PlanNodes(*rest) if rest else None)
