"""Engine "native": DALI's own operators, on both devices."""

from __future__ import annotations

from typing import Any

from ..assemble import laid_over
from ..colour_stages import Colour
from ..dali import DataNode, fn, types
from ..nearest import resized_nearest
from ..plan_arrays import PlanNodes
from .engine import DTYPES, Engine, Normalisation
from .native_colour import native_colour

__all__ = ["Native"]


class Native(Engine):
    """Mixes images of any type and number of channels; normalises in a pass of its own."""

    name, devices, compiled = "native", ("cpu", "gpu"), False
    colours = True

    def mix(
        self, images: DataNode, plan: PlanNodes, *, dtype: types.DALIDataType | None = None, name: str | None = None
    ) -> DataNode:
        """Apply a plan by the operators of its kind; see `Engine.mix`."""
        options: dict[str, Any] = {} if name is None else {"name": name}
        if plan.action.kind == "paste":
            # The paste casts on its way.
            return _paste(images, plan, options if dtype is None else options | {"dtype": dtype})
        mixed = _OTHER_KINDS[plan.action.kind](images, plan, options)
        return mixed if dtype is None else fn.cast(mixed, dtype=dtype)

    def colour(self, images: DataNode, colour: Colour) -> DataNode:
        """Change colours by arithmetic of the graph; see `Engine.colour`. Much slower than a compiled pass."""
        return native_colour(images, colour)

    def blur(self, images: DataNode, sigma: DataNode, image_weight: DataNode) -> DataNode:
        """Blur by `fn.gaussian_blur`; see `Engine.blur`. Much slower than a compiled pass."""
        smooth = fn.gaussian_blur(images, sigma=sigma, dtype=types.FLOAT)
        weight = image_weight.gpu() if images.device == "gpu" else image_weight
        return fn.cast_like(images * weight + smooth * (1.0 - weight), images)

    def normalise(
        self, images: DataNode, plan: PlanNodes | None, how: Normalisation, colour: Colour | None = None
    ) -> DataNode:
        """Normalise by `fn.crop_mirror_normalize`; see `Engine.normalise`. On the GPU it may round otherwise."""
        assert plan is None
        assert colour is None
        return fn.crop_mirror_normalize(
            images,
            dtype=DTYPES[how.dtype],
            output_layout="CHW",
            mean=[255 * value for value in how.mean],
            std=[255 * value for value in how.std],
        )


def _paste(images: DataNode, plan: PlanNodes, options: dict[str, Any]) -> DataNode:
    """Paste regions of the batch's samples over each other."""
    return fn.multi_paste(
        images,
        in_ids=plan.in_ids,
        in_anchors=plan.in_anchors,
        out_anchors=plan.out_anchors,
        shapes=plan.shapes,
        **options,
    )


def _fill(images: DataNode, plan: PlanNodes, options: dict[str, Any]) -> DataNode:
    """Overwrite a box by a constant."""
    return fn.erase(
        images,
        anchor=fn.cast(plan.out_anchors[0], dtype=types.FLOAT),
        shape=fn.cast(plan.shapes[0], dtype=types.FLOAT),
        axis_names="HW",
        fill_value=list(map(float, plan.action.fill)),
        **options,
    )


def _resize(images: DataNode, plan: PlanNodes, options: dict[str, Any]) -> DataNode:
    """Paste a box of the partner, resized, over each sample."""
    partner = _partner(images, plan)
    place, start = plan.out_anchors[0], fn.cast(plan.in_anchors[0], dtype=types.FLOAT)
    taken, size = (fn.cast(plan.shapes[which], dtype=types.FLOAT) for which in (0, 1))
    if plan.action.interpolation == "nearest":
        box = resized_nearest(partner, size, start, taken)
    else:
        part = fn.slice(partner, plan.in_anchors[0], plan.shapes[0], axes=[0, 1])
        box = fn.resize(part, size=size, interp_type=types.INTERP_LINEAR, antialias=True)
    return laid_over(images, box, place=place, shape=plan.shapes[1], options=options)


def _share(images: DataNode, plan: PlanNodes, options: dict[str, Any]) -> DataNode:
    """Blend with the partner by a share."""
    share = plan.share[0].gpu() if images.device == "gpu" else plan.share[0]
    blend = images * share + _partner(images, plan) * (1.0 - share)
    return fn.cast_like(blend, images, **options)  # rounds to the nearest


def _mask(images: DataNode, plan: PlanNodes, options: dict[str, Any]) -> DataNode:
    """Take each pixel from the sample or from its partner."""
    mask = plan.mask.gpu() if images.device == "gpu" else plan.mask
    own = fn.expand_dims(fn.reinterpret(mask, layout="HW"), axes=[2], new_axis_names="C")
    # In bytes the difference may wrap around, and the sum wraps back: exact. One product by the mask, which has fewer
    # channels, is much faster than two.
    partner = _partner(images, plan)
    return fn.cast_like(partner + (images - partner) * own, images, **options)


def _partner(images: DataNode, plan: PlanNodes) -> DataNode:
    """Each sample's partner in its place."""
    return fn.permute_batch(images, indices=plan.in_ids[0])


_OTHER_KINDS = {"fill": _fill, "resize": _resize, "share": _share, "mask": _mask}
