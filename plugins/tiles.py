"""The samples of a source as images of a DALI graph."""

from __future__ import annotations

from typing import NamedTuple

from .dali import DataNode, fn, types
from .decoder_options import USUAL, DecoderOptions
from .plan_source import PlanArrays, PlanNodes
from .source import Source

__all__ = ["TileNodes", "tiles"]


class TileNodes(NamedTuple):
    """Tiles as nodes of a DALI graph.

    Attributes
    ----------
    images : DataNode, uint8 HWC
        Decoded tiles, RGB, all of the source's tile size.
    labels : DataNode
        int32 (1,) class index, or float32 (classes,) class shares; int32 (1,) of -1 where there are no labels.
    tile : DataNode, int64 (1,)
        Row of the tile table; of image files, the place in the list.
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


def tiles(source: Source, *, device: str = "cpu", decoder: DecoderOptions = USUAL) -> TileNodes:
    """Put a source into the DALI graph that is being defined, and decode its tiles.

    Parameters
    ----------
    source : TileSource or ImageSource
        Where the tiles come from.
    device : {"cpu", "mixed"}, default "cpu"
        Of `fn.decoders.image`: "mixed" decodes on the GPU.
    decoder : DecoderOptions, optional
        How it works there.

    Returns
    -------
    TileNodes
        Images on the CPU, or on the GPU for "mixed".
    """
    inputs = source.inputs
    dtypes = [dtype for dtype, _ in inputs] + [types.FLOAT if source.soft else types.INT32, types.INT64]
    ndims = [ndim for _, ndim in inputs] + [1, 1]
    if source.flips:
        dtypes, ndims = [*dtypes, types.INT32], [*ndims, 1]
    nodes = fn.external_source(
        source=source,
        num_outputs=len(dtypes) + len(source.plan_fields),
        batch=True,
        batch_info=True,
        dtype=dtypes + PlanArrays.dtypes(source.plan_fields),
        ndim=ndims + PlanArrays.ndims(source.plan_fields),
        layout=None if source.layout is None else [source.layout],  # of the first alone
    )
    images = source.images(nodes[: len(inputs)], device, decoder)
    labels, tile, *drawn = nodes[len(inputs) :]
    flips = drawn.pop(0) if source.flips else None
    plan = None if source.plans is None else PlanNodes.of(source.plans.action, source.plan_fields, drawn)
    return TileNodes(images, labels, tile, flips, plan)
