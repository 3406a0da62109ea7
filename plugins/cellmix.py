"""CellMix as an operator: the short name for the main one of `mix`'s methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import CellMix
from cellmix_dali.mixing.cellmix import canonical_variant

from .dali import DataNode, types
from .mix import MixParameters, mix
from .plan_source import PlanNodes, PlanSource

__all__ = ["CellMixParameters", "cellmix"]

CellMixParameters = MixParameters


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
    source_map: bool | int = False,
    masks: DataNode | None = None,
    targets: Sequence[tuple[str, DataNode]] = (),
    weights: bool = False,
    engine: str = "native",
    dtype: types.DALIDataType | None = None,
    device: str | torch.device | None = None,
    seed: int | None = None,
    rank: int | None = None,
    name: str | None = None,
) -> tuple[DataNode, ...]:
    """Exchange patches between the samples of a batch and mix their labels accordingly (arXiv 2301.11513).

    The plan of each batch comes from the host: from `plan`, a `PlanSource` under a curriculum; or, with `patch_size`
    and `fix_ratio` given as constants or as nodes of the graph, from a batch operator inside the graph.

    Do not call it inside a DALI conditional: there an operator sees a part of the batch only.

    All but the images and labels are keyword arguments, as in DALI's own operators: a pipeline names those it
    needs.

    Parameters
    ----------
    images : DataNode, HWC, all samples of one size
        Any number of channels, on "cpu" or "gpu".
    labels : DataNode
        One class index per sample (scalar or shape (1,)); with ``soft=True`` float32 (num_classes,).
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
        Whether the labels are soft already: shares, 0 to 1, that add up to 1.
    parameters : bool, default False
        Whether to return, third, the `MixParameters` as they were applied.
    source_map, masks, targets, weights
        What else is mixed or told, and comes after the others: see `cellmix_dali.plugins.mix`.
    engine : {"native", "numba"}, default "native"
        What moves the pixels: `fn.multi_paste`, or a compiled kernel (uint8 images on the CPU); the result is the same.
    dtype : nvidia.dali.types.DALIDataType, optional
        Type of the mixed images; by default that of the images.
    device : {"cpu", "gpu"}, optional
        By default where the images are; naming another device is refused.
    seed : int, optional
        Seed of the plans that are drawn in the graph; by default the pipeline's, or 0 where it has none.
    rank : int, optional
        This process among those that train together, a key of the plans that are drawn in the graph: each draws its
        own. By default that of the process group or of the launcher, or 0.
    name : str, optional
        Name of the operator instance that moves the pixels.

    Returns
    -------
    images : DataNode, HWC
        Mixed images.
    soft_labels : DataNode, float32 (num_classes,)
        Mixed labels, on the images' device.
    parameters : MixParameters
        Only with ``parameters=True``.
    source_map, masks, targets, weights
        Those that are asked for, in this order.

    Raises
    ------
    ArgumentError
        See `mix`; also if the plan is of another method.
    """
    if isinstance(plan, PlanSource) and not isinstance(plan.mixer, CellMix):
        raise ArgumentError(f"cellmix was given a plan of {plan.mixer.method}: use cellmix_dali.plugins.mix for it.")
    if plan is None and (patch_size is None or fix_ratio is None):
        raise ArgumentError("cellmix needs either plan=PlanSource(...), or both patch_size and fix_ratio.")
    drawn: dict[str, Any] = {}
    if plan is None:
        drawn = {"method": canonical_variant(method), "p": p, "seed": seed, "rank": rank}
    return mix(
        images,
        labels,
        num_classes=num_classes,
        plan=plan,
        patch_size=patch_size,
        fix_ratio=fix_ratio,
        soft=soft,
        parameters=parameters,
        source_map=source_map,
        masks=masks,
        targets=targets,
        weights=weights,
        engine=engine,
        dtype=dtype,
        device=device,
        name=name,
        **drawn,
    )
