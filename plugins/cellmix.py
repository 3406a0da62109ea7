"""CellMix as an operator for any DALI pipeline."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cellmix_dali.errors import ArgumentError, unknown_name
from cellmix_dali.mixing.cellmix import CellMix

from ._dali import DataNode, Pipeline, fn, math, types
from ._drawn_plan import drawn_plan
from ._labels import mix_labels
from ._paste import check_engine, paste_native, paste_numba
from .plan_source import PlanNodes, PlanSource

__all__ = ["CellMixParameters", "apply_plan", "cellmix"]


class CellMixParameters(NamedTuple):
    """What was applied to a batch; every node holds one scalar a sample, on the CPU.

    Attributes
    ----------
    patch_size : int32
        Side of a patch in pixels.
    fix_ratio : float32
        Share of patch positions that stayed.
    triggered : int32
        1 if the batch was mixed, 0 if it was left alone (probability 1 - p).
    epoch, iteration : int64
        Which batch.
    """

    patch_size: DataNode
    fix_ratio: DataNode
    triggered: DataNode
    epoch: DataNode
    iteration: DataNode


def cellmix(
    images: DataNode,
    labels: DataNode,
    *,
    num_classes: int,
    plan: PlanSource | PlanNodes | None = None,
    patch_size: int | DataNode | None = None,
    fix_ratio: float | DataNode | None = None,
    method: str = "CellMix",
    p: float = 1.0,
    soft: bool = False,
    parameters: bool = False,
    engine: str = "native",
    dtype: types.DALIDataType | None = None,
    device: str | None = None,
    seed: int | None = None,
    name: str | None = None,
) -> tuple[DataNode, ...]:
    """Exchange patches between the samples of a batch and mix their labels accordingly (arXiv 2301.11513).

    The plan of each batch comes from the host: from `plan`, a `PlanSource` under a curriculum; or, with `patch_size`
    and `fix_ratio` given as constants or as nodes of the graph, from a batch operator inside the graph.

    Do not call it inside a DALI conditional: there an operator sees a part of the batch only.

    Parameters
    ----------
    images : DataNode, HWC, all samples of one size
        Any number of channels, on "cpu" or "gpu".
    labels : DataNode
        One class index a sample (scalar or shape (1,)); with ``soft=True`` float32 (num_classes,).
    num_classes : int
        Number of classes.
    plan : PlanSource or PlanNodes, optional
        Where the plans come from. Without it, `patch_size` and `fix_ratio` are needed.
    patch_size : int or DataNode, optional
        Side of a patch in pixels; must divide the tile. Of a node, the value of the batch's first sample counts.
    fix_ratio : float or DataNode, optional
        Share of patch positions that stay, in [0, 1]. Of a node, the value of the batch's first sample counts.
    method : str, default "CellMix"
        One of `cellmix_dali.mixing.CELLMIX_VARIANTS`. With `plan`, the plan's method is used.
    p : float, default 1.0
        Probability that a batch is mixed. With `plan`, the plan's is used.
    soft : bool, default False
        Whether the labels are soft already.
    parameters : bool, default False
        Whether to return, third, the `CellMixParameters` as they were applied.
    engine : {"native", "numba"}, default "native"
        What moves the pixels: `fn.multi_paste`, or a compiled kernel (uint8 images on the CPU); the result is the same.
    dtype : nvidia.dali.types.DALIDataType, optional
        Type of the mixed images; by default that of the images.
    device : {"cpu", "gpu"}, optional
        By default where the images are; naming another device is refused.
    seed : int, optional
        Seed of the plans that are drawn in the graph; by default the pipeline's, or 0 where it has none.
    name : str, optional
        Name of the operator instance that moves the pixels.

    Returns
    -------
    images : DataNode, HWC
        Mixed images.
    soft_labels : DataNode, float32 (num_classes,)
        Mixed labels, on the images' device.
    parameters : CellMixParameters
        Only with ``parameters=True``.

    Raises
    ------
    ArgumentError
        For every argument that cannot work, when the pipeline is defined. A wrong image size or label shows when a
        batch runs, as a RuntimeError of DALI's that names this operator.
    """
    pipeline = _check(images, device=device, num_classes=num_classes)
    check_engine(engine, images.device)
    if plan is not None:
        nodes = _given_plan(plan, pipeline, patch_size, fix_ratio)
        images = _require_tile_size(images, nodes.parameters)
    else:
        if patch_size is None or fix_ratio is None:
            raise ArgumentError("cellmix needs either plan=PlanSource(...), or both patch_size and fix_ratio.")
        mixer = CellMix(method, p=p, seed=_seed(seed, pipeline))
        mixer.check_batch_size(pipeline.max_batch_size)
        nodes = drawn_plan(images, mixer, patch_size, fix_ratio, pipeline.max_batch_size)

    mixed, soft_labels = apply_plan(
        images, labels, nodes, num_classes=num_classes, soft=soft, engine=engine, dtype=dtype, name=name
    )
    return (mixed, soft_labels, _applied(nodes)) if parameters else (mixed, soft_labels)


def apply_plan(
    images: DataNode,
    labels: DataNode,
    plan: PlanNodes,
    *,
    num_classes: int,
    soft: bool = False,
    engine: str = "native",
    dtype: types.DALIDataType | None = None,
    name: str | None = None,
) -> tuple[DataNode, DataNode]:
    """Apply a plan to images that are known to be of its size: `cellmix` without its checks of the images.

    Parameters and results are those of `cellmix`.
    """
    paste = paste_numba if engine == "numba" else paste_native
    mixed = paste(images, plan, dtype=dtype, name=name)
    soft_labels = mix_labels(labels, plan.weights, num_classes, Pipeline.current().max_batch_size, soft=soft)
    return mixed, soft_labels.gpu() if images.device == "gpu" else soft_labels


def _check(images: DataNode, *, device: str | None, num_classes: int) -> Pipeline:
    """Refuse what cannot work; give the pipeline that is being defined."""
    pipeline = Pipeline.current()
    if pipeline is None:
        raise ArgumentError("cellmix must be called where a DALI pipeline is defined (inside @pipeline_def).")
    if device is not None and device not in ("cpu", "gpu"):
        raise unknown_name("device", device, ("cpu", "gpu"))
    if device is not None and device != images.device:
        raise ArgumentError(
            f"device={device!r}, but the images are on {images.device!r}: move them first (images.gpu() or .cpu())."
        )
    if num_classes < 2:
        raise ArgumentError(f"num_classes={num_classes}: mixing labels needs at least 2 classes.")
    return pipeline


def _given_plan(
    plan: PlanSource | PlanNodes,
    pipeline: Pipeline,
    patch_size: int | DataNode | None,
    fix_ratio: float | DataNode | None,
) -> PlanNodes:
    """Nodes of a plan that comes from outside."""
    if patch_size is not None or fix_ratio is not None:
        raise ArgumentError("Give cellmix either plan or patch_size and fix_ratio: a plan has its own parameters.")
    if isinstance(plan, PlanNodes):
        return plan
    if plan.batch_size != pipeline.max_batch_size:
        raise ArgumentError(
            f"The plan is drawn for batch_size={plan.batch_size}, the pipeline's is {pipeline.max_batch_size}: "
            "give both the same."
        )
    return plan.nodes()


def _require_tile_size(images: DataNode, parameters: DataNode) -> DataNode:
    """Make the graph raise if the images are not of the size that the plan was drawn for.

    Larger ones would be cropped silently. DALI has no assertion, but `fn.slice` raises outside its input's bounds;
    the sum with its always-zero result keeps it in the graph. No pixel is touched.
    """
    shape = images.shape(dtype=types.INT32)
    off = shape[0:2] - fn.cast(parameters[5:7], dtype=types.INT32)
    distance = fn.reductions.sum(math.abs(off), dtype=types.INT32)
    origin = types.Constant(np.zeros(1, np.int32), device="cpu")
    zero = fn.slice(origin, distance, 1, axes=[0])  # raises if images are not of the plan's tile_size
    return fn.reshape(images, shape=shape + zero, layout="HWC")


def _seed(seed: int | None, pipeline: Pipeline) -> int:
    """The seed as given, else the pipeline's."""
    if seed is not None:
        return seed
    return max(int(pipeline.seed), 0) if pipeline.seed is not None else 0


def _applied(nodes: PlanNodes) -> CellMixParameters:
    """The parameters, each a scalar of its own type."""
    dtypes = (types.INT32, types.FLOAT, types.INT32, types.INT64, types.INT64)
    return CellMixParameters(*(fn.cast(nodes.parameters[i], dtype=dtype) for i, dtype in enumerate(dtypes)))
