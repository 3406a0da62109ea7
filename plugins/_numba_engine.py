"""The numba engine: compiled kernels that write DALI's own buffers, for uint8 images on the CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from cellmix_dali.errors import CellMixDaliError
from cellmix_dali.mixing import CellMix, Cutout, FMix, Mixer, Mixup, ResizeMix, TileMixer

from ._dali import DataNode, Pipeline, fn, types
from ._plan_arrays import PlanNodes
from .plan_source import PlanSource

__all__ = ["move_pixels_numba"]


def move_pixels_numba(
    images: DataNode, plan: PlanNodes, *, dtype: types.DALIDataType | None = None, name: str | None = None
) -> DataNode:
    """Apply a plan to uint8 images on the CPU.

    Raises
    ------
    CellMixDaliError
        If the kernel, tried once a process on a small batch, does not do what the plan says.
    """
    _self_check(plan.action.kind, plan.action.interpolation)
    mixed = _numba_node(images, plan, name)
    return mixed if dtype is None else fn.cast(mixed, dtype=dtype)


def _numba_node(images: DataNode, plan: PlanNodes, name: str | None) -> DataNode:
    """The kernel as a batch operator; its layout, which DALI drops, restored."""
    from . import _numba_kernel as kernel

    action = plan.action
    values = types.Constant(np.array(action.fill, np.uint8), device="cpu")
    if action.kind == "fill":
        what, numbers = kernel.FILL, [plan.out_anchors, plan.shapes]
    elif action.kind == "share":
        what, numbers = kernel.SHARE, [plan.in_ids, fn.reinterpret(plan.share, dtype=types.INT32)]
    elif action.kind == "mask":
        what, numbers, values = kernel.MASK, [plan.in_ids], fn.reshape(plan.mask, shape=[-1])
    else:
        resizing = kernel.LINEAR if action.interpolation == "linear" else kernel.NEAREST
        what = kernel.PASTE if action.kind == "paste" else resizing
        numbers = [plan.in_ids, plan.in_anchors, plan.out_anchors, plan.shapes]
    first = types.Constant(np.array([what], np.int32), device="cpu")
    joined = fn.cat(first, *(fn.reshape(node, shape=[-1]) for node in numbers), axis=0)
    node = _operator()(images, joined, values, **({} if name is None else {"name": name}))
    return fn.reinterpret(node, layout="HWC")


@functools.cache
def _operator() -> Callable[..., DataNode]:
    """Compile the kernel, which takes seconds: once a process, for all its pipelines."""
    from nvidia.dali.plugin.numba import NumbaFunction

    from . import _numba_kernel as kernel

    operator: Callable[..., DataNode] = NumbaFunction(
        run_fn=kernel.mix_batch,
        setup_fn=kernel.same_shape,
        out_types=[types.UINT8],
        in_types=[types.UINT8, types.INT32, types.UINT8],
        outs_ndim=[3],
        ins_ndim=[3, 1, 1],
        batch_processing=True,
        device="cpu",
    )
    return operator


@functools.cache
def _self_check(kind: str, interpolation: str) -> None:
    """Compare a kernel with the plan's reference once a process: an error inside it would leave garbage unseen."""
    batch, height, width = 4, 24, 16
    images = np.random.default_rng(0).integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
    mixer = _samples(interpolation)[kind]
    steering: dict[str, Any] = {"patch_size": 8, "fix_ratio": 0.3} if isinstance(mixer, CellMix) else {}
    source = PlanSource(mixer, tile_size=(height, width), batch_size=batch, **steering)
    pipeline = Pipeline(batch_size=batch, num_threads=1, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC")
        nodes = source.nodes()
        pipeline.set_outputs(_numba_node(node, nodes, None), nodes.weights, nodes.parameters)
    pipeline.build()
    got = pipeline.run()[0].as_array()
    key = {"epoch": 0, "iteration": 0}
    if isinstance(mixer, CellMix):
        want = mixer.draw(batch, (height, width), 8, 0.3, **key).apply(images)
    else:
        assert isinstance(mixer, TileMixer)
        want = mixer.draw(batch, (height, width), **key).apply(images)
    allowed = 1 if kind == "share" or interpolation == "linear" else 0
    if np.abs(got.astype(int) - want.astype(int)).max() > allowed:
        raise CellMixDaliError(
            "The numba engine moved pixels wrongly in its self-check on this machine; use engine='native', "
            "and please report the versions of numba, numpy and nvidia-dali."
        )


def _samples(interpolation: str) -> dict[str, Mixer]:
    """A mixer of each kind, whose first plan changes much."""
    return {
        "paste": CellMix("CellMix-All"),
        "fill": Cutout(),
        "resize": ResizeMix(low=0.6, interpolation=interpolation),
        "share": Mixup(),
        "mask": FMix(),
    }
