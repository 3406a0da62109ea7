"""Every mixing method as an operator for any DALI pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from cellmix_dali._ranks import ranks_of
from cellmix_dali.errors import ArgumentError
from cellmix_dali.mixing import TARGET_KINDS, canonical_method, check_source_map, make_mixer, mixes

from ._drawn_plan import drawn_plan
from .dali import DataNode, Pipeline, fn, types
from .device_names import device_name
from .engines.registry import engine_for
from .engines.self_check import tried
from .image_shape import require_channels, require_tile_size
from .labels import mix_labels, mix_target, soft_rows
from .masks import mix_masks
from .plan_source import PlanNodes, PlanSource, check_settings
from .saliency import placed_boxes

__all__ = ["MixParameters", "mix"]


class MixParameters(NamedTuple):
    """What was applied to a batch; every node holds one scalar per sample, on the CPU.

    Attributes
    ----------
    patch_size : int32
        Side of a patch in pixels; 0 for other methods than CellMix.
    fix_ratio : float32
        Share of patch positions that stayed; 0 for other methods than CellMix.
    triggered : int32
        1 if the batch (of Cutout: any of its samples) was mixed, 0 if it was left alone.
    epoch, iteration : int64
        Which batch.
    """

    patch_size: DataNode
    fix_ratio: DataNode
    triggered: DataNode
    epoch: DataNode
    iteration: DataNode


def mix(
    images: DataNode,
    labels: DataNode,
    *,
    method: str | None = None,
    num_classes: int,
    plan: PlanSource | PlanNodes | None = None,
    patch_size: int | DataNode | None = None,
    fix_ratio: float | DataNode | None = None,
    p: float | None = None,
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
    **method_parameters: Any,
) -> tuple[DataNode, ...]:
    """Mix the samples of a batch by any method, and their labels accordingly.

    The plan of each batch comes from the host: from `plan`, a `PlanSource`; or, with `method` given, from a batch
    operator inside the graph. No pixel passes through Python, but those of a few images of SaliencyMix, of whose most
    salient pixel compiled code is not certain. Pixels are those that ``plan.apply`` of `cellmix_dali.mixing` makes: to
    the bit, of Mixup and of a linear ResizeMix within 1 level of 8-bit images.

    Do not call it inside a DALI conditional: there an operator sees a part of the batch only.

    All but the images and labels are keyword arguments, as in DALI's own operators: a pipeline names those it
    needs.

    Parameters
    ----------
    images : DataNode, HWC, all samples of one size
        Any number of channels, on "cpu" or "gpu". SaliencyMix: uint8 with 1 or 3 channels.
    labels : DataNode
        One class index per sample (scalar or shape (1,)); with ``soft=True`` float32 (num_classes,).
    method : str, optional
        One of `cellmix_dali.mixing.METHODS`, which say paper, parameters and meaning of the labels' weights, or "none":
        images stay as they are, and labels become soft. Not needed with `plan`.
    num_classes : int
        Number of classes.
    plan : PlanSource or PlanNodes, optional
        Where the plans come from. Instead of it, `method` and its parameters.
    patch_size : int or DataNode, optional
        Of CellMix: side of a patch in pixels; must divide the tile. Of a node, the value of the batch's first sample
        counts.
    fix_ratio : float or DataNode, optional
        Of CellMix: share of patch positions that stay, in [0, 1]. Of a node, the value of the batch's first sample
        counts.
    p : float, optional
        Probability that a batch (of Cutout: a sample) is mixed; by default 1. Not with `plan`, which has its own.
    soft : bool, default False
        Whether the labels are soft already: shares, 0 to 1, that add up to 1.
    parameters : bool, default False
        Whether to return, third, the `MixParameters` as they were applied.
    source_map : bool or int, default False
        Whether to return of which sample each token is, see `cellmix_dali.mixing.source_map`. True: of each patch of
        CellMix, so that there are as many as the patch size in force makes; under a curriculum they change from epoch
        to epoch. A number: the side of a token in pixels, whatever is mixed, so that there are always as many. With a
        `PlanSource` as `plan`, as that was made.
    masks : DataNode, uint8 HWC with 1 channel, optional
        Class masks, to be mixed as the images are: to the bit the same regions. See
        `cellmix_dali.mixing.MixPlan.for_masks`; Mixup is refused.
    targets : sequence of (str, DataNode)
        Further targets, float (numbers,), each with its kind, one of `cellmix_dali.mixing.TARGET_KINDS`, which says how
        it is mixed.
    weights : bool, default False
        Whether to return the mixing matrix's row of each sample, which losses of survival need.
    engine : {"native", "numba"}, default "native"
        What moves the pixels: DALI's operators, or a compiled kernel (uint8 images on the CPU), which is faster for
        Mixup and FMix.
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
        Name of the operator instance that gives the mixed images.
    **method_parameters
        The method's own, by default its paper's: see ``METHODS[method].parameters``.

    Returns
    -------
    images : DataNode, HWC
        Mixed images.
    soft_labels : DataNode, float32 (num_classes,)
        Mixed labels, on the images' device.
    parameters : MixParameters
        Only with ``parameters=True``.
    source_map : DataNode, int32 (tokens,)
        Only with ``source_map``; on the CPU, as all that follow but the masks.
    masks : DataNode, uint8 HWC with 1 channel
        Only with ``masks``; mixed, on their device.
    targets : tuple of DataNode, float32 (numbers,)
        Only with ``targets``; in their order.
    weights : DataNode, float32 (batch,)
        Only with ``weights=True``.

    Raises
    ------
    ArgumentError
        For every argument that cannot work, when the pipeline is defined. A wrong image size or label shows when a
        batch runs, as a RuntimeError of DALI's that names this operator.
    """
    pipeline = _check(images, device=device, num_classes=num_classes)
    chosen = engine_for(engine, images.device)
    kinds = [TARGET_KINDS[TARGET_KINDS.canonical(kind)] for kind, _ in targets]
    if plan is not None:
        own = {
            "patch_size": patch_size,
            "fix_ratio": fix_ratio,
            "p": p,
            "seed": seed,
            "rank": rank,
            **method_parameters,
        }
        nodes = _given_plan(plan, pipeline, method, [key for key, value in own.items() if value is not None])
        source_map = _map_of_plan(plan, source_map)
        images = require_tile_size(images, nodes.parameters)
    else:
        if method is None:
            raise ArgumentError("mix needs either method=... or plan=PlanSource(...). To mix nothing: method='none'.")
        if not mixes(method):
            if parameters or source_map is not False or weights:
                raise ArgumentError(
                    "With method='none' no parameters are applied: leave parameters, source_map and weights out. For a "
                    "pipeline that gives them and mixes nothing: a method with p=0."
                )
            unmixed = _unmixed(images, labels, num_classes=num_classes, soft=soft, dtype=dtype)
            kept = tuple(mix_target(node, None, kind) for kind, (_, node) in zip(kinds, targets, strict=True))
            return (*unmixed, *([] if masks is None else [masks]), *([kept] if targets else []))
        rank = ranks_of(None, None)[0] if rank is None else rank
        mixer = make_mixer(
            method, p=1.0 if p is None else p, seed=_seed(seed, pipeline), rank=rank, **method_parameters
        )
        check_settings(mixer, patch_size=patch_size, fix_ratio=fix_ratio)
        mixer.check_batch_size(pipeline.max_batch_size)
        source_map = check_source_map(mixer, source_map)
        nodes = drawn_plan(images, mixer, pipeline.max_batch_size, patch_size, fix_ratio, source_map)
    if chosen.compiled:
        images = require_channels(images)
    if nodes.action.kind == "saliency":
        nodes = placed_boxes(images, nodes, source_map)
    if nodes.action.kind not in chosen.mixes:
        raise ArgumentError(
            f"On the {images.device.upper()} engine={engine!r} mixes and normalises in one pass: use "
            f"cellmix_dali.plugins.normalise.normalise(images, plan=..., engine={engine!r}), or engine='native' to mix "
            "alone."
        )
    mixed = tried(chosen, images, nodes.action).mix(images, nodes, dtype=dtype, name=name)
    soft_labels = mix_labels(labels, nodes.weights, num_classes, soft=soft)
    if images.device == "gpu" and soft_labels.device == "cpu":
        soft_labels = soft_labels.gpu()
    further: list[Any] = [_applied(nodes)] if parameters else []
    if source_map is not False:
        further.append(nodes.source_map)
    if masks is not None:
        further.append(mix_masks(masks, nodes, engine=engine))
    if targets:
        pairs = zip(kinds, targets, strict=True)
        further.append(tuple(mix_target(node, nodes.weights, kind) for kind, (_, node) in pairs))
    return (mixed, soft_labels, *further, *([nodes.weights] if weights else []))


def _check(images: DataNode, *, device: str | torch.device | None, num_classes: int) -> Pipeline:
    """Refuse what cannot work; return the pipeline that is being defined."""
    pipeline = Pipeline.current()
    if pipeline is None:
        raise ArgumentError("Mixing must be called where a DALI pipeline is defined (inside @pipeline_def).")
    if device is not None and device_name(device) != images.device:
        raise ArgumentError(
            f"device={device!r}, but the images are on {images.device!r}: move them first (images.gpu() or .cpu())."
        )
    if num_classes < 2:
        raise ArgumentError(f"num_classes={num_classes}: mixing labels needs at least 2 classes.")
    return pipeline


def _given_plan(plan: PlanSource | PlanNodes, pipeline: Pipeline, method: str | None, settings: list[str]) -> PlanNodes:
    """Nodes of a plan that comes from outside."""
    if settings:
        raise ArgumentError(f"Give either plan or {' and '.join(settings)}: a plan has its own parameters.")
    if isinstance(plan, PlanNodes):
        if plan.weights is None and plan.action.kind != "saliency":
            raise ArgumentError(
                "The plan has no label weights: its source, given num_classes, mixes the labels itself. Take the "
                "labels that come with it, and mix the images alone by plugins.normalise.normalise(images, plan=...); "
                "or make the source without num_classes."
            )
        return plan
    if method is not None and canonical_method(method) != plan.mixer.method:
        raise ArgumentError(f"The plan is of {plan.mixer.method}, not of {method}: leave method out, or name the same.")
    if plan.batch_size != pipeline.max_batch_size:
        raise ArgumentError(
            f"The plan is drawn for batch_size={plan.batch_size}, the pipeline's is {pipeline.max_batch_size}: "
            "give both the same."
        )
    return plan.nodes()


def _map_of_plan(plan: PlanSource | PlanNodes, wanted: bool | int) -> bool | int:
    """Of which tokens a plan from outside tells where they come from, if that is wanted."""
    if wanted is False:
        return False
    if isinstance(plan, PlanNodes):
        if plan.source_map is None and plan.action.kind != "saliency":
            raise ArgumentError(
                "The plan does not say where tokens come from: its source does, PlanSource(..., source_map=...)."
            )
        return wanted
    asked = check_source_map(plan.mixer, wanted, plan.tile_size)
    if (type(asked), asked) != (type(plan.source_map), plan.source_map):  # True is 1, too
        raise ArgumentError(
            f"source_map={wanted!r}, but the plan was made with source_map={plan.source_map!r}: give both the same."
        )
    return asked


def _unmixed(
    images: DataNode,
    labels: DataNode,
    *,
    num_classes: int,
    soft: bool,
    dtype: types.DALIDataType | None,
) -> tuple[DataNode, DataNode]:
    """Images as they are, and soft labels."""
    rows = soft_rows(labels, num_classes, soft=soft)
    images = images if dtype is None else fn.cast(images, dtype=dtype)
    return images, rows.gpu() if images.device == "gpu" else rows


def _seed(seed: int | None, pipeline: Pipeline) -> int:
    """The seed as given, else the pipeline's."""
    if seed is not None:
        return seed
    return max(int(pipeline.seed), 0) if pipeline.seed is not None else 0


def _applied(nodes: PlanNodes) -> MixParameters:
    """The parameters, each a scalar of its own type."""
    dtypes = (types.INT32, types.FLOAT, types.INT32, types.INT64, types.INT64)
    return MixParameters(*(fn.cast(nodes.parameters[i], dtype=dtype) for i, dtype in enumerate(dtypes)))
