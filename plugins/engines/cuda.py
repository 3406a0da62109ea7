"""Engine "numba" on the GPU: mixing, normalising and casting in one launch per batch, on DALI's stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.dlpack import from_dlpack, to_dlpack  # type: ignore[attr-defined]

from cellmix_dali.errors import needing

from ..colour_stages import Colour
from ..dali import DataNode, fn, types
from ..plan_arrays import PlanNodes
from .cell_table import tables_of_batch
from .engine import Engine, Normalisation

__all__ = ["CompiledOnGpu"]


class CompiledOnGpu(Engine):
    """Pastes, normalises, casts and transposes in one pass, and has no kernel for anything else.

    Regions may be any that lie within the images. The smaller they are, the longer the tables: with patches of 1 px a
    sample's table is larger than its image.
    """

    name, devices = "numba", ("gpu",)
    mixes = frozenset()
    fuses = frozenset({"paste"})
    packages = ("numba_cuda", "torch", *Engine.packages)

    def require(self) -> None:
        """Raise `MissingDependencyError` if numba-cuda cannot be imported."""
        with needing(
            "engine='numba' on the GPU needs numba-cuda",
            "Install it with pip install 'numba-cuda[cu12]' or 'numba-cuda[cu13]', for your CUDA, or use "
            "engine='native'.",
        ):
            from . import cuda_launch  # noqa: F401

    def normalise(
        self, images: DataNode, plan: PlanNodes | None, how: Normalisation, colour: Colour | None = None
    ) -> DataNode:
        """Run the pass as a batch operator; see `Engine.normalise`.

        All images are of one size. DALI copies the result once more, into its own output, a copy on the device for each
        sample. In numba's CUDA simulator images are on the CPU.
        """
        from .cuda_launch import mixed_and_normalised

        assert colour is None
        gpu, numbers = images.device == "gpu", how.constants()

        def run(*inputs: Sequence[Any]) -> list[Any]:
            pixels, *tables = ([from_dlpack(each) for each in batch] for batch in inputs)
            stream = _stream() if gpu else 0
            result = mixed_and_normalised(pixels, tables[0] if tables else None, numbers, how.dtype, stream)
            return [to_dlpack(each) for each in result.unbind()]

        inputs = [images]
        if plan is not None:
            ids = fn.reshape(plan.in_ids, shape=[-1, 1])
            regions = fn.cat(ids, plan.in_anchors, plan.out_anchors, plan.shapes, axis=1)
            tables = fn.python_function(
                regions, images.shape(dtype=types.INT64), function=tables_of_batch, batch_processing=True
            )
            inputs.append(tables.gpu() if gpu else tables)
        return fn.dl_tensor_python_function(
            *inputs,
            device=images.device,
            function=run,
            batch_processing=True,
            synchronize_stream=False,
            output_layouts=["CHW"],
        )


def _stream() -> int:
    """The stream on which DALI runs the operator that asks."""
    from nvidia.dali.python_function_plugin import current_dali_stream

    return int(current_dali_stream())
