"""The numba engine on the GPU: mixing, normalising and casting in one launch per batch, on DALI's stream."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.dlpack import from_dlpack, to_dlpack  # type: ignore[attr-defined]

from cellmix_dali.errors import ArgumentError, CellMixDaliError, MissingDependencyError
from cellmix_dali.mixing import CellMix

from ..dali import DataNode, Pipeline, fn, types
from ..plan_arrays import PlanNodes
from ..plan_source import PlanSource
from .cell_table import tables_of_batch

try:
    from numba import cuda

    from . import cuda_kernel as kernel
except ImportError as error:
    raise MissingDependencyError(
        f"engine='numba' on the GPU needs numba-cuda, which cannot be imported ({error}). Install it with "
        "pip install 'numba-cuda[cu12]' or 'numba-cuda[cu13]', for your CUDA, or use engine='native'."
    ) from error

__all__ = ["constants", "launch", "mixed_and_normalised", "normalised_on_gpu"]

_TYPES = {"float32": torch.float32, "float16": torch.float16}


def normalised_on_gpu(
    images: DataNode, mean: Sequence[float], std: Sequence[float], plan: PlanNodes | None, dtype: str
) -> DataNode:
    """Put the pass into the graph that is being defined.

    Parameters
    ----------
    images : DataNode, uint8 HWC, 3 channels
        On the GPU, all of one size. (On the CPU in numba's CUDA simulator.)
    mean, std : sequence of 3 floats
        Of R, G, B in [0, 1].
    plan : PlanNodes, optional
        Of kind "paste": any regions that lie within the images. The smaller they are, the longer the tables: with
        patches of 1 px a sample's table is larger than its image.
    dtype : {"float32", "float16"}
        Of the result.

    Returns
    -------
    DataNode, CHW
        DALI copies it once more, into its own output, a copy on the device for each sample.

    Raises
    ------
    CellMixDaliError
        If the kernel, tried once per process and device on a small batch, gives other numbers than it should.
    """
    if images.device == "gpu":
        _self_check(dtype, Pipeline.current().device_id)
    return _node(images, constants(mean, std), plan, dtype)


def constants(mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """Return what the kernel subtracts, (3,), and multiplies by, (3,): in float32, as DALI works them out."""
    means, deviations = (np.array([255 * value for value in given], np.float32) for given in (mean, std))
    return np.concatenate([means, 1 / deviations]).astype(np.float32)


def mixed_and_normalised(
    images: Sequence[torch.Tensor],
    tables: Sequence[torch.Tensor] | None,
    numbers: NDArray[np.float32],
    dtype: str,
    stream: int,
) -> torch.Tensor:
    """Run the pass over a batch; nothing waits for it.

    Parameters
    ----------
    images : sequence of Tensor, uint8 (height, width, 3)
        On one device, each contiguous.
    tables : sequence of Tensor, int32, or None
        Of each sample, see `cell_tables`; None: nothing is mixed.
    numbers : float32, (6,)
        See `constants`.
    dtype : {"float32", "float16"}
        Of the result.
    stream : int
        Address of the CUDA stream on which everything is done.

    Returns
    -------
    Tensor, (batch, 3, height, width)
        On the same device.

    Raises
    ------
    ArgumentError
        If the images are not what the kernel takes.
    """
    shape, place = images[0].shape, images[0].device
    if len(shape) != 3 or shape[2] != 3 or any(image.shape != shape for image in images):
        found = sorted({tuple(image.shape) for image in images})
        raise ArgumentError(f"engine='numba' takes RGB images of one size, (height, width, 3), got {found}.")
    if any(image.dtype != torch.uint8 or not image.is_contiguous() for image in images):
        raise ArgumentError("engine='numba' takes uint8 images whose pixels lie one after another.")
    on_device = place.type == "cuda"
    # The allocator of torch gives memory out again only to what comes later on the same stream, and pinned memory only
    # when the copy from it is done: nothing here needs to be kept.
    with torch.cuda.stream(_external(stream, place)) if on_device else nullcontext():
        numbered = [each.data_ptr() for each in (*images, *(tables or ()))]
        addresses = torch.tensor(numbered, dtype=torch.int64, pin_memory=on_device).to(place, non_blocking=True)
        target = torch.empty((len(images), 3, *shape[:2]), dtype=_TYPES[dtype], device=place)
        launch(target, addresses, numbers, dtype, mixing=tables is not None, stream=stream)
    return target


def _external(stream: int, place: torch.device) -> torch.cuda.Stream:
    """A stream of DALI's, for torch."""
    found: torch.cuda.Stream = torch.cuda.ExternalStream(stream, device=place)  # type: ignore[no-untyped-call]
    return found


def launch(
    target: torch.Tensor,
    addresses: torch.Tensor,
    numbers: NDArray[np.float32],
    dtype: str,
    *,
    mixing: bool,
    stream: int,
) -> None:
    """Launch the kernel alone, on tensors that are there; see `_cuda_kernel.mix_float32`."""
    batch, _, height, width = target.shape
    run: Any = {"float32": kernel.mix_float32, "float16": kernel.mix_float16}[dtype]
    queue = cuda.external_stream(stream) if target.is_cuda else 0
    run[kernel.grid(batch, height, width, dtype), kernel.BLOCK, queue](
        target.data_ptr(), addresses.data_ptr(), batch, height, width, int(mixing), *numbers
    )


def _node(images: DataNode, numbers: NDArray[np.float32], plan: PlanNodes | None, dtype: str) -> DataNode:
    """The pass as a batch operator."""
    gpu = images.device == "gpu"

    def run(*inputs: Sequence[Any]) -> list[Any]:
        pixels, *tables = ([from_dlpack(each) for each in batch] for batch in inputs)
        stream = _stream() if gpu else 0
        result = mixed_and_normalised(pixels, tables[0] if tables else None, numbers, dtype, stream)
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


@functools.cache
def _self_check(dtype: str, device_id: int) -> None:
    """Compare with the plan's reference once per process and device."""
    batch, size, mean, std = 4, (24, 16), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    images = np.random.default_rng(0).integers(0, 256, (batch, *size, 3), dtype=np.uint8)
    source = PlanSource(CellMix("CellMix-All"), tile_size=size, batch_size=batch, patch_size=8, fix_ratio=0.3)
    numbers = constants(mean, std)
    pipeline = Pipeline(batch_size=batch, num_threads=1, device_id=device_id, prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC").gpu()
        plan = source.nodes()
        pipeline.set_outputs(
            _node(node, numbers, plan, dtype), _node(node, numbers, None, dtype), plan.weights, plan.parameters
        )
    pipeline.build()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Grid size")  # numba's, that so few pixels do not fill a GPU
        mixed, alone = (output.as_cpu().as_array() for output in pipeline.run()[:2])
    pasted = CellMix("CellMix-All").draw(batch, size, 8, 0.3, epoch=0, iteration=0).apply(images)
    for got, want in ((mixed, pasted), (alone, images)):
        floats = (want.transpose(0, 3, 1, 2).astype(np.float32) - numbers[:3, None, None]) * numbers[3:, None, None]
        if not np.array_equal(got, floats.astype(dtype)):
            raise CellMixDaliError(
                "The CUDA kernel gave other numbers than it should in its self-check on this machine; use "
                "engine='native', and please report the versions of numba-cuda, torch and nvidia-dali, and the GPU."
            )
