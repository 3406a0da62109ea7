"""The engines: what moves the pixels of a plan."""

from __future__ import annotations

import functools

import numpy as np

from cellmix_dali.errors import ArgumentError, CellMixDaliError, unknown_name
from cellmix_dali.mixing.cellmix import CellMix

from ._dali import DataNode, Pipeline, fn, types
from .plan_source import PlanNodes, PlanSource

__all__ = ["ENGINES", "check_engine", "paste_native", "paste_numba"]

ENGINES = ("native", "numba")


def check_engine(engine: str, device: str) -> None:
    """Raise `ArgumentError` if there is no such engine, or not for images on that device."""
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    if engine == "numba" and device == "gpu":
        raise ArgumentError("engine='numba' mixes images on the CPU; use engine='native' for images on the GPU.")


def paste_native(
    images: DataNode, plan: PlanNodes, *, dtype: types.DALIDataType | None = None, name: str | None = None
) -> DataNode:
    """Move the patches with `fn.multi_paste`, on the CPU or the GPU."""
    options = {} if dtype is None else {"dtype": dtype}
    if name is not None:
        options["name"] = name
    return fn.multi_paste(
        images,
        in_ids=plan.in_ids,
        in_anchors=plan.in_anchors,
        out_anchors=plan.out_anchors,
        shapes=plan.shapes,
        **options,
    )


def paste_numba(
    images: DataNode, plan: PlanNodes, *, dtype: types.DALIDataType | None = None, name: str | None = None
) -> DataNode:
    """Move the patches of uint8 images with a compiled kernel that writes DALI's own buffers, on the CPU.

    Raises
    ------
    CellMixDaliError
        If the kernel, tried once a process on a small batch, does not move the pixels as the plan says.
    """
    _self_check()
    mixed = _numba_node(images, plan, name)
    return mixed if dtype is None else fn.cast(mixed, dtype=dtype)


def _numba_node(images: DataNode, plan: PlanNodes, name: str | None) -> DataNode:
    """The kernel as a batch operator; its layout, which DALI drops, restored."""
    from nvidia.dali.plugin.numba.fn import numba_function

    from ._numba_kernel import paste_batch, same_shape

    node = numba_function(
        images,
        plan.in_ids,
        plan.in_anchors,
        plan.out_anchors,
        plan.shapes,
        run_fn=paste_batch,
        setup_fn=same_shape,
        out_types=[types.UINT8],
        in_types=[types.UINT8] + [types.INT32] * 4,
        outs_ndim=[3],
        ins_ndim=[3, 1, 2, 2, 2],
        batch_processing=True,
        device="cpu",
        **({} if name is None else {"name": name}),
    )
    return fn.reinterpret(node, layout="HWC")


@functools.cache
def _self_check() -> None:
    """Compare the kernel with the plan's reference once a process: an error inside it would leave garbage unseen."""
    batch, height, width = 4, 24, 16
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
    mixer = CellMix("CellMix-All")
    source = PlanSource(mixer, tile_size=(height, width), batch_size=batch, patch_size=8, fix_ratio=0.3)
    pipeline = Pipeline(batch_size=batch, num_threads=1, device_id=None, prefetch_queue_depth=1)
    with pipeline:
        node = fn.external_source(lambda: images, batch=True, dtype=types.UINT8, layout="HWC")
        plan = source.nodes()
        pipeline.set_outputs(_numba_node(node, plan, None), plan.weights, plan.parameters)
    pipeline.build()
    got = pipeline.run()[0]
    want = mixer.draw(batch, (height, width), 8, 0.3, epoch=0, iteration=0).apply(images)
    if not np.array_equal(got.as_array(), want):
        raise CellMixDaliError(
            "The numba engine moved pixels wrongly in its self-check on this machine; use engine='native', "
            "and please report the versions of numba, numpy and nvidia-dali."
        )
