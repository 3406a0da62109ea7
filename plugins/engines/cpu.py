"""The numba engine: compiled kernels that write DALI's own buffers, for uint8 images on the CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from cellmix_dali.errors import CellMixDaliError
from cellmix_dali.mixing import CellMix, Cutout, FMix, Mixer, Mixup, ResizeMix, TileMixer

from ..dali import DataNode, Pipeline, fn, types
from ..image_shape import require_channels
from ..plan_arrays import PlanNodes
from ..plan_source import PlanSource

__all__ = ["move_pixels_numba"]


def move_pixels_numba(
    images: DataNode, plan: PlanNodes, *, dtype: types.DALIDataType | None = None, name: str | None = None
) -> DataNode:
    """Apply a plan to uint8 images on the CPU.

    Raises
    ------
    CellMixDaliError
        If the kernel, tried once per process on a small batch, does not do what the plan says.
    """
    _self_check(plan.action.kind, plan.action.interpolation)
    mixed = _numba_node(images, plan, name)
    return mixed if dtype is None else fn.cast(mixed, dtype=dtype)


def _numba_node(images: DataNode, plan: PlanNodes, name: str | None) -> DataNode:
    """The kernel as an operator; its layout, which DALI drops, restored."""
    from .image_addresses import image_addresses

    kind = plan.action.kind
    if kind == "fill":
        if len(plan.action.fill) > 1:
            images = require_channels(images, len(plan.action.fill))
        inputs = [plan.out_anchors, plan.shapes, types.Constant(np.array(plan.action.fill, np.uint8), device="cpu")]
    else:
        inputs = [image_addresses(images, plan.in_ids)]
        if kind == "share":
            inputs.append(plan.share)
        elif kind == "mask":
            inputs.append(plan.mask)
        else:
            inputs += [plan.in_anchors, plan.out_anchors, plan.shapes]
    node = _operator(kind, plan.action.interpolation)(images, *inputs, **({} if name is None else {"name": name}))
    return fn.reinterpret(node, layout="HWC")


@functools.cache
def _operator(kind: str, interpolation: str) -> Callable[..., DataNode]:
    """A kernel as an operator, for all pipelines of the process."""
    from . import cpu_kernel as kernel
    from .raw_numba import raw_operator

    address, anchors = (types.INT64, 1), [(types.INT32, 2)] * 2
    run, inputs = {
        "paste": (kernel.paste, [address, *anchors, (types.INT32, 2)]),
        "fill": (kernel.fill, [*anchors, (types.UINT8, 1)]),
        "resize": (
            kernel.linear if interpolation == "linear" else kernel.nearest,
            [address, *anchors, (types.INT32, 2)],
        ),
        "share": (kernel.share, [address, (types.FLOAT, 1)]),
        "mask": (kernel.mask, [address, (types.UINT8, 2)]),
    }[kind]
    return raw_operator(
        run,
        kernel.same_shape,
        in_types=[types.UINT8, *(dtype for dtype, _ in inputs)],
        in_dimensions=[3, *(dimensions for _, dimensions in inputs)],
        out_type=types.UINT8,
        out_dimensions=3,
        batch=False,
    )


@functools.cache
def _self_check(kind: str, interpolation: str) -> None:
    """Compare a kernel with the plan's reference once per process: an error inside it would leave garbage unseen."""
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
