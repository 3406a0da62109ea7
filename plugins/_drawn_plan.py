"""A plan drawn inside the graph, for methods and parameters that are constants or nodes of the user's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import CellMix, Mixer
from cellmix_dali.mixing.cellmix import fixed_patches

from .clock import BatchPosition
from .dali import DataNode, fn, types
from .plan_arrays import PlanNodes, Settings
from .plan_source import drawn_arrays, plan_fields

__all__ = ["drawn_plan"]


def drawn_plan(
    images: DataNode,
    mixer: Mixer,
    batch_size: int,
    patch_size: int | DataNode | None = None,
    fix_ratio: float | DataNode | None = None,
    source_map: bool | int = False,
) -> PlanNodes:
    """Put a batch operator into the graph that draws each batch's plan; `patch_size` and `fix_ratio` for CellMix.

    Only the parameters, the images' shapes and the batch's number pass through Python; no pixel does.
    """
    action = mixer.action
    fields = plan_fields(action, source_map)
    inputs: list[DataNode] = []
    if isinstance(mixer, CellMix):
        if not isinstance(fix_ratio, DataNode):
            fixed_patches(1, fix_ratio or 0.0)
        if not isinstance(patch_size, DataNode) and (patch_size or 0) < 1:
            raise ArgumentError(f"patch_size={patch_size}: the side of a patch is at least 1 pixel.")
        inputs = [_node(patch_size, np.int32), _node(fix_ratio, np.float64)]

    def position(info: BatchPosition) -> NDArray[np.int64]:
        return np.tile(np.array([[info.epoch_idx, info.iteration]], np.int64), (batch_size, 1))

    def draw(
        shapes: Sequence[NDArray[np.int64]],
        positions: Sequence[NDArray[np.int64]],
        sizes: Sequence[NDArray[np.generic]] = (),
        ratios: Sequence[NDArray[np.generic]] = (),
    ) -> tuple[list[NDArray[np.generic]], ...]:
        if len(shapes) != batch_size:
            raise ArgumentError(
                f"{mixer.method} got {len(shapes)} samples in a pipeline of batch_size={batch_size}. A part of a "
                "batch cannot be mixed: drop incomplete batches, and mix outside DALI's conditionals."
            )
        tiles = {(int(shape[0]), int(shape[1])) for shape in shapes}
        if len(tiles) > 1:
            raise ArgumentError(
                f"{mixer.method} got images of several sizes, {sorted(tiles)}: resize or crop them to one."
            )
        epoch, iteration = map(int, positions[0])
        steering = (int(sizes[0].reshape(-1)[0]), float(ratios[0].reshape(-1)[0])) if sizes else (0, 0.0)
        settings = Settings(tiles.pop(), epoch, iteration, *steering, source_map)
        arrays = drawn_arrays(mixer, action, batch_size, settings)
        return tuple(list(array) for array in arrays.only(fields))

    arrays = fn.python_function(
        images.shape(dtype=types.INT64),
        fn.external_source(position, batch=True, batch_info=True, dtype=types.INT64, ndim=1),
        *inputs,
        function=draw,
        batch_processing=True,
        num_outputs=len(fields),
    )
    return PlanNodes.of(action, fields, arrays)


def _node(value: float | DataNode | None, dtype: type[np.generic]) -> DataNode:
    """Return a node as it is (on the CPU), a constant as a node."""
    if not isinstance(value, DataNode):
        return types.Constant(np.array(value, dtype), device="cpu")
    return value.cpu() if value.device == "gpu" else value
