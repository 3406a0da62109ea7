"""The graph of every pipeline: a source's images -> flips -> augmentation -> what becomes of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from typing_extensions import TypedDict

from cellmix_dali._arguments import integer
from cellmix_dali.augment import AugmentLike, augmentation
from cellmix_dali.errors import ArgumentError, unknown_name
from cellmix_dali.plugins import Draw, Source, TileNodes, tiles
from cellmix_dali.plugins.colour import coloured
from cellmix_dali.plugins.dali import DataNode, Pipeline, fn
from cellmix_dali.plugins.decoder_options import USUAL, DecoderOptions
from cellmix_dali.plugins.engines.registry import check_engine, default_engine
from cellmix_dali.plugins.labels import mix_labels, mix_target
from cellmix_dali.plugins.masks import mix_masks
from cellmix_dali.plugins.normalise import DTYPES, MEAN, STD, channel_numbers, normalise
from cellmix_dali.plugins.saliency import placed_boxes

from ._augment_trial import try_augmentation
from .augmenting import changed, told
from .device import device_id, device_name, pipeline_on
from .routes import choose_decoder

__all__ = ["Finish", "GraphKeywords", "GraphOptions", "mixed_and_normalised", "source_pipeline"]


class GraphKeywords(TypedDict, total=False):
    """The fields of `GraphOptions` as keyword arguments of the functions that make one."""

    device: str | torch.device
    engine: str | None
    mean: Sequence[float]
    std: Sequence[float]
    dtype: str
    num_threads: int | None
    prefetch_queue_depth: int | None
    augment: AugmentLike | None
    require_gpu_decoding: bool
    decoder: DecoderOptions


@dataclass(frozen=True)
class GraphOptions:
    """How a graph changes images, and where and how its pipeline runs.

    Parameters
    ----------
    device : {"cpu", "gpu"}, default "cpu"
        Where tiles are decoded, mixed and normalised. PyTorch's names mean the same: "cuda", "cuda:1" and
        `torch.device`. What ran on a GPU: docs/gpu.md.
    engine : {"native", "numba"}, optional
        What mixes and normalises: DALI's operators, or one compiled pass over the pixels; the result is the same. By
        default the faster one, see `cellmix_dali.plugins.engines.registry.default_engine`.
    mean, std : sequence of 3 floats
        Of R, G, B in [0, 1].
    dtype : {"float32", "float16"}
        Of the images.
    num_threads : int, optional
        DALI's threads. By default as many as the process may use cores, at most 16.
    prefetch_queue_depth : int, optional
        Batches that DALI makes ahead. By default 2, on the GPU 4.
    augment : str, recipe, Augmentation or callable, optional
        What changes the images after the flips and before the mixing: a preset's name, such as "strong", or any other
        thing that `cellmix_dali.augment.augmentation` takes. A function ``augment(images, draw)`` changes images, uint8
        HWC, by operators of the graph and by the numbers of `draw` (see `cellmix_dali.plugins.Draw`), and returns them,
        of the same size and type. A loader's state is told from another by the augmentation's name and parameters.
    require_gpu_decoding : bool, default False
        Whether a pipeline on the GPU that decodes nothing there is an error. Otherwise it is a warning; `Loader.routes`
        says where what is decoded, and why.
    decoder : DecoderOptions, optional
        How the GPU's decoder works: the share of the hardware, memory set aside.

    Raises
    ------
    ArgumentError
        If a value cannot be used.
    MissingDependencyError
        If the GPU is asked for where there is none.
    """

    device: str | torch.device = "cpu"
    engine: str | None = None
    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD
    dtype: str = "float32"
    num_threads: int | None = None
    prefetch_queue_depth: int | None = None
    augment: AugmentLike | None = None
    require_gpu_decoding: bool = False
    decoder: DecoderOptions = USUAL

    def __post_init__(self) -> None:
        device_id(self.device)
        check_engine(default_engine(self.device) if self.engine is None else self.engine, self.device_name)
        if self.dtype not in DTYPES:
            raise unknown_name("dtype", self.dtype, DTYPES)
        if not isinstance(self.decoder, DecoderOptions):
            raise ArgumentError(f"decoder={self.decoder!r} cannot be used: give pipelines.DecoderOptions(...).")
        for name in ("mean", "std"):
            object.__setattr__(self, name, channel_numbers(name, getattr(self, name)))
        if self.augment is not None:
            object.__setattr__(self, "augment", augmentation(self.augment))
        for name in ("num_threads", "prefetch_queue_depth"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, integer(name, getattr(self, name), low=1))

    @property
    def device_name(self) -> str:
        """Where the pipeline runs, "cpu" or "gpu"."""
        return device_name(self.device)

    def pipeline(self, batch_size: int) -> Pipeline:
        """Make a pipeline to define the graph in."""
        return pipeline_on(
            self.device,
            batch_size=batch_size,
            num_threads=self.num_threads,
            prefetch_queue_depth=self.prefetch_queue_depth,
        )

    def seen(self) -> dict[str, Any]:
        """Return what changes the tensors of a batch, as plain values."""
        seen: dict[str, Any] = {"mean": list(self.mean), "std": list(self.std), "dtype": self.dtype}
        return seen if self.augment is None else seen | {"augment": told(self.augment)}


Finish: TypeAlias = "Callable[[TileNodes, Source, GraphOptions], Sequence[DataNode]]"


def mixed_and_normalised(batch: TileNodes, source: Source, options: GraphOptions) -> list[DataNode]:
    """Mix by the batch's plan, if there is one, and make what a model sees: the end of a graph.

    Returns
    -------
    list of DataNode
        Images (3, height, width); labels, mixed; which tile; where plans are drawn, as applied, float64 (7,): patch
        size, fix ratio, triggered, epoch, iteration, tile height and width; and, where the source has them, which
        sample each token comes from, targets, the mixing matrix and masks (height, width).
    """
    plan, labels, targets, weights = batch.plan, batch.labels, dict(batch.targets), batch.weights
    if plan is not None and plan.action.kind == "saliency":
        if batch.colour is not None:
            images = coloured(batch.images, batch.colour, engine=options.engine)
            batch = batch._replace(images=images, colour=None)
        # Boxes lie where the images say, and so do the weights; otherwise the source has mixed the labels.
        assert source.plans is not None
        plan = placed_boxes(batch.images, plan, source.plans.source_map)
        if source.num_classes is not None:
            labels = mix_labels(labels, plan.weights, source.num_classes, soft=True, checked=True)
    if plan is not None and plan.weights is not None:  # what the source has not mixed
        weights = plan.weights
        targets = {name: mix_target(node, weights, source.targets[name].of) for name, node in targets.items()}
    images = normalise(
        batch.images,
        mean=options.mean,
        std=options.std,
        plan=plan,
        colour=batch.colour,
        dtype=options.dtype,
        engine=options.engine,
        sizes_checked=options.augment is None,  # the source has checked that its images are of the plans' size
    )
    applied = [] if plan is None else [plan.parameters]
    tokens = None if plan is None else plan.source_map
    beside = [labels] if tokens is None else [labels, tokens]
    beside += [*targets.values(), *[weights] * source.weighs]
    if batch.masks is not None:
        checked = options.augment is None
        masks = batch.masks if plan is None else mix_masks(batch.masks, plan, sizes_checked=checked)
        beside.append(fn.squeeze(masks, axes=[2]))
    if images.device == "gpu":
        beside = [node.gpu() if node.device == "cpu" else node for node in beside]
    return [images, beside[0], batch.tile, *applied, *beside[1:]]


def source_pipeline(
    source: Source, options: GraphOptions = GraphOptions(), finish: Finish = mixed_and_normalised
) -> Pipeline:
    """Define the pipeline over a source: of tiles or of image files, for training, evaluation or reading.

    Parameters
    ----------
    source : TileSource or ImageSource
        What it draws (flips, plans) is applied.
    options : GraphOptions, optional
        How.
    finish : callable, optional
        ``finish(batch, source, options)`` makes the pipeline's outputs of a `cellmix_dali.plugins.TileNodes`, whose
        images, uint8 HWC, are flipped and augmented, and lie on the device. By default they are mixed and normalised,
        see `mixed_and_normalised`.

    Returns
    -------
    nvidia.dali.Pipeline

    Raises
    ------
    ArgumentError
        If the source draws plans and does not mix the labels, or `augment` does not keep to what is agreed.
    """
    if source.plans is not None and source.num_classes is None and (source.has_labels or not source.targets):
        raise ArgumentError(
            f"A source that draws plans must mix the labels, too: {type(source).__name__}(..., num_classes=...). "
            "Without num_classes there must be no labels (no column 'label'), and targets instead."
        )
    augment = None if options.augment is None else augmentation(options.augment)
    if augment is not None:
        try_augmentation(augment, source.tile_size, options.device, masked=source.masked)
    if source.plans is not None and source.masked:
        source.plans.action.for_masks()  # refuses what cannot mix masks
    pipeline = options.pipeline(source.batch_size)
    with pipeline:
        batch = tiles(source, device=_decoder(source, options), decoder=options.decoder)
        images = batch.images.gpu() if options.device_name == "gpu" else batch.images
        masks = batch.masks
        if masks is not None and options.device_name == "gpu":
            masks = masks.gpu()
        if batch.flips is not None:
            turned = {"horizontal": batch.flips[0], "vertical": batch.flips[1]}
            images = fn.flip(images, **turned)
            masks = None if masks is None else fn.flip(masks, **turned)
        colour = None
        if augment is not None:
            draw = Draw.of(source, engine=options.engine)
            draw.table, draw.rows = getattr(source, "table", None), batch.tile
            augmented = changed(augment, images, draw, masks)
            # The pass that normalises changes colours, too; all other ends want pixels as they are.
            colour = augmented.colour() if finish is mixed_and_normalised else None
            images, masks = augmented.images, augmented.masks
        pipeline.set_outputs(*finish(batch._replace(images=images, masks=masks, colour=colour), source, options))
    return pipeline


def _decoder(source: Source, options: GraphOptions) -> str:
    """The device of the decoder; what was meant to be decoded on the GPU, and is not, is said."""
    chosen = choose_decoder(source, options.device, decoder=options.decoder)
    if options.device_name == "gpu" and chosen == "cpu":
        held = [kind for kind in source.routes if kind in set(source.kinds)]
        why = "; ".join(f"{kind}: {source.routes[kind].reason}" for kind in held) or "its tiles come as pixels"
        told = f"device={str(options.device)!r}, but nothing is decoded on the GPU. {why[0].upper()}{why[1:]}."
        if options.require_gpu_decoding:
            raise ArgumentError(f"{told} Leave require_gpu_decoding out to decode on the CPU.")
        warnings.warn(told, stacklevel=2)
    return chosen
