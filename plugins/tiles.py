"""The samples of a source as images of a DALI graph."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from .colour_stages import Colour
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
    masks : DataNode, uint8 HWC with 1 channel, or None
        Class masks of the tiles, on the CPU; if the source has any.
    targets : dict of str to DataNode, float32 (numbers,)
        Further targets by their names, mixed where the labels are.
    weights : DataNode, float32 (batch,), or None
        The mixing matrix's row of each sample, where a target stays with its sample and the source knows the matrix.
    colour : Colour or None
        What still is to be done to the images' colours.
    """

    images: DataNode
    labels: DataNode
    tile: DataNode
    flips: DataNode | None
    plan: PlanNodes | None
    masks: DataNode | None = None
    targets: Mapping[str, DataNode] = MappingProxyType({})
    weights: DataNode | None = None
    colour: Colour | None = None


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
    inputs, fields = source.inputs, source.plan_fields
    further = len(source.targets) + source.weights_apart
    dtypes = [dtype for dtype, _ in inputs] + [types.FLOAT if source.soft else types.INT32, types.INT64]
    ndims = [ndim for _, ndim in inputs] + [1, 1]
    if source.flips:
        dtypes, ndims = [*dtypes, types.INT32], [*ndims, 1]
    nodes = fn.external_source(
        source=source,
        num_outputs=len(dtypes) + len(fields) + further,
        batch=True,
        batch_info=True,
        dtype=dtypes + PlanArrays.dtypes(fields) + [types.FLOAT] * further,
        ndim=ndims + PlanArrays.ndims(fields) + [1] * further,
        layout=None if source.layout is None else [source.layout],  # of the first alone
    )
    images = source.images(nodes[: len(inputs)], device, decoder)
    labels, tile, *drawn = nodes[len(inputs) :]
    flips = drawn.pop(0) if source.flips else None
    plan = None if source.plans is None else PlanNodes.of(source.plans.action, fields, drawn[: len(fields)])
    targets = {name: drawn[len(fields) + place] for place, name in enumerate(source.targets)}
    weights = drawn[-1] if source.weights_apart else None if plan is None else plan.weights
    return TileNodes(images, labels, tile, flips, plan, source.mask(nodes[: len(inputs)]), targets, weights)
