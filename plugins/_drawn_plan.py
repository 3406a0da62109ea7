"""A plan drawn inside the graph, for patch sizes and fix ratios that are constants or nodes of the user's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing.cellmix import CellMix, fixed_patches

from ._dali import DataNode, fn, types
from .clock import BatchPosition
from .plan_source import PlanArrays, PlanNodes, plan_arrays

__all__ = ["drawn_plan"]


def drawn_plan(
    images: DataNode,
    mixer: CellMix,
    patch_size: int | DataNode,
    fix_ratio: float | DataNode,
    batch_size: int,
) -> PlanNodes:
    """Put a batch operator into the graph that draws each batch's plan.

    Only the parameters, the images' shapes and the batch's number pass through Python; no pixel does.
    """
    if not isinstance(fix_ratio, DataNode):
        fixed_patches(1, fix_ratio)
    if not isinstance(patch_size, DataNode) and patch_size < 1:
        raise ArgumentError(f"patch_size={patch_size}: the side of a patch is at least 1 pixel.")

    def position(info: BatchPosition) -> NDArray[np.int64]:
        return np.tile(np.array([[info.epoch_idx, info.iteration]], np.int64), (batch_size, 1))

    def draw(
        sizes: Sequence[NDArray[np.generic]],
        ratios: Sequence[NDArray[np.generic]],
        shapes: Sequence[NDArray[np.int64]],
        positions: Sequence[NDArray[np.int64]],
    ) -> tuple[list[NDArray[np.generic]], ...]:
        if len(shapes) != batch_size:
            raise ArgumentError(
                f"cellmix got {len(shapes)} samples in a pipeline of batch_size={batch_size}. A part of a "
                "batch cannot be mixed: drop incomplete batches, and call cellmix outside DALI's conditionals."
            )
        tiles = {(int(shape[0]), int(shape[1])) for shape in shapes}
        if len(tiles) > 1:
            raise ArgumentError(f"cellmix got images of several sizes, {sorted(tiles)}: resize or crop them to one.")
        tile_size = tiles.pop()
        size, ratio = int(sizes[0].reshape(-1)[0]), float(ratios[0].reshape(-1)[0])
        epoch, iteration = map(int, positions[0])
        plan = mixer.draw(batch_size, tile_size, size, ratio, epoch=epoch, iteration=iteration)
        arrays = plan_arrays(plan, tile_size, size, ratio, epoch=epoch, iteration=iteration)
        return tuple(list(array) for array in arrays)

    return PlanNodes(
        *fn.python_function(
            _node(patch_size, np.int32),
            _node(fix_ratio, np.float64),
            images.shape(dtype=types.INT64),
            fn.external_source(position, batch=True, batch_info=True, dtype=types.INT64, ndim=1),
            function=draw,
            batch_processing=True,
            num_outputs=len(PlanArrays._fields),
        )
    )


def _node(value: float | DataNode, dtype: type[np.generic]) -> DataNode:
    """Give a node as it is (on the CPU), a constant as a node."""
    if not isinstance(value, DataNode):
        return types.Constant(np.array(value, dtype), device="cpu")
    return value.cpu() if value.device == "gpu" else value
